"""From a fused group of nodes to one kernel, by composing the ops' `element` rules.

`Lowering.at(node, position)` is the scalar expression of one element; movement ops only change the
position, so views cost nothing. No op is named here: each says itself what an element of it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from .graph import Graph, Node
from .index import Index, Var, linear
from .kernel_builder import KernelBuilder
from .loops import (
    Accumulator,
    Attend,
    Buffer,
    Contract,
    Expr,
    Kernel,
    Scatter,
    Slide,
    Sort,
    Store,
)
from .op import OpError
from .types import TensorType, bool_, float32, int64

CENTERS = {  # kind by op
    "contract": "contract",
    "depthwise": "window",
    "group_conv": "window",
    "window_conv": "window",
    "window_max": "window",
    "winograd": "winograd",
    "winograd_line": "winograd",
}
POINTWISE = (  # transforms with code generators of their own
    "winograd_weight", "winograd_points", "winograd_kernels", "line_points", "line_kernels",
)  # fmt: skip
PAIRS = 32  # elements per byte of the dtype up to which comparing all pairs sorts a row faster


class NotFusible(Exception):
    """These nodes cannot be one kernel; the fusion pass keeps them apart."""


@dataclass
class Operand:
    """What an op's `element` rule sees of an operand: its type, and its value at a position."""

    lowering: Lowering
    node: Node

    @property
    def shape(self) -> tuple[int, ...]:
        return self.node.type.shape

    @property
    def dtype(self):
        return self.node.type.dtype

    def __call__(self, idx: tuple[Index, ...]) -> Expr:
        return self.lowering.at(self.node, idx)


class Lowering:
    """Scalar code of a group of nodes over a loop domain."""

    def __init__(self, leaves: dict[Node, Buffer], domain, center: Node | None = None):
        self.k = KernelBuilder(domain)
        self.leaves, self.center = leaves, center
        self.center_at: dict[tuple[Index, ...], None] = {}  # where that was read
        self._memo: dict[tuple, Expr] = {}

    def at(self, node: Node, idx: tuple[Index, ...]) -> Expr:
        key = (node, idx, id(self.k._guard))
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = self._element(node, idx)
        return found

    def _element(self, node: Node, idx: tuple[Index, ...]) -> Expr:
        if node is self.center:
            self.center_at[idx] = None
            return Accumulator(node.type.dtype, self.k.domain, part_number(idx))
        leaf = self.leaves.get(node)
        if leaf is not None:
            return self.k.load(leaf, idx)
        if node.op.element is None:
            raise OpError(f"{node.name} has no scalar code; a backend needs a kernel for it")
        operands = [Operand(self, x) for x in node.inputs]
        return node.op.element(self.k, idx, *operands, **node.attrs)


class Reads:
    """Where a kernel over `domain` reads each node, found by following one node after the other.

    A node must be followed after all its readers. `places[node]` lists (position, guard).
    """

    def __init__(self, domain: tuple[Var, ...]):
        self.k = KernelBuilder(domain)
        self.places: dict[Node, dict[tuple, None]] = {}

    def at(self, node: Node, idx: tuple[Index, ...]) -> Expr:
        self.places.setdefault(node, {})[idx, self.k._guard] = None
        return self.k.load(Buffer("read", 0, node.type), idx)

    def follow(self, node: Node) -> None:
        """Note where `node`, computed at all its places, reads its operands."""
        for idx, guard in self.places.get(node, ()):
            self.k._guard = guard
            operands = [Operand(self, x) for x in node.inputs]
            node.op.element(self.k, idx, *operands, **node.attrs)
        self.k._guard = None

    def positions(self, node: Node) -> list[tuple[Index, ...]]:
        """The different positions at which `node` is read."""
        return list(dict.fromkeys(idx for idx, _ in self.places.get(node, ())))


def domain_of(shape: tuple[int, ...]) -> tuple[tuple[Var, ...], tuple[Index, ...]]:
    """Loop variables for the axes of `shape` (none for axes of length 1) and the position."""
    loops = tuple(Var(f"i{axis}", n) for axis, n in enumerate(shape))
    return tuple(v for v in loops if v.extent != 1), tuple(Index.of(v) for v in loops)


def make_buffers(body: Graph) -> tuple[dict[Node, Buffer], list[Buffer]]:
    """Buffers of a group's operands (by node) and of its results."""
    leaves = {n: Buffer(f"x{i}", i, n.type) for i, n in enumerate(body.inputs)}
    start = len(body.inputs)
    outs = [Buffer(f"y{i}", start + i, n.type) for i, n in enumerate(body.outputs)]
    return leaves, outs


