"""Worker processes of the DataLoader, iterable data sets, and the rarer samplers and data sets."""

from __future__ import annotations

import os
import random
import time
from collections import OrderedDict, UserDict

import numpy as np
import pytest

import nncomp
from nncomp.utils import data


class Numbers(data.Dataset):
    """Sample i is (i, pid, a random number of each kind)."""

    def __init__(self, size=12, fail=None, hang=None, die=None):
        self.size, self.fail, self.hang, self.die = size, fail, hang, die

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index == self.fail:
            raise KeyError(f"sample {index} is bad")
        if index == self.hang:
            time.sleep(30)
        if index == self.die:
            os._exit(3)
        return index, os.getpid(), random.random(), np.random.rand(), nncomp.rand(()).item()


class Stream(data.IterableDataset):
    """0 ... size - 1, shared out among the workers."""

    def __init__(self, size, share=True):
        self.size, self.share = size, share

    def __iter__(self):
        info = data.get_worker_info()
        if info is None or not self.share:
            return iter(range(self.size))
        return iter(range(info.id, self.size, info.num_workers))


class Counted(Stream):
    def __len__(self):
        return self.size


def as_list(batches):
    return [batch[0].tolist() for batch in batches]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("context", [None, "spawn"])
def test_workers_give_the_batches_in_order(workers, context):
    if context == "spawn" and workers == 3:
        pytest.skip("starting an interpreter takes long")
    loader = data.DataLoader(
        Numbers(), 3, num_workers=workers, multiprocessing_context=context, drop_last=True
    )
    batches = list(loader)
    assert as_list(batches) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    pids = {pid for batch in batches for pid in batch[1].tolist()}
    assert len(pids) == workers and os.getpid() not in pids
    draws = [batch[i].tolist() for batch in batches for i in (2, 3, 4)]
    assert len({x for row in draws for x in row}) == 36  # no two workers draw the same numbers


def test_workers_use_the_sampler_and_the_generator():
    def orders():
        generator = nncomp.Generator().manual_seed(3)
        loader = data.DataLoader(
            Numbers(), 5, shuffle=True, num_workers=2, generator=generator, prefetch_factor=3
        )
        return [[(b[0].tolist(), b[2].tolist(), b[4].tolist()) for b in loader] for _ in range(2)]

    first = orders()
    assert first == orders() and first[0] != first[1]
    assert sorted(i for b in first[0] for i in b[0]) == list(range(12))


def note_worker(number):
    info = data.get_worker_info()
    assert info.id == number and info.num_workers == 2
    info.dataset.size = 100 + number  # only this worker's copy


class Sizes(data.Dataset):
    size = 0

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.size


@pytest.mark.parametrize("persistent", [False, True])
def test_worker_init_and_persistent_workers(persistent):
    loader = data.DataLoader(
        Sizes(), num_workers=2, worker_init_fn=note_worker, persistent_workers=persistent
    )
    for _ in range(2):
        assert [int(x) for x in loader] == [100, 101, 100, 101]
    pids = [{p for b in data.DataLoader(Numbers(4), num_workers=1) for p in b[1].tolist()}
            for _ in range(2)]  # fmt: skip
    assert pids[0] != pids[1]
    kept = data.DataLoader(Numbers(4), num_workers=1, persistent_workers=persistent)
    pids = [{p for b in kept for p in b[1].tolist()} for _ in range(2)]
    assert (pids[0] == pids[1]) is persistent
    assert data.get_worker_info() is None


def test_a_pass_that_is_given_up_leaves_a_clean_one():
    loader = data.DataLoader(Numbers(), 2, num_workers=2, persistent_workers=True)
    one = iter(loader)
    next(one)
    assert as_list(loader) == [[i, i + 1] for i in range(0, 12, 2)]
    with pytest.raises(RuntimeError, match="given up when another one began"):
        next(one)


