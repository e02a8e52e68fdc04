"""Moves permutes behind what reads them, until they meet another permute or an edge of the graph.

before:
    graph f(x: f32[2,4,4,8], b: f32[8]) {
      permute_0 = permute(x, dims=(0,3,1,2))         : f32[2,8,4,4]
      reshape_0 = reshape(b, shape=(1,8,1,1))        : f32[1,8,1,1]
      expand_0 = expand(reshape_0, shape=(2,8,4,4))  : f32[2,8,4,4]
      add_0 = add(permute_0, expand_0)               : f32[2,8,4,4]
      permute_1 = permute(add_0, dims=(0,2,3,1))     : f32[2,4,4,8]
      return permute_1
    }
after:
    graph f(x: f32[2,4,4,8], b: f32[8]) {
      reshape_0 = reshape(b, shape=(1,1,1,8))        : f32[1,1,1,8]
      expand_0 = expand(reshape_0, shape=(2,4,4,8))  : f32[2,4,4,8]
      add_0 = add(x, expand_0)                       : f32[2,4,4,8]
      return add_0
    }

The other operands of an elementwise op must be free to permute: constants, expanded smaller
tensors, random bits, what is computed from such alone, or the same permute of something else; a
permute from channels last also takes along as many others as it has fellows.
Chains of convolutions thereby stay in the layout their contractions use (channels last); bias,
norm, activation, pooling, padding, concatenation and resizing follow; sums lose their permute
altogether.

Needs: nothing. Establishes: no permute in front of an op that could do without it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import prod

from ..graph import Graph, Node, build_node, rebuild, with_operands
from ..op import OPS, Creation, Elementwise, Reduction
from ..ops import expand, floor_divide, full_like, permute, reshape
from ..rewrite import MAX_SWEEPS, RewriteError, RuleSet
from .simplify_movement import RULES as MOVEMENT

DEPTH = 6  # of expressions that are computed anew in another layout
Sink = Callable[[Node], "Node | None"]


def sink_permutes(graph: Graph) -> Graph:
    """`graph` with permutes as late as they can be; bodies of other nodes stay as they are."""
    rules, bit = _rules(), _rules().bit

    def first(node: Node) -> Node | None:
        for rule in rules.by_root.get(node.name, ()):
            new = rule(node)
            if new is not None and new is not node:
                return new
        return None

    def visit(node: Node, operands: tuple[Node, ...]) -> Node:
        node = with_operands(node, operands)
        if node.settled & bit:
            return node
        while (new := first(node)) is not None:
            node = new
        node.settled |= bit
        return node

    for _ in range(MAX_SWEEPS):
        new = rebuild(graph, visit)
        if new is graph:
            return graph
        graph = new
    raise RewriteError(f"the permutes of graph {graph.name} do not settle")


@cache
def _rules() -> RuleSet:
    return RuleSet([*SINKS.items(), *((rule.root, rule.apply) for rule in MOVEMENT)])


def inverse(dims) -> tuple[int, ...]:
    return tuple(dims.index(i) for i in range(len(dims)))


def pick(values, dims) -> tuple:
    """values[d] for each d of dims: an attribute per axis, permuted."""
    return tuple(values[d] for d in dims)


def permuted(node: Node) -> tuple[Node | None, tuple[int, ...]]:
    """(x, dims) where the first operand of `node` is permute(x, dims); (None, ()) otherwise."""
    x = node.inputs[0]
    if x.name != "permute" or is_free(x):
        return None, ()
    return x.inputs[0], tuple(x.attrs["dims"])


# -- several operands ------------------------------------------------------------------------------


def sink_elementwise(node: Node) -> Node | None:
    """f(permute(x), permute(y), ...) -> permute(f(x, y, ...)), if the other operands allow it."""
    if any(x.shape != node.shape for x in node.inputs):
        return None
    found = common_permute(node) or majority_permute(node)
    if found is None:
        return None
    operands, dims = found
    return permute(build_node(node.op, operands, node.attrs, node.loc), dims=dims)


def sink_concat(node: Node) -> Node | None:
    """concat(permute(x), permute(y), ...) -> permute(concat(x, y, ...))"""
    found = common_permute(node)
    if found is None:
        return None
    operands, dims = found
    axis = dims[node.attrs["axis"]]
    return permute(build_node(node.op, operands, {"axis": axis}, node.loc), dims=dims)


def common_permute(node: Node) -> tuple[list[Node], tuple[int, ...]] | None:
    """(operands, dims): the operands of `node` are permutes of these by dims, or free."""
    if all(x.name != "permute" for x in node.inputs):
        return None  # at once: to see what is free takes longer
    large = [x for x in node.inputs if not is_free(x)]
    if not large or any(x.name != "permute" for x in large):
        return None
    dims = tuple(large[0].attrs["dims"])
    if any(tuple(x.attrs["dims"]) != dims for x in large):
        return None
    return [x.inputs[0] if x in large else pushed(x, dims) for x in node.inputs], dims


def majority_permute(node: Node) -> tuple[list[Node], tuple[int, ...]] | None:
    """Likewise where half of the large operands or more come from channels last.

    The others are then read in that order, which costs what reading the permutes did, and what
    follows can stay in it. Only for this one direction: it must not turn round again.
    """
    rank = len(node.shape)
    dims = (0, rank - 1, *range(1, rank - 1))
    if rank < 4 or all(x.name != "permute" for x in node.inputs):
        return None
    large = [x for x in node.inputs if not is_free(x)]
    moved = [x for x in large if x.name == "permute" and tuple(x.attrs["dims"]) == dims]
    if not moved or 2 * len(moved) < len(large):
        return None
    sources = {x: x.inputs[0] for x in moved}
    sources |= {x: permute(x, dims=inverse(dims)) for x in large if x not in sources}
    return [sources[x] if x in sources else pushed(x, dims) for x in node.inputs], dims


def is_free(x: Node, depth: int = DEPTH) -> bool:
    """Whether another order of x's axes costs nothing: x reads no tensor as large as itself."""
    if x.op is None:
        return False
    if isinstance(x.op, Creation) or x.name == "random_bits":
        return True
    if x.name == "expand":
        return x.inputs[0].type.size < x.type.size
    inner = x.name == "permute" or isinstance(x.op, Elementwise)
    return inner and depth > 0 and all(is_free(y, depth - 1) for y in x.inputs)


