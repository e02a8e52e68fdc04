"""What runs around forward(): forward hooks, and the autograd nodes of the backward hooks.

A full backward hook needs the gradient of the module's output and that of its inputs. Two
identity nodes are put around forward(): the one at the output sees grad_output first, the one at
the inputs sees grad_input last and then calls the hooks.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import nncomp

from ..autograd import Function
from ..autograd.modes import state
from ..tensor import Tensor
from ..trace_error import trace_error
from ._hooks import GLOBAL


class HookedCall:
    """One call of one module: its arguments, its result and the hooks that already ran."""

    def __init__(self, module: Any, forward: Callable, args: tuple, kwargs: dict) -> None:
        self.module, self.forward = module, forward
        self.args, self.kwargs = args, kwargs
        self.result: Any = None
        self.called: set[int] = set()

    def run(self) -> Any:
        """Run the hooks and forward(); hooks with always_call run also after an error."""
        try:
            return self._run()
        except Exception:
            self._run_always_called()
            raise

    def _run(self) -> Any:
        self._forward_pre_hooks()
        boundary = self._backward_boundary()
        if boundary is not None:
            self.args = boundary.wrap_inputs(self.args)
        self.result = self.forward(*self.args, **self.kwargs)
        self._forward_hooks()
        if boundary is not None:
            self.result = boundary.wrap_outputs(self.result)
        self._legacy_backward_hooks()
        return self.result

    def _forward_pre_hooks(self) -> None:
        module = self.module
        for hook in tuple(GLOBAL.forward_pre.values()):
            self._take_args(hook(module, self.args))
        for number, hook in tuple(module._forward_pre_hooks.items()):
            if number not in module._forward_pre_hooks_with_kwargs:
                self._take_args(hook(module, self.args))
                continue
            new = hook(module, self.args, self.kwargs)
            if new is None:
                continue
            if not (isinstance(new, tuple) and len(new) == 2):
                raise RuntimeError(
                    "forward pre-hook must return None or a tuple of "
                    f"(new_args, new_kwargs), but got {new}."
                )
            self.args, self.kwargs = new

    def _take_args(self, new: Any) -> None:
        if new is not None:
            self.args = new if isinstance(new, tuple) else (new,)

    def _all_forward_hooks(self) -> Iterable[tuple[int, Callable, bool, bool]]:
        """Yield number, hook, with_kwargs and always_call of the global and the own hooks."""
        for number, hook in tuple(GLOBAL.forward.items()):
            kwargs, always = GLOBAL.forward_with_kwargs, GLOBAL.forward_always_called
            yield number, hook, number in kwargs, number in always
        module = self.module
        for number, hook in tuple(module._forward_hooks.items()):
            kwargs, always = module._forward_hooks_with_kwargs, module._forward_hooks_always_called
            yield number, hook, number in kwargs, number in always

    def _forward_hooks(self) -> None:
        for number, hook, with_kwargs, _ in self._all_forward_hooks():
            self.called.add(number)
            self._call_forward_hook(hook, with_kwargs)

    def _call_forward_hook(self, hook: Callable, with_kwargs: bool) -> None:
        middle = (self.args, self.kwargs) if with_kwargs else (self.args,)
        new = hook(self.module, *middle, self.result)
        if new is not None:
            self.result = new

    def _run_always_called(self) -> None:
        for number, hook, with_kwargs, always in self._all_forward_hooks():
            if not always or number in self.called:
                continue
            try:
                self._call_forward_hook(hook, with_kwargs)
            except Exception as error:
                warnings.warn(
                    "a forward hook with ``always_call=True`` raised an exception that was "
                    f"silenced as another error was raised in forward: {error}",
                    stacklevel=2,
                )

    def _backward_boundary(self) -> BackwardBoundary | None:
        module = self.module
        pre = [*GLOBAL.backward_pre.values(), *module._backward_pre_hooks.values()]
        full = list(GLOBAL.backward.values()) if GLOBAL.backward_is_full is True else []
        if module._is_full_backward_hook is True:
            full += module._backward_hooks.values()
        return BackwardBoundary(module, full, pre) if pre or full else None

    def _legacy_backward_hooks(self) -> None:
        hooks = list(GLOBAL.backward.values()) if GLOBAL.backward_is_full is False else []
        if self.module._is_full_backward_hook is False:
            hooks += self.module._backward_hooks.values()
        if not hooks:
            return
        node = getattr(_first_tensor(self.result), "grad_fn", None)
        if node is not None:
            for hook in hooks:
                node.register_hook(functools.partial(hook, self.module))


def _first_tensor(value: Any) -> Tensor | None:
    """Return the first tensor found in nested dicts, lists and tuples."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return None
    return next((found for found in map(_first_tensor, value) if found is not None), None)


