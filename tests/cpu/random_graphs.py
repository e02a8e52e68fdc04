"""Random graphs for the CPU backend: every op, odd sizes, shared values, updates in place, loops.

`draw_case(seed)` gives a graph and operands for it. Each value carries a note of how exactly it can
be computed: ops with jumps (comparisons, rounding, sorting) only read values that every correct
order of operations gives to the bit, so that a difference is an error and not a rounding.
"""

from __future__ import annotations

from random import Random

import numpy as np
from nncomp.ir.grad import joint
from nncomp.ir.graph import Graph, Node, build_node, input_node
from nncomp.ir.op import OPS, OpError
from nncomp.ir.types import DTYPES, TensorType, bool_, float32, float64, int32, int64, uint8

MANTISSA = {"float32": 22, "float64": 50, "float16": 9, "bfloat16": 6}
FLOATS = (float32, float32, float32, float64)
LARGEST = 60_000  # elements of one value
SIZES = (1, 1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 31, 33, 40)


class Note:
    """What is known of a value: |x| <= high, a multiple of 2**-fraction (None: inexact)."""

    __slots__ = ("high", "fraction")

    def __init__(self, high: float, fraction: int | None):
        self.high, self.fraction = high, fraction


class Draw:
    """A growing pool of nodes over some inputs; `r` decides everything."""

    def __init__(self, r: Random, sizes=SIZES, floats=FLOATS):
        self.r, self.sizes, self.floats = r, sizes, floats
        self.pool: list[Node] = []
        self.notes: dict[Node, Note] = {}
        self.inputs: list[Node] = []

    # -- leaves --------------------------------------------------------------------------------

    def input(self, type: TensorType, high: int = 4, name: str = "") -> Node:
        node = input_node(name or f"x{len(self.inputs)}", type)
        self.inputs.append(node)
        return self.add(node, Note(high, 2 if type.dtype.kind == "f" else 0))

    def add(self, node: Node, note: Note) -> Node:
        self.notes[node] = note
        self.pool.append(node)
        return node

    def shape(self, rank: int | None = None) -> tuple[int, ...]:
        rank = self.r.choice((0, 1, 1, 2, 2, 2, 3, 3, 4)) if rank is None else rank
        while True:
            shape = tuple(self.r.choice(self.sizes) for _ in range(rank))
            if self.r.random() < 0.04 and rank:
                shape = (*shape[:-1], 0)
            if np.prod(shape, dtype=np.int64) <= LARGEST // 4:
                return shape

    # -- nodes ---------------------------------------------------------------------------------

    def op(self, name: str, *operands: Node, bound: float, fraction, **attrs) -> Node | None:
        """A new node, or None where it would be too large, too big in value or ill-typed."""
        if bound > 1e4:
            return None
        try:
            node = build_node(OPS[name], operands, attrs)
        except OpError:
            return None
        if node.type.size > LARGEST:
            return None
        if node.dtype.kind == "f" and fraction is not None:
            bits = fraction + int(max(bound, 1)).bit_length()
            fraction = fraction if bits <= MANTISSA[node.dtype.name] else None
        return self.add(node, Note(bound, fraction))

    def any(self, kinds: str = "fiub", exact: bool = False, rank: int = 0) -> Node | None:
        found = [n for n in self.pool if n.dtype.kind in kinds and len(n.shape) >= rank]
        found = [n for n in found if not exact or self.notes[n].fraction is not None]
        recent = found[-6:]
        if not found:
            return None
        return self.r.choice(recent if self.r.random() < 0.6 else found)

    def same(self, x: Node, exact: bool = False) -> Node:
        """A value of x's type: one of the pool, or a broadcast or constant one."""
        found = [n for n in self.pool if n.type == x.type]
        found = [n for n in found if not exact or self.notes[n].fraction is not None]
        if found and self.r.random() < 0.8:
            return self.r.choice(found)
        value = self.r.choice((0.5, 1.0, -2.0) if x.dtype.kind == "f" else (0, 1, 1, 2))
        if x.dtype.kind == "b":
            value = bool(value)
        node = self.op("full", bound=2, fraction=1, value=value, shape=x.shape, dtype=x.dtype)
        return node if node is not None else x

    def grow(self, count: int, makers) -> None:
        for _ in range(count):
            self.r.choice(makers)(self)


