"""Errors: what cannot be compiled, wrong arguments, and that nothing is left behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from compile_helpers import MLP, assert_same, programs
from nncomp.backends import UnknownBackend

import nncomp as torch
from nncomp import nn
from nncomp.trace_error import TraceError

HERE = Path(__file__).name
X = torch.randn(4, 5)


def branches(x):
    if x.sum() > 0:
        return x
    return -x


def loops(x):
    while float(x.max()) < 10:
        x = x * 2
    return x


def counts(x):
    return x[: int(x.sum())]


def shows(x):
    print(x.tolist())
    return x


def selects(x):
    return x[x > 0]


def converts(x):
    return torch.tensor(x.numpy() * 2)


REFUSED = (branches, loops, counts, shows, selects, converts)


@pytest.mark.parametrize("function", REFUSED, ids=lambda f: f.__name__)
def test_code_that_depends_on_values_names_the_line(function, backend):
    with pytest.raises(TraceError) as error:
        torch.compile(function, backend=backend)(torch.ones(4))
    first = function.__code__.co_firstlineno
    found = re.search(rf"{re.escape(HERE)}:(\d+)", str(error.value))
    assert found and first < int(found[1]) <= first + 3, str(error.value)


def test_the_line_inside_of_a_module():
    class Net(nn.Module):
        def forward(self, x):
            y = x * 2
            return y if y.mean() > 0 else x

    with pytest.raises(TraceError, match=rf"{re.escape(HERE)}:\d+"):
        torch.compile(nn.Sequential(nn.ReLU(), Net()))(X)


def test_nothing_is_changed_by_a_failing_trace():
    class Net(MLP):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(5)
            self.fail = True

        def forward(self, x):
            x = self.norm(x)
            with torch.no_grad():
                self.fc1.weight.mul_(2)
            y = super().forward(nn.functional.dropout(x, 0.5))
            y.sum().backward(retain_graph=True)
            self.cache = y
            if self.fail and y.sum() > 0:
                return y
            del self.cache
            return y

    compiled = torch.compile(Net())
    state = {k: v.clone() for k, v in compiled.state_dict().items()}
    versions = {k: v._version for k, v in compiled.state_dict().items()}
    seed = torch.get_rng_state()
    for _ in range(2):
        with pytest.raises(TraceError):
            compiled(X)
    assert_same(dict(compiled.state_dict()), state)
    assert {k: v._version for k, v in compiled.state_dict().items()} == versions
    assert_same(torch.get_rng_state(), seed)
    assert not hasattr(compiled, "cache")
    assert all(p.grad is None and p.is_leaf for p in compiled.parameters())
    assert programs(compiled) == 0
    compiled.fail = False
    assert compiled(X).shape == (4, 3)
    assert programs(compiled) == 1 and "first call" in compiled.explain()


def test_an_exception_of_the_function_passes_through_and_can_be_retried():
    broken = [True]

    def f(x):
        if broken[0]:
            raise KeyError("my own error")
        return x + 1

    compiled = torch.compile(f, backend="numpy")
    with pytest.raises(KeyError, match="my own error"):
        compiled(X)
    broken[0] = False
    assert_same(compiled(X), X + 1)


def test_errors_of_operations_are_those_of_eager_code():
    net = MLP()
    compiled = torch.compile(net)
    for x in (torch.randn(4, 6), torch.randn(4, 5).double(), torch.randn(5, 4)):
        with pytest.raises(Exception) as eager:  # noqa: B017
            net(x)
        with pytest.raises(type(eager.value)) as ours:
            compiled(x)
        assert str(eager.value) in str(ours.value)


def test_wrong_arguments():
    compiled = torch.compile(MLP())
    with pytest.raises(TypeError, match="forward"):
        compiled()
    with pytest.raises(TypeError, match="forward"):
        compiled(X, X)
    with pytest.raises(TypeError, match="unexpected keyword"):
        compiled(X, y=1)
    assert compiled(X).shape == (4, 3)


def test_the_arguments_of_torch_compile():
    model = MLP()
    for kwargs in (
        dict(fullgraph=False, dynamic=True, mode="reduce-overhead"),
        dict(backend="inductor", mode="max-autotune", dynamic=None, fullgraph=True),
    ):
        assert torch.equal(torch.compile(model, **kwargs)(X), torch.compile(model)(X))
    assert torch.compile(model, disable=True) is model

    @torch.compile(mode="default", disable=True)
    def double(x):
        return 2 * x

    assert not hasattr(double, "fn")


def test_bad_options():
    with pytest.raises(UnknownBackend, match="unknown backend 'gpu': expected one of cpu, numpy"):
        torch.compile(MLP(), backend="gpu")
    for threads in (0, -1, 1.5, "2", True):
        with pytest.raises(ValueError, match="threads must be a positive integer"):
            torch.compile(MLP(), threads=threads)
    with pytest.raises(ValueError, match="unknown mode 'fast': expected one of default, reduce"):
        torch.compile(MLP(), mode="fast")
    with pytest.raises(TypeError, match="takes a Module or a function, got int"):
        torch.compile(3)
    with pytest.raises(TypeError, match="got the class MLP; make an instance"):
        torch.compile(MLP)

    def numbers(x):
        yield x

    with pytest.raises(TypeError, match="generator"):
        torch.compile(numbers)
    with pytest.raises(TypeError):
        torch.compile(MLP(), mood="fast")


def test_tensors_that_escape_a_trace_say_so():
    leaked = []

    class Keeps(nn.Module):
        def forward(self, x):
            y = x * 2
            Keeps.kept = y
            return y

    compiled = torch.compile(Keeps(), backend="numpy")
    leaked.append(compiled(X))
    with pytest.raises(TraceError, match="recorded earlier"):
        Keeps.kept + 1
    with pytest.raises(TraceError, match="recorded earlier"):
        compiled(Keeps.kept)
    assert_same(leaked[0], X * 2)


def test_compiling_inside_of_a_trace_is_part_of_that_graph():
    inner = torch.compile(lambda x: x * 2, backend="numpy")
    outer = torch.compile(lambda x: inner(x) + 1, backend="numpy")
    assert_same(outer(X), X * 2 + 1)
    assert programs(inner) == 0 and programs(outer) == 1


# -- index safety ---------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [[0, 10], [-1, 2], [2**40, 0], [-(2**40), 0]])
def test_embedding_out_of_range(index, backend):
    compiled = torch.compile(nn.Embedding(10, 4), backend=backend)
    good = torch.tensor([0, 9])
    expected = compiled(good)
    with pytest.raises(IndexError, match=r"out of bounds for an axis of length 10"):
        compiled(torch.tensor(index))
    assert_same(compiled(good), expected)


def test_gather_take_and_scatter_out_of_range(backend):
    table, bad = torch.randn(5, 3), torch.tensor([[0, 1, 5]])
    functions = (
        lambda t, i: torch.gather(t, 0, i),
        lambda t, i: t[i[0]],
        lambda t, i: torch.index_select(t, 0, i[0]),
        lambda t, i: torch.zeros(5, 3).scatter(0, i, 1.0),
        lambda t, i: torch.zeros(5, 3).index_add(0, i[0], t[:3]),
    )
    for f in functions:
        compiled = torch.compile(f, backend=backend)
        compiled(table, bad - 1 + 1 - (bad == 5).long())
        with pytest.raises(IndexError, match="out of bounds"):
            compiled(table, bad)


def test_negative_indices_count_from_the_end_as_in_eager_code(backend):
    compiled = torch.compile(lambda t, i: t[i], backend=backend)
    t, i = torch.arange(5.0), torch.tensor([-1, -5, 2])
    assert_same(compiled(t, i), t[i])
    with pytest.raises(IndexError, match="out of bounds"):
        compiled(t, torch.tensor([-6, 0, 0]))


def test_nothing_is_written_when_an_index_is_wrong(backend):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(4, 2)
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, i):
            self.calls.add_(1)
            return self.table(i)

    compiled = torch.compile(Net(), backend=backend)
    compiled(torch.tensor([1]))
    with pytest.raises(IndexError):
        compiled(torch.tensor([4]))
    assert float(compiled.calls) == 1


def test_class_targets_out_of_range(backend):
    compiled = torch.compile(nn.CrossEntropyLoss(), backend=backend)
    scores = torch.randn(2, 3)
    compiled(scores, torch.tensor([0, 2]))
    with pytest.raises(IndexError):
        compiled(scores, torch.tensor([0, 3]))
