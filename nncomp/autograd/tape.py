"""The tape: nodes that remember how tensors were made, for the backward pass.

Each recorded operation is a TapeNode. Its `edges` say where the gradients of the operands go: to
the node that made the operand, or to the AccumulateGrad of a leaf. Values are saved only where the
op's gradient rule reads them, with the version of their memory, so that a later in-place write is
noticed.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from ..ir.types import TensorType
from ..utils.hooks import RemovableHandle
from .modes import state
from .saved import SAVES, Saved, save, type_only

_sequence = itertools.count()
Edge = tuple["TapeNode", int]

FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after "
    "they have already been freed). Saved intermediate values of the graph are freed when you call "
    ".backward() or autograd.grad(). Specify retain_graph=True if you need to backward through the "
    "graph a second time or if you need to access saved tensors after calling backward."
)
_TORCH_NAMES = {
    "reshape": "View", "cast": "ToCopy", "take": "IndexSelect", "conv": "Convolution",
    "max_pool": "MaxPool", "concat": "Cat", "expand": "Expand",
}  # fmt: skip


class TapeNode:
    """A step of the backward pass; `tensor.grad_fn` is one.

    `run(grads, wanted)` turns the gradients of the results into those of the operands.
    """

    __slots__ = (
        "edges", "sequence", "n_results", "hooks", "prehooks", "tensor_hooks", "retained",
        "metadata", "__weakref__",
    )  # fmt: skip

    def __init__(self, edges: Sequence[Edge | None], n_results: int = 1):
        self.edges = edges
        self.n_results = n_results
        self.sequence = next(_sequence)
        self.hooks = self.prehooks = self.tensor_hooks = self.retained = None

    @property
    def makes_own(self) -> bool:
        """Whether each gradient from `run` has memory that nobody else reads."""
        return False

    def run(self, grads: list, wanted: Sequence[bool]) -> Sequence:
        """The gradients of the operands that are wanted; None elsewhere."""
        raise NotImplementedError

    def release(self) -> None:
        """Drop the saved values."""

    def name(self) -> str:
        """The node's name, such as AddBackward0."""
        return type(self).__name__

    @property
    def next_functions(self) -> tuple:
        """(node, output number) per operand; (None, 0) for one without a gradient."""
        return tuple(edge or (None, 0) for edge in self.edges)

    def register_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(grad_inputs, grad_outputs)` after this node; it may replace grad_inputs."""
        refuse_while_tracing("a hook on a grad_fn")
        if self.hooks is None:
            self.hooks = _HookDict()
        return _add_hook(self.hooks, hook)

    def register_prehook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(grad_outputs)` before this node runs; it may replace them."""
        refuse_while_tracing("a hook on a grad_fn")
        if self.prehooks is None:
            self.prehooks = _HookDict()
        return _add_hook(self.prehooks, hook)

    def hooks_of_result(self, number: int) -> dict:
        """The dict of the tensor hooks on one result."""
        if self.tensor_hooks is None:
            self.tensor_hooks = {}
        return self.tensor_hooks.setdefault(number, _HookDict())

    def __repr__(self) -> str:
        return f"<{self.name()}>"


class _HookDict(dict):
    """Hooks by handle number, in order; a plain dict has no weak references."""


def _add_hook(hooks: dict, hook: Callable) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


def refuse_while_tracing(what: str) -> None:
    """TraceError if a graph is being recorded."""
    if state.tracer is not None:
        from ..trace_error import trace_error

        raise trace_error(
            f"{what} cannot be recorded in a graph; use tensor.register_hook(), or register it "
            "outside of the traced function"
        )


class AccumulateGrad(TapeNode):
    """Where gradients of a leaf end: they are added to `variable.grad`."""

    __slots__ = ("variable",)

    def __init__(self, variable: Any):
        super().__init__(())
        self.variable = variable


class OpNode(TapeNode):
    """A recorded primitive op."""

    __slots__ = ("op", "attrs", "types", "result_types", "saved", "saved_results")

    def __init__(self, op: Any, attrs: dict, types: list, edges: list, n_results: int):
        super().__init__(edges, n_results)
        self.op, self.attrs, self.types = op, attrs, types

    def name(self) -> str:
        word = _TORCH_NAMES.get(self.op.name)
        if self.op.name == "call":
            return f"{self.attrs['name']}Backward"
        word = word or "".join(part.capitalize() for part in self.op.name.split("_"))
        return f"{word}Backward0"

    def run(self, grads: list, wanted: Sequence[bool]) -> Sequence:
        saved = self.saved
        if saved is FREED:
            raise RuntimeError(FREED)
        xs = [
            type_only(t) if s is None else s.unpack(t, edge)
            for s, t, edge in zip(saved, self.types, self.edges, strict=True)
        ]
        ys = [
            type_only(t) if s is None else s.unpack(t, (self, i))
            for i, (s, t) in enumerate(zip(self.saved_results, self.result_types, strict=True))
        ]
        if self.single:
            results = self.op.vjp(grads[0], ys[0], *xs, **self.attrs)
        else:
            grads = tuple(_or_zeros(g, t) for g, t in zip(grads, self.result_types, strict=True))
            results = self.op.vjp(grads, tuple(ys), *xs, **self.attrs)
        return [
            (r() if callable(r) else r) if w else None
            for r, w in zip(results, wanted, strict=True)
        ]

    @property
    def single(self) -> bool:
        """False for an op with several results, whose gradient rule takes tuples."""
        return self.result_types.__class__ is list

    def release(self) -> None:
        if any(s is not None for s in (*self.saved, *self.saved_results)):
            self.saved = FREED


def _or_zeros(grad: Any, type_: TensorType) -> Any:
    return zeros_of(type_) if grad is None else grad


def zeros_of(type_: TensorType) -> Any:
    """A zero tensor of a type, in the world of this thread (eager or traced)."""
    from .. import dispatch
    from ..ir import ops

    zeros = dispatch.apply(ops.full, (), dict(value=0, shape=type_.shape, dtype=type_.dtype))
    zeros._made = True
    return zeros


def edge_of(x: Any) -> Edge | None:
    """Where gradients of `x` go: None if it requires none."""
    if x._base is not None and x._base._rebased != x._seen:
        from ..inplace import refresh_history

        refresh_history(x)
    node = x._grad_fn
    if node is not None:
        return node, x._output_nr
    return (accumulator(x), 0) if x._requires_grad else None


def accumulator(x: Any) -> AccumulateGrad:
    """The AccumulateGrad of a leaf; the tape holds it, the leaf only knows it weakly."""
    node = x._accumulator and x._accumulator()
    if node is None:
        node = AccumulateGrad(x)
        x._accumulator = weakref.ref(node)
    return node


def record(op: Any, attrs: dict, inputs: Sequence, types: list, result: Any) -> None:
    """Make `result` (a Tensor or a tuple of them) remember that `op` made it from `inputs`."""
    if not op.differentiable or op.name == "detach":
        return
    if result.__class__ is not tuple:
        if result._type.dtype.kind != "f":
            return
        node = OpNode(op, attrs, types, [edge_of(x) for x in inputs], 1)
        node.result_types = [result._type]
        result._grad_fn = node
        result._requires_grad = True
        _save(node, inputs, (result,))
        return
    node = OpNode(op, attrs, types, [edge_of(x) for x in inputs], len(result))
    node.result_types = tuple(y._type for y in result)
    for number, y in enumerate(result):
        if y._type.dtype.kind == "f":
            y._grad_fn, y._output_nr, y._requires_grad = node, number, True
    _save(node, inputs, result)


def _save(node: OpNode, inputs: Sequence, results: Sequence) -> None:
    """Save what the gradient rule reads; see SAVES."""
    plan = SAVES.get(node.op.name)
    if plan is None:
        node.saved = [save(x) for x in inputs]
        node.saved_results = [save(y) for y in results]
        return
    operands, other, result = plan
    if other:  # the gradient of one operand reads the other one
        edges = node.edges
        node.saved = (
            save(inputs[0]) if edges[1] is not None else None,
            save(inputs[1]) if edges[0] is not None else None,
        )
    elif operands:
        node.saved = [save(x) if i in operands else None for i, x in enumerate(inputs)]
    else:
        node.saved = (None,) * len(inputs)
    node.saved_results = (save(results[0]),) if result else (None,) * len(results)


__all__ = [
    "FREED", "AccumulateGrad", "Edge", "OpNode", "Saved", "TapeNode", "accumulator", "edge_of",
    "record", "refuse_while_tracing", "zeros_of",
]  # fmt: skip
