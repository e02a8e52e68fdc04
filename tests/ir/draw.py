"""Random attributes, values, graphs and instances of rewrite rules.

`r` is a `random.Random`; with hypothesis' `st.randoms()` the draws can be shrunk.
"""

from __future__ import annotations

import math
from random import Random

import numpy as np
from nncomp.ir.graph import Graph, Loc, Node, build_node, input_node
from nncomp.ir.op import OPS, Elementwise, OpError
from nncomp.ir.rewrite import Of, Pattern, full_node
from nncomp.ir.types import DTYPES, TensorType, bool_, float32, float64, int32, int64, uint8

DRAWN = (float32, float64, int32, int64, uint8, bool_)
SPECIAL = (0.0, -0.0, 1.0, -1.0, 2.0, 0.5, math.inf, -math.inf, math.nan)
CONSTANTS = (0, 1, -1, 2, 0.5, 4.0, 3.0, 1e-3)


def draw_shape(r: Random, rank: int | None = None) -> tuple[int, ...]:
    rank = r.randint(0, 3) if rank is None else rank
    return tuple(r.choice((1, 1, 2, 3, 0) if r.random() < 0.3 else (1, 2, 3)) for _ in range(rank))


def split_size(r: Random, size: int) -> tuple[int, ...]:
    """A random shape of `size` elements."""
    if size == 0:
        return (r.randint(0, 2), 0)
    factors, rest = [], size
    while rest > 1:
        factor = r.choice([n for n in range(2, rest + 1) if rest % n == 0])
        factors.append(factor)
        rest //= factor
    factors += [1] * r.randint(0, 2)
    r.shuffle(factors)
    return tuple(factors)


def draw_axes(r: Random, rank: int) -> tuple[int, ...]:
    return tuple(i for i in range(rank) if r.random() < 0.5)


def _slice(r, x):
    start = tuple(r.randint(0, n) if r.random() < 0.5 else 0 for n in x.shape)
    stop = tuple(
        r.randint(a, n) if r.random() < 0.5 else n for a, n in zip(start, x.shape, strict=True)
    )
    return dict(start=start, stop=stop, step=tuple(r.choice((1, 1, 2, 3)) for _ in x.shape))


def _pad(r, x):
    def widths():
        return tuple(r.choice((0, 0, 1, 2)) for _ in x.shape)

    return dict(low=widths(), high=widths(), interior=widths(), value=r.choice((0, 1, 0.5)))


def _order(r, x):
    dims = list(range(len(x.shape)))
    if r.random() < 0.7:
        r.shuffle(dims)
    return dict(dims=tuple(dims))


ATTRIBUTES = {
    "reshape": lambda r, x: dict(shape=x.shape if r.random() < 0.3 else split_size(r, x.size)),
    "permute": _order,
    "expand": lambda r, x: dict(shape=tuple(r.choice((1, 2, 3)) if n == 1 else n for n in x.shape)),
    "slice": _slice,
    "pad": _pad,
    "flip": lambda r, x: dict(axes=draw_axes(r, len(x.shape))),
    "concat": lambda r, x: dict(axis=r.randrange(max(len(x.shape), 1))),
    "sum": lambda r, x: dict(axes=draw_axes(r, len(x.shape))),
    "prod": lambda r, x: dict(axes=draw_axes(r, len(x.shape))),
    "amax": lambda r, x: dict(axes=draw_axes(r, len(x.shape))),
    "argmax": lambda r, x: dict(axis=r.randrange(max(len(x.shape), 1))),
    "cumsum": lambda r, x: dict(axis=r.randrange(max(len(x.shape), 1))),
    "cast": lambda r, x: dict(dtype=r.choice(DTYPES)),
}


# -- values ---------------------------------------------------------------------------------------


def draw_array(r: Random, type: TensorType, ordinary: bool = False) -> np.ndarray:
    """Random values; extremes, nan, infinities and both zeros among them unless `ordinary`."""
    dtype = type.dtype.numpy
    if type.dtype.kind == "b":
        values = [r.random() < 0.5 for _ in range(type.size)]
    elif type.dtype.kind == "f":
        special = 0.0 if ordinary else 0.4
        values = [
            r.choice(SPECIAL) if r.random() < special else r.uniform(0.5, 2.0) * r.choice((1, -1))
            for _ in range(type.size)
        ]
    else:
        info = np.iinfo(dtype)
        edges = (info.min, info.max, 0, 1)
        values = [
            r.choice(edges) if r.random() < 0.2 else r.randint(0, 9) for _ in range(type.size)
        ]
    return np.array(values).astype(dtype).reshape(type.shape)


# -- instances of rules ---------------------------------------------------------------------------


def draw_instance(r: Random, pattern: Pattern) -> Graph | None:
    """A graph whose output matches `pattern`, with an input per wildcard; None if a draw fails."""
    types = (draw_shape(r), r.choice(DTYPES))
    bound: dict[str, object] = {}
    try:
        root = _draw_pattern(r, pattern, TensorType(*types), bound)
    except (OpError, ValueError):
        return None
    inputs = [v for v in bound.values() if isinstance(v, Node)]
    return Graph("instance", inputs, (root,))


