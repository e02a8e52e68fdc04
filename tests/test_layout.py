"""Layout of contractions: `lower_contractions` and `sink_permutes` keep the meaning of a graph.

Every graph is interpreted before and after; structure tests count the copies that are left.
"""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nncomp.backends.cpu import layout as layout_module
from nncomp.backends.cpu.layout import lower_contractions
from nncomp.backends.cpu.target import Target
from nncomp.ir.grad import value_and_grad
from nncomp.ir.graph import Graph, Node, build_node, input_node
from nncomp.ir.index import Index, Var
from nncomp.ir.interpret import interpret
from nncomp.ir.lower import Lowering
from nncomp.ir.op import OPS, Elementwise
from nncomp.ir.ops import (
    amax,
    argmax,
    argmax_pool,
    concat,
    conv,
    conv_transpose,
    conv_weight,
    cumsum,
    expand,
    flip,
    full_like,
    index_add,
    index_put,
    lt,
    matmul,
    max_pool,
    maximum,
    pad,
    permute,
    random_bits,
    reshape,
    slice,
    sum,
    take,
    unfold,
    where,
)
from nncomp.ir.parser import parse_graph
from nncomp.ir.passes import cse, simplify
from nncomp.ir.passes import sink_permutes as sink_module
from nncomp.ir.passes.sink_permutes import sink_permutes
from nncomp.ir.printer import print_graph
from nncomp.ir.types import (
    TensorType,
    bfloat16,
    float16,
    float32,
    float64,
    int32,
    int64,
)
from nncomp.ir.verify import verify

WIDE = Target("x86_64-unknown-linux-gnu", "x86-64-v4", "", 512, 32)
NARROW = Target("x86_64-unknown-linux-gnu", "x86-64", "", 128, 16)
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 5e-3, "bfloat16": 4e-2}
VIEWS = ("permute", "expand", "slice", "reshape", "pad", "flip")
CONV = ("conv", "conv_transpose", "conv_weight")


def x_of(*shape: int, name: str = "x", dtype=float32) -> Node:
    return input_node(name, TensorType(shape, dtype))


def graph_of(*outputs: Node) -> Graph:
    """The graph of some nodes; its inputs are the input nodes they reach, by name."""
    found, stack = {}, list(outputs)
    while stack:
        node = stack.pop()
        if node.op is None:
            found[node.attrs["name"]] = node
        stack.extend(node.inputs)
    return Graph("f", [found[name] for name in sorted(found)], outputs)


def values_for(graph: Graph, seed: int = 0) -> list[np.ndarray]:
    r = np.random.default_rng(seed)
    return [
        r.standard_normal(n.shape).astype(n.dtype.numpy)
        if n.dtype.kind == "f"
        else r.integers(-4, 5, n.shape).astype(n.dtype.numpy)
        for n in graph.inputs
    ]


