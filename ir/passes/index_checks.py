"""Finds the index tensors that no one has proved to be in range, so that they are checked first.

before:
    graph f(table: f32[10,4], i: i64[3]) {
      take_0 = take(table, i, axis=0)
      return take_0
    }
after (the checks, run before the program):
    graph f_checks(table: f32[10,4], i: i64[3]) {
      bitwise_xor_0 = bitwise_xor(i, -1)       : i64[3]
      amax_0 = amax(bitwise_xor_0, axes=(0,))  : i64[]
      bitwise_xor_1 = bitwise_xor(amax_0, -1)  : i64[]
      amax_1 = amax(i, axes=(0,))              : i64[]
      return bitwise_xor_1, amax_1
    }

Kernels clamp indices, so memory is safe in any case; the check turns a wrong index into an error
before anything was written. Interval analysis proves most indices that programs compute themselves
(argmax, arange, positions of a pooling window), and these cost nothing. Indices in the body of a
loop that come from its slices alone are checked for all turns at once; where they depend on what
the loop carries, the checks run the part of the loop that computes them.
Needs: bodies of loops as they were traced, without kernels. Establishes: nothing; `without_bounds`
drops the `bounded` markers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..graph import Graph, Node, build_node, rebuild, toposort
from ..index_check import INDEXED, Check
from ..op import OPS, Elementwise
from ..ops import full_like
from ..rewrite import full_node
from ..types import TensorType
from . import PIPELINE
from .intervals import Interval, dtype_range, interval
from .run import Pass, announce_passes, run_pipeline

announce_passes("bounds_apart")

MOVING = frozenset(("again", "bounded", "detach", "expand", "permute", "reshape"))


class Checked(NamedTuple):
    """The smallest element of `low` and the largest of `high` must be in [0, check.length)."""

    low: Node
    high: Node
    check: Check


def index_checks(graph: Graph) -> tuple[Graph | None, list[Check]]:
    """A graph that computes lowest and highest index of every unproved index tensor, or None."""
    found = _checked(graph, {})
    if not found:
        return None, []
    outputs = [end for low, high, _ in found for end in (_lowest(low), _highest(high))]
    return Graph(f"{graph.name}_checks", graph.inputs, outputs), [c for _, _, c in found]


def run_checked(
    graph: Graph, pipeline: Sequence[Pass], label: str = ""
) -> tuple[Graph, Graph | None, list[Check]]:
    """`run_pipeline`, and what `index_checks` finds after the passes of PIPELINE, with which
    `pipeline` begins: later ones put kernels into the bodies of loops."""
    found: list[tuple[Graph | None, list[Check]]] = []

    def bounds_apart(graph: Graph) -> Graph:
        found.append(index_checks(graph))
        return without_bounds(graph)

    common = len(PIPELINE)
    passes = [*pipeline[:common], bounds_apart, *pipeline[common:]]
    optimized = run_pipeline(graph, passes, label=label)
    if not found:  # the switch `stop_after` names one of the common passes
        optimized = bounds_apart(optimized)
    return optimized, *found[0]


def _checked(graph: Graph, known: dict[Node, Interval]) -> list[Checked]:
    """What must be checked; `known` begins with what is known of the graph's inputs."""
    found: dict[tuple[Node, int], Checked] = {}
    inside: list[Checked] = []
    for node in graph.nodes:
        known[node] = interval(node, known)
        for index, length in _uses(node):
            ends = known.get(index, dtype_range(index))
            proved = ends is not None and 0 <= ends[0] and ends[1] < length
            if not proved and index.type.size:
                check = Check(length, node.loc)
                found.setdefault((index, length), Checked(index, index, check))
        if node.name == "scan" and node.attrs["length"]:
            inside += _checked_in_loop(node, known)
    return [*found.values(), *inside]


def _uses(node: Node) -> Iterator[tuple[Node, int]]:
    """(index, length of the axis it points into) that the node relies on."""
    if node.name == "bounded":
        yield node.inputs[0], node.attrs["length"]
    elif node.name in INDEXED:
        yield node.inputs[INDEXED[node.name]], node.inputs[0].shape[node.attrs["axis"]]


def _lowest(x: Node) -> Node:
    """The smallest element: the largest one with all bits turned round."""
    ones = full_like(x, -1 if x.dtype.kind == "i" else (1 << 8 * x.dtype.itemsize) - 1)
    flipped = _highest(build_node(OPS["bitwise_xor"], (x, ones), {}))
    return build_node(
        OPS["bitwise_xor"], (flipped, full_like(flipped, ones.attrs["value"])), {}
    )