def test_errors_of_a_worker_are_raised_with_its_traceback():
    loader = data.DataLoader(Numbers(fail=5), 2, num_workers=2)
    batches = iter(loader)
    assert next(batches)[0].tolist() == [0, 1] and next(batches)[0].tolist() == [2, 3]
    with pytest.raises(KeyError) as error:
        next(batches)
    text = str(error.value)
    assert "Caught KeyError in DataLoader worker process 0.\nOriginal Traceback" in text
    assert "__getitem__" in text and "sample 5 is bad" in text
    assert next(batches)[0].tolist() == [6, 7]  # as in torch, the next batch can be had


class Strange(Exception):
    def __init__(self, a, b):
        super().__init__(a)


class Broken(Numbers):
    def __getitem__(self, index):
        if index == 1:
            raise Strange(1, 2)
        return lambda: index  # cannot be pickled


def test_errors_and_batches_that_cannot_be_sent():
    loader = data.DataLoader(Broken(), None, num_workers=1)
    batches = iter(loader)
    with pytest.raises(Exception, match="in DataLoader worker process 0") as error:
        next(batches)
    assert "pickle" in str(error.value).lower()
    with pytest.raises(RuntimeError, match="Caught Strange in DataLoader worker process 0"):
        next(batches)


def test_a_worker_that_dies_or_hangs_is_noticed():
    with pytest.raises(RuntimeError, match=r"worker \(pid\(s\) \d+\) exited unexpectedly.*code 3"):
        list(data.DataLoader(Numbers(die=4), 2, num_workers=2))
    with pytest.raises(RuntimeError, match="timed out after 0.3 seconds"):
        list(data.DataLoader(Numbers(hang=0), 2, num_workers=1, timeout=0.3))


def fail_to_start(number):
    raise ValueError("no luck")


def test_a_failing_init_function_is_reported():
    with pytest.raises(ValueError, match=r"(?s)Caught ValueError in DataLoader.*no luck"):
        list(data.DataLoader(Numbers(), num_workers=1, worker_init_fn=fail_to_start))


class Wide(data.Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, index):
        return nncomp.full((300_000,), float(index))


def test_batches_larger_than_a_pipe():
    loader = data.DataLoader(Wide(), 1, num_workers=2, prefetch_factor=4)
    sampler = data.BatchSampler(list(range(12)) * 3000, 9000, False)
    assert [x[0, 7].item() for x in loader] == list(range(12))
    many = data.DataLoader(range(12), batch_sampler=sampler, num_workers=1, prefetch_factor=4)
    assert [len(x) for x in many] == [9000] * 4


product = nncomp.compile(lambda x: (x @ x.T).relu().sum())