def positions(
    body: Graph, domain: tuple[Var, ...], idx, center: Node | None = None, roots=()
) -> list[tuple[Index, ...]]:
    """Where in the domain each result is computed; NotFusible when there is no one place.

    The loops are those of the first result, or of all `roots` that it is put together from.
    """
    primary, *others = body.outputs
    if not others:
        return [idx]
    reads = Reads(domain)
    for root in roots or (primary,):
        reads.at(root, idx)
    read = {x for node in body.nodes for x in node.inputs}
    for out in others:
        if out not in read and out.type.shape == primary.type.shape:  # stored beside it
            reads.at(out, idx)
    for node in reversed(body.nodes):
        if node is not center and node.op.element is not None:
            reads.follow(node)
    return [idx, *(_place(reads, out) for out in others)]


def _place(reads: Reads, out: Node) -> tuple[Index, ...]:
    seen = reads.positions(out)
    if len(seen) != 1 or not is_full_position(seen[0], out.type.shape):
        raise NotFusible(f"{out} is not computed once per element, but at {len(seen)} positions")
    return seen[0]


def is_full_position(idx: tuple[Index, ...], shape: tuple[int, ...]) -> bool:
    """Whether a position is made of distinct loop variables that span `shape` exactly."""
    seen = set()
    for i, n in zip(idx, shape, strict=True):
        if n == 1:
            if not (i.is_const and i.const == 0):
                return False
            continue
        if i.const or len(i.terms) != 1:
            return False
        (atom, c), = i.terms
        if not isinstance(atom, Var) or c != 1 or atom.extent != n or atom in seen:
            return False
        seen.add(atom)
    return True


def part_number(at: tuple[Index, ...]) -> int:
    """The part in which a contraction is read, whole or in parts (see parts.py)."""
    last = at[-1] if at else Index()
    return last.const // last.terms[0][0].extent if last.terms else 0


def lower_map(body: Graph, name: str) -> Kernel:
    """The kernel of a group without a contraction: loops over the primary result."""
    leaves, outs = make_buffers(body)
    primary = body.outputs[0]  # the fusion pass puts the root first: it spans the loops
    domain, idx = domain_of(primary.type.shape)
    lowering = Lowering(leaves, domain)
    places = positions(body, domain, idx)
    stores = tuple(
        Store(out, linear(place, node.type.shape), lowering.at(node, place))
        for out, node, place in zip(outs, body.outputs, places, strict=True)
    )
    buffers = (*leaves.values(), *outs)
    return Kernel(name, "map", buffers, len(outs), domain, stores)


def lower_center(body: Graph, name: str) -> Kernel:
    """The kernel of a group around a contraction or a window: its loops are that one's own."""
    leaves, outs = make_buffers(body)
    made = outs[-1] if body.outputs[-1].name == "quadrant_sums" else None
    if made is not None:
        body = Graph(body.name, body.inputs, body.outputs[:-1])
    center = next(n for n in body.nodes if n.name in CENTERS)
    primary = body.outputs[0]  # the fusion pass puts the root first: it spans the loops
    domain, idx = domain_of(primary.type.shape)
    lowering = Lowering(leaves, domain, center)
    places = positions(body, domain, idx, center)
    stores = tuple(
        Store(out, linear(place, node.type.shape), lowering.at(node, place))
        for out, node, place in zip(outs, body.outputs, places, strict=made is None)
    )
    at = next(iter(lowering.center_at))
    loops = tuple(i.terms[0][0] if i.terms else None for i in at)
    a, b = (*(leaves[x] for x in center.inputs), None)[:2]
    kind, attrs = CENTERS[center.name], dict(center.attrs)
    if kind == "contract":
        if len(lowering.center_at) > 1:
            attrs["parts"] = len(lowering.center_at)
        sums = tuple(leaves[x] for x in center.inputs[2:])
        extra = Contract(a, b, loops, attrs, sums, made)
    else:
        extra = Slide(center.name, a, b, loops, attrs)
    if attrs.get("workspace"):
        outs.append(workspace(leaves, outs, attrs["workspace"]))
    return Kernel(name, kind, (*leaves.values(), *outs), len(outs), domain, stores, extra)


def workspace(leaves, outs, count: int) -> Buffer:
    """Memory for `count` floats that a kernel uses while it runs, as one more result of it."""
    return Buffer("workspace", len(leaves) + len(outs), TensorType((count,), float32))


def scatter_places(node: Node, idx: tuple[Index, ...]):
    """(operand, position) pairs: where index_add and its like, as loops, read their operands."""
    base, index, source = node.inputs
    axis = node.attrs["axis"]
    at = Index.of(Var("entry", index.type.shape[0]))
    return [(base, idx), (index, (at,)), (source, (*idx[:axis], at, *idx[axis + 1 :]))]