def _highest(x: Node) -> Node:
    return build_node(OPS["amax"], (x,), {"axes": tuple(range(len(x.shape)))})


def without_bounds(graph: Graph) -> Graph:
    """The graph without `bounded` nodes: their operands take their places, in loops, too."""

    def visit(node: Node, operands: tuple[Node, ...]) -> Node | None:
        if node.name == "bounded":
            return operands[0]
        if node.name != "scan":
            return None
        body = without_bounds(node.attrs["body"])
        if body is node.attrs["body"]:
            return None
        return Node(node.op, operands, {**node.attrs, "body": body}, node.type, node.loc)

    return rebuild(graph, visit)


# -- loops -----------------------------------------------------------------------------------------


def _checked_in_loop(node: Node, known: dict[Node, Interval]) -> list[Checked]:
    """What must be checked of a loop's body, as nodes outside of it."""
    body, carries = node.attrs["body"], node.attrs["carries"]
    inside: dict[Node, Interval] = {x: dtype_range(x) for x in body.inputs}
    for x, operand in list(zip(body.inputs, node.inputs, strict=True))[carries:]:
        inside[x] = known.get(operand, dtype_range(operand))
    outside: list[Checked] = []
    rest: list[Checked] = []
    stacked = _Stacked(node)
    for low, high, check in _checked(body, inside):
        all_turns = stacked.of(low) if low is high else None
        if all_turns is None:
            rest.append(Checked(low, high, check))
        else:
            outside.append(Checked(all_turns, all_turns, check))
    ends = [end for low, high, _ in rest for end in (_lowest(low), _highest(high))]
    turns = _rows_of_turns(node, ends) if ends else []
    lows, highs = turns[::2], turns[1::2]
    return outside + [Checked(*x) for x in zip(lows, highs, (c for _, _, c in rest), strict=True)]


class _Stacked:
    """Values of a loop's body for all turns at once, as nodes outside of it."""

    def __init__(self, node: Node):
        body, carries = node.attrs["body"], node.attrs["carries"]
        fixed = carries + node.attrs["consts"]
        self.length = node.attrs["length"]
        self.fixed = dict(zip(body.inputs[carries:fixed], node.inputs[carries:fixed], strict=True))
        self.known = dict(zip(body.inputs[fixed:], node.inputs[fixed:], strict=True))

    def of(self, x: Node) -> Node | None:
        """A tensor with the elements that `x` has in any turn, and no others; None for what is not
        elementwise in the slices."""
        while x.name in MOVING:
            x = x.inputs[0]
        return self.fixed.get(x) or self._rows(x)

    def _rows(self, x: Node) -> Node | None:
        """`x` of each turn, one after the other."""
        if x in self.known:
            return self.known[x]
        type = TensorType((self.length, *x.shape), x.dtype)
        if x.name == "full":
            return full_node(x.attrs["value"], type)
        if not isinstance(x.op, Elementwise):
            return None
        operands = [self._rows(operand) for operand in x.inputs]
        if any(operand is None for operand in operands):
            return None
        self.known[x] = build_node(x.op, operands, x.attrs, x.loc)
        return self.known[x]


def _rows_of_turns(node: Node, results: Sequence[Node]) -> list[Node]:
    """The values that nodes of a loop's body have in each turn, stacked; only what they need of the
    loop is in the new one."""
    body, carries = node.attrs["body"], node.attrs["carries"]
    fixed = carries + node.attrs["consts"]
    needed: set[Node] = set()
    roots = list(results)
    while roots:
        new = {x for x in toposort(roots) if x.op is None} - needed
        needed |= new
        roots = [y for x, y in zip(body.inputs[:carries], body.outputs, strict=False) if x in new]
    places = [i for i, x in enumerate(body.inputs) if x in needed]
    kept = [i for i in places if i < carries]
    outputs = (*(body.outputs[i] for i in kept), *results)
    attrs = dict(
        body=Graph(f"{body.name}_checks", [body.inputs[i] for i in places], outputs),
        carries=len(kept), consts=sum(carries <= i < fixed for i in places),
        length=node.attrs["length"], reverse=node.attrs["reverse"],
    )  # fmt: skip
    found = build_node(OPS["scan"], [node.inputs[i] for i in places], attrs, node.loc)
    return list(found[len(kept) :])
