"""Parameter and Buffer: tensors that a Module registers when they are assigned to it."""

from __future__ import annotations

from typing import Any

import nncomp

from ..tensor import Tensor


class Parameter(Tensor):
    """A tensor that is a weight of a Module; it shares the storage of ``data``.

    ``requires_grad`` is True by default and, unlike for other results, not influenced by
    ``no_grad``. Assigning one to an attribute of a Module adds it to ``parameters()``.
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = nncomp.empty(0)
        if not isinstance(data, Tensor):
            raise TypeError(
                f"Parameter got data of type {type(data).__name__}, expected a Tensor; "
                "convert it first with nncomp.tensor(data)."
            )
        return Tensor._make_subclass(cls, data.detach(), requires_grad)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass  # all work is in __new__, as the storage must exist first

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __deepcopy__(self, memo: dict) -> Parameter:
        if id(self) not in memo:
            copied = type(self)(self.data.clone(), self.requires_grad)
            memo[id(self)] = copied
        return memo[id(self)]


class Buffer(Tensor):
    """A tensor that is state of a Module but no weight; ``persistent`` puts it in state_dict."""

    persistent: bool

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Buffer:
        if data is None:
            data = nncomp.empty(0)
        buffer = Tensor._make_subclass(cls, data.detach(), data.requires_grad)
        buffer.persistent = persistent
        return buffer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass


def __getattr__(name: str) -> Any:
    """The parameters of lazy modules, which are defined on top of these classes."""
    if name in ("UninitializedBuffer", "UninitializedParameter", "is_lazy"):
        from . import _uninitialized

        return getattr(_uninitialized, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


__all__ = ["Buffer", "Parameter"]
