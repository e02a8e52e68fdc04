"""Results of products that a weight's gradient wants in panels are kept in panels alone.

before:
    x = gelu(contract(..))                                       : f32[2048,1536]
    y = contract(x, w, m=((2048,1536),), k=((1536,1,384),))
    p = permute(reshape(x, (2048,48,32)), (1,0,2))               : f32[48,2048,32]
    g = contract(d, p, ..)
after:
    p = permute(reshape(gelu(contract(..))), (1,0,2))            : f32[48,2048,32]
    y = contract(p, w, m=((2048,32),), k=((48,65536,12288),(32,1,384)))
    g = contract(d, p, ..)

The first product's kernel writes the panels (see ir/panels.py), so that nothing is copied: the rows
of a panel are read as fast as those of a matrix. Sums of columns follow.

Needs: contractions with their layouts chosen. Establishes: nothing.
"""

from __future__ import annotations

from builtins import sum as sum_of
from collections.abc import Sequence
from typing import NamedTuple

from nncomp.ir.graph import Graph, Node, build_node, rebuild
from nncomp.ir.ops import permute, reshape, sum
from nncomp.ir.panels import comes_from_product, comes_from_rows, panels_of

PARTS = 16  # of a sum over rows: enough for the threads, and always the same
Walk = tuple[tuple[int, ...], ...]  # (extent, stride in the left operand, ..) of each loop


