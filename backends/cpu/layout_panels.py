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
from nncomp.ir.panels import comes_from_product, panels_of

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
        if matrix is None or matrix in results or not comes_from_product(matrix):
            continue
        _, rows, width = node.shape
        panels = _Panels(rows, matrix.shape[-1], width)
        if all(_can_read(u, matrix, panels, node, users) for u in users[matrix]):
            kept[matrix] = panels
    if not kept:
        return graph
    made: dict[Node, Node] = {}

    def panels_at(matrix: Node, new: Node) -> Node:
        if matrix not in made:
            rows, columns, width = kept[matrix]
            cut = reshape(new, shape=(rows, columns // width, width))
            made[matrix] = permute(cut, dims=(1, 0, 2))
        return made[matrix]

    def visit(node: Node, operands: tuple[Node, ...]) -> Node | None:
        source = node.inputs[0] if node.inputs else None
        if source not in kept:
            matrix = panels_of(node)
            return panels_at(matrix, operands[0].inputs[0]) if matrix in kept else None
        if node.name == "contract":
            attrs = _moved(node, kept[source])
            return build_node(
                node.op, (panels_at(source, operands[0]), operands[1]), attrs, node.loc
            )
        if node.name == "sum":
            return _sum_of_columns(panels_at(source, operands[0]))
        return None

    return rebuild(graph, visit)


def _can_read(user: Node, matrix: Node, panels: _Panels, node: Node, users) -> bool:
    """Whether `user` can do with the panels `node` in place of the matrix."""
    if user is node.inputs[0]:
        return users[user] == [node]
    if user.name == "contract":
        return user.inputs[1] is not matrix and _moved(user, panels) is not None
    return user.name == "sum" and _is_sum_of_columns(user, panels)


def _moved(contract: Node, panels: _Panels) -> dict | None:
    """The attributes of a contraction whose left operand comes in panels."""
    attrs = dict(contract.attrs)
    if attrs["a_offset"] or attrs.get("paired"):
        return None
    outer = [(*loop, 0)[:3] for name in ("batch", "m") for loop in attrs[name]]
    walk = panels.walk([*outer, *attrs["k"]])
    if walk is None or [n for n, *_ in walk[: len(outer)]] != [n for n, *_ in outer]:
        return None  # the result has other loops
    batch, rows = len(attrs["batch"]), len(outer)
    m = tuple((n, a) for n, a, _ in walk[batch:rows])
    return {**attrs, "batch": walk[:batch], "m": m, "k": walk[rows:]}


def _is_sum_of_columns(node: Node, panels: _Panels) -> bool:
    axes = tuple(range(len(node.inputs[0].shape) - 1))
    return node.attrs["axes"] == axes and panels.rows % PARTS == 0


def _sum_of_columns(panels: Node) -> Node:
    """The sums of the matrix' columns: rows in parts, then the parts."""
    count, rows, width = panels.shape
    parts = reshape(panels, shape=(count, PARTS, rows // PARTS, width))
    return reshape(sum(sum(parts, axes=(2,)), axes=(1,)), shape=(count * width,))