def _draw_pattern(r: Random, pattern: Pattern, base: TensorType, bound: dict) -> Node:
    if pattern.op is None:
        if pattern.name not in bound:
            dtype = bool_ if r.random() < 0.15 else base.dtype
            bound[pattern.name] = input_node(pattern.name, TensorType(base.shape, dtype))
        return bound[pattern.name]
    if pattern.op.name == "full":
        return _draw_constant(r, pattern, base, bound)
    operands = [_draw_pattern(r, x, base, bound) for x in pattern.inputs]
    drawn = {}
    if pattern.attrs:
        drawn = ATTRIBUTES[pattern.op.name](r, operands[0].type)
    attrs = {k: _draw_attribute(v, drawn.get(k), bound) for k, v in pattern.attrs.items()}
    return build_node(pattern.op, operands, attrs)


def _draw_attribute(want, drawn, bound: dict):
    return bound.setdefault(want.name, drawn) if isinstance(want, Pattern) else want


def _draw_constant(r: Random, pattern: Pattern, base: TensorType, bound: dict) -> Node:
    value, shape, dtype = (pattern.attrs[k] for k in ("value", "shape", "dtype"))
    if isinstance(value, Pattern):
        value = bound.setdefault(value.name, r.choice(CONSTANTS))
    like = _draw_pattern(r, shape.pattern, base, bound) if isinstance(shape, Of) else None
    if like is None:
        shape = bound.setdefault(shape.name, base.shape)
        dtype = bound.setdefault(dtype.name, base.dtype)
        return full_node(value, TensorType(shape, dtype))
    return full_node(value, like.type)


# -- whole graphs ---------------------------------------------------------------------------------


NAMES = ("x", "w", "fc.weight", "0.bias", "1.5", "nan", "add_0", "a b", "it's", "graph", "full_0")
LOCS = (Loc(), Loc("net.fc1", "model.py:14"), Loc("net.act", ""), Loc("", "m.py:3"),
        Loc("a b", "c: 1"), Loc("net[0]", "/tmp/some dir/m.py:9"))  # fmt: skip


def draw_graph(r: Random, nodes: int = 12) -> Graph:
    """A random graph of elementwise ops, movements, reductions, matmuls and loops."""
    base = draw_shape(r, r.randint(1, 2))
    names = r.sample(NAMES, r.randint(1, 4))
    inputs = [input_node(n, TensorType(base, r.choice(DRAWN))) for n in names]
    pool = list(inputs)
    for _ in range(r.randint(1, nodes)):
        made = _draw_node(r, pool)
        if made is not None:
            pool.extend(made if isinstance(made, tuple) else (made,))
    outputs = r.sample(pool, r.randint(1, min(3, len(pool))))
    updates = {n.type: n.attrs["name"] for n in inputs}
    targets = [updates.get(n.type, "") if r.random() < 0.3 else "" for n in outputs]
    return Graph(r.choice(("f", "net.forward", "1e5")), inputs, outputs, targets)


def _draw_node(r: Random, pool: list[Node]):
    x = r.choice(pool)
    name = r.choice(sorted(OPS)) if r.random() < 0.6 else r.choice(sorted(ATTRIBUTES))
    loc = r.choice(LOCS)
    try:
        if name in ATTRIBUTES:
            return build_node(OPS[name], (x,), ATTRIBUTES[name](r, x.type), loc)
        if name == "scan" and x.shape:
            return _draw_scan(r, x, loc)
        if isinstance(OPS[name], Elementwise) and name not in ("detach", "random_bits"):
            return build_node(OPS[name], _elementwise_operands(r, name, x, pool), {}, loc)
    except OpError:
        return None
    return None


def _elementwise_operands(r: Random, name: str, x: Node, pool: list[Node]) -> tuple:
    count = 1 if name == "cast" else OPS[name].scalar.__code__.co_argcount - 1
    same = [n for n in pool if n.type == x.type]
    constants = [full_node(r.choice(SPECIAL), x.type), full_node(r.choice(CONSTANTS), x.type)]
    if x.dtype.kind != "f":
        constants = [full_node(r.randint(0, 1), x.type)]
    operands = [r.choice([*same, *constants]) for _ in range(count)]
    if name == "where":
        chosen = [n for n in pool if n.type == TensorType(x.shape, bool_)]
        operands[0] = r.choice(chosen) if chosen else x
    return tuple(operands)


def _draw_scan(r: Random, x: Node, loc: Loc):
    """A loop over the leading axis of x whose body is a small random graph."""
    item = TensorType(x.shape[1:], x.dtype)
    carry, element = input_node("h", item), input_node("x.t", item)
    pool = [carry, element]
    for _ in range(3):
        made = _draw_node(r, pool)
        if isinstance(made, Node):
            pool.append(made)
    same = [n for n in pool if n.type == item]
    body = Graph("step", (carry, element), (r.choice(same), r.choice(pool)))
    start = full_node(r.choice((0, 1)), item)
    attrs = dict(body=body, carries=1, consts=0, length=x.shape[0], reverse=r.random() < 0.5)
    return build_node(OPS["scan"], (start, x), attrs, loc)