class _Panels(NamedTuple):
    """`rows` rows of `columns` columns, `width` side by side."""

    rows: int
    columns: int
    width: int

    def stride(self, stride: int) -> int | None:
        """A step of `stride` elements in the matrix, in the panels; None if it has no length."""
        rows, columns = divmod(stride, self.columns)
        if rows and columns:
            return None
        if rows:
            return rows * self.width
        panels, rest = divmod(columns, self.width)
        return panels * self.rows * self.width if not rest else None if panels else rest

    def walk(self, loops: Sequence[tuple[int, ...]]) -> Walk | None:
        """The same loops over the panels, those over several panels cut in two; None where no such
        loops lead to the same elements."""
        cut: list[tuple[int, ...]] = []
        for extent, stride, *others in loops:
            if not stride < self.width < stride * extent:
                cut.append((extent, stride, *others))
                continue
            inner, left = divmod(self.width, stride)
            if left or extent % inner:
                return None
            cut += [(extent // inner, self.width, *(s * inner for s in others))]
            cut += [(inner, stride, *others)]
        if not all(self._stays(cut, below) for below in (self.width, self.columns)):
            return None
        moved = [self.stride(stride) for _, stride, *_ in cut]
        if None in moved:
            return None
        return tuple((n, to, *others) for (n, _, *others), to in zip(cut, moved, strict=True))

    def back(self, loops: Sequence[tuple[int, ...]]) -> Walk | None:
        """Loops over the panels as loops over the matrix; None where none of their own lead there.
        """
        if not all(self._stays(loops, below) for below in (self.width, self.rows * self.width)):
            return None
        found = []
        for extent, stride, *others in loops:
            panel, rest = divmod(stride, self.rows * self.width)
            row, column = divmod(rest, self.width)
            if sum_of(map(bool, (panel, row, column))) > 1:
                return None
            to = panel * self.width + row * self.columns + column
            found.append((extent, to, *others))
        return tuple(found)

    @staticmethod
    def _stays(loops: Sequence[tuple[int, ...]], below: int) -> bool:
        """Whether the steps shorter than `below` add up to less."""
        return sum_of((n - 1) * stride for n, stride, *_ in loops if stride < below) < below


def keep_panels(graph: Graph) -> Graph:
    """`graph` without matrices of which panels are made anyway, where all readers can do so."""
    users, results = graph.users(), set(graph.outputs)
    kept: dict[Node, _Panels] = {}
    for node in graph.nodes:
        matrix = panels_of(node)
        panels = None if matrix is None or matrix in results else _panels_for(matrix, node)
        if panels and all(_can_read(u, matrix, panels, node, users) for u in users[matrix]):
            kept[matrix] = panels
    return rebuild(graph, _Rewrite(kept).visit) if kept else graph


class _Rewrite:
    """Puts panels in place of the matrices `kept`."""

    def __init__(self, kept: dict[Node, _Panels]):
        self.kept = kept
        self.made: dict[Node, Node] = {}

    def visit(self, node: Node, operands: tuple[Node, ...]) -> Node | None:
        if node in self.kept and node.name == "attention_grad":
            attrs = gradients_in_panels(node, self.kept[node])
            self.made[node] = build_node(node.op, operands, attrs, node.loc)
            return self.made[node]
        matrix = panels_of(node)
        if matrix in self.kept:
            return self._panels(matrix, operands[0].inputs[0])
        if node.name == "contract":
            return self._contract(node, operands)
        if node.name == "sum" and node.inputs[0] in self.kept:
            return _sum_of_columns(self._panels(node.inputs[0], operands[0]))
        return None

    def _panels(self, matrix: Node, new: Node) -> Node:
        if matrix not in self.made:
            rows, columns, width = self.kept[matrix]
            cut = reshape(new, shape=(rows, columns // width, width))
            self.made[matrix] = permute(cut, dims=(1, 0, 2))
        return self.made[matrix]

    def _contract(self, node: Node, operands: tuple[Node, ...]) -> Node | None:
        left, matrix = node.inputs[0], panels_of(node.inputs[0])
        if left in self.kept:
            attrs = _moved(node, self.kept[left])
            left = self._panels(left, operands[0])
        elif matrix in self.kept:
            attrs, left = _moved(node, self.kept[matrix], _as_they_are(left)), operands[0]
        else:
            return None
        return build_node(node.op, (left, operands[1]), attrs, node.loc)


def _as_they_are(panels: Node) -> _Panels:
    count, rows, width = panels.shape
    return _Panels(rows, count * width, width)


def _panels_for(matrix: Node, node: Node) -> _Panels | None:
    """The panels, `node` or wider ones, that the kernel of `matrix` can write."""
    panels = _as_they_are(node)
    if matrix.name == "attention_grad":
        panels = panels._replace(width=matrix.attrs["width"])
        return panels if gradients_in_panels(matrix, panels) else None
    return panels if comes_from_product(matrix) or comes_from_rows(matrix) else None


def _can_read(user: Node, matrix: Node, panels: _Panels, node: Node, users) -> bool:
    """Whether `user` can do with such panels in place of the matrix; `node` are those there are."""
    if user is node.inputs[0]:
        return users[user] == [node] and (
            panels.width == node.shape[-1]
            or all(_is_left(u, node) and _moved(u, panels, _as_they_are(node)) for u in users[node])
        )
    if user.name == "contract":
        return _is_left(user, matrix) and _moved(user, panels) is not None
    return user.name == "sum" and _is_sum_of_columns(user, panels)


def _is_left(contract: Node, node: Node) -> bool:
    return contract.name == "contract" and contract.inputs[1] is not node


def _moved(contract: Node, panels: _Panels, now: _Panels | None = None) -> dict | None:
    """The attributes of a contraction whose left operand comes in panels; it is the matrix or, as
    panels, `now`."""
    attrs = dict(contract.attrs)
    if attrs["a_offset"] or attrs.get("paired"):
        return None
    m = [(*loop, 0) for loop in attrs["m"]]
    groups = [attrs["batch"], m, attrs["k"]]
    whole = [loop for group in groups for loop in group]
    if now is not None:
        if now.back(whole) is None:
            return None
        groups = [now.back(group) for group in groups]
        whole = [loop for group in groups for loop in group]
    if panels.walk(whole) is None:
        return None
    batch, rows, k = (panels.walk(group) for group in groups)
    same_rows = attrs.get("merged") or len(rows) == len(m)
    if len(batch) != len(attrs["batch"]) or not same_rows:
        return None  # the result has other loops
    return {**attrs, "batch": batch, "m": tuple((n, a) for n, a, _ in rows), "k": k}


def gradients_in_panels(node: Node, panels: _Panels) -> dict | None:
    """The attributes of an `attention_grad` that writes panels as wide as a head; None where heads
    are not so."""
    attrs, made = dict(node.attrs), []
    lengths = (attrs["depth"][0], attrs["depth"][0], attrs["width"])
    lines = (attrs["rows"][0], attrs["keys"][0], attrs["keys"][0])
    batch = [extent for extent, *_ in attrs["batch"]]
    for (offset, *strides), length, count in zip(attrs["made"], lengths, lines, strict=True):
        loops = list(zip((count, *batch), strides, strict=True))
        if length != panels.width or offset % length or offset >= panels.columns:
            return None
        if panels.columns % length or panels.walk([*loops, (length, 1)]) is None:
            return None
        made.append(tuple(panels.stride(x) for x in (offset, *strides)))
    shape = (panels.columns // panels.width, panels.rows, panels.width)
    return {**attrs, "made": tuple(made), "shape": shape}


def _is_sum_of_columns(node: Node, panels: _Panels) -> bool:
    axes = tuple(range(len(node.inputs[0].shape) - 1))
    return node.attrs["axes"] == axes and panels.rows % PARTS == 0


def _sum_of_columns(panels: Node) -> Node:
    """The sums of the matrix' columns: rows in parts, then the parts."""
    count, rows, width = panels.shape
    parts = reshape(panels, shape=(count, PARTS, rows // PARTS, width))
    return reshape(sum(sum(parts, axes=(2,)), axes=(1,)), shape=(count * width,))