def assert_same(before: Graph, after: Graph) -> None:
    verify(after)
    arrays = values_for(before)
    for a, b in zip(interpret(before, *arrays), interpret(after, *arrays), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        tolerance = TOLERANCE.get(a.dtype.name, 0)
        a, b = a.astype(np.float64), b.astype(np.float64)
        bound = tolerance * max(1.0, np.abs(a).max(initial=0))
        assert np.abs(a - b).max(initial=0) <= bound, print_graph(after)


def lowered(*outputs: Node, target: Target = WIDE) -> Graph:
    """The graph with contractions, checked against the original."""
    graph = graph_of(*outputs)
    found = lower_contractions(graph, target)
    assert_same(graph, found)
    return found


def optimized(*outputs: Node) -> Graph:
    graph = graph_of(*outputs)
    found = cse(simplify(sink_permutes(lower_contractions(graph, WIDE))))
    assert_same(graph, found)
    return found


def names(graph: Graph) -> list[str]:
    return [n.name for n in graph.nodes]


def the_contract(graph: Graph) -> Node:
    (node,) = (n for n in graph.nodes if n.name == "contract")
    return node


def copies(graph: Graph) -> list[Node]:
    """Operands of contractions that are views: a kernel has to store them first."""
    read = [x for n in graph.nodes if n.name == "contract" for x in n.inputs]
    return [x for x in dict.fromkeys(read) if x.name in VIEWS]


def transpose(x: Node) -> Node:
    rank = len(x.shape)
    return permute(x, dims=(*range(rank - 2), rank - 1, rank - 2))


# -- matmul ----------------------------------------------------------------------------------------

SHAPES = [(8, 32, 20), (5, 7, 9), (1, 16, 33), (64, 3, 4), (33, 65, 129), (4, 2, 4), (100, 40, 17)]


@pytest.mark.parametrize("dtype", [float64, float32, float16, bfloat16])
@pytest.mark.parametrize("m, k, n", SHAPES)
def test_matmul_becomes_a_contract_and_keeps_its_value(m, k, n, dtype):
    a, b = x_of(m, k, name="a", dtype=dtype), x_of(k, n, name="b", dtype=dtype)
    graph = lowered(matmul(a, b))
    assert names(graph) == ["contract"]


@pytest.mark.parametrize("target", [WIDE, NARROW])
@pytest.mark.parametrize("m, k, n", SHAPES)
def test_a_transposed_weight_is_packed_once(m, k, n, target):
    x, w = x_of(m, k), x_of(n, k, name="w")
    graph = lowered(matmul(x, transpose(w)), target=target)
    if m < 4:  # dot products of stored rows: no copy of the weight
        assert "contract" not in names(graph)
        return
    node = the_contract(graph)
    assert node.inputs[0] is graph.inputs[1] and len(copies(graph)) == 1
    assert node.attrs["panel"] >= min(n, 4) and node.inputs[1].type.size >= k * n


@pytest.mark.parametrize("target", [WIDE, NARROW])
@pytest.mark.parametrize("m, k, n", [(1, 16, 33), (1, 64, 32), (3, 20, 8), (64, 48, 32)])
def test_a_constant_weight_is_packed_for_few_rows_too(m, k, n, target):
    x, w, s = x_of(m, k), x_of(n, k, name="w"), x_of(n, k, name="s")
    graph = graph_of(matmul(x, transpose(w * s)))
    found = lower_contractions(graph, target, constant=["w", "s"])
    assert_same(graph, found)
    assert the_contract(found).attrs["panel"] > 0 and len(copies(found)) == 1
    if m < 4:  # s changes from call to call: copying the product costs more than reading it
        assert "contract" not in names(lower_contractions(graph, target, constant=["w"]))


def test_a_constant_weight_is_packed_where_it_could_be_read_in_place():
    x, w = x_of(8, 64), x_of(64, 48, name="w")
    graph = graph_of(matmul(x, w))
    assert the_contract(lower_contractions(graph, WIDE)).attrs["panel"] == 0
    assert the_contract(lower_contractions(graph, WIDE, constant=["w"])).attrs["panel"] == 48


def test_both_gradients_of_a_linear_layer_read_their_operands_in_place():
    x, w, g = x_of(64, 48), x_of(32, 48, name="w"), x_of(64, 32, name="g")
    for_x = matmul(g, transpose(transpose(w)))
    for_w = transpose(matmul(transpose(x), g))
    graph = optimized(for_x, for_w)
    assert names(graph) == ["contract", "contract"]
    assert all(y.op is None for n in graph.nodes for y in n.inputs)


def test_slices_of_one_product_are_read_with_an_offset():
    z = x_of(2, 6, 3 * 16)
    parts = (slice(z, start=(0, 0, i), stop=(2, 6, i + 16), step=(1, 1, 1)) for i in (0, 16))
    a, b = (reshape(p, shape=(12, 16)) for p in parts)
    node = the_contract(lowered(matmul(transpose(a), b)))
    assert node.inputs == (z, z)
    assert (node.attrs["a_offset"], node.attrs["b_offset"]) == (0, 16)


def test_attention_over_heads_copies_nothing_but_the_keys():
    n, t, h, d = 2, 8, 4, 16
    q, k, v = (
        permute(reshape(x_of(n, t, h * d, name=c), shape=(n, t, h, d)), dims=(0, 2, 1, 3))
        for c in "qkv"
    )
    y = matmul(matmul(q, transpose(k)), v)
    joined = reshape(permute(y, dims=(0, 2, 1, 3)), shape=(n * t, h * d))
    graph = lowered(matmul(joined, x_of(h * d, 24, name="w")))
    assert names(graph).count("contract") == 3 and len(copies(graph)) == 1
    last = [c for c in graph.nodes if c.name == "contract"][-1]
    assert last.inputs[0].name == "contract" and len(last.attrs["k"]) == 2


def test_rows_take_the_axes_that_the_reader_wants():
    x, w = x_of(2 * 5, 16), x_of(16, 8, name="w")
    y = reshape(matmul(x, w), shape=(2, 5, 8))
    graph = optimized(maximum(y, full_like(y, 0.0)))
    assert the_contract(graph).shape == (2, 5, 8) and "reshape" not in names(graph)


def test_a_matrix_broadcast_over_the_batch_is_one_tall_product():
    x, w = x_of(3, 4, 5, 16), x_of(1, 1, 16, 8, name="w")
    node = the_contract(lowered(matmul(x, expand(w, shape=(3, 4, 16, 8)))))
    assert node.attrs["batch"] == () and len(node.attrs["m"]) == 3


def test_a_broadcast_matrix_that_must_be_packed_is_packed_once():
    x, w = x_of(2, 3, 8, 16), x_of(2, 1, 12, 16, name="w")
    y = matmul(x, transpose(expand(w, shape=(2, 3, 12, 16))))
    node = the_contract(lowered(y))
    assert node.inputs[1].shape == (2, 1, 1, 16, 16) and len(node.attrs["batch"]) == 1


def test_few_columns_with_columns_stored_side_by_side_swap_the_roles():
    a, b = x_of(16, 40, name="a"), x_of(16, 2, name="b")
    graph = lowered(matmul(transpose(a), b))
    node = the_contract(graph)
    assert node.inputs == (b, a) or node.inputs[1].attrs.get("name") == "a"
    assert node.attrs["n"] == 40 and not copies(graph)


@pytest.mark.parametrize(
    "make",
    [
        lambda: matmul(x_of(8, 4, dtype=int32), x_of(4, 8, name="y", dtype=int32)),
        lambda: matmul(x_of(8, 16), x_of(16, 1, name="y")),
        lambda: matmul(x_of(8, 0), x_of(0, 8, name="y")),
        lambda: matmul(x_of(0, 8), x_of(8, 8, name="y")),
        lambda: matmul(x_of(8, 1), x_of(1, 8, name="y")),
        lambda: conv(
            x_of(2, 8, 5, 5), x_of(8, 1, 3, 3, name="w"), groups=8, **plain_geometry(2, 1)
        ),
        lambda: conv(x_of(0, 4, 5), x_of(4, 4, 3, name="w"), groups=1, **plain_geometry(1, 1)),
    ],
    ids=["int", "dot", "no-depth", "no-rows", "outer", "depthwise", "no-images"],
)
def test_what_a_contraction_is_bad_at_stays(make):
    assert "contract" not in names(lowered(make()))


def test_the_layout_module_begins_with_an_example_that_holds():
    """Types are left out there, and the long line is broken."""
    before, after = layout_module.__doc__.split("before:")[1].split("after (")
    eight_lanes = Target("x86_64-unknown-linux-gnu", "x86-64-v3", "", 256, 16)
    found = print_graph(lower_contractions(parse_graph(before), eight_lanes))
    lines = [line.split("  : ")[0] for line in found.splitlines()]
    assert " ".join(lines).split() == after[after.index("graph") : after.index("}") + 1].split()


# -- convolutions ----------------------------------------------------------------------------------


def plain_geometry(rank: int, padding: int = 0) -> dict:
    return dict(stride=(1,) * rank, padding=((padding, padding),) * rank, dilation=(1,) * rank)


def conv_graph(kind, n, size, groups, inputs, outputs, kernel, geometry, dtype=float64) -> Node:
    """One of the three ops for a conv of x [n, groups * inputs, *size]."""
    x = x_of(n, groups * inputs, *size, dtype=dtype)
    w = x_of(groups * outputs, inputs, *kernel, name="w", dtype=dtype)
    y = conv(x, w, groups=groups, **geometry)
    if kind == "conv":
        return y
    g = x_of(*y.shape, name="g", dtype=dtype)
    if kind == "conv_transpose":
        return conv_transpose(g, w, input_size=tuple(size), groups=groups, **geometry)
    return conv_weight(x, g, kernel_size=tuple(kernel), groups=groups, **geometry)


GEOMETRIES = {  # size, kernel, stride, padding, dilation
    "1d": ((11,), (3,), (1,), ((1, 1),), (1,)),
    "pointwise": ((5, 6), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    "same": ((7, 6), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "strided": ((9, 8), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    "uneven": ((8, 11), (3, 2), (3, 2), ((0, 1), (2, 0)), (1, 1)),
    "patches": ((8, 12), (4, 4), (4, 4), ((0, 0), (0, 0)), (1, 1)),
    "sparse": ((9, 9), (1, 1), (2, 3), ((0, 0), (0, 0)), (1, 1)),
    "dilated": ((9, 10), (3, 2), (1, 1), ((2, 2), (0, 1)), (2, 3)),
    "dilated-strided": ((12, 11), (3, 2), (2, 3), ((2, 1), (0, 1)), (2, 3)),
    "much-padding": ((3, 4), (2, 1), (2, 1), ((5, 6), (3, 0)), (1, 1)),
    "3d": ((4, 5, 6), (2, 3, 1), (1, 2, 1), ((1, 0), (1, 1), (0, 0)), (1, 1, 1)),
}


@pytest.mark.parametrize("kind", CONV)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_convolutions_become_contractions(name, groups, kind):
    size, kernel, stride, padding, dilation = GEOMETRIES[name]
    geometry = dict(stride=stride, padding=padding, dilation=dilation)
    graph = lowered(conv_graph(kind, 2, size, groups, 5, 6, kernel, geometry))
    assert "contract" in names(graph) and not set(names(graph)) & set(CONV)


@pytest.mark.parametrize("kind", CONV)
@pytest.mark.parametrize("dtype", [float32, float16, bfloat16])
def test_convolutions_of_every_dtype(dtype, kind):
    geometry = dict(stride=(2, 1), padding=((1, 0), (1, 1)), dilation=(1, 1))
    lowered(conv_graph(kind, 2, (6, 7), 1, 4, 5, (3, 3), geometry, dtype))


def test_the_gradient_of_a_patch_embedding_wastes_no_product():
    size, kernel, stride, padding, dilation = GEOMETRIES["patches"]
    geometry = dict(stride=stride, padding=padding, dilation=dilation)
    node = the_contract(lowered(conv_graph("conv_transpose", 2, size, 1, 5, 6, kernel, geometry)))
    products = prod(node.shape) * prod(e for e, *_ in node.attrs["k"])
    assert products == 2 * prod(size) * 5 * 6


@pytest.mark.parametrize("name", ["same", "strided", "pointwise", "3d"])
def test_weights_of_few_output_channels_take_input_channels_as_columns(name):
    size, kernel, stride, padding, dilation = GEOMETRIES[name]
    geometry = dict(stride=stride, padding=padding, dilation=dilation)
    node = the_contract(lowered(conv_graph("conv_weight", 2, size, 1, 9, 2, kernel, geometry)))
    assert node.attrs["n"] == 9


def test_padding_of_a_channels_last_tensor_needs_no_permute():
    x, w = permute(x_of(2, 6, 6, 32), dims=(0, 3, 1, 2)), x_of(32, 32, 3, 3, name="w")
    graph = lowered(conv(x, w, groups=1, **plain_geometry(2, 1)))
    padded = the_contract(graph).inputs[0]
    assert padded.name == "pad" and padded.inputs[0].op is None


def relu(x: Node) -> Node:
    return maximum(x, full_like(x, 0.0))


def biased(x: Node, b: Node) -> Node:
    ones = (1,) * (len(x.shape) - 2)
    return x + expand(reshape(b, shape=(1, x.shape[1], *ones)), shape=x.shape)


def conv_chain(x: Node) -> Node:
    """conv -> bias -> relu -> max_pool -> conv -> norm over the batch -> relu -> global average."""
    w, v = x_of(8, x.shape[1], 3, 3, name="w"), x_of(12, 8, 3, 3, name="v")
    y = relu(biased(conv(x, w, groups=1, **plain_geometry(2, 1)), x_of(8, name="b")))
    y = max_pool(y, kernel=(2, 2), stride=(2, 2), padding=((0, 0), (0, 0)), dilation=(1, 1))
    y = conv(y, v, groups=1, **plain_geometry(2, 1))
    mean = sum(y, axes=(0, 2, 3)) * (1 / (y.type.size // 12))
    return sum(relu(biased(y, -mean)), axes=(2, 3))


@pytest.mark.parametrize("channels, permuted", [(3, ["v", "w"]), (5, ["v", "w", "x"])])
def test_a_chain_of_convolutions_is_permuted_once_at_its_edge(channels, permuted):
    """Images of a few channels not at all: they are read plane by plane."""
    graph = optimized(conv_chain(x_of(2, channels, 8, 8)))
    moved = [n.inputs[0] for n in graph.nodes if n.name == "permute"]
    sources = [x.inputs[0] if x.name == "pad" else x for x in moved]
    assert sorted(x.attrs["name"] for x in sources) == permuted
    assert all(n.shape[-1] in (8, 12) for n in graph.nodes if n.name in ("maximum", "window_max"))
    assert any(n.name == "window_max" for n in graph.nodes)


def test_a_residual_from_outside_does_not_break_the_chain():
    x, w = x_of(2, 8, 6, 6), x_of(8, 8, 3, 3, name="w")
    y = relu(conv(x, w, groups=1, **plain_geometry(2, 1)) + x)
    graph = optimized(conv(y, x_of(4, 8, 1, 1, name="v"), groups=1, **plain_geometry(2)))
    second = [n for n in graph.nodes if n.name == "contract"][-1]
    assert second.inputs[0].name == "maximum"


def test_flattening_a_channels_last_image_for_a_linear_layer_copies_nothing():
    x, w = x_of(4, 3, 6, 6), x_of(8, 3, 3, 3, name="w")
    y = relu(conv(x, w, groups=1, **plain_geometry(2, 1)))
    graph = optimized(matmul(reshape(y, shape=(4, 288)), x_of(288, 10, name="v")))
    last = [n for n in graph.nodes if n.name == "contract"][-1]
    assert last.inputs[0].name == "maximum" and len(last.attrs["k"]) == 2


def test_training_a_small_network_keeps_its_gradients():
    x = x_of(4, 3, 8, 8, dtype=float64)
    w, v = (x_of(*s, name=n, dtype=float64) for n, s in (("w", (8, 3, 3, 3)), ("v", (6, 8, 2, 2))))
    y = relu(conv(x, w, groups=1, **plain_geometry(2, 1)))
    y = max_pool(y, kernel=(3, 3), stride=(2, 2), padding=((1, 1), (1, 1)), dilation=(1, 1))
    z = conv(y, v, stride=(2, 2), padding=((0, 1), (1, 0)), dilation=(1, 1), groups=1)
    flat = reshape(z, shape=(4, prod(z.shape[1:])))
    u = x_of(5, flat.shape[1], name="u", dtype=float64)
    out = matmul(flat, transpose(u))
    graph = value_and_grad(graph_of(sum(out * out, axes=(0, 1))))
    found = cse(simplify(sink_permutes(lower_contractions(graph, WIDE))))
    assert_same(graph, found)
    assert not set(names(found)) & {"matmul", *CONV}


# -- the contract op -------------------------------------------------------------------------------


@pytest.mark.parametrize("panel", [0, 4])
def test_element_and_eval_of_contract_agree(panel):
    """The scalar code reads the elements whose products `eval` sums."""
    x, w = x_of(3, 5, 8), x_of(8, 6, name="w")
    left = reshape(slice(x, start=(0, 1, 0), stop=(3, 5, 8), step=(1, 2, 1)), shape=(6, 8))
    right = w if not panel else transpose(x_of(6, 8, name="w"))
    node = the_contract(lowered(matmul(left, right), target=NARROW))
    assert bool(node.attrs["panel"]) == bool(panel) and node.attrs["a_offset"] == 8
    leaves = {n: Leaf(n) for n in node.inputs}
    loops = tuple(Var(f"i{i}", n) for i, n in enumerate(node.shape))
    lowering = Lowering(leaves, loops)
    value = lowering.at(node, tuple(Index.of(v) for v in loops))
    arrays = {id(leaves[n]): np.arange(n.type.size, dtype=np.float64) % 7 for n in node.inputs}
    expected = node.op.eval(
        *(arrays[id(leaves[n])].reshape(n.shape) for n in node.inputs), **node.attrs
    )
    for at in np.ndindex(*node.shape):
        assert evaluated(value, dict(zip(loops, at, strict=True)), arrays) == expected[at]


class Leaf:
    """A buffer by type only."""

    def __init__(self, node: Node):
        self.type = node.type


def offset_of(index: Index, point: dict) -> int:
    total = index.const
    for atom, c in index.terms:
        if isinstance(atom, Var):
            total += c * point[atom]
        else:
            of = offset_of(atom.of, point)
            total += c * (of // atom.by if type(atom).__name__ == "Quotient" else of % atom.by)
    return total


def evaluated(expr, point: dict, arrays: dict) -> float:
    """The value of a sum of products at a point of the loops."""
    kind = type(expr).__name__
    if kind == "Load":
        return float(arrays[id(expr.buffer)][offset_of(expr.offset, point)])
    if kind == "Call":
        a, b = (evaluated(x, point, arrays) for x in expr.args)
        assert expr.name == "mul"
        return a * b
    total = 0.0
    for at in np.ndindex(*(v.extent for v in expr.loops)):
        total += evaluated(expr.body, point | dict(zip(expr.loops, at, strict=True)), arrays)
    return total


# -- sinking permutes ------------------------------------------------------------------------------

FIRST = (0, 3, 1, 2)  # channels last -> channels first


def image(*shape: int, name: str = "x", dtype=float32) -> Node:
    """A permuted view, channels first, of a channels last input."""
    return permute(x_of(*shape, name=name, dtype=dtype), dims=FIRST)


def counted(length: int) -> Node:
    """The index 0, 1, .."""
    return build_node(OPS["iota"], (), {"shape": (length,), "axis": 0, "dtype": int64})


def zeros(shape: tuple[int, ...]) -> Node:
    return full_like(x_of(*shape, name="like"), 0)


POOL = dict(kernel=(3, 2), stride=(2, 1), padding=((1, 1), (0, 1)), dilation=(1, 2))
SUNK = {
    "unary": lambda: relu(image(2, 5, 6, 4)),
    "binary": lambda: image(2, 5, 6, 4) * image(2, 5, 6, 4, name="y"),
    "bias": lambda: biased(image(2, 5, 6, 4), x_of(4, name="b")),
    "where": lambda: where(
        lt(image(2, 5, 6, 4), image(2, 5, 6, 4, name="y")),
        image(2, 5, 6, 4, name="z"),
        full_like(image(2, 5, 6, 4), 0.5),
    ),
    "sum": lambda: sum(image(2, 5, 6, 4), axes=(0, 3)),
    "amax": lambda: amax(image(2, 5, 6, 4), axes=(1,)),
    "argmax": lambda: argmax(image(2, 5, 6, 4), axis=1),
    "cumsum": lambda: cumsum(image(2, 5, 6, 4), axis=2),
    "pad": lambda: pad(
        image(2, 5, 6, 4), low=(0, 1, 2, 0), high=(3, 0, 0, 1), interior=(0, 0, 1, 2), value=1.5
    ),
    "slice": lambda: slice(
        image(2, 5, 6, 4), start=(0, 1, 2, 0), stop=(2, 4, 5, 6), step=(1, 2, 1, 3)
    ),
    "flip": lambda: flip(image(2, 5, 6, 4), axes=(1, 2)),
    "concat": lambda: concat(image(2, 5, 6, 4), image(2, 5, 6, 3, name="y"), axis=1),
    "max_pool": lambda: max_pool(image(2, 5, 6, 4), **POOL),
    "argmax_pool": lambda: argmax_pool(image(2, 5, 6, 4), **POOL),
    "unfold": lambda: unfold(image(2, 5, 6, 4), **POOL),
    "average": lambda: sum(unfold(image(2, 5, 6, 4), **POOL), axes=(4, 5)),
    "mixed": lambda: image(2, 5, 6, 4) + x_of(2, 4, 5, 6, name="y"),
    "take": lambda: take(image(2, 5, 6, 4), counted(5), axis=3),
    "index_add": lambda: index_add(zeros((2, 4, 9, 6)), counted(5), image(2, 5, 6, 4), axis=2),
    "index_put": lambda: index_put(
        image(2, 7, 6, 4, name="y"), counted(5), image(2, 5, 6, 4), axis=2
    ),
}


@pytest.mark.parametrize("name", SUNK)
def test_a_permute_moves_behind_its_reader(name):
    graph = graph_of(SUNK[name]())
    found = sink_permutes(graph)
    assert_same(graph, found)
    readers = [n for n in found.nodes if n.name not in ("permute", "reshape")]
    behind = [x for n in readers for x in n.inputs if x.name == "permute"]
    assert readers and all(x.attrs["dims"] == (0, 2, 3, 1) for x in behind)
    assert len(behind) == (name == "mixed")


@pytest.mark.parametrize(
    "make",
    [
        lambda: x_of(4, 5, 6, 7, name="y") + permute(x_of(7, 6, 5, 4), dims=(3, 2, 1, 0)),
        lambda: permute(x_of(2, 3), dims=(1, 0)) + x_of(3, 2, name="y"),
        lambda: permute(x_of(2, 3, 4), dims=(1, 0, 2)) * permute(
            x_of(4, 3, 2, name="y"), dims=(1, 2, 0)
        ),
    ],
    ids=["another order", "a matrix", "two orders"],
)
def test_permutes_of_other_orders_stay_where_operands_differ(make):
    graph = graph_of(make())
    assert sink_permutes(graph) is graph


def test_a_dropout_mask_is_drawn_in_the_new_order():
    key = x_of(2, name="key", dtype=int64)
    x = image(2, 5, 6, 4)
    bits = random_bits(key, shape=x.shape)
    y = where(lt(bits, full_like(bits, 0)), x, full_like(x, 0.0))
    graph = graph_of(permute(y, dims=(0, 2, 3, 1)))
    found = sink_permutes(graph)
    assert_same(graph, found)
    assert [n.inputs[0].name for n in found.nodes if n.name == "permute"] == ["random_bits"]


def test_sinking_settles_when_masks_meet_masks():
    key = x_of(2, name="key", dtype=int64)
    bits = random_bits(key, shape=(2, 3, 4, 5))
    other = permute(random_bits(key, shape=(2, 4, 5, 3)), dims=FIRST)
    graph = graph_of(where(lt(bits, other), image(2, 4, 5, 3), x_of(2, 3, 4, 5, name="y")))
    assert_same(graph, sink_permutes(graph))


def test_the_module_begins_with_an_example_that_holds():
    before, after = sink_module.__doc__.split("before:")[1].split("after:")
    found = print_graph(sink_permutes(parse_graph(before)))
    assert found.split() == after[: after.index("}") + 1].split()


def test_every_elementwise_op_is_sunk_but_random_bits():
    ops = {name for name, op in OPS.items() if isinstance(op, Elementwise)}
    assert ops - set(sink_module.SINKS) == {"random_bits"}


# -- fuzz ------------------------------------------------------------------------------------------


@st.composite
def convolutions(draw):
    rank = draw(st.integers(1, 3))

    def each(values):
        return tuple(draw(values) for _ in range(rank))

    kernel, dilation = each(st.integers(1, 4)), each(st.sampled_from((1, 1, 2, 3)))
    padding = each(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = tuple(
        draw(st.integers(max(1, s - sum_(p)), s + 6)) for s, p in zip(span, padding, strict=True)
    )
    geometry = dict(stride=each(st.integers(1, 4)), padding=padding, dilation=dilation)
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    channels = (draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    kind = draw(st.sampled_from(CONV))
    node = conv_graph(kind, draw(st.integers(1, 3)), size, groups, *channels, kernel, geometry)
    return node


def sum_(pair) -> int:
    return pair[0] + pair[1]


@settings(max_examples=120, deadline=None)
@given(convolutions())
def test_any_convolution_keeps_its_value(node):
    optimized(node)


@st.composite
def products(draw):
    """A matmul whose operands are random views of stored tensors."""
    batch = draw(st.lists(st.sampled_from((1, 2, 3)), max_size=2))
    m, k, n = (draw(st.sampled_from((1, 2, 3, 4, 6, 8, 20))) for _ in range(3))
    a, b = (
        draw_view(draw, (*batch, *shape), name) for shape, name in (((m, k), "a"), ((k, n), "b"))
    )
    y = matmul(a, b)
    turned = draw(st.sampled_from(("", "transposed", "split", "relu")))
    if turned == "transposed":
        return transpose(y)
    if turned == "split" and y.shape[0] % 2 == 0:
        return reshape(y, shape=(2, y.shape[0] // 2, *y.shape[1:]))
    return relu(y) if turned == "relu" else y


def draw_view(draw, shape: tuple[int, ...], name: str) -> Node:
    """An input seen through views so that `shape` results; built from the result backwards."""
    kinds = ("permute", "expand", "slice", "merge", "flip")
    steps = draw(st.lists(st.sampled_from(kinds), max_size=4))
    undo = []
    for step in steps:
        rank = len(shape)
        if step == "permute":
            dims = tuple(draw(st.permutations(range(rank))))
            undo.append(lambda x, dims=dims: permute(x, dims=dims))
            shape = tuple(shape[dims.index(i)] for i in range(rank))
        elif step == "expand":
            axis, full = draw(st.integers(0, rank - 1)), shape
            undo.append(lambda x, full=full: expand(x, shape=full))
            shape = tuple(1 if i == axis else s for i, s in enumerate(shape))
        elif step == "slice":
            axis, stride = draw(st.integers(0, rank - 1)), draw(st.sampled_from((1, 2)))
            low, more = draw(st.integers(0, 2)), draw(st.integers(0, 2))
            start = tuple(low if i == axis else 0 for i in range(rank))
            step_ = tuple(stride if i == axis else 1 for i in range(rank))
            stop = tuple(a + (s - 1) * d + 1 for a, s, d in zip(start, shape, step_, strict=True))
            undo.append(
                lambda x, a=start, b=stop, s=step_: slice(x, start=a, stop=b, step=s)
            )
            shape = tuple(b + (more if i == axis else 0) for i, b in enumerate(stop))
        elif step == "merge":
            full = shape
            undo.append(lambda x, full=full: reshape(x, shape=full))
            if shape[0] % 2 == 0:
                shape = (2, shape[0] // 2, *shape[1:])
            elif rank > 1:
                shape = (shape[0] * shape[1], *shape[2:])
        else:
            axes = (draw(st.integers(0, rank - 1)),)
            undo.append(lambda x, axes=axes: flip(x, axes=axes))
    x = x_of(*shape, name=name, dtype=float64)
    for step in reversed(undo):
        x = step(x)
    return x


@settings(max_examples=200, deadline=None)
@given(products(), st.sampled_from((WIDE, NARROW)))
def test_any_product_of_views_keeps_its_value(node, target):
    graph = lowered(node, target=target)
    for n in graph.nodes:
        if n.name == "contract":
            assert not is_strided(n.inputs[0])


def is_strided(x: Node) -> bool:
    """Whether x is a view of an input that strides and an offset can always express."""
    depth = 0
    while x.name in ("permute", "slice", "expand"):
        x, depth = x.inputs[0], depth + 1
    return depth > 0 and x.op is None
