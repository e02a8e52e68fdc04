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
(argmax, arange, positions of a pooling window), and these cost nothing.
Needs: nothing. Establishes: nothing; `without_bounds` drops the `bounded` markers.
"""

from __future__ import annotations

from ..graph import Graph, Node, rebuild
from ..index_check import INDEXED, Check
from ..op import OPS
from ..ops import amax, bitwise_xor, full_like

Interval = tuple[int, int] | None


def index_checks(graph: Graph) -> tuple[Graph | None, list[Check]]:
    """A graph that computes lowest and highest index of every unproved index tensor, or None."""
    known: dict[Node, Interval] = {}
    checks: dict[tuple[Node, int], Check] = {}
    for node in graph.nodes:
        known[node] = interval(node, known)
        for index, length in _uses(node):
            found = known.get(index)
            proved = found is not None and 0 <= found[0] and found[1] < length
            if not proved and index.type.size:
                checks.setdefault((index, length), Check(length, node.loc))
    outputs: list[Node] = []
    for index, _ in checks:
        axes = tuple(range(len(index.shape)))
        all_ones = full_like(index, -1 if index.dtype.kind == "i" else 255)
        flipped = amax(bitwise_xor(index, all_ones), axes=axes)
        outputs.append(bitwise_xor(flipped, full_like(flipped, all_ones.attrs["value"])))
        outputs.append(amax(index, axes=axes))
    if not outputs:
        return None, []
    return Graph(f"{graph.name}_checks", graph.inputs, outputs), list(checks.values())


def _uses(node: Node):
    """(index, length of the axis it points into) that the node relies on."""
    if node.name == "bounded":
        yield node.inputs[0], node.attrs["length"]
    elif node.name in INDEXED:
        yield node.inputs[INDEXED[node.name]], node.inputs[0].shape[node.attrs["axis"]]


def without_bounds(graph: Graph) -> Graph:
    """The graph without `bounded` nodes: their operands take their places."""
    return rebuild(graph, lambda node, xs: xs[0] if node.name == "bounded" else None)


# -- intervals -------------------------------------------------------------------------------------

_SAME = {"reshape", "permute", "expand", "slice", "flip", "detach", "again"}


def interval(node: Node, known: dict[Node, Interval]) -> Interval:
    """Smallest and largest value of an integer node; what its dtype holds if nothing is known."""
    if not hasattr(node.type, "dtype") or node.dtype.kind not in "iub":
        return None
    whole = dtype_range(node)
    rule = _RULES.get(node.name)
    xs = [known[x] if x in known else dtype_range(x) for x in node.inputs]
    if node.name in _SAME:
        return xs[0]
    found = rule(node, xs) if rule else None
    if found is None or not whole[0] <= found[0] <= found[1] <= whole[1]:
        return whole  # unknown, or it may have wrapped
    return found


def dtype_range(node: Node) -> Interval:
    """What the dtype of an integer or bool node can hold; None for floats."""
    if not hasattr(node.type, "dtype") or node.dtype.kind not in "iub":
        return None
    bits = 8 * node.dtype.itemsize
    if node.dtype.kind == "b":
        return 0, 1
    return (
        (-(1 << bits - 1), (1 << bits - 1) - 1) if node.dtype.kind == "i" else (0, (1 << bits) - 1)
    )


def _bounded(node: Node, xs) -> Interval:
    return 0, node.attrs["length"] - 1


def _full(node: Node, xs) -> Interval:
    value = int(node.attrs["value"])
    return value, value


def _axis_positions(node: Node, xs) -> Interval:
    axis, shape = node.attrs["axis"], (node.inputs[0].shape if node.inputs else node.shape)
    return 0, max(shape[axis] - 1, 0)


def _window_positions(node: Node, xs) -> Interval:
    shape, rank = node.inputs[0].shape, len(node.attrs["kernel"])
    size = 1
    for n in shape[len(shape) - rank :]:
        size *= n
    return 0, size - 1


def _add(node: Node, xs) -> Interval:
    a, b = xs
    return (a[0] + b[0], a[1] + b[1]) if a and b else None


def _sub(node: Node, xs) -> Interval:
    a, b = xs
    return (a[0] - b[1], a[1] - b[0]) if a and b else None


def _mul(node: Node, xs) -> Interval:
    a, b = xs
    if not a or not b:
        return None
    ends = [p * q for p in a for q in b]
    return min(ends), max(ends)


def _where(node: Node, xs) -> Interval:
    _, a, b = xs
    return (min(a[0], b[0]), max(a[1], b[1])) if a and b else None


def _concat(node: Node, xs) -> Interval:
    return (min(x[0] for x in xs), max(x[1] for x in xs)) if all(xs) else None


def _minimum(node: Node, xs) -> Interval:
    a, b = xs
    return (min(a[0], b[0]), min(a[1], b[1])) if a and b else None


def _maximum(node: Node, xs) -> Interval:
    a, b = xs
    return (max(a[0], b[0]), max(a[1], b[1])) if a and b else None


def _remainder(node: Node, xs) -> Interval:
    _, b = xs
    return (0, b[1] - 1) if b and b[0] > 0 else None


def _cast(node: Node, xs) -> Interval:
    return (0, 1) if node.inputs[0].dtype.kind == "b" else xs[0]


_RULES = {
    "bounded": _bounded,
    "full": _full,
    "iota": _axis_positions,
    "argmax": _axis_positions,
    "argsort": _axis_positions,
    "argmax_pool": _window_positions,
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "where": _where,
    "concat": _concat,
    "minimum": _minimum,
    "maximum": _maximum,
    "remainder": _remainder,
    "cast": _cast,
}

assert set(_RULES) <= set(OPS)
