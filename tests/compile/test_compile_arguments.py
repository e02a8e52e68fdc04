"""Arguments and results of every kind: structures, layouts, dtypes, aliases."""

from __future__ import annotations

import dataclasses
import enum
from typing import NamedTuple

import numpy as np
import pytest
from compile_helpers import assert_same, last_reason, programs

import nncomp as torch
from nncomp import nn


def both(function, *args, backend="numpy", **kwargs):
    """(result of a compiled call, result of the eager one)."""
    compiled = torch.compile(function, backend=backend)
    compiled(*args, **kwargs)
    return compiled(*args, **kwargs), function(*args, **kwargs)


def check(function, *args, backend="numpy", **kwargs):
    got, wanted = both(function, *args, backend=backend, **kwargs)
    assert_same(got, wanted)
    return got


class Pair(NamedTuple):
    a: torch.Tensor
    b: torch.Tensor


@dataclasses.dataclass
class Batch:
    x: torch.Tensor
    y: torch.Tensor
    factor: float = 2.0


class Mode(enum.Enum):
    ADD = 1
    MUL = 2


# -- structures -----------------------------------------------------------------------------------


def test_nested_arguments_and_results(backend):
    def f(pair, table, *rest, scale=1.0, bias=None):
        a, (b, c) = pair
        d = table["d"] * table["n"]
        out = {"sum": a + b, "rest": [r * scale for r in rest], "none": None}
        return out, (c - d if bias is None else c - d + bias, "text", 3)

    x = [torch.randn(2, 3) for _ in range(6)]
    args = ((x[0], [x[1], x[2]]), {"d": x[3], "n": 4}, x[4], x[5])
    check(f, *args, backend=backend)
    check(f, *args, scale=0.5, bias=x[0], backend=backend)


def test_named_tuples_dataclasses_and_enums():
    def f(batch, pair, mode):
        value = batch.x + pair.b if mode is Mode.ADD else batch.x * pair.b
        return Batch(value * batch.factor, pair.a), Pair(value, batch.y)

    compiled = torch.compile(f, backend="numpy")
    x, y = torch.randn(3), torch.randn(3)
    for mode in (Mode.ADD, Mode.MUL, Mode.ADD):
        batch, pair = compiled(Batch(x, y), Pair(y, x), mode)
        expected, other = f(Batch(x, y), Pair(y, x), mode)
        assert type(batch) is Batch and type(pair) is Pair and batch.factor == 2.0
        assert_same([batch.x, batch.y, *pair], [expected.x, expected.y, *other])
    assert programs(compiled) == 2
    compiled(Batch(x, y, 5.0), Pair(y, x), Mode.ADD)
    assert programs(compiled) == 3 and "'factor'" in last_reason(compiled)


def test_python_results_without_any_tensor():
    assert torch.compile(lambda x: x.shape)(torch.zeros(2, 3)) == (2, 3)
    assert torch.compile(lambda x: None)(torch.zeros(2)) is None
    assert torch.compile(lambda n: n * 2)(21) == 42
    assert torch.compile(lambda x: [x.dtype, 1.5])(torch.zeros(2)) == [torch.float32, 1.5]


def test_defaults_and_keywords_in_any_order():
    def f(x, scale=2.0, *, shift=0.0, power=1):
        return (x * scale + shift) ** power

    compiled = torch.compile(f, backend="numpy")
    x = torch.randn(3)
    for args, kwargs in [
        ((x,), {}), ((x, 3.0), {}), ((x,), {"scale": 3.0}), ((x,), {"power": 2, "shift": 1.0}),
        ((), {"x": x, "shift": torch.ones(3)}),
    ]:  # fmt: skip
        assert_same(compiled(*args, **kwargs), f(*args, **kwargs))


@pytest.mark.parametrize("values", [
    (1, 2), (1, 1.0), (0.0, -0.0), (1, True), (float("nan"), 1.0), (np.float32(1), np.float32(2)),
    (slice(0, 2), slice(0, 1)), ("sum", "mean"), (None, 0), ((1, 2), [1, 2]),
    (torch.float32, torch.float64), (np.int64(3), np.int64(4)), (range(2), range(3)),
])  # fmt: skip
def test_each_static_value_has_its_own_program(values):
    def f(x, value):
        return x + 1, [value]

    compiled = torch.compile(f, backend="numpy")
    x = torch.zeros(2)
    for _ in range(2):
        for value in values:
            (same,) = compiled(x, value)[1]
            assert type(same) is type(value) and repr(same) == repr(value)
    assert programs(compiled) == 2


def test_equal_values_share_a_program():
    compiled = torch.compile(lambda x, *rest: x + 1, backend="numpy")
    x = torch.zeros(2)
    for make in (lambda: np.int64(1000), lambda: 1000.5, lambda: float("nan"), lambda: slice(1, 5)):
        before = programs(compiled)
        for _ in range(3):
            compiled(x, make())
        assert programs(compiled) == before + 1


