"""Data sets and loaders: the digits, IDX files good and bad, samplers, batches, splits."""

from __future__ import annotations

import gzip
import hashlib
import struct
from collections import namedtuple
from importlib.resources import files

import numpy as np
import pytest

import nncomp
from nncomp.datasets import MNIST, FashionMNIST, digits, read_idx
from nncomp.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    default_collate,
    random_split,
)

# -- digits ---------------------------------------------------------------------------------------


def test_digits_file_is_the_one_described():
    folder = files("nncomp.datasets")
    with (folder / "digits.npz").open("rb") as file:
        data = np.load(file)
        images, labels = data["images"], data["labels"]
    assert images.shape == (1797, 8, 8) and images.dtype == labels.dtype == np.uint8
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    text = (folder / "digits.txt").read_text()
    assert digest in text and "CC BY 4.0" in text
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(labels).tolist() == counts


def test_digits_types_and_range():
    for split, size in (("train", 1437), ("test", 360)):
        images, labels = digits(split)
        assert tuple(images.shape) == (size, 8, 8) and tuple(labels.shape) == (size,)
        assert images.dtype == nncomp.float32 and labels.dtype == nncomp.int64
        array = images.numpy()
        assert array.min() == 0 and array.max() == 1
        assert np.array_equal(array * 16, np.round(array * 16))


def test_digits_split_is_fixed_and_whole():
    assert digits("train")[1][:12].tolist() == FIRST_TRAIN
    assert digits("test")[1][:12].tolist() == FIRST_TEST
    parts = [digits("train", 100)[0].numpy(), digits("test", 100)[0].numpy()]
    other = [digits("train")[0].numpy(), digits("test")[0].numpy()]
    assert len(parts[1]) == 100
    assert np.array_equal(np.concatenate(parts), np.concatenate(other))
    assert np.bincount(digits("test")[1].numpy()).min() > 20  # shuffled: every class is there


FIRST_TRAIN = [2, 8, 2, 6, 6, 7, 1, 9, 8, 5, 2, 8]
FIRST_TEST = [7, 9, 4, 7, 0, 2, 6, 1, 3, 1, 3, 7]


def test_digits_are_tensors_of_their_own():
    first, second = digits("test")[0], digits("test")[0]
    first.zero_()
    assert second.numpy().max() == 1


@pytest.mark.parametrize("size", [0, 1797, -1, 0.2, "10"])
def test_digits_refuses_a_bad_size(size):
    with pytest.raises(ValueError, match="whole number from 1 to 1796"):
        digits("test", size)


def test_digits_refuses_another_split():
    with pytest.raises(ValueError, match="split='valid', expected 'train' or 'test'"):
        digits("valid")


# -- IDX ------------------------------------------------------------------------------------------

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array: np.ndarray, kind: str) -> bytes:
    head = struct.pack(f">HBB{array.ndim}I", 0, CODES[kind], array.ndim, *array.shape)
    return head + array.astype(f">{kind}").tobytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", CODES)
def test_read_idx(tmp_path, kind, packed):
    array = (np.arange(24).reshape(2, 3, 4) - 5).astype(kind)
    content = idx_bytes(array, kind)
    path = tmp_path / "data"
    path.write_bytes(gzip.compress(content) if packed else content)
    for name in (path, str(path)):
        read = read_idx(name).numpy()
        assert read.dtype == np.dtype(kind) and np.array_equal(read, array)


def test_read_idx_without_elements_or_dimensions(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(idx_bytes(np.zeros((0, 28)), "u1"))
    assert tuple(read_idx(path).shape) == (0, 28)
    path.write_bytes(idx_bytes(np.array(7), "i4"))
    assert read_idx(path).item() == 7


GOOD = idx_bytes(np.zeros((4, 5)), "u1")
PACKED = gzip.compress(GOOD, mtime=0)  # a time would make the names of the tests differ


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 bytes, too few"),
        (GOOD[:3], "has 3 bytes, too few"),
        (b"\1" + GOOD[1:], "not an IDX file: it begins with the bytes 01 00 08 02"),
        (GOOD[:2] + b"\x0a" + GOOD[3:], "not an IDX file"),
        (GOOD[:9], "ends inside the header: it promises 2 dimensions"),
        (GOOD[:-1], r"only 19 bytes of data where its header, of shape \[4, 5\], promises 20"),
        (GOOD + b"\0", "more bytes of data"),
        (GOOD[:4] + b"\xff" * 8, "only 0 bytes of data"),  # must not reserve 16 exabytes
        (PACKED[:-9], "cannot be unpacked"),
        (PACKED[:-6] + b"abcdef", "cannot be unpacked"),
        (gzip.compress(GOOD[:-1], mtime=0), "only 19 bytes"),
        (b"\x1f\x8bnonsense", "cannot be unpacked"),
        (b"<html>not found</html>", "not an IDX file"),
    ],
)
def test_read_idx_refuses_damaged_files(tmp_path, content, message):
    path = tmp_path / "data"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_read_idx_refuses_every_cut(tmp_path):
    path = tmp_path / "data"
    for content in (GOOD, gzip.compress(GOOD)):
        for length in range(len(content)):
            path.write_bytes(content[:length])
            with pytest.raises(ValueError, match="data"):
                read_idx(path)


