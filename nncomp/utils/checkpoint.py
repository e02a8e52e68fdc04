"""Recomputing instead of remembering (torch.utils.checkpoint).

A checkpointed call forgets its intermediate values and computes them again in the backward pass
(Chen et al., 2016). The tape gets one node for the call; its edges are those that leave the
call's own part of the tape: to the arguments, and to parameters that the function uses.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import nncomp

from ..amp import autocast_mode
from ..autograd import engine
from ..autograd.modes import enable_grad, state
from ..autograd.tape import AccumulateGrad, Edge, TapeNode, edge_of
from ..inplace import alias
from ..ir import ops
from ..random_state import default_generator
from ..tensor import Tensor


class CheckpointError(RuntimeError):
    """The second computation did not give what the first one gave."""


def noop_context_fn() -> tuple[Any, Any]:
    """Return two context managers that do nothing."""
    return contextlib.nullcontext(), contextlib.nullcontext()


def checkpoint(
    function: Callable,
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[Any, Any]] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """Return ``function(*args, **kwargs)``, whose inner values are computed again in backward.

    Random numbers are drawn again as they were, unless ``preserve_rng_state`` is false.
    ``context_fn`` gives the contexts of the first and the second computation. Both settings of
    ``use_reentrant`` do the same; ``debug`` and ``early_stop`` have no effect. CheckpointError in
    backward if the results have other shapes or dtypes, unless ``determinism_check`` is "none".
    It is the same for gradients that are taken inside of compiled code, as in a training step; for
    those taken of a compiled call, the compiler decides what is kept.
    """
    if determinism_check not in ("default", "none"):
        raise ValueError(
            f"determinism_check should be 'default' or 'none', got {determinism_check!r}"
        )
    first, second = context_fn()
    inner = state.tracer is not None and state.tracer.parent is not None
    if inner or not state.grad_enabled:
        with first:
            return function(*args, **kwargs)
    check = determinism_check == "default"
    call = _Call(function, args, kwargs, preserve_rng_state, second, check)
    mark = TapeNode(())  # nodes made from here on belong to the call
    with first:
        result = function(*args, **kwargs)
    return _hidden(call, mark.sequence, result)


def _hidden(call: _Call, start: int, result: Any) -> Any:
    """The result with one node in the place of the tape that the call recorded."""
    leaves: list[Tensor] = []
    _collect(result, leaves)
    call.types = [y._type for y in leaves]
    roots = [edge_of(y) if y.requires_grad else None for y in leaves]
    edges = _outer_edges([root for root in roots if root is not None], start)
    if not edges:
        return result
    node = _CheckpointNode(call, edges, len(leaves))
    made = []
    for number, (y, root) in enumerate(zip(leaves, roots, strict=True)):
        if root is not None:
            y = alias(y)
            y._grad_fn, y._output_nr, y._requires_grad = node, number, True
        made.append(y)
    return _rebuilt(result, iter(made))


def _is_outer(edge: Edge, start: int) -> bool:
    return isinstance(edge[0], AccumulateGrad) or edge[0].sequence < start


def _outer_edges(roots: Sequence[Edge], start: int) -> list[Edge]:
    """The edges that leave the nodes newer than ``start``, each once."""
    found: dict[Edge, None] = {}
    seen: set[TapeNode] = set()
    stack = list(roots)
    while stack:
        edge = stack.pop()
        if _is_outer(edge, start):
            found[edge] = None
        elif edge[0] not in seen:
            seen.add(edge[0])
            stack.extend(e for e in edge[0].edges if e is not None)
    return list(found)


class _Call:
    """What is needed to compute the function again."""

    def __init__(
        self, function: Callable, args: tuple, kwargs: dict, preserve: bool, context: Any,
        check: bool,
    ) -> None:  # fmt: skip
        self.function, self.args, self.kwargs = function, args, kwargs
        self.preserve, self.context, self.check = preserve, context, check
        self.mode = autocast_mode.present()
        self.tracer = tracer = state.tracer
        self.key = default_generator.get_state() if tracer is None else tracer.draws
        self.types: list[Any] = []

    def again(self) -> list[Tensor]:
        """The tensors of the result, recorded."""
        with enable_grad(), self._same_draws(), self.mode, self.context:
            args, kwargs = self._arguments()
            result = self.function(*args, **kwargs)
        leaves: list[Tensor] = []
        _collect(result, leaves)
        types = [y._type for y in leaves]
        if self.check and types != self.types:
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values have different metadata than during the "
                f"forward pass: first {[str(t) for t in self.types]}, then "
                f"{[str(t) for t in types]}"
            )
        return leaves

    def _arguments(self) -> tuple[tuple, dict]:
        """The arguments; in a graph such that nothing is merged with the first computation."""
        if self.tracer is None:
            return self.args, self.kwargs
        self.tracer.checkpoints += 1
        found: list[Tensor] = []
        _collect((self.args, self.kwargs), found)
        fresh = [ops.again(x, number=self.tracer.checkpoints) for x in found]
        return _rebuilt((self.args, self.kwargs), iter(fresh))

    @contextlib.contextmanager
    def _same_draws(self) -> Iterator[None]:
        """Draw the random numbers of the first computation, then go on where we were."""
        if not self.preserve:
            yield
            return
        tracer = self.tracer
        now = default_generator.get_state() if tracer is None else tracer.draws
        self._set_draws(self.key)
        try:
            yield
        finally:
            self._set_draws(now)

    def _set_draws(self, key: Any) -> None:
        if self.tracer is None:
            default_generator.set_state(key)
        else:
            self.tracer.draws = key


class _CheckpointNode(TapeNode):
    """The step of the backward pass that computes the function again."""

    __slots__ = ("call",)

    def __init__(self, call: _Call, edges: list[Edge], results: int) -> None:
        super().__init__(edges, results)
        self.call = call

    def name(self) -> str:
        return "CheckpointFunctionBackward"

    def run(self, grads: list, wanted: Sequence[bool]) -> list:
        create = state.grad_enabled
        mark = TapeNode(())
        results = self.call.again()
        backward = _InnerBackward(create, mark.sequence)
        for y, grad in zip(results, grads, strict=True):
            if grad is not None and y.requires_grad:
                backward.add(edge_of(y), grad)
        before = state.grad_enabled
        state.grad_enabled = create
        try:
            backward.run()
        finally:
            state.grad_enabled = before
        return [
            backward.outer.get(edge) if want else None
            for edge, want in zip(self.edges, wanted, strict=True)
        ]


class _InnerBackward(engine._Backward):
    """A backward pass through the nodes of one call; what leaves them is kept in ``outer``."""

    def __init__(self, keep: bool, start: int) -> None:
        super().__init__(keep, None, [])
        self.start = start
        self.outer: dict[Edge, Any] = {}

    def add(self, edge: Edge, grad: Any) -> None:
        if not _is_outer(edge, self.start):
            super().add(edge, grad)
            return
        old = self.outer.get(edge)
        self.outer[edge] = grad if old is None else old + grad


def _collect(value: Any, out: list[Tensor]) -> None:
    """The tensors in nested tuples, lists and dicts, in order."""
    if isinstance(value, Tensor):
        out.append(value)
    elif isinstance(value, dict):
        for entry in value.values():
            _collect(entry, out)
    elif isinstance(value, (tuple, list)):
        for entry in value:
            _collect(entry, out)


def _rebuilt(value: Any, tensors: Any) -> Any:
    """``value`` with its tensors replaced in order."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, dict):
        return {key: _rebuilt(entry, tensors) for key, entry in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_rebuilt(entry, tensors) for entry in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_rebuilt(entry, tensors) for entry in value)
    return value


def checkpoint_sequential(
    functions: Any,
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Run a Sequential (or list of functions) in ``segments`` parts, all but the last checkpointed.

    ``kwargs`` may hold ``preserve_rng_state``; TypeError for anything else.
    """
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise TypeError(f"Unexpected keyword arguments: {', '.join(kwargs)}")
    if isinstance(functions, nncomp.nn.Sequential):
        functions = list(functions.children())
    size = len(functions) // segments

    def part(start: int, end: int) -> Callable:
        def run(x: Any) -> Any:
            for function in functions[start:end]:
                x = function(x)
            return x

        return run

    end = 0
    for start in range(0, size * (segments - 1), size or 1):
        end = start + size
        input = checkpoint(
            part(start, end), input, use_reentrant=use_reentrant, preserve_rng_state=preserve
        )
    return part(end, len(functions))(input)


__all__ = ["CheckpointError", "checkpoint", "checkpoint_sequential", "noop_context_fn"]
