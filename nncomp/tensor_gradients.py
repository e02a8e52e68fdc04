"""GradientMethods: what a Tensor has to do with autograd."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from . import inplace
from .autograd import api
from .autograd.modes import state
from .utils.hooks import RemovableHandle

_NOT_FLOAT = "only Tensors of floating point dtype can require gradients"
_NOT_LEAF = (
    "you can only change requires_grad flags of leaf variables. If you want to use a computed "
    "variable in a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
)


class GradientMethods:
    """Flags, gradients, hooks and the backward pass of a Tensor."""

    @property
    def requires_grad(self) -> bool:
        """True if gradients are computed for it; settable on leaves."""
        return self._requires_grad or (self._base is not None and self._base._requires_grad)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise RuntimeError("requires_grad must be a bool")
        if value == self.requires_grad:
            return
        if not self.is_leaf:
            raise RuntimeError(_NOT_LEAF)
        if value and self._type.dtype.kind != "f":
            raise RuntimeError(_NOT_FLOAT)
        if state.tracer is not None:
            state.tracer.remember(self)
        self._requires_grad = value
        self._rebased = self._rebased + 1

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Set `requires_grad` and return the tensor."""
        self.requires_grad = requires_grad
        return self

    @property
    def grad_fn(self) -> Any:
        """The node of the tape that made the tensor; None for leaves."""
        if self._base is not None and self._base._rebased != self._seen:
            inplace.refresh_history(self)
        return self._grad_fn

    @property
    def is_leaf(self) -> bool:
        """True for tensors that no recorded operation made."""
        return self.grad_fn is None

    @property
    def grad(self) -> Any:
        """The accumulated gradient, after backward()."""
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            if not hasattr(value, "_type"):
                raise TypeError(
                    f"assigned grad expected to be a Tensor or None but got grad of type "
                    f"{type(value).__name__}"
                )
            if value._type != self._type:
                raise RuntimeError(
                    f"assigned grad has data of a different size or dtype: expected {self._type}, "
                    f"got {value._type}"
                )
        if state.tracer is not None:
            state.tracer.remember(self)
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self.grad = None

    @property
    def output_nr(self) -> int:
        """Which result of its grad_fn the tensor is."""
        return self._output_nr

    @property
    def _version(self) -> int:
        return self._counter[0] if self._counter is not None else 0

    @property
    def retains_grad(self) -> bool:
        """True for a non-leaf whose gradient is kept."""
        return self._retains

    def retain_grad(self) -> None:
        """Keep the gradient of a non-leaf in `.grad`."""
        if not self.requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        node = self.grad_fn
        if node is None or self._retains:
            return
        if node.retained is None:
            node.retained = {}
        node.retained[self._output_nr] = weakref.ref(self)
        self._retains = True

    def register_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(grad)` when the gradient is known; what it returns replaces the gradient."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if state.tracer is not None:
            return state.tracer.register_hook(self, hook)
        return self._add_hook(hook)

    def _add_hook(self, hook: Callable) -> RemovableHandle:
        node = self.grad_fn
        if node is not None:
            hooks = node.hooks_of_result(self._output_nr)
        else:
            if self._backward_hooks is None:
                self._backward_hooks = OrderedDict()
            hooks = self._backward_hooks
        handle = RemovableHandle(hooks)
        hooks[handle.id] = hook
        return handle

    def register_post_accumulate_grad_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(tensor)` after backward() added to the .grad of this leaf."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if not self.is_leaf:
            raise RuntimeError(
                "post accumulate grad hooks cannot be registered on non-leaf tensors"
            )
        if self._post_hooks is None:
            self._post_hooks = OrderedDict()
        handle = RemovableHandle(self._post_hooks)
        self._post_hooks[handle.id] = hook
        return handle

    def backward(
        self,
        gradient: Any = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Add the gradient of this tensor to the .grad of the leaves that it was made from."""
        api.backward(self, gradient, retain_graph, create_graph, inputs=inputs)