def test_read_idx_without_a_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "absent")


# -- MNIST ----------------------------------------------------------------------------------------


def write_mnist(folder, kind="train", count=7, packed=False):
    """IDX files of MNIST's names with random content; returns images and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    images, labels = rng.integers(0, 256, (count, 28, 28)), rng.integers(0, 10, count)
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        content = idx_bytes(array, "u1")
        path = folder / f"{kind}-{name}-ubyte{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(content) if packed else content)
    return images, labels


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("data", "below"), [(MNIST, "."), (FashionMNIST, "FashionMNIST/raw")])
def test_mnist_reads_a_folder(tmp_path, data, below, packed):
    images, labels = write_mnist(tmp_path / below, "t10k", packed=packed)
    found = data(tmp_path, train=False)
    assert len(found) == 7 and len(found.classes) == 10
    assert found.data.dtype == nncomp.uint8 and np.array_equal(found.data.numpy(), images)
    assert found.targets.dtype == nncomp.int64 and found.targets.tolist() == labels.tolist()
    image, label = found[2]
    assert tuple(image.shape) == (1, 28, 28) and image.dtype == nncomp.float32
    np.testing.assert_allclose(image.numpy()[0] * 255, images[2], atol=1e-4)
    assert label == labels[2] and isinstance(label, int)
    batches = list(DataLoader(found, batch_size=4))
    assert [tuple(x.shape) for x, _ in batches] == [(4, 1, 28, 28), (3, 1, 28, 28)]
    assert batches[0][1].tolist() == labels[:4].tolist()


def test_mnist_transforms(tmp_path):
    _, labels = write_mnist(tmp_path)
    found = MNIST(tmp_path, transform=lambda x: x.flatten(), target_transform=lambda y: y + 100)
    image, label = found[0]
    assert tuple(image.shape) == (784,) and label == labels[0] + 100


def test_mnist_says_which_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="MNIST found no file train-images-idx3-ubyte or"):
        MNIST(tmp_path)
    write_mnist(tmp_path)
    with pytest.raises(FileNotFoundError, match="t10k-images.*nothing is downloaded"):
        MNIST(tmp_path, train=False)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="train-labels-idx1-ubyte.gz"):
        MNIST(tmp_path)


def test_mnist_refuses_files_that_do_not_fit(tmp_path):
    write_mnist(tmp_path)
    labels, images = tmp_path / "train-labels-idx1-ubyte", tmp_path / "train-images-idx3-ubyte"
    labels.write_bytes(idx_bytes(np.zeros(6), "u1"))
    with pytest.raises(ValueError, match="7 images but .* 6 labels"):
        MNIST(tmp_path)
    labels.write_bytes(idx_bytes(np.zeros(7), "i4"))
    with pytest.raises(ValueError, match=r"int32 of shape \[7\], expected uint8 with 1 dim"):
        MNIST(tmp_path)
    images.write_bytes(idx_bytes(np.zeros(7), "u1"))
    with pytest.raises(ValueError, match="expected uint8 with 3 dimensions"):
        MNIST(tmp_path)


# -- samplers and loaders -------------------------------------------------------------------------


class Squares(Dataset):
    """Sample i is (i, i * i)."""

    def __init__(self, size):
        self.size = size

    def __getitem__(self, index):
        if not 0 <= index < self.size:
            raise IndexError(index)
        return index, index * index

    def __len__(self):
        return self.size


def generator(seed):
    return nncomp.Generator().manual_seed(seed)


def test_samplers():
    assert list(SequentialSampler(range(4))) == [0, 1, 2, 3]
    sampler = RandomSampler(range(50), generator=generator(0))
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second != list(range(50))
    again = RandomSampler(range(50), generator=generator(0))
    assert list(again) == first
    assert list(BatchSampler(range(5), 2, False)) == [[0, 1], [2, 3], [4]]
    assert list(BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    assert [len(BatchSampler(range(5), 2, drop)) for drop in (False, True)] == [3, 2]
    assert sorted(SubsetRandomSampler([7, 8, 9])) == [7, 8, 9]


def test_random_sampler_sizes():
    longer = list(RandomSampler(range(3), num_samples=7))
    assert len(longer) == 7 and sorted(longer[:3]) == sorted(longer[3:6]) == [0, 1, 2]
    drawn = list(RandomSampler(range(3), replacement=True, num_samples=200))
    assert len(drawn) == 200 and set(drawn) == {0, 1, 2}
    assert list(RandomSampler([])) == []
    with pytest.raises(ValueError, match="num_samples should be a positive integer"):
        RandomSampler(range(3), num_samples=0)
    with pytest.raises(TypeError, match="replacement should be a boolean"):
        RandomSampler(range(3), replacement=1)


@pytest.mark.parametrize("drop_last", [False, True])
def test_loader_in_order(drop_last):
    loader = DataLoader(Squares(10), batch_size=4, drop_last=drop_last)
    expected = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]][: 2 if drop_last else 3]
    assert len(loader) == len(expected)
    for _ in range(2):  # each pass starts anew
        batches = list(loader)
        assert [x.tolist() for x, _ in batches] == expected
        assert all(x.dtype == nncomp.int64 and (x * x).tolist() == y.tolist() for x, y in batches)


def test_loader_shuffles_reproducibly():
    def orders():
        loader = DataLoader(Squares(40), batch_size=8, shuffle=True, generator=generator(5))
        return [[i for x, _ in loader for i in x.tolist()] for _ in range(2)]

    first, second = orders()
    assert first != second and sorted(first) == sorted(second) == list(range(40))
    assert orders() == [first, second]
    nncomp.manual_seed(1)
    one = [x.tolist() for x, _ in DataLoader(Squares(40), 8, shuffle=True)]
    nncomp.manual_seed(1)
    assert [x.tolist() for x, _ in DataLoader(Squares(40), 8, shuffle=True)] == one


def test_tensor_dataset_gives_the_batches_that_collating_gives():
    x = nncomp.arange(30).reshape(10, 3)
    y = nncomp.arange(10)
    data = TensorDataset(x, y)
    halves = Subset(data, [8, 6, 4, 2, 0])

    class Own(TensorDataset):
        def __getitem__(self, index):
            return tuple(t + 100 for t in super().__getitem__(index))

    for source, order in ((data, range(10)), (halves, halves.indices), (Own(x, y), range(10))):
        loader = DataLoader(source, batch_size=4)
        slow = DataLoader(source, batch_size=4, collate_fn=lambda batch: default_collate(batch))
        for fast_batch, slow_batch in zip(loader, slow, strict=True):
            assert type(fast_batch) is type(slow_batch) is list
            for a, b in zip(fast_batch, slow_batch, strict=True):
                assert a.dtype == b.dtype and a.tolist() == b.tolist()
        shift = 100 if isinstance(source, Own) else 0
        assert [v for _, b in loader for v in b.tolist()] == [v + shift for v in order]
    with pytest.raises(ValueError, match=r"first dimension \[10, 3\]"):
        TensorDataset(x, nncomp.arange(3))


def test_loader_without_batches_and_with_own_sampler():
    assert list(DataLoader(Squares(3), batch_size=None)) == [[0, 0], [1, 1], [2, 4]]
    loader = DataLoader(Squares(9), batch_size=2, sampler=[5, 3, 1])
    assert [x.tolist() for x, _ in loader] == [[5, 3], [1]]
    loader = DataLoader(Squares(9), batch_sampler=[[1, 2], [3]], collate_fn=list)
    assert list(loader) == [[(1, 1), (2, 4)], [(3, 9)]] and len(loader) == 2
    assert [x.tolist() for x in DataLoader([1.5, 2.5], batch_size=2)] == [[1.5, 2.5]]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_workers": 2, "prefetch_factor": 0}, ValueError, "prefetch_factor option"),
        ({"num_workers": -1}, ValueError, "num_workers option should be non-negative"),
        ({"timeout": -1}, ValueError, "timeout option should be non-negative"),
        ({"prefetch_factor": 2}, ValueError, "prefetch_factor"),
        ({"persistent_workers": True}, ValueError, "persistent_workers option needs num_workers"),
        ({"multiprocessing_context": "fork"}, ValueError, "multiprocessing_context"),
        ({"batch_size": 0}, ValueError, "batch_size should be a positive integer"),
        ({"batch_size": 2.0}, ValueError, "batch_size should be a positive integer"),
        ({"batch_size": None, "drop_last": True}, ValueError, "disables auto-batching"),
        ({"sampler": [0], "shuffle": True}, ValueError, "mutually exclusive with shuffle"),
        ({"batch_sampler": [[0]], "batch_size": 2}, ValueError, "batch_sampler option is mutual"),
        ({"drop_last": 1}, ValueError, "drop_last should be a boolean"),
    ],
)
def test_loader_refuses_options(options, error, message):
    with pytest.raises(error, match=message):
        DataLoader(Squares(3), **options)


def test_loader_refuses_what_cannot_be_indexed():
    with pytest.raises(TypeError, match="without __getitem__"):
        DataLoader(iter([1, 2]))


def test_default_collate():
    point = namedtuple("point", "x y")
    batch = [
        {"a": 1, "b": (2.5, "s"), "c": np.float32(i), "d": np.zeros(3), "e": point(i, True)}
        for i in range(2)
    ]
    out = default_collate(batch)
    assert out["a"].tolist() == [1, 1] and out["a"].dtype == nncomp.int64
    assert out["b"][0].dtype == nncomp.float64 and out["b"][1] == ["s", "s"]
    assert out["c"].dtype == nncomp.float32 and out["c"].tolist() == [0, 1]
    assert tuple(out["d"].shape) == (2, 3)
    assert isinstance(out["e"], point) and out["e"].x.tolist() == [0, 1]
    assert out["e"].y.dtype == nncomp.bool
    with pytest.raises(RuntimeError, match="equal size"):
        default_collate([[1], [1, 2]])
    with pytest.raises(TypeError, match="found <class 'object'>"):
        default_collate([object()])


def test_random_split_and_concat():
    parts = random_split(Squares(10), [6, 4], generator=generator(0))
    assert [len(p) for p in parts] == [6, 4]
    assert sorted(i for p in parts for i, _ in (p[k] for k in range(len(p)))) == list(range(10))
    assert [len(p) for p in random_split(Squares(10), [0.35, 0.35, 0.3])] == [4, 3, 3]
    again = random_split(Squares(10), [6, 4], generator=generator(0))
    assert again[0].indices == parts[0].indices
    with pytest.raises(ValueError, match="Sum of input lengths does not equal"):
        random_split(Squares(10), [6, 5])
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        random_split(Squares(1), [0.5, 0.5])
    both = Squares(3) + Squares(2)
    assert [both[i] for i in range(5)] == [(0, 0), (1, 1), (2, 4), (0, 0), (1, 1)]
    assert both[-1] == (1, 1) and len(ConcatDataset([both, both])) == 10
    with pytest.raises(IndexError, match="index 5 is out of range"):
        both[5]
    with pytest.raises(ValueError, match="at least one"):
        ConcatDataset([])


# -- parity with torch ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 8])
@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_are_those_of_torch(size, drop_last):
    torch = pytest.importorskip("torch")
    from torch.utils import data as torch_data

    x = np.arange(size * 2, dtype=np.float32).reshape(size, 2)
    y = np.arange(size)
    ours = DataLoader(TensorDataset(nncomp.tensor(x), nncomp.tensor(y)), 3, drop_last=drop_last)
    source = torch_data.TensorDataset(torch.tensor(x), torch.tensor(y))
    theirs = torch_data.DataLoader(source, 3, drop_last=drop_last)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert type(a) is type(b)
        for left, right in zip(a, b, strict=True):
            assert str(left.dtype) == str(right.dtype)
            assert left.tolist() == right.tolist()


@pytest.mark.parametrize("lengths", [[0.5, 0.5], [0.35, 0.35, 0.3], [0.1] * 10, [3, 8], [1.0]])
def test_split_lengths_are_those_of_torch(lengths):
    torch_data = pytest.importorskip("torch.utils.data")
    expected = [len(part) for part in torch_data.random_split(range(11), lengths)]
    assert [len(part) for part in random_split(range(11), lengths)] == expected