class _Identity(Function):
    """Gives its tensors on unchanged; ``callback`` sees and may replace their gradients."""

    @staticmethod
    def forward(ctx: Any, callback: Callable, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return views of ``tensors``."""
        ctx.callback = callback
        ctx.set_materialize_grads(False)
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple:
        """Return what the callback makes of ``grads``."""
        return (None, *ctx.callback(grads))


class BackwardBoundary:
    """The pair of identity nodes around one call and the backward hooks they serve."""

    def __init__(self, module: Any, hooks: list[Callable], pre_hooks: list[Callable]) -> None:
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_outputs: tuple | None = None
        self.n_inputs = self.n_outputs = 0
        self.input_places: list[int] = []
        self.output_places: list[int] = []

    def wrap_inputs(self, args: tuple) -> tuple:
        """Pass the tensors among ``args`` that require a gradient through an identity node."""
        self.n_inputs = len(args)
        args, self.input_places = _through_node(args, self._on_grad_input)
        return args

    def wrap_outputs(self, result: Any) -> Any:
        """Pass the tensor, or the tensors of the tuple, of ``result`` through a node."""
        items = result if isinstance(result, tuple) else (result,)
        self.n_outputs = len(items)
        items, self.output_places = _through_node(items, self._on_grad_output)
        if not isinstance(result, tuple):
            return items[0]
        return type(result)(*items) if hasattr(result, "_fields") else items

    def _on_grad_output(self, grads: tuple) -> tuple:
        full = self.grad_outputs = self.before(grads)
        if not self.input_places:
            self.without_inputs(full)
        return tuple(full[place] for place in self.output_places)

    def _on_grad_input(self, grads: tuple) -> tuple:
        if self.grad_outputs is None:
            return grads  # the output took no part in this backward
        full = self.after(grads, self.grad_outputs)
        self.grad_outputs = None
        return tuple(full[place] for place in self.input_places)

    def full_outputs(self, grads: Sequence) -> tuple:
        """Gradients of the differentiable outputs at the places of all of them."""
        return _spread(grads, self.output_places, self.n_outputs)

    def before(self, grads: Sequence) -> tuple:
        """Run the pre hooks: grad_output for all places, as the last of them leaves it."""
        full = self.full_outputs(grads)
        for hook in self.pre_hooks:
            new = self._run(hook, full)
            full = _replaced("pre hook", "grad_output", full, new)
        return full

    def after(self, grads: Sequence, grad_outputs: tuple) -> tuple:
        """Run the hooks: grad_input for all places, as the last of them leaves it."""
        full = _spread(grads, self.input_places, self.n_inputs)
        for hook in self.hooks:
            new = self._run(hook, full, grad_outputs)
            full = _replaced("hook", "grad_input", full, new)
        return full

    def without_inputs(self, grad_outputs: tuple) -> None:
        """Run the hooks of a module none of whose inputs requires a gradient."""
        nothing = (None,) * self.n_inputs
        for hook in self.hooks:
            new = self._run(hook, nothing, grad_outputs)
            if new is not None and not (isinstance(new, tuple) and all(g is None for g in new)):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient should always "
                    "return None or None for all gradients."
                )

    def _run(self, hook: Callable, *gradients: tuple) -> Any:
        """What a hook returns; one that returns None can only change Python state, which a graph
        does not keep."""
        new = hook(self.module, *gradients)
        if new is None and state.tracer is not None:
            raise trace_error(
                f"a backward hook of a module ({type(self.module).__name__}) returned None; what "
                "it does to Python state would happen once, while the graph is recorded, and never "
                "again. Return gradients, remove the hook, or run this module eagerly"
            )
        return new


def _through_node(items: tuple, callback: Callable) -> tuple[tuple, list[int]]:
    """Return ``items`` with the differentiable tensors behind a node, and their positions."""
    places = [
        place
        for place, item in enumerate(items)
        if isinstance(item, Tensor) and item.requires_grad
    ]
    if not places or not nncomp.is_grad_enabled():
        return items, []
    outputs = _Identity.apply(callback, *(items[place] for place in places))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    wrapped = list(items)
    for place, output in zip(places, outputs, strict=True):
        wrapped[place] = output
    return tuple(wrapped), places


def _spread(grads: Sequence, places: list[int], length: int) -> tuple:
    full: list = [None] * length
    for place, grad in zip(places, grads, strict=True):
        full[place] = grad
    return tuple(full)


def _replaced(kind: str, what: str, old: tuple, new: Any) -> tuple:
    """Return the gradients after a hook, which may return None to keep them."""
    if new is None:
        return old
    new = new if isinstance(new, tuple) else (new,)
    if len(new) != len(old):
        raise RuntimeError(
            f"Backward {kind} returned an invalid number of {what}, got {len(new)}, "
            f"but expected {len(old)}"
        )
    return new