def pushed(x: Node, dims) -> Node:
    """For a free x the y with permute(y, dims) equal to x."""
    back = inverse(dims)
    shape = pick(x.shape, back)
    if x.name == "full":
        return full_like(x, x.attrs["value"], shape)
    if x.name == "iota":
        axis = back.index(x.attrs["axis"])
        return build_node(x.op, (), {**x.attrs, "shape": shape, "axis": axis}, x.loc)
    if x.name == "expand":
        return expand(permute(x.inputs[0], dims=back), shape=shape)
    if isinstance(x.op, Elementwise) and x.name != "random_bits":
        return build_node(x.op, [pushed(y, dims) for y in x.inputs], x.attrs, x.loc)
    return permute(x, dims=back)


# -- reductions and movements ----------------------------------------------------------------------


def sink_reduction(node: Node) -> Node | None:
    """sum(permute(x), axes) -> sum(x, axes), permuted if several axes remain in another order."""
    x, dims = permuted(node)
    if x is None:
        return None
    one = "axis" in node.attrs
    axes = (node.attrs["axis"],) if one else node.attrs["axes"]
    moved = tuple(sorted(dims[a] for a in axes))
    attrs = {"axis": moved[0]} if one else {"axes": moved}
    kept = [d for i, d in enumerate(dims) if i not in axes]
    order = sorted(kept)
    reduced = build_node(node.op, (x,), attrs, node.loc)
    return permute(reduced, dims=tuple(order.index(d) for d in kept))


def sink_per_axis(node: Node) -> Node | None:
    """pad(permute(x)) -> permute(pad(x)); slice alike."""
    x, dims = permuted(node)
    if x is None:
        return None
    back = inverse(dims)
    attrs = {k: pick(v, back) if isinstance(v, tuple) else v for k, v in node.attrs.items()}
    return permute(build_node(node.op, (x,), attrs, node.loc), dims=dims)


