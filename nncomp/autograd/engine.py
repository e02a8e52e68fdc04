"""The backward pass: gradients flow from the roots to the leaves, newest node first.

A node is always newer than the nodes its edges point to, so taking the newest waiting node runs
each one after everything that uses its results. Without `create_graph` the rules run under no_grad.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

from ..ir import ops
from .modes import state
from .tape import AccumulateGrad, Edge, TapeNode, edge_of


def run(
    roots: Sequence[tuple[Edge, Any]],
    keep: bool,
    create: bool,
    targets: Sequence[Edge] | None = None,
) -> dict[Edge, Any]:
    """Propagate the gradients of `roots`; fill leaves' .grad, or return those of `targets`.

    `keep` keeps saved values for another pass; `create` records the pass itself. A missing key in
    the answer means that the target does not take part.
    """
    backward = _Backward(keep, targets, [edge for edge, _ in roots])
    before = state.grad_enabled
    state.grad_enabled = create
    try:
        for edge, grad in roots:
            backward.add(edge, grad)
        backward.run()
    finally:
        state.grad_enabled = before
    return backward.found


class _Backward:
    """One backward pass: the waiting nodes and the gradients they got so far."""

    def __init__(self, keep: bool, targets: Sequence[Edge] | None, roots: list[Edge]):
        self.keep = keep
        self.heap: list[tuple[int, TapeNode]] = []
        self.buffers: dict[TapeNode, list] = {}
        self.own: dict[TapeNode, Any] = {}  # gradients of leaves that need no copy
        self.found: dict[Edge, Any] = {}
        self.targets = None if targets is None else set(targets)
        self.needed = None if targets is None else _leading_to({t[0] for t in targets}, roots)

    def add(self, edge: Edge, grad: Any) -> None:
        """Add `grad` to what the node of `edge` gets for one of its results."""
        node, number = edge
        buffer = self.buffers.get(node)
        if buffer is None:
            buffer = self.buffers[node] = [None] * node.n_results
            heapq.heappush(self.heap, (-node.sequence, node))
        old = buffer[number]
        buffer[number] = grad if old is None else ops.add(old, grad)

    def run(self) -> None:
        while self.heap:
            _, node = heapq.heappop(self.heap)
            grads = self.buffers.pop(node)
            if node.tensor_hooks or node.prehooks or node.retained:
                grads = _before(node, grads)
            if isinstance(node, AccumulateGrad):
                self._leaf(node, grads[0])
            else:
                self._step(node, grads)

    def _leaf(self, node: AccumulateGrad, grad: Any) -> None:
        variable = node.variable
        seen = node.tensor_hooks or node.prehooks or node.retained or variable._backward_hooks
        is_own = self.own.pop(node, None) is grad and not seen
        if variable._backward_hooks:
            grad = call_tensor_hooks(variable._backward_hooks, grad)
        if self.targets is None:
            accumulate(variable, grad, is_own)
            for hook in tuple((variable._post_hooks or {}).values()):
                hook(variable)
        elif (node, 0) in self.targets:
            self.found[node, 0] = grad

    def _step(self, node: TapeNode, grads: list) -> None:
        needed = self.needed
        if needed is None:
            wanted = [edge is not None for edge in node.edges]
        else:
            for number, grad in enumerate(grads):
                if grad is not None and (node, number) in self.targets:
                    self.found[node, number] = grad
            wanted = [edge is not None and edge[0] in needed for edge in node.edges]
            if not any(wanted):
                return
        results = node.run(grads, wanted)
        if node.hooks:
            results = _after(node, results, grads)
        if not self.keep:
            node.release()
        is_own = node.makes_own and not node.hooks and not state.grad_enabled
        for edge, grad, want in zip(node.edges, results, wanted, strict=True):
            if want and grad is not None:
                self.add(edge, grad)
                if is_own and isinstance(edge[0], AccumulateGrad):
                    self.own[edge[0]] = grad


def _leading_to(targets: set[TapeNode], roots: list[Edge]) -> set[TapeNode]:
    """The nodes from which a target can be reached, targets included."""
    seen: set[TapeNode] = set()
    stack = [node for node, _ in roots]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(edge[0] for edge in node.edges if edge is not None)
    needed: set[TapeNode] = set()
    for node in sorted(seen, key=lambda n: n.sequence):
        if node in targets or any(e is not None and e[0] in needed for e in node.edges):
            needed.add(node)
    return needed


def _before(node: TapeNode, grads: list) -> list:
    """Run the hooks on the gradients of a node's results, then keep them where asked."""
    for number, hooks in (node.tensor_hooks or {}).items():
        if grads[number] is not None:
            grads[number] = call_tensor_hooks(hooks, grads[number])
    for hook in tuple((node.prehooks or {}).values()):
        grads = _replaced(hook(tuple(grads)), grads)
    for number, reference in (node.retained or {}).items():
        variable = reference()
        if variable is not None and grads[number] is not None:
            accumulate(variable, grads[number])
    return grads


