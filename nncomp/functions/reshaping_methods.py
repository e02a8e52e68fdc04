"""In-place methods that change the shape of a tensor object: unsqueeze_, t_, resize_, set_, ...

The object becomes the view that the function of that name gives. Other tensors on the same memory
keep their shapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd.modes import state
from ..inplace import LEAF, _eager_view
from ..ir import ops
from ..trace_error import trace_error
from . import views
from .base import shape_argument

_TAKEN = ("_data", "_type", "_storage", "_chain", "_grad_fn", "_output_nr", "_counter", "_at")


def _become(x: Any, made: Any) -> Any:
    """Make `x` what `made`, a view of it, is."""
    if made is x:
        return x
    if state.grad_enabled and x.requires_grad and x.is_leaf:
        raise RuntimeError(LEAF)
    steps = made._steps if x._base is not None else 0
    for name in _TAKEN:
        if name in made.__dict__:
            setattr(x, name, made.__dict__[name])
    if steps:
        x._steps = steps
    return x


def _in_place_view(function: Callable) -> Callable:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if state.grad_enabled and self.requires_grad and self.is_leaf:
            raise RuntimeError(LEAF)
        return _become(self, function(self, *args, **kwargs))

    method.__name__ = method.__qualname__ = f"{function.__name__}_"
    method.__doc__ = f"In place: {function.__doc__}"
    return method


squeeze_ = _in_place_view(views.squeeze)
unsqueeze_ = _in_place_view(views.unsqueeze)
transpose_ = _in_place_view(views.transpose)
t_ = _in_place_view(views.t)


def resize_(self: Any, *sizes: Any, memory_format: Any = None) -> Any:
    """Change the shape; elements keep their row-major order, new ones are 0.

    With no more elements than before the memory stays shared; with more it is a new one.
    """
    shape = shape_argument(sizes)
    if state.tracer is not None:
        raise trace_error(
            "resize_() changes memory, which cannot be recorded in a graph; use reshape() or pad()"
        )
    if self.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    size, own = math.prod(shape), self.numel()
    flat = self if self.is_contiguous() else self.contiguous()
    flat = _eager_view(ops.reshape, flat, {"shape": (own,)})
    if size <= own:
        part = views.slice_along(flat, 0, 0, size)
        return _become(self, _eager_view(ops.reshape, part, {"shape": shape}))
    grown = np.zeros(size, self._data.dtype)
    grown[:own] = flat._data
    return _become(self, type(self)._wrap(grown.reshape(shape)))


def resize_as_(self: Any, other: Any, memory_format: Any = None) -> Any:
    """resize_(other.shape)."""
    return resize_(self, tuple(other.shape))


def set_(self: Any, source: Any = None, *rest: Any) -> Any:
    """See the memory of the tensor `source` from now on; storages are refused."""
    if rest or not hasattr(source, "type_"):
        raise NotImplementedError(
            "set_() takes a tensor: storages with offsets and strides of their own are not "
            "supported; use set_(tensor)"
        )
    if source.dtype is not self.dtype:
        raise RuntimeError(
            f"Could not set tensor of type {source.dtype} to a tensor of type {self.dtype}"
        )
    self.data = source
    return self


def fill_diagonal_(self: Any, fill_value: float, wrap: bool = False) -> Any:
    """Store a number on the main diagonal; `wrap` goes on below in tall matrices."""
    shape = tuple(self.shape)
    if len(shape) < 2:
        raise RuntimeError("dimensions must larger than 1")
    if len(shape) > 2 and len(set(shape)) != 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    if len(shape) == 2 and not wrap:
        views.diagonal(self).fill_(fill_value)
        return self
    step = sum(math.prod(shape[i + 1 :]) for i in range(len(shape)))
    flat = views.view(self, -1)
    stop = self.numel() if len(shape) > 2 or wrap else min(shape) * step
    views.slice_along(flat, 0, 0, stop, step).fill_(fill_value)
    return self