def lower_scatter(body: Graph, name: str) -> Kernel:
    """index_add and its like: a copy of the base, then one write per entry of the index."""
    leaves, (out,) = make_buffers(body)
    (node,) = body.outputs
    axis = node.attrs["axis"]
    domain, idx = domain_of(node.type.shape)
    (base, _), (index, at), (source, there) = scatter_places(node, idx)
    lowering = Lowering(leaves, domain)
    entry = Var("entry", index.type.shape[0])
    if entry.extent == 0:
        return lower_map(Graph(body.name, body.inputs, [base]), name)
    line = Var("line", node.type.shape[axis])
    position = tuple(Index.of(line) if i == axis else x for i, x in enumerate(idx))
    around = tuple(v for v in domain if v.name != f"i{axis}")
    value = lowering.k.cast(lowering.at(index, at), int64)
    combine = node.attrs.get("combine") or node.name.removeprefix("index_")
    extra = Scatter(line, entry, value, lowering.at(source, there), combine)
    store = Store(out, linear(position, node.type.shape), lowering.at(base, position))
    return Kernel(name, "scatter", (*leaves.values(), out), 1, around, (store,), extra)


def lower_argsort(node: Node, name: str) -> Kernel:
    """Short rows by comparing all pairs, which lanes do; longer ones by a code generator's way."""
    source, out = Buffer("x0", 0, node.inputs[0].type), Buffer("y0", 1, node.type)
    axis, descending = node.attrs["axis"], node.attrs["descending"]
    if node.type.shape[axis] <= PAIRS * source.type.dtype.itemsize:
        return argsort_by_pairs(source, out, axis, descending, name)
    buffers = source, out, Buffer("workspace", 2, node.type)
    domain, _ = domain_of(node.type.shape)
    return Kernel(name, "sort", buffers, 2, domain, (), Sort(source, axis, descending))


def argsort_by_pairs(source: Buffer, out: Buffer, axis: int, descending: bool, name: str) -> Kernel:
    """Each element counts those that come before it and writes its index at that place."""
    shape = out.type.shape
    domain, idx = domain_of(shape)
    k = KernelBuilder(domain)

    def at(i: Index) -> Expr:
        return k.load(source, (*idx[:axis], i, *idx[axis + 1 :]))

    def less(a: Expr, b: Expr) -> Expr:
        a, b = (b, a) if descending else (a, b)
        if a.dtype.kind != "f":
            return k.lt(a, b)
        not_nan = k.eq(a, a)
        b_is_nan = k.bitwise_xor(k.eq(b, b), k.const(True, bool_))
        return k.bitwise_or(k.lt(a, b), k.bitwise_and(not_nan, b_is_nan))

    def before(inner) -> Expr:
        (i,) = inner
        x, mine = at(i), at(idx[axis])
        tie = k.bitwise_xor(less(mine, x), k.const(True, bool_))
        earlier = k.both(tie, k.index_lt(i, idx[axis]))
        return k.cast(k.bitwise_or(less(x, mine), earlier), int64)

    rank = k.reduce("add", (shape[axis],), before, int64)
    place = k.as_index(rank, shape[axis])
    target = linear((*idx[:axis], place, *idx[axis + 1 :]), shape)
    store = Store(out, target, k.value_of(idx[axis]))
    return Kernel(name, "map", (source, out), 1, domain, (store,))


def lower_attention(node: Node, name: str) -> Kernel:
    """Attention and its gradients have code generators; the geometry is all they need."""
    types = [*(x.type for x in node.inputs), node.type]
    buffers = tuple(Buffer(f"x{i}", i, t) for i, t in enumerate(types))
    domain, _ = domain_of(node.type.shape)
    room = node.attrs.get("workspace")
    if room:
        buffers = (*buffers, workspace(buffers, (), room))
    return Kernel(name, node.name, buffers, 2 if room else 1, domain, (), Attend(dict(node.attrs)))


LOWERINGS = {
    "map": lower_map,
    "contract": lower_center,
    "window": lower_center,
    "winograd": lower_center,
    "scatter": lower_scatter,
}


def _whole(node: Node):
    """Buffers, their number that are written, loops and stores of an op with code of its own."""
    count = len(node.inputs)
    sources = (Buffer(f"x{i}", i, x.type) for i, x in enumerate(node.inputs))
    return (*sources, Buffer("y0", count, node.type)), 1, domain_of(node.type.shape)[0], ()


def lower_node(node: Node, name: str) -> Kernel:
    """The kernel of one node of a fused graph."""
    from .lower_quadrants import lower_quadrant_sums
    from .lower_rows import lower_rows

    if node.name == "fused" and node.attrs["kind"] == "rows":
        return lower_rows(node.attrs["body"], name)
    if node.name == "fused":
        return LOWERINGS[node.attrs["kind"]](node.attrs["body"], name)
    if node.name == "argsort":
        return lower_argsort(node, name)
    if node.name == "quadrant_sums":
        return lower_quadrant_sums(node, name)
    if node.name in ("attention", "attention_grad"):
        return lower_attention(node, name)
    if node.name in POINTWISE:
        buffers, *rest = _whole(node)
        extra = Slide(node.name, buffers[0], None, (), dict(node.attrs))
        return Kernel(name, node.name, buffers, *rest, extra)
    raise OpError(f"{node.name} has no kernel; it should have been fused or expanded before")