def sink_flip(node: Node) -> Node | None:
    """flip(permute(x)) -> permute(flip(x))"""
    x, dims = permuted(node)
    if x is None:
        return None
    axes = tuple(sorted(dims[a] for a in node.attrs["axes"]))
    return permute(build_node(node.op, (x,), {"axes": axes}, node.loc), dims=dims)


def sink_cumsum(node: Node) -> Node | None:
    """cumsum(permute(x)) -> permute(cumsum(x))"""
    x, dims = permuted(node)
    if x is None:
        return None
    moved = {"axis": dims[node.attrs["axis"]]}
    return permute(build_node(node.op, (x,), moved, node.loc), dims=dims)


def sink_take(node: Node) -> Node | None:
    """take(permute(x), index) -> permute(take(x, index)), for an index of one axis."""
    x, dims = permuted(node)
    index = node.inputs[1]
    if x is None or len(index.shape) != 1:
        return None
    moved = {"axis": dims[node.attrs["axis"]]}
    return permute(build_node(node.op, (x, index), moved, node.loc), dims=dims)


def sink_scatter(node: Node) -> Node | None:
    """index_add(base, index, permute(x)) -> permute(index_add(base, index, x)); where the base is
    the same permute of something, or free."""
    base, index, source = node.inputs
    if source.name != "permute" or is_free(source):
        return None
    dims = tuple(source.attrs["dims"])
    same = base.name == "permute" and tuple(base.attrs["dims"]) == dims
    if not same and not is_free(base):
        return None
    base = base.inputs[0] if same else pushed(base, dims)
    attrs = {**node.attrs, "axis": dims[node.attrs["axis"]]}
    operands = (base, index, source.inputs[0])
    return permute(build_node(node.op, operands, attrs, node.loc), dims=dims)


# -- windows ---------------------------------------------------------------------------------------


def sink_pool(node: Node) -> Node | None:
    """max_pool(permute(x)) -> permute(max_pool(x)), windows of one element over the axes behind."""
    x, dims = permuted(node)
    attrs = _attrs_behind(node, x, dims)
    if attrs is None:
        return None
    pooled = build_node(node.op, (x,), attrs, node.loc)
    behind = prod(x.shape[len(x.shape) - len(attrs["kernel"]) + len(node.attrs["kernel"]) :])
    if node.name == "argmax_pool" and behind > 1:  # positions there count the axes behind, too
        pooled = floor_divide(pooled, full_like(pooled, behind))
    return permute(pooled, dims=dims)


def sink_unfold(node: Node) -> Node | None:
    """unfold(permute(x)) -> permute(unfold(x)), likewise."""
    x, dims = permuted(node)
    attrs = _attrs_behind(node, x, dims)
    if attrs is None:
        return None
    rank, windows = len(dims), node.attrs["kernel"]
    taken = build_node(node.op, (x,), attrs, node.loc)
    taken = reshape(taken, shape=(*taken.shape[:rank], *windows))
    return permute(taken, dims=(*dims, *range(rank, rank + len(windows))))


def _attrs_behind(node: Node, x: Node | None, dims) -> dict | None:
    """The window attributes of `node` for x, where more axes lie behind the window's; or None."""
    if x is None:
        return None
    count = len(node.attrs["kernel"])
    places = dims[len(dims) - count :]
    if places != tuple(range(places[0], places[0] + count)):
        return None
    more = len(dims) - places[-1] - 1
    none = {"kernel": 1, "stride": 1, "padding": (0, 0), "dilation": 1}
    return {k: (*v, *(none[k],) * more) for k, v in node.attrs.items()}


SINKS: dict[str, Sink] = {
    name: sink_elementwise
    for name, op in OPS.items()
    if isinstance(op, Elementwise) and name != "random_bits"
}
SINKS |= {name: sink_reduction for name, op in OPS.items() if isinstance(op, Reduction)}
SINKS |= {
    "argmax": sink_reduction,
    "cumsum": sink_cumsum,
    "concat": sink_concat,
    "pad": sink_per_axis,
    "slice": sink_per_axis,
    "flip": sink_flip,
    "max_pool": sink_pool,
    "argmax_pool": sink_pool,
    "unfold": sink_unfold,
    "take": sink_take,
    **dict.fromkeys(("index_add", "index_put", "index_reduce"), sink_scatter),
}
