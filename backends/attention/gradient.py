"""Makes one `attention_grad` node of the gradients of an attention.

before (P and E as in backward.py):
    dP = matmul(g, permute(v))
    ...
    dq = matmul(dS, permute(k)); dk = matmul(permute(q), dS); dv = matmul(permute(P), g)
after:
    attention_grad_0 = attention_grad(q, k, v, g, ..) : f32[elements of all three]
    dq, dk, dv = reshape(slice(attention_grad_0))

The gradients lie one after the other, each in the order of axes that its readers want.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from nncomp.ir.graph import Node, build_node
from nncomp.ir.index import Index, Var, linear
from nncomp.ir.op import OPS
from nncomp.ir.ops import permute, slice

from ..walks import Walk, at, shaped
from .backward import FoundGradients, Gradient
from .geometry import Geometry, Operand, settled
from .pattern import Found

Fits = Callable[[dict[str, Any]], bool]


class Backward:
    """The gradients of one attention; `part` gives them once their operands are lowered."""

    def __init__(
        self, found: Found, pulled: FoundGradients, node: Node, shapes: dict, has_plan: Fits
    ):
        self.found, self.pulled, self.node = found, pulled, node
        self.shapes, self.has_plan = shapes, has_plan
        self.parts: dict[Node, Node] = {}

    def fits(self, forward: Node) -> bool:
        """Whether there is a plan for it beside the plan of `forward`."""
        while forward.name == "reshape":
            forward = forward.inputs[0]
        return self.has_plan(dict(forward.attrs))

    def part(self, node: Node, new: dict[Node, Node]) -> Node:
        """What stands for the gradient `node` in the lowered graph."""
        if not self.parts:
            self._make(new)
        return self.parts[node]

    def _make(self, new: dict[Node, Node]) -> None:
        geometry = _GradientGeometry(self.found, self.node, new, self.pulled)
        attrs = settled(geometry, self.found, self.node, self.shapes)
        assert attrs is not None, "the forward pass has a plan, so the backward pass has attributes"
        g, results = geometry.others[0], geometry.results
        is_joined = self.pulled.joined is not None
        sizes = [x.size for x in results]
        starts = [0 if is_joined else sum(sizes[:i]) for i in range(len(results))]
        shape = self.pulled.joined.root.shape if self.pulled.joined else (sum(sizes),)
        strides = [[x.walk.stride(loop) for loop in geometry.batch] for x in results]
        lines = [x.walk.stride(line) for x, line in zip(results, geometry.lines, strict=True)]
        of_g = (g.walk.stride(loop) for loop in (geometry.row, *geometry.batch))
        attrs |= dict(
            given=(g.walk.offset.const, *of_g),
            made=tuple(
                (start + x.walk.offset.const, line, *outer)
                for start, x, line, outer in zip(starts, results, lines, strides, strict=True)
            ),
            gains=tuple(x.gain if x else 1.0 for x in self.pulled.all[:2]),
            shape=shape,
        )
        operands = [*(x.walk.node for x in geometry.operands), *geometry.keys_of_dropout(new)]
        operands.insert(3, g.walk.node)
        whole = build_node(OPS["attention_grad"], operands, attrs, self.node.loc)
        if self.pulled.joined is not None:
            self.parts[self.pulled.joined.root] = whole
            return
        for found, x, start in zip(self.pulled.all, results, starts, strict=True):
            if found is not None:
                part = slice(whole, start=(start,), stop=(start + x.size,), step=(1,))
                self.parts[found.node] = _as_wanted(shaped(part, x.shape), found)


def _stored_axes(found: Gradient) -> tuple[int, ...]:
    """The order of axes in memory: that of the node where its last axis is contiguous."""
    axes = found.axes
    return axes if axes[-1] == len(axes) - 1 else tuple(range(len(axes)))


def _as_wanted(x: Node, found: Gradient) -> Node:
    """`x` with the axes of the node that it replaces."""
    return x if _stored_axes(found) == found.axes else permute(x, dims=found.axes)


class _Result(Operand):
    """A position in a gradient that is still to be made."""

    def __init__(self, node: Node, position):
        self.shape = tuple(i.terms[0][0].extent if i.terms else 1 for i in position)
        self.size = prod(self.shape)
        self.walk = Walk(node, linear(position, self.shape))

    def substitute(self, new: dict[Var, Index]) -> None:
        self.walk = self.walk.substitute(new)


class _GradientGeometry(Geometry):
    """The loops of the gradients: `others` are g and the three results."""

    def __init__(self, found: Found, node: Node, new: dict[Node, Node], pulled: FoundGradients):
        self.pulled = pulled
        super().__init__(found, node, new)

    def more(self, new: dict[Node, Node]) -> list[Operand]:
        self.lines = (self.row, self.key, self.key)
        lengths = (self.depth, self.depth, self.width)
        self.results: list[_Result] = []
        for found, line, length in zip(self.pulled.all, self.lines, lengths, strict=True):
            position = at(self.batch, [line], [length])
            if found is not None:
                position = tuple(position[axis] for axis in _stored_axes(found))
            result = _Result(self.pulled.g, position)
            if self.pulled.joined is not None and found is not None:
                result.walk = Walk(self.pulled.g, self.pulled.joined.offset(found.node, position))
            self.results.append(result)
        given = Operand(new[self.pulled.g], at(self.batch, [self.row], [self.width]))
        return [given, *self.results]

    def neighbours(self) -> list[tuple[Operand, Var]]:
        return [(self.operands[1], self.depth), (self.others[0], self.width)]