def _after(node: TapeNode, results: Sequence, grads: list) -> Sequence:
    for hook in tuple(node.hooks.values()):
        results = _replaced(hook(tuple(results), tuple(grads)), results)
    return results


def _replaced(new: Any, old: Sequence) -> list:
    """What a node hook returned in place of `old`; None keeps it."""
    if new is None:
        return list(old)
    new = new if isinstance(new, (tuple, list)) else (new,)
    if len(new) != len(old):
        raise RuntimeError(f"hook has returned {len(new)} gradients, expected {len(old)}")
    return list(new)


def call_tensor_hooks(hooks: dict, grad: Any) -> Any:
    """The gradient after the hooks of a tensor, each of which may replace it."""
    for hook in tuple(hooks.values()):
        new = hook(readable(grad))
        if new is None:
            continue
        if getattr(new, "_type", None) != grad._type:
            got = getattr(new, "_type", type(new).__name__)
            raise RuntimeError(
                f"hook '{getattr(hook, '__name__', hook)}' has changed the type or size of the "
                f"gradient: expected {grad._type}, got {got}"
            )
        grad = new
    return grad


def readable(grad: Any) -> Any:
    """A gradient that user code may keep or write: with memory of its own."""
    if grad is not None and grad._borrowed is not None:
        from ..dispatch import own_memory

        own_memory(grad)
    return grad


def accumulate(variable: Any, grad: Any, is_own: bool = False) -> None:
    """Add a gradient to `variable.grad`; in place unless the pass is recorded, as torch does.

    A first gradient is copied, unless it `is_own`: made for this variable alone.
    """
    if state.tracer is not None:
        state.tracer.remember(variable)
    grad = beside(grad, variable)
    old = variable._grad
    if old is not None and old._type != grad._type:
        raise RuntimeError(
            f".grad of the tensor is {old._type} but its new gradient is {grad._type}; set .grad "
            "to None first"
        )
    if old is None:
        variable._grad = grad if is_own else separate(grad)
    elif state.grad_enabled or state.tracer is not None:
        variable._grad = ops.add(old, grad)
    else:
        from ..inplace import assign

        assign(old, ops.add(old, grad))


def beside(grad: Any, x: Any) -> Any:
    """A gradient on the device of `x`: constants made it, or `x` is a number beside tensors."""
    if state.tracer is None and grad.device != x.device:
        from ..cuda.eager import moved

        return moved(grad, x.device)
    return grad


def separate(grad: Any) -> Any:
    """The same value and history as another Tensor with memory of its own."""
    from ..dispatch import copy_of, wrap

    tracer = state.tracer
    if tracer is not None:
        copied = tracer.wrap(tracer.node_of(grad))
    else:
        copied = wrap(copy_of(grad._data), grad._type)
    if state.grad_enabled and grad.requires_grad:
        copied._grad_fn, copied._output_nr = edge_of(grad)
        copied._requires_grad = True
    return copied
