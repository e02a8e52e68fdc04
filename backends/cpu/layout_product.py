"""One sum of products as a `contract` node: where its operands lie and how they are walked.

A `Product` says at which position of two nodes the factors stand, in loop variables. Views of the
operands are looked through, and loops cut in two where that lets an operand be read in place (see
walks.py). The right operand must have its columns side by side in memory; where it has not, it is
copied into panels first.
"""

from __future__ import annotations

from math import prod

from nncomp.ir.graph import Loc, Node, build_node
from nncomp.ir.index import Index, Var
from nncomp.ir.op import OPS
from nncomp.ir.ops import pad, permute, reshape, slice

from ..scalar_types import memory_type
from ..walks import Walk, cut_of, look_through, stored
from .contract import SIZES, Contraction, Dim, panel_width, wants_packed
from .layout_pairs import pack_pairs, pair_loop, turned_pairs
from .target import Target

# Bytes between rows of a left operand, terms and columns of the result that make a copy worth it
FAR_ROWS, DEEP, WIDE = 2048, 64, 128
PANEL, WIDEST = 32, 128  # columns of a panel that can be read in place: a multiple, and the most


class Product:
    """result[batch.., m.., n] = sum over k of left * right, at the positions given for both.

    The axes of `right` are [lead.., k.., n], one loop each; `lead` counts the first ones. Nodes in
    `dense` are not looked through: they will be stored in the layout they have. A right operand
    that is `prepared` once for many calls always goes into panels, which costs a call nothing; an
    `even` number of them if that is asked for.
    """

    def __init__(
        self, left, left_at, right, right_at, *, lead, batch, m, n, k, dense=(), prepared=False
    ):
        self.prepared, self.even = prepared, False
        self.panels = (0, 0)  # width and distance of those in which the right operand lies anyway
        self.left, self.left_at = left, tuple(left_at)
        self.right, self.right_at, self.lead = right, tuple(right_at), lead
        self.batch, self.m, self.n, self.k = list(batch), list(m), n, list(k)
        self.a = look_through(left, self.left_at, dense)
        self.b = look_through(right, self.right_at, dense)
        self._settle()

    @property
    def rows(self) -> int:
        """Rows that share one right operand."""
        rows = prod(v.extent for v in self.m)
        for v in reversed(self.batch):
            if v in self.b.offset.vars:
                break
            rows *= v.extent
        return rows

    @property
    def is_direct(self) -> bool:
        """Whether the right operand can be read as it lies: its columns are neighbours."""
        return self.b.is_affine and (self.n.extent == 1 or self.b.stride(self.n) == 1)

    @property
    def copied(self) -> int:
        """How many elements of the right operand each call must copy into panels."""
        in_place = self.is_direct or self.panels[0] or self.prepared
        return 0 if in_place else self.right.type.size

    # -- cutting loops -------------------------------------------------------------------------

    def cut(self, loop: Var, inner: int) -> None:
        """Replace a loop (not n) by two, the second one of `inner` turns."""
        outside, inside = Var(f"{loop.name}o", loop.extent // inner), Var(f"{loop.name}i", inner)
        new = {loop: Index.of(outside) * inner + Index.of(inside)}
        groups = (self.batch, self.m, self.k)
        self.batch, self.m, self.k = (_replaced(g, loop, (outside, inside)) for g in groups)
        self.left_at = tuple(i.substitute(new) for i in self.left_at)
        self.right_at = tuple(i.substitute(new) for i in self.right_at)
        self.a, self.b = self.a.substitute(new), self.b.substitute(new)

    def _settle(self) -> None:
        """Cut loops for each operand in turn, but only where it can then be read in place."""
        before = dict(vars(self))
        while found := cut_of(self.a.offset):
            self.cut(*found)
        if not self.a.is_affine:
            vars(self).update(before)
            self.a = stored(self.left, self.left_at)
        before = dict(vars(self))
        while (found := cut_of(self.b.offset)) and found[0] != self.n:
            self.cut(*found)
        if not self.is_direct and not (found and self._settle_in_panels(found[1])):
            vars(self).update(before)

    def _settle_in_panels(self, width: int) -> bool:
        """Whether the right operand lies in panels of so many columns, as the results of
        attention do; then it is read there."""
        outside, inside = Var("panel", self.n.extent // width), Var("column", width)
        self.b = self.b.substitute({self.n: Index.of(outside) * width + Index.of(inside)})
        while found := cut_of(self.b.offset):
            self.cut(*found)
        if self.n.extent % width or width % PANEL or width > WIDEST or not self.b.is_affine:
            return False
        if self.b.stride(inside) != 1 or not self.b.stride(outside):
            return False
        if any(self.b.stride(v) % width for v in self.k):
            return False
        self.panels = width, self.b.stride(outside)
        return True

    # -- the node ------------------------------------------------------------------------------

    def build(self, target: Target, loc: Loc) -> Node:
        """The `contract` node, with the right operand packed where it has to be or ought to be."""
        count, turned = len(self.m), turned_pairs(self, target)
        rows = len(self.m) > count
        if turned is not None:
            self.a = Walk(*turned)
        (panel, apart), pair = self.panels, pair_loop(self, target)
        if pair is not None:
            panel = panel_width(target, memory_type(self.right.dtype.name), self.n.extent)
            packed, start = pack_pairs(self, pair, panel, _pad_last)
            self.b = stored(packed, start)
        elif not panel and (
            self.prepared or not self.is_direct or wants_packed(self._contraction(), target)
        ):
            panel = panel_width(target, memory_type(self.right.dtype.name), self.n.extent)
            self.b = self._packed(panel)
        self._fold_batch()
        if turned is None and (panel_rows := self._left_panel()):
            self._pack_left(panel_rows)
            rows = True
        attrs = dict(
            batch=tuple((v.extent, self.a.stride(v), self.b.stride(v)) for v in self.batch),
            m=tuple((v.extent, self.a.stride(v)) for v in self.m),
            n=self.n.extent,
            k=tuple((v.extent, self.a.stride(v), self.b.stride(v)) for v in self.k),
            panel=panel,
            panel_stride=apart if pair is None and apart else self._panel_size(panel, pair),
            a_offset=self.a.offset.const,
            b_offset=self.b.offset.const,
        )
        if rows:
            attrs["merged"] = True
        if pair is not None:
            attrs["paired"] = True
        return build_node(OPS["contract"], (self.a.node, self.b.node), attrs, loc)

    def _panel_size(self, panel: int, pair: Var | None) -> int:
        """Elements of a panel that was copied."""
        return panel * prod(v.extent for v in self.k) * (1 if pair is None else 2)

    def _contraction(self) -> Contraction:
        def dims(group):
            return tuple(Dim(v.extent, self.a.stride(v), self.b.stride(v)) for v in group)

        a, b = (memory_type(x.dtype.name) for x in (self.left, self.right))
        return Contraction(
            dims(self.batch), dims(self.m), self.n.extent, dims(self.k), a_type=a, b_type=b
        )

    def _fold_batch(self) -> None:
        """Batch loops next to the rows are rows where the right operand is the same for all."""
        while self.batch and self.b.stride(self.batch[-1]) == 0:
            self.m.insert(0, self.batch.pop())

    def _packed(self, panel: int) -> Walk:
        """The right operand [lead.., k.., n] as [lead.., ceil(n / panel), k.., panel]."""
        source, place = self.right, list(self.right_at)
        for axis in range(self.lead):
            same = not place[axis].vars & self.b.offset.vars
            if same and source.shape[axis] > 1:  # packed once
                source, place[axis] = _first(source, axis), Index()
        shape, lead = source.shape, self.lead
        rank, panels = len(shape), -(-shape[-1] // panel)
        panels += panels % 2 if self.even else 0
        source = _pad_last(source, panels * panel - shape[-1])
        source = reshape(source, shape=(*shape[:-1], panels, panel))
        dims = (*range(lead), rank - 1, *range(lead, rank - 1), rank)
        packed = permute(source, dims=dims)
        start = (*place[:lead], Index(), *place[lead:-1], Index())
        return stored(packed, start)

    def _left_panel(self) -> int:
        """Rows of the panels that a transposed left operand is copied into; 0 to leave it.

        It holds the rows of the result side by side. Where its own rows are far apart, a walk down
        the sum meets a new line at each step, and all of them in few sets of the caches.
        """
        size = SIZES[memory_type(self.left.dtype.name)]
        if self.batch or len(self.m) != 1 or self.a.stride(self.m[0]) != 1:
            return 0
        rows, depth = self.m[0].extent, prod(v.extent for v in self.k)
        strides = [rows * prod(v.extent for v in self.k[i + 1 :]) for i in range(len(self.k))]
        is_inside = self.a.offset.const % rows == 0 and self.a.node.type.size % rows == 0
        if not is_inside or strides != [self.a.stride(v) for v in self.k]:
            return 0
        if 2 * depth * rows < self.a.node.type.size:
            return 0
        if rows * size < FAR_ROWS or depth < DEEP or self.n.extent < WIDE:
            return 0
        return next((n for n in (32, 16) if rows % n == 0), 0)

    def _pack_left(self, panel: int) -> None:
        """The left operand [k.., m] as [m / panel, k.., panel]; all of it, if it is a part."""
        rows = self.m[0].extent
        depth, first = self.a.node.type.size // rows, self.a.offset.const // rows
        source = reshape(self.a.node, shape=(depth, rows // panel, panel))
        self.cut(self.m[0], panel)
        outside, inside = (Index.of(v) for v in self.m)
        place = outside * (depth * panel) + inside + first * panel
        for v in self.k:
            place = place + Index.of(v) * (self.a.stride(v) // rows * panel)
        self.a = Walk(permute(source, dims=(1, 0, 2)), place)


def _replaced(group: list[Var], loop: Var, by: tuple[Var, ...]) -> list[Var]:
    return [v for old in group for v in (by if old == loop else (old,))]


def _pad_last(x: Node, more: int) -> Node:
    if not more:
        return x
    none = (0,) * len(x.shape)
    return pad(x, low=none, high=(*none[:-1], more), interior=none, value=0)


def _first(x: Node, axis: int) -> Node:
    """The first element along an axis, which stays with length 1."""
    stop = tuple(min(n, 1) if i == axis else n for i, n in enumerate(x.shape))
    return slice(x, start=(0,) * len(stop), stop=stop, step=(1,) * len(stop))