def test_no_tensor_arguments_at_all(backend):
    w = torch.randn(3)
    check(lambda: torch.arange(4) * 2, backend=backend)
    check(lambda n: (torch.full((n,), 2.5), w + n), 3, backend=backend)


def test_bound_methods_static_methods_and_callable_objects():
    class Owner:
        def __init__(self):
            self.w = torch.randn(3)

        def method(self, x):
            return x * self.w

        @torch.compile
        def decorated(self, x):
            return x * self.w + 1

        @staticmethod
        @torch.compile(backend="numpy")
        def static(x):
            return x - 1

        def __call__(self, x):
            return x / self.w

    owner, x = Owner(), torch.randn(3)
    check(owner.method, x)
    check(owner, x)
    assert_same(owner.decorated(x), x * owner.w + 1)
    assert_same(Owner.static(x), x - 1)
    other = Owner()
    assert_same(other.decorated(x), x * other.w + 1)
    owner.w = torch.randn(3)
    assert_same(owner.decorated(x), x * owner.w + 1)


def test_compiled_functions_keep_their_name_and_doc():
    @torch.compile(backend="numpy")
    def scaled(x, factor: float = 2.0):
        """Times a factor."""
        return x * factor

    import inspect

    assert scaled.__name__ == "scaled" and scaled.__doc__ == "Times a factor."
    assert list(inspect.signature(scaled).parameters) == ["x", "factor"]
    scaled(torch.ones(2))
    assert "scaled" in scaled.explain() and scaled.graph.name == "scaled"


# -- layouts --------------------------------------------------------------------------------------

LAYOUTS = {
    "transposed": lambda: torch.randn(4, 3).t(),
    "strided": lambda: torch.randn(6, 8)[::2, ::2],
    "column": lambda: torch.randn(3, 4)[:, 1],
    "expanded": lambda: torch.randn(3, 1).expand(3, 4),
    "flipped": lambda: torch.randn(3, 4).flip(0, 1),
    "lent with negative strides": lambda: torch.randn(48, 48).flip(0, 1),
    "0-d": lambda: torch.tensor(2.5),
    "zero size": lambda: torch.zeros(0, 4),
    "zero columns": lambda: torch.zeros(3, 0),
    "offset": lambda: torch.randn(5)[1:],
    "one": lambda: torch.randn(1, 1, 1),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_arguments(layout, backend):
    x = LAYOUTS[layout]()

    def f(x):
        return x * 2 + 1, x.sum(), x.reshape(-1), torch.relu(x)

    check(f, x, backend=backend)
    check(f, x.clone(), backend=backend)


def test_unaligned_and_reversed_numpy_memory(backend):
    raw = np.zeros(4 * 7 + 1, np.uint8)
    odd = raw[1:].view(np.float32)
    odd[:] = np.arange(7)
    check(lambda x: x * 2, torch.from_numpy(odd), backend=backend)


def test_layouts_that_decide_between_view_and_copy():
    def f(x):
        y = x.reshape(-1)
        y.add_(1)
        return y

    compiled = torch.compile(f, backend="numpy")
    for make in (lambda: torch.zeros(2, 3), lambda: torch.zeros(3, 2).t()):
        got, wanted = make(), make()
        assert_same(compiled(got), f(wanted))
        assert_same(got, wanted)
    assert programs(compiled) == 2 and "strides of argument 'x'" in last_reason(compiled)


def test_written_arguments_of_every_layout(backend):
    def f(x, y):
        x.mul_(2)
        x[0] = y
        return x.sum()

    compiled = torch.compile(f, backend=backend)
    for make in (
        lambda: torch.arange(12.0).reshape(3, 4),
        lambda: torch.arange(12.0).reshape(4, 3).t(),
        lambda: torch.arange(48.0).reshape(6, 8)[::2, ::2],
    ):
        got, wanted = make(), make()
        assert_same(compiled(got, torch.ones(4)), f(wanted, torch.ones(4)))
        assert_same(got, wanted)


# -- dtypes and values ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [
    torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint8, torch.bool,
], ids=str)  # fmt: skip
def test_dtypes(dtype, backend):
    def f(x, y):
        return x, x & y if dtype is torch.bool else x * y + x, x == y, x.float().mean(), x[None]

    x, y = torch.arange(6).to(dtype), (torch.arange(6) % 3).to(dtype)
    check(f, x, y, backend=backend)


def test_special_values(backend):
    x = torch.tensor([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e38, 1e-40])

    def f(x):
        return x + 1, x * 0, torch.where(x > 0, x, -x), torch.nan_to_num(x), x.isnan(), x.isinf()

    check(f, x, backend=backend)


def test_default_dtype_is_part_of_the_signature():
    compiled = torch.compile(lambda x: x + torch.full((2,), 1.5), backend="numpy")
    x = torch.zeros(2, dtype=torch.int64)
    assert compiled(x).dtype == torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert compiled(x).dtype == torch.float64
        assert "default dtype" in last_reason(compiled)
    finally:
        torch.set_default_dtype(torch.float32)


# -- aliases --------------------------------------------------------------------------------------


