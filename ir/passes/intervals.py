"""Smallest and largest value of integer nodes, as far as the graph alone tells them."""

from __future__ import annotations

from ..graph import Node
from ..op import OPS

Interval = tuple[int, int] | None

_SAME = {"reshape", "permute", "expand", "slice", "flip", "detach", "again"}


def interval(node: Node, known: dict[Node, Interval]) -> Interval:
    """Smallest and largest value of an integer node; what its dtype holds if nothing is known."""
    whole = dtype_range(node)
    if whole is None:
        return None
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
