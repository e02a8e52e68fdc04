"""Gradients of norms: few kernels, one pass over memory for all sums, the same bits for any number
of threads.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from nncomp.backends.cpu import target as targets
from nncomp.backends.cpu.pipeline import kernel_pipeline
from nncomp.ir.graph import Graph
from nncomp.ir.interpret import interpret
from nncomp.ir.lower_rows import lower_rows
from nncomp.ir.parser import parse_graph
from nncomp.ir.passes.join_columns import join_columns
from nncomp.ir.passes.plan import plan_program

import nncomp

NORMS: dict[str, Callable] = {
    "layer": lambda nn, c: nn.LayerNorm(c),
    "rms": lambda nn, c: nn.RMSNorm(c, eps=1e-5),
    "batch": lambda nn, c: nn.BatchNorm1d(c),
    "group": lambda nn, c: nn.GroupNorm(1, c),
}
IMAGES: dict[str, tuple[Callable, tuple[int, ...]]] = {
    "batch": (lambda nn: nn.BatchNorm2d(5), (3, 5, 7, 9)),
    "batch-large": (lambda nn: nn.BatchNorm2d(16), (8, 16, 16, 16)),
    "group": (lambda nn: nn.GroupNorm(3, 15), (3, 15, 7, 9)),
    "group-large": (lambda nn: nn.GroupNorm(4, 32), (4, 32, 16, 16)),
    "instance": (lambda nn: nn.InstanceNorm2d(6, affine=True), (2, 6, 5, 11)),
    "layer": (lambda nn: nn.LayerNorm((12, 16)), (8, 32, 12, 16)),
    "layer-rows": (lambda nn: nn.LayerNorm(320), (4, 128, 320)),
}


@pytest.fixture(autouse=True)
def keep_threads():
    before = nncomp.get_num_threads()
    yield
    nncomp.set_num_threads(before)


def compiled(norm, dtype=nncomp.float32):
    """A compiled function of parameters, x and g: the norm's result and all its gradients."""
    norm = norm.to(dtype)

    def both(parameters, x, g):
        def call(p, x):
            return nncomp.func.functional_call(norm, p, (x,))

        y, back = nncomp.func.vjp(call, parameters, x)
        return y, back(g)

    return nncomp.compile(both)


def results(function, parameters: dict, x, g) -> list[np.ndarray]:
    """The result and the gradients of x and of the parameters."""
    y, (grads, dx) = function({k: nncomp.tensor(v) for k, v in parameters.items()},
                              nncomp.tensor(x), nncomp.tensor(g))  # fmt: skip
    return [v.numpy() for v in (y, dx, *grads.values())]


def drawn(norm, shape, dtype=np.float32):
    r = np.random.default_rng(5)
    values = {n: r.normal(1, 0.5, tuple(p.shape)).astype(dtype) for n, p in norm.named_parameters()}
    return values, r.normal(0.5, 2, shape).astype(dtype), r.normal(0, 1, shape).astype(dtype)


def of_torch(norm, parameters, x, g) -> list[np.ndarray]:
    torch = pytest.importorskip("torch")
    norm.load_state_dict({k: torch.tensor(v) for k, v in parameters.items()}, strict=False)
    a = torch.tensor(x, requires_grad=True)
    y = norm(a)
    grads = torch.autograd.grad(y, [a, *norm.parameters()], torch.tensor(g))
    return [v.detach().numpy() for v in (y, *grads)]


def check(make: Callable, shape: tuple[int, ...]) -> None:
    """The results are torch's, and the same bits with one thread as with two."""
    torch = pytest.importorskip("torch")
    given = drawn(make(nncomp.nn), shape)
    runs = []
    for threads in (1, 2):
        nncomp.set_num_threads(threads)
        runs.append(results(compiled(make(nncomp.nn)), *given))
    for a, b in zip(*runs, strict=True):
        np.testing.assert_array_equal(a, b)
    for mine, theirs in zip(runs[0], of_torch(make(torch.nn), *given), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-4, atol=2e-5 * np.abs(theirs).max() + 1e-5)


@pytest.mark.parametrize("columns", (5, 33, 1000))
@pytest.mark.parametrize("rows", (3, 17, 192))
@pytest.mark.parametrize("name", NORMS)
def test_rows(name, rows, columns):
    check(lambda nn: NORMS[name](nn, columns), (rows, columns))


@pytest.mark.parametrize("shape", ((1, 33), (1, 1000), (512, 384)), ids=str)
@pytest.mark.parametrize("name", ("layer", "rms"))
def test_one_row_and_many(name, shape):
    check(lambda nn: NORMS[name](nn, shape[1]), shape)


@pytest.mark.parametrize("name", IMAGES)
def test_images(name):
    check(*IMAGES[name])


@pytest.mark.parametrize("name", IMAGES)
def test_gradients_are_slopes_in_float64(name):
    make, shape = IMAGES[name]
    parameters, x, g = drawn(make(nncomp.nn), shape, np.float64)
    function = compiled(make(nncomp.nn), nncomp.float64)
    _, dx, *grads = results(function, parameters, x, g)
    r, step = np.random.default_rng(1), 1e-5
    for number, slope in enumerate((dx, *grads)):
        direction = r.normal(size=slope.shape)
        values = []
        for sign in (1, -1):
            moved = dict(parameters)
            if number:
                name = list(parameters)[number - 1]
                moved[name] = moved[name] + sign * step * direction
            at = x + sign * step * direction if number == 0 else x
            values.append((results(function, moved, at, g)[0] * g).sum())
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(
            (slope * direction).sum(), rel=1e-5, abs=1e-6
        )