def _halves(fraction):
    """The note of a value after halves were added."""
    return None if fraction is None else max(fraction, 1)


# -- makers: each tries to add something -----------------------------------------------------------


def unary(d: Draw) -> None:
    x = d.any("f")
    if x is None:
        return
    high, exact = d.notes[x].high, d.notes[x].fraction
    name = d.r.choice("neg abs exp sin cos tanh erf sigmoid log log1p sqrt expm1 detach".split())
    if name in ("neg", "abs", "detach"):
        d.op(name, x, bound=high, fraction=exact)
    elif name in ("exp", "expm1"):
        if high <= 4:
            d.op(name, x, bound=60, fraction=None)
    elif name in ("log", "log1p", "sqrt"):
        positive = d.op("abs", x, bound=high, fraction=exact)
        half = d.op("full", bound=1, fraction=1, value=0.5, shape=x.shape, dtype=x.dtype)
        base = d.op("add", positive, half, bound=high + 1, fraction=_halves(exact))
        if base is not None:
            d.op(name, base, bound=max(10.0, high), fraction=None)
    else:
        d.op(name, x, bound=1, fraction=None)


def binary(d: Draw) -> None:
    x = d.any("fiu")
    if x is None:
        return
    y = d.same(x)
    a, b = d.notes[x], d.notes[y]
    both = None if None in (a.fraction, b.fraction) else (a.fraction, b.fraction)
    name = d.r.choice("add sub mul maximum minimum div atan2".split())
    if name == "mul":
        d.op("mul", x, y, bound=a.high * b.high, fraction=both and sum(both))
    elif name in ("add", "sub"):
        d.op(name, x, y, bound=a.high + b.high, fraction=both and max(both))
    elif name in ("maximum", "minimum"):
        d.op(name, x, y, bound=max(a.high, b.high), fraction=both and max(both))
    elif x.dtype.kind == "f":
        square = d.op("mul", y, y, bound=b.high**2, fraction=b.fraction and 2 * b.fraction)
        if square is None:
            return
        one = d.op("full", bound=1, fraction=0, value=1.0, shape=x.shape, dtype=x.dtype)
        base = d.op("add", square, one, bound=b.high**2 + 1, fraction=None)
        if base is not None and one is not None:
            d.op(name, x, base, bound=max(a.high, 2), fraction=None)


def jump(d: Draw) -> None:
    """Ops that are not continuous, on exact values."""
    x = d.any("fiu", exact=True)
    if x is None:
        return
    y, note = d.same(x, exact=True), d.notes[x]
    name = d.r.choice("lt le eq floor round remainder floor_divide argmax argsort".split())
    if name in ("lt", "le", "eq"):
        d.op(name, x, y, bound=1, fraction=0)
    elif name in ("floor", "round"):
        if x.dtype.kind == "f":
            d.op(name, x, bound=note.high + 1, fraction=0)
    elif name in ("remainder", "floor_divide"):
        if d.notes[y].fraction == 0 and x.dtype.kind == "i":
            d.op(name, x, y, bound=max(note.high, d.notes[y].high), fraction=0)
    elif x.shape:
        axis = d.r.randrange(len(x.shape))
        if name == "argmax":
            d.op(name, x, bound=x.shape[axis], fraction=0, axis=axis)
        elif x.shape[axis] <= 64:
            attrs = dict(axis=axis, descending=d.r.random() < 0.5)
            d.op(name, x, bound=x.shape[axis], fraction=0, **attrs)


def logic(d: Draw) -> None:
    x = d.any("iub")
    if x is None:
        return
    y = d.same(x)
    high = max(d.notes[x].high, d.notes[y].high)
    name = d.r.choice(("bitwise_and", "bitwise_or", "bitwise_xor"))
    if high < 1000:
        d.op(name, x, y, bound=2 * high + 1, fraction=0)


