"""Where a node is read: positions in loop variables, and offsets into what is really stored.

Views are looked through: composing their index rules gives an offset into the node below them.
Where that offset needs a quotient of a loop variable, `cut_of` says which loop to cut in two, so
that `matmul(reshape(permute(x)), ...)` can read x in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nncomp.ir.graph import Node
from nncomp.ir.index import Index, Quotient, Remainder, Var, linear
from nncomp.ir.kernel_builder import KernelBuilder
from nncomp.ir.ops import permute, reshape

VIEWS = frozenset({"permute", "expand", "slice", "reshape"})
Position = tuple[Index, ...]


class Walk(NamedTuple):
    """Element `offset` of the flattened `node`."""

    node: Node
    offset: Index

    @property
    def is_affine(self) -> bool:
        return self.offset.const >= 0 and all(
            isinstance(atom, Var) and stride >= 0 for atom, stride in self.offset.terms
        )

    def stride(self, loop: Var) -> int:
        return self.offset.coefficient(loop)

    def substitute(self, new: dict[Var, Index]) -> Walk:
        return Walk(self.node, self.offset.substitute(new))


class _Operand(NamedTuple):
    """Stands for an operand in an op's `element` rule and gives back the position it is read at."""

    node: Node

    @property
    def shape(self) -> tuple[int, ...]:
        return self.node.shape

    @property
    def dtype(self):
        return self.node.dtype

    def __call__(self, position: Position) -> Position:
        return position


def stored(node: Node, at: Position) -> Walk:
    """The element of `node` at a position, as memory holds it once the node is computed."""
    return Walk(node, linear(at, node.shape))


def look_through(node: Node, at: Position, dense: Sequence[Node] = ()) -> Walk:
    """The same element in the node that `node` is a view of; not further than a node of `dense`."""
    k = KernelBuilder()
    while node.name in VIEWS and node not in dense:
        at = node.op.element(k, at, _Operand(node.inputs[0]), **node.attrs)
        node = node.inputs[0]
    return stored(node, at)


def loops(name: str, extents: Sequence[int]) -> list[Var]:
    return [Var(f"{name}{i}", n) for i, n in enumerate(extents)]


def at(*groups: Sequence[Var]) -> Position:
    """The position whose indices are the given loops, one after the other."""
    return tuple(Index.of(v) for group in groups for v in group)


def transposed(x: Node, dims: Sequence[int]) -> Node:
    """permute(x, dims), joined with a permute that x is."""
    dims = tuple(dims)
    if x.name == "permute":
        x, dims = x.inputs[0], tuple(x.attrs["dims"][d] for d in dims)
    return x if dims == tuple(range(len(dims))) else permute(x, dims=dims)


def shaped(x: Node, shape: Sequence[int]) -> Node:
    return x if x.shape == tuple(shape) else reshape(x, shape=tuple(shape))


def cut_of(index: Index) -> tuple[Var, int] | None:
    """The loop to cut, and where, to get rid of quotients and remainders in an index.

    The largest of the possible inner loops: smaller pieces often join again."""
    found = _cuts(index)
    return max(found, key=lambda cut: cut[1]) if found else None


def _cuts(index: Index) -> list[tuple[Var, int]]:
    found = []
    for atom, _ in index.terms:
        if not isinstance(atom, (Quotient, Remainder)):
            continue
        found += _cuts(atom.of)
        for loop, stride in atom.of.terms:
            if not isinstance(loop, Var) or stride <= 0 or atom.by % stride:
                continue
            turns = atom.by // stride
            if 1 < turns < loop.extent and loop.extent % turns == 0:
                found.append((loop, turns))
    return found