class Compiled(data.Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return product(nncomp.ones(64, 64) * index)


def test_workers_may_call_compiled_functions():
    expected = [product(nncomp.ones(64, 64) * i).item() for i in range(3)]
    loader = data.DataLoader(Compiled(), num_workers=2, timeout=60)
    assert [batch.item() for batch in loader] == expected


# -- iterable data sets ---------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("drop_last", [False, True])
def test_iterable_data_sets(workers, drop_last):
    loader = data.DataLoader(Stream(7), 2, num_workers=workers, drop_last=drop_last)
    batches = [x.tolist() for x in loader]
    if workers:
        expected = [[0, 2], [1, 3], [4, 6], [5]]
    else:
        expected = [[0, 1], [2, 3], [4, 5], [6]]
    assert batches == (expected[:-1] if drop_last else expected)
    assert list(data.DataLoader(Stream(3), None)) == [0, 1, 2]
    assert list(data.DataLoader(Stream(5), None, num_workers=workers)) == [0, 1, 2, 3, 4]


def test_workers_that_all_read_everything_are_warned_about():
    loader = data.DataLoader(Counted(4, share=False), 2, num_workers=2)
    assert len(loader) == 2
    with pytest.warns(UserWarning, match="reported to be 2.*more samples have been fetched"):
        assert [x.tolist() for x in loader] == [[0, 1], [0, 1], [2, 3], [2, 3]]
    both = Stream(2) + Stream(1)
    assert isinstance(both, data.ChainDataset) and list(both) == [0, 1, 0]
    with pytest.raises(AssertionError, match="ChainDataset only supports"):
        list(data.ChainDataset([[1]]))
    assert len(data.ChainDataset([Counted(2), Counted(3)])) == 5


# -- parity with torch ----------------------------------------------------------------------------

CALLS = {
    "sampler": lambda d: d.DataLoader(stream(d), sampler=[0]),
    "shuffle": lambda d: d.DataLoader(stream(d), shuffle=True),
    "batch_sampler": lambda d: d.DataLoader(stream(d), batch_sampler=[[0]]),
    "negative": lambda d: d.DataLoader([1], num_workers=-1),
    "persistent": lambda d: d.DataLoader([1], persistent_workers=True),
    "context": lambda d: d.DataLoader([1], num_workers=1, multiprocessing_context="x"),
    "no context": lambda d: d.DataLoader([1], multiprocessing_context="fork"),
    "fixed": lambda d: setattr(d.DataLoader([1]), "batch_size", 2),
    "weights": lambda d: d.WeightedRandomSampler([[1.0]], 2),
    "samples": lambda d: d.WeightedRandomSampler([1.0], 0),
    "replacement": lambda d: d.WeightedRandomSampler([1.0], 1, replacement=1),
    "concat": lambda d: d.ConcatDataset([stream(d)]),
    "collate": lambda d: d.default_collate([object()]),
    "collate sizes": lambda d: d.default_collate([[1], [1, 2]]),
    "collate strings": lambda d: d.default_collate([np.array(["a"])]),
}


def stream(d):
    class Own(d.IterableDataset):
        def __iter__(self):
            return iter(range(3))

        def __repr__(self):
            return "Own()"

    return Own()


@pytest.mark.parametrize("name", list(CALLS))
def test_errors_are_those_of_torch(name):
    theirs = pytest.importorskip("torch.utils.data")
    found = []
    for module in (theirs, data):
        with pytest.raises(Exception) as error:  # noqa: B017
            CALLS[name](module)
        found.append((type(error.value).__name__, str(error.value).split(";")[0][:70]))
    assert found[0] == found[1]


def test_collate_keeps_mapping_types():
    batch = [OrderedDict(b=1, a=2.5), OrderedDict(b=3, a=4.5)]
    out = data.default_collate(batch)
    assert type(out) is OrderedDict and out["b"].tolist() == [1, 3]
    user = data.default_collate([UserDict(x=1), UserDict(x=2)])
    assert type(user) is UserDict and user["x"].tolist() == [1, 2]
    assert type(data.default_convert(OrderedDict(x=np.ones(2)))) is OrderedDict


def test_weighted_and_distributed_samplers_and_stacks():
    weights = [0.0, 1.0, 3.0]
    nncomp.manual_seed(0)
    picks = list(data.WeightedRandomSampler(weights, 2000))
    assert 0 not in picks and abs(picks.count(2) / 2000 - 0.75) < 0.05
    assert sorted(data.WeightedRandomSampler(weights, 2, replacement=False)) == [1, 2]
    theirs = pytest.importorskip("torch.utils.data")
    for size, count, drop in [(10, 3, False), (10, 3, True), (2, 5, False), (9, 3, True)]:
        ours, other = (
            [list(d.DistributedSampler(range(size), count, rank, shuffle=False, drop_last=drop))
             for rank in range(count)] for d in (data, theirs)
        )  # fmt: skip
        assert ours == other
    sampler = data.DistributedSampler(range(20), 2, 1, seed=4)
    first = list(sampler)
    sampler.set_epoch(1)
    assert len(first) == len(sampler) == 10 and list(sampler) != first
    other = data.DistributedSampler(range(20), 2, 0, seed=4)
    assert sorted([*first, *other]) == list(range(20))
    with pytest.raises(RuntimeError, match="num_replicas and rank"):
        data.DistributedSampler(range(3))
    assert data.StackDataset([1, 2], [3, 4])[1] == (2, 4)
    assert data.StackDataset(a=[1, 2])[0] == {"a": 1}
    with pytest.raises(ValueError, match="Size mismatch"):
        data.StackDataset([1], [1, 2])