def choose(d: Draw) -> None:
    x = d.any()
    if x is None:
        return
    masks = [n for n in d.pool if n.type == TensorType(x.shape, bool_)]
    y = d.same(x)
    a, b = d.notes[x], d.notes[y]
    if masks:
        exact = None if None in (a.fraction, b.fraction) else max(a.fraction, b.fraction)
        d.op("where", d.r.choice(masks), x, y, bound=max(a.high, b.high), fraction=exact)


def convert(d: Draw) -> None:
    common = (float32, float64, int32, int64, uint8, bool_)
    dtype = d.r.choice(DTYPES if d.r.random() < 0.4 else common)
    x = d.any(exact=dtype.kind != "f" or dtype.itemsize == 2)
    if x is None:
        return
    high, fraction = d.notes[x].high, d.notes[x].fraction
    if dtype.kind in "iu":
        high, fraction = (high, 0) if dtype.itemsize > 1 else (min(high, 255), 0)
    if dtype.kind == "b":
        high, fraction = 1, 0
    d.op("cast", x, bound=high, fraction=fraction, dtype=dtype)


def move(d: Draw) -> None:
    x = d.any()
    if x is None:
        return
    name = d.r.choice("reshape permute expand slice pad flip concat unfold".split())
    attrs = MOVES[name](d, x)
    operands = (x,)
    if name == "concat":
        if not x.shape:
            return
        others = [n for n in d.pool if n.dtype is x.dtype and n.shape == x.shape]
        operands = (x, *(d.r.choice(others) for _ in range(d.r.randint(0, 3))))
    notes = [d.notes[n] for n in operands]
    exact = None if any(n.fraction is None for n in notes) else max(n.fraction for n in notes)
    high = max(n.high for n in notes)
    if attrs is not None:
        d.op(name, *operands, bound=max(high, 1), fraction=_halves(exact), **attrs)


def _reshape(d: Draw, x: Node):
    size, factors = x.type.size, []
    if size == 0:
        return dict(shape=(0,))
    for prime in (2, 2, 2, 3, 5, 7, 2, 3, 11, 13, 17):
        if size % prime == 0 and d.r.random() < 0.7:
            factors.append(prime)
            size //= prime
    shape = [*factors, size]
    while len(shape) > 4 or (len(shape) > 1 and d.r.random() < 0.5):
        a = shape.pop(d.r.randrange(len(shape)))
        i = d.r.randrange(len(shape))
        shape[i] *= a
    d.r.shuffle(shape)
    if d.r.random() < 0.2:
        shape.insert(d.r.randint(0, len(shape)), 1)
    return dict(shape=tuple(shape))


def _permute(d: Draw, x: Node):
    return dict(dims=tuple(d.r.sample(range(len(x.shape)), len(x.shape))))


def _expand(d: Draw, x: Node):
    shape = (d.r.choice(d.sizes) if n == 1 else n for n in x.shape)
    return dict(shape=tuple(shape))


def _slice(d: Draw, x: Node):
    start = tuple(d.r.randint(0, n) if d.r.random() < 0.3 else 0 for n in x.shape)
    pairs = zip(start, x.shape, strict=True)
    stop = tuple(d.r.randint(a, n) if d.r.random() < 0.3 else n for a, n in pairs)
    return dict(start=start, stop=stop, step=tuple(d.r.choice((1, 1, 1, 2, 3)) for _ in x.shape))


def _pad(d: Draw, x: Node):
    def widths(*choices):
        return tuple(d.r.choice(choices) for _ in x.shape)

    value = d.r.choice((0, 1, 0.5)) if x.dtype.kind == "f" else d.r.choice((0, 1))
    low, high = widths(0, 0, 1, 3), widths(0, 0, 2)
    return dict(low=low, high=high, interior=widths(0, 0, 0, 1), value=value)


def _flip(d: Draw, x: Node):
    return dict(axes=tuple(i for i in range(len(x.shape)) if d.r.random() < 0.5))