def test_an_input_returned_unchanged_is_the_same_object():
    w = torch.randn(2)
    x = torch.randn(2)
    y = torch.compile(lambda x: (x, w, x), backend="numpy")(x)
    assert y[0] is x and y[1] is w and y[2] is x


def test_results_that_are_views_share_memory(backend):
    compiled = torch.compile(lambda x: (x.view(6), x.t(), x[1], x * 1), backend=backend)
    x = torch.zeros(2, 3)
    flat, turned, row, fresh = compiled(x)
    x.fill_(3.0)
    assert_same([flat, turned, row], [torch.full((6,), 3.0), torch.full((3, 2), 3.0), x[1]])
    assert_same(fresh, torch.zeros(2, 3))


def test_views_of_results_share_memory_with_each_other():
    def f(x):
        y = x + 1
        return y, y.view(-1), y

    got, wanted = both(f, torch.zeros(2, 2))
    for result in (got, wanted):
        assert result[0] is result[2]
        result[0].fill_(7.0)
    assert_same(list(got), list(wanted))


def test_results_of_two_calls_do_not_share_memory(backend):
    compiled = torch.compile(lambda x: (x + 1, torch.ones(2)), backend=backend)
    a, one = compiled(torch.zeros(2))
    a.zero_()
    one.zero_()
    b, two = compiled(torch.zeros(2))
    assert_same([a, b, two], [torch.zeros(2), torch.ones(2), torch.ones(2)])


def test_mutable_results_are_fresh_at_each_call():
    compiled = torch.compile(lambda x: {"y": x + 1, "names": ["a"]}, backend="numpy")
    first = compiled(torch.zeros(1))
    first["names"].append("b")
    assert compiled(torch.zeros(1))["names"] == ["a"]


def test_a_parameter_as_result_is_that_parameter():
    layer = nn.Linear(2, 2)
    weight, scaled = torch.compile(lambda: (layer.weight, layer.weight * 2), backend="numpy")()
    assert weight is layer.weight
    scaled.sum().backward()
    assert_same(weight.grad, torch.full((2, 2), 2.0))


def test_the_same_tensor_twice(backend):
    compiled = torch.compile(lambda a, b: a * b + a, backend=backend)
    x, y = torch.randn(3, requires_grad=True), torch.randn(3)
    assert_same(compiled(x, y), x * y + x)
    out = compiled(x, x)
    assert_same(out, x * x + x)
    out.sum().backward()
    assert_same(x.grad, (2 * x + 1).detach())
    assert programs(compiled) == 2


def test_an_argument_that_is_also_a_parameter():
    layer = nn.Linear(3, 3, bias=False)
    compiled = torch.compile(lambda w, x: layer(x) * w, backend="numpy")
    x = torch.randn(3, 3)
    compiled(layer.weight, x).sum().backward()
    got, layer.weight.grad = layer.weight.grad, None
    (layer(x) * layer.weight).sum().backward()
    assert_same(got, layer.weight.grad)


def test_written_argument_sharing_memory_with_another_is_refused():
    def f(x, y):
        x.add_(y)
        return x

    compiled = torch.compile(f, backend="numpy")
    a = torch.zeros(4)
    compiled(a, torch.ones(4))
    assert_same(a, torch.ones(4))
    base = torch.zeros(8)
    with pytest.raises(RuntimeError, match="share memory"):
        compiled(base[:4], base[2:6])
    assert_same(base, torch.zeros(8))


def test_read_only_memory_is_not_written():
    array = np.zeros(3, np.float32)
    array.flags.writeable = False
    compiled = torch.compile(lambda x: x.add_(1), backend="numpy")
    compiled(torch.zeros(3))
    with pytest.raises(RuntimeError, match="read-only"):
        compiled(torch.from_numpy(array))


def test_written_memory_that_others_borrow(backend):
    big = torch.arange(4096.0)
    flipped = torch.flip(big.reshape(1, -1), (0,))
    kept = big.clone()
    compiled = torch.compile(lambda x: x.add_(1), backend=backend)
    compiled(flipped)
    assert_same(big, kept)
    assert_same(flipped, kept.reshape(1, -1) + 1)
    compiled(big)
    assert_same(flipped, kept.reshape(1, -1) + 1)
    assert_same(big, kept + 1)


def test_zero_size_tensors_can_be_written(backend):
    def f(x):
        x.add_(1)
        return x * 2

    compiled = torch.compile(f, backend=backend)
    for x in (torch.zeros(2, 0), torch.from_numpy(np.zeros((3, 0), np.float32))):
        assert compiled(x).shape == x.shape
    x = torch.zeros(2, 0, requires_grad=True)
    for _ in range(2):
        (x * 1).sum().backward()
    assert x.grad.shape == (2, 0)


def test_expanded_tensors_are_not_written():
    compiled = torch.compile(lambda x: x.add_(1), backend="numpy")
    compiled(torch.zeros(2, 3))
    with pytest.raises(RuntimeError, match="single memory location"):
        compiled(torch.zeros(2, 1).expand(2, 3))