# -- which kernels --------------------------------------------------------------------------------


def kernels(make: Callable, shape) -> list[tuple[str, int, int]]:
    """(kind, results, operations that are sums) of the kernels that walk the whole operand."""
    norm = make(nncomp.nn)
    function = compiled(norm)
    results(function, *drawn(norm, shape))
    found = []
    for node in function.fused_graph.nodes:
        if node.name == "fused" and any(x.type.size >= np.prod(shape) for x in node.inputs):
            sums = sum(n.name == "sum" for n in node.attrs["body"].nodes)
            found.append((node.attrs["kind"], len(node.type), sums))
    return found


@pytest.mark.parametrize("shape", ((512, 384), (4, 128, 384)), ids=str)
def test_the_gradients_of_a_layer_norm_are_one_kernel(shape):
    found = kernels(lambda nn: nn.LayerNorm(384), shape)
    assert [k for k in found if k[0] == "rows"] == [("rows", 3, 4)]
    assert len(found) == 3  # two of the forward part


def test_all_sums_of_a_group_norm_are_one_kernel_of_its_gradient():
    found = kernels(lambda nn: nn.GroupNorm(8, 64), (8, 64, 32, 32))
    assert sorted(sums for _, _, sums in found) == [0, 0, 1, 1, 2]


GRAPH = """graph f(g: f32[160,{n}], x: f32[160,{n}], r: f32[160,1]) {{
  expand_0 = expand(r, shape=(160,{n}))          : f32[160,{n}]
  mul_0 = mul(x, expand_0)                       : f32[160,{n}]
  mul_1 = mul(g, mul_0)                          : f32[160,{n}]
  sum_0 = sum(mul_1, axes=(1,))                  : f32[160]
  reshape_0 = reshape(sum_0, shape=(160,1))      : f32[160,1]
  expand_1 = expand(reshape_0, shape=(160,{n}))  : f32[160,{n}]
  sub_0 = sub(g, expand_1)                       : f32[160,{n}]
  mul_2 = mul(mul_0, g)                          : f32[160,{n}]
  sum_1 = sum(mul_2, axes=(0,))                  : f32[{n}]
  sum_2 = sum(sub_0, axes=(0,))                  : f32[{n}]
  return sub_0, sum_1, sum_2
}}"""


def fused(graph: Graph) -> Graph:
    for step in kernel_pipeline():
        graph = step(graph)
    return graph


def rows_of(graph: Graph):
    return [n for n in graph.nodes if n.name == "fused" and n.attrs["kind"] == "rows"]


@pytest.mark.parametrize("columns", (896, 1000, 1029))
@pytest.mark.parametrize("level", ("host", "baseline", "avx2"))
def test_a_kernel_of_rows_and_columns_on_other_machines(level, columns):
    from nncomp.backends.cpu.codegen import program_modules
    from nncomp.backends.cpu.executable import build

    try:
        target = targets.host_target() if level == "host" else targets._target_at(level)
    except ValueError as error:
        pytest.skip(str(error))
    graph = parse_graph(GRAPH.format(n=columns))
    made = fused(graph)
    (node,) = rows_of(made)
    assert len(node.type) == 3
    program = plan_program(made)
    modules, _ = program_modules(program, target)
    r = np.random.default_rng(2)
    arrays = [r.normal(size=n.shape).astype(np.float32) for n in graph.inputs]
    found = build(program, modules, target, [y.type for y in graph.outputs])(arrays)
    for mine, exact in zip(found, interpret(graph, *arrays), strict=True):
        np.testing.assert_allclose(mine, exact, rtol=1e-4, atol=1e-3)


def test_a_kernel_between_two_keeps_them_apart():
    text = GRAPH.format(n=1024).replace(
        "sum_2 = sum(sub_0, axes=(0,))                  : f32[1024]",
        "tanh_0 = tanh(sum_1)                           : f32[1024]\n"
        "  reshape_1 = reshape(tanh_0, shape=(1,1024))    : f32[1,1024]\n"
        "  expand_2 = expand(reshape_1, shape=(160,1024)) : f32[160,1024]\n"
        "  mul_3 = mul(sub_0, expand_2)                   : f32[160,1024]\n"
        "  sum_2 = sum(mul_3, axes=(0,))                  : f32[1024]",
    )
    made = fused(parse_graph(text))
    assert [len(n.type) for n in rows_of(made)] == [2]  # not the sum that needs the other
    assert join_columns(made) is made


def test_the_kernel_adds_up_blocks_of_rows():
    (node,) = rows_of(fused(parse_graph(GRAPH.format(n=1024))))
    kernel = lower_rows(node.attrs["body"], "k")
    assert [(v.name, v.extent) for v in kernel.domain] == [("b", 16), ("i", 10), ("i1", 1024)]
    assert len(kernel.extra.sums) == 2 and "sums over i" in str(kernel)