def _concat(d: Draw, x: Node):
    return dict(axis=d.r.randrange(len(x.shape))) if x.shape else None


def _windows(d: Draw, x: Node):
    rank = d.r.randint(1, 2)
    if len(x.shape) < rank:
        return None
    return dict(
        kernel=tuple(d.r.randint(1, 3) for _ in range(rank)),
        stride=tuple(d.r.randint(1, 2) for _ in range(rank)),
        padding=tuple((d.r.randint(0, 1), d.r.randint(0, 1)) for _ in range(rank)),
        dilation=tuple(d.r.randint(1, 2) for _ in range(rank)),
    )


MOVES = dict(
    reshape=_reshape, permute=_permute, expand=_expand, slice=_slice, pad=_pad, flip=_flip,
    concat=_concat, unfold=_windows,
)  # fmt: skip


def reduce(d: Draw) -> Node | None:
    x = d.any("fiu", rank=1)
    if x is None:
        return None
    note, name = d.notes[x], d.r.choice("sum sum sum amax prod cumsum".split())
    axes = tuple(i for i in range(len(x.shape)) if d.r.random() < 0.5)
    count = int(np.prod([x.shape[i] for i in axes], dtype=np.int64))
    if name == "sum":
        return d.op("sum", x, bound=note.high * max(count, 1), fraction=note.fraction, axes=axes)
    if name == "amax":
        return d.op("amax", x, bound=note.high, fraction=note.fraction, axes=axes)
    axis = d.r.randrange(len(x.shape))
    if name == "prod" and x.shape[axis] <= 6:
        exact = note.fraction and note.fraction * x.shape[axis]
        bound = max(note.high, 1) ** x.shape[axis]
        return d.op("prod", x, bound=bound, fraction=exact, axes=(axis,))
    if name == "cumsum" and x.shape[axis] <= 64:
        high = note.high * max(x.shape[axis], 1)
        return d.op("cumsum", x, bound=high, fraction=note.fraction, axis=axis)
    return None


def reduce_and_back(d: Draw) -> None:
    """A reduction whose result goes back over the operand: softmax, layer norm, batch norm."""
    x = d.any("f", rank=1)
    if x is None or not x.type.size:
        return
    note = d.notes[x]
    axes = tuple(i for i in range(len(x.shape)) if d.r.random() < 0.5)
    name = d.r.choice(("sum", "amax"))
    count = int(np.prod([x.shape[i] for i in axes], dtype=np.int64)) if name == "sum" else 1
    total = d.op(name, x, bound=note.high * count, fraction=note.fraction, axes=axes)
    if total is None:
        return
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    high, exact = d.notes[total].high, d.notes[total].fraction
    wide = d.op("reshape", total, bound=high, fraction=exact, shape=kept)
    wide = wide and d.op("expand", wide, bound=high, fraction=exact, shape=x.shape)
    if wide is None:
        return
    small = d.op("sub", x, wide, bound=note.high + high, fraction=None)
    if small is not None and d.r.random() < 0.5:
        bounded = d.op("tanh", small, bound=1, fraction=None)
        if bounded is not None:
            d.op("exp", bounded, bound=3, fraction=None)


def pool(d: Draw) -> None:
    x = d.any("f", rank=1)
    attrs = _windows(d, x) if x is not None and x.type.size else None
    if attrs is None:
        return
    note, name = d.notes[x], d.r.choice(("max_pool", "argmax_pool", "fold"))
    if name != "fold":  # every window must reach something
        rows = zip(attrs["kernel"], attrs["dilation"], attrs["padding"], strict=True)
        attrs["padding"] = tuple(p if n > 1 and a == 1 else (0, 0) for n, a, p in rows)
    if name == "fold":
        windows = d.op("unfold", x, bound=note.high, fraction=note.fraction, **attrs)
        if windows is not None:
            size = x.shape[len(x.shape) - len(attrs["kernel"]) :]
            rest = {k: v for k, v in attrs.items() if k != "kernel"}
            d.op("fold", windows, bound=9 * note.high, fraction=note.fraction, size=size, **rest)
    elif name == "max_pool" or note.fraction is not None:
        d.op(name, x, bound=max(note.high, x.type.size), fraction=note.fraction, **attrs)


def matmul(d: Draw) -> None:
    x = d.any("fi", rank=2)
    if x is None:
        return
    note, width = d.notes[x], d.r.choice((1, 3, 8, 17, 33))
    shape = (*x.shape[:-2], x.shape[-1], width)
    found = [n for n in d.pool if n.type == TensorType(shape, x.dtype)]
    if found:
        y = d.r.choice(found)
    elif x.dtype.kind == "f" and len(d.inputs) < 8:
        y = d.input(TensorType(shape, x.dtype))
    else:
        return
    other, depth = d.notes[y], max(x.shape[-1], 1)
    both = None if None in (note.fraction, other.fraction) else note.fraction + other.fraction
    if x.type.size * width < 300_000:
        d.op("matmul", x, y, bound=note.high * other.high * depth, fraction=both)


def conv(d: Draw) -> None:
    x = d.any("f", rank=3)
    if x is None or len(x.shape) > 4 or len(d.inputs) >= 8 or x.shape[1] > 17:
        return
    rank = len(x.shape) - 2
    groups = d.r.choice([g for g in (1, 1, 2, 3) if x.shape[1] % g == 0])
    kernel = tuple(d.r.randint(1, 3) for _ in range(rank))
    out = groups * d.r.choice((1, 2, 5))
    w = d.input(TensorType((out, x.shape[1] // groups, *kernel), x.dtype))
    attrs = dict(
        stride=tuple(d.r.randint(1, 2) for _ in range(rank)),
        padding=tuple((d.r.randint(0, 1), d.r.randint(0, 1)) for _ in range(rank)),
        dilation=tuple(d.r.randint(1, 2) for _ in range(rank)),
        groups=groups,
    )
    high = d.notes[x].high * 4 * w.type.size / out
    y = d.op("conv", x, w, bound=high, fraction=None, **attrs)
    if y is not None and d.r.random() < 0.3:
        d.op("conv_transpose", y, w, bound=high * 9, fraction=None, input_size=x.shape[2:], **attrs)


def index(d: Draw) -> None:
    x, source = d.any(rank=1), d.any("iu", exact=True)
    if x is None or source is None or len(source.shape) > 2:
        return
    note, axis = d.notes[x], d.r.randrange(len(x.shape))
    n = x.shape[axis]
    if n < 1 or (source.dtype.itemsize == 1 and n > 127):
        return
    length = d.op("full", bound=n, fraction=0, value=n, shape=source.shape, dtype=source.dtype)
    at = length and d.op("remainder", source, length, bound=n, fraction=0)
    if at is None:
        return
    taken = d.op("take", x, at, bound=note.high, fraction=note.fraction, axis=axis)
    if taken is None or len(at.shape) != 1 or x.dtype.kind == "b":
        return
    name, count = d.r.choice(("index_add", "index_put")), max(at.type.size, 1)
    high = note.high * (count + 1 if name == "index_add" else 1)
    if d.r.random() < 0.2:
        combine = d.r.choice(("maximum", "minimum"))
        d.op("index_reduce", x, at, taken, bound=note.high, fraction=note.fraction, axis=axis,
             combine=combine)  # fmt: skip
        return
    d.op(name, x, at, taken, bound=high, fraction=note.fraction, axis=axis)


def create(d: Draw) -> None:
    shape = d.r.choice(d.pool).shape if d.r.random() < 0.6 else d.shape()
    if d.r.random() < 0.5 and shape:
        axis = d.r.randrange(len(shape))
        dtype = d.r.choice((int64, int32, float32))
        d.op("iota", bound=shape[axis], fraction=0, shape=shape, axis=axis, dtype=dtype)
    else:
        keys = [n for n in d.pool if n.type == TensorType((2,), int64)]
        if keys:
            bits = d.op("random_bits", d.r.choice(keys), bound=0, fraction=0, shape=shape)
            low = d.op("full", bound=255, fraction=0, value=255, shape=shape, dtype=int32)
            if bits is not None and low is not None:
                d.notes[bits] = Note(1e9, 0)
                d.pool.remove(bits)
                d.op("bitwise_and", bits, low, bound=255, fraction=0)


def loop(d: Draw) -> None:
    """A scan over the leading axis, perhaps with a loop inside."""
    x = d.any("f", rank=1)
    if x is None or not 0 < x.shape[0] <= 9 or d.notes[x].high > 50:
        return
    item = TensorType(x.shape[1:], x.dtype)
    body = Draw(d.r, d.sizes, d.floats)
    carries = [body.input(item, name=f"h{i}") for i in range(d.r.randint(1, 2))]
    consts = [body.input(item, name="c")] if d.r.random() < 0.5 else []
    body.input(item, name="x.t")
    body.grow(d.r.randint(1, 6), SMOOTH)
    bounded = [n for n in body.pool if n.type == item]
    following = []
    for _ in carries:
        squashed = build_node(OPS["tanh"], (d.r.choice(bounded),), {})
        following.append(d.r.choice((squashed, squashed, d.r.choice(carries))))
    results = [d.r.choice(body.pool) for _ in range(d.r.randint(0, 2))]
    graph = Graph("body", body.inputs, (*following, *results))
    if any(n.type.size * x.shape[0] > LARGEST for n in results):
        return
    starts = [d.same(TensorNode(item)) for _ in (*carries, *consts)]
    if any(not isinstance(s, Node) or d.notes[s].high > 50 for s in starts):
        return
    attrs = dict(body=graph, carries=len(carries), consts=len(consts), length=x.shape[0])
    try:
        found = build_node(OPS["scan"], (*starts, x), dict(attrs, reverse=d.r.random() < 0.5))
    except OpError:
        return
    found = found if isinstance(found, tuple) else (found,)
    for node, inner in zip(found, graph.outputs, strict=True):
        high = body.notes[inner].high if inner in body.notes else 4
        d.add(node, Note(max(high, 50), None))


class TensorNode:
    """Stands for a node of a type, to ask `Draw.same` for one."""

    def __init__(self, type: TensorType):
        self.type, self.shape, self.dtype = type, type.shape, type.dtype


SMOOTH = [unary, unary, binary, binary, binary, move, move, reduce, reduce_and_back]
ALL = [
    unary, unary, binary, binary, binary, jump, logic, choose, convert, move, move, move, reduce,
    reduce, reduce_and_back, reduce_and_back, pool, matmul, conv, index, index, create, loop,
]  # fmt: skip


# -- whole cases -----------------------------------------------------------------------------------


def draw_graph(r: Random, nodes: int, makers=ALL, updates: float = 0.0, **options) -> Draw:
    """A draw with inputs and about `nodes` nodes; `d.graph` is made by `finish`."""
    d = Draw(r, **options)
    base = d.shape(r.randint(1, 3))
    for _ in range(r.randint(1, 3)):
        shape = base if r.random() < 0.7 else d.shape()
        dtype = r.choice(d.floats) if r.random() < 0.75 else r.choice((int32, int64, uint8, bool_))
        d.input(TensorType(shape, dtype), high=1 if dtype is bool_ else 4)
    if makers is ALL:
        d.input(TensorType((2,), int64))
        d.input(TensorType((r.choice(d.sizes),), r.choice((int64, int32))))
    d.grow(nodes, makers)
    return d


def finish(d: Draw, updates: bool = False) -> Graph:
    """A graph of some of the pool as results; with `updates`, most of them overwrite inputs."""
    r, made = d.r, [n for n in d.pool if n.op is not None] or d.pool
    outputs = [r.choice(made) for _ in range(r.randint(1, 4))]
    outputs.append(made[-1])
    names = [""] * len(outputs)
    if updates:
        for target in r.sample(d.inputs, min(len(d.inputs), 3)):
            fitting = [n for n in d.pool if n.type == target.type]
            outputs.append(r.choice(fitting[-5:] if r.random() < 0.7 else fitting))
            names.append(target.attrs["name"])
    return Graph("f", d.inputs, outputs, names)


def draw_arrays(d: Draw, seed: int) -> list[np.ndarray]:
    """Quarters between -4 and 4 (or integers up to the note's bound) for each input."""
    rng = np.random.default_rng(seed)
    arrays = []
    for node in d.inputs:
        dtype, high = node.dtype, int(d.notes[node].high)
        if dtype.kind == "f":
            values = rng.integers(-4 * high, 4 * high + 1, node.shape) / 4
        else:
            values = rng.integers(0 if dtype.kind in "ub" else -high, high + 1, node.shape)
        arrays.append(np.asarray(values).astype(dtype.numpy))
    return arrays


def draw_tangle(seed: int):
    """(graph, arrays): many cheap values of one shape, each read by several others."""
    r = Random(seed)
    d = Draw(r)
    shape = d.shape(2)
    for _ in range(r.randint(1, 4)):
        d.input(TensorType(shape, float32), high=1)
    for _ in range(r.randint(20, 300)):
        x, y = r.choice(d.pool[-20:]), r.choice(d.pool[-20:])
        kind = r.random()
        if kind < 0.6 or not all(shape):
            name = r.choice(("sub", "maximum", "minimum"))
            d.add(build_node(OPS[name], (x, y), {}), Note(4, None))
        elif kind < 0.85:
            d.add(build_node(OPS["tanh"], (x,), {}), Note(1, None))
        else:
            axis = r.randrange(2)
            small = build_node(OPS["amax"], (x,), dict(axes=(axis,)))
            kept = tuple(1 if i == axis else n for i, n in enumerate(shape))
            line = build_node(OPS["reshape"], (small,), dict(shape=kept))
            wide = build_node(OPS["expand"], (line,), dict(shape=shape))
            d.add(build_node(OPS["tanh"], (wide - y,), {}), Note(1, None))
    outputs = [r.choice(d.pool[-10:]) for _ in range(r.randint(1, 5))]
    return Graph("f", d.inputs, outputs), draw_arrays(d, seed)


def draw_case(seed: int, kind: str = "all"):
    """(graph, arrays) of one of the families: all, smooth, updates, large."""
    if kind in ("gradient", "tangle"):
        return (draw_gradient if kind == "gradient" else draw_tangle)(seed)
    r = Random(seed)
    options = {}
    if kind == "large":
        options = dict(sizes=(1, 2, 3, 16, 33, 129, 1000, 2049, 4100))
    if kind == "half":
        from nncomp.ir.types import bfloat16, float16

        options = dict(floats=(float16, bfloat16, float32))
    makers = SMOOTH if kind in ("smooth", "large") else ALL
    makers = (loop, loop, *SMOOTH) if kind == "loops" else makers
    count = {"large": 10, "deep": 80, "loops": 12}.get(kind, 25)
    d = draw_graph(r, r.randint(1, count), makers, **options)
    return finish(d, updates=kind == "updates"), draw_arrays(d, seed)


def draw_gradient(seed: int):
    """(graph, arrays): a random differentiable graph with its gradients, for random cotangents."""
    r = Random(seed)
    d = draw_graph(r, r.randint(2, 12), (*SMOOTH, matmul, conv, index, pool, loop))
    made = [n for n in d.pool if n.op is not None and n.dtype.kind == "f"]
    wanted = [n.attrs["name"] for n in d.inputs if n.dtype.kind == "f"]
    if not made or not wanted:
        return finish(d), draw_arrays(d, seed)
    outputs = [r.choice(made) for _ in range(r.randint(1, 2))]
    graph = joint(Graph("f", d.inputs, outputs), wanted)
    for node in graph.inputs[len(d.inputs) :]:
        d.inputs.append(node)
        d.notes[node] = Note(1, 2)
    return graph, draw_arrays(d, seed)
