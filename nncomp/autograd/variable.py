"""Variable, torch's old name for a Tensor that may require a gradient."""

from __future__ import annotations

from typing import Any


class _VariableMeta(type):
    def __instancecheck__(cls, obj: Any) -> bool:
        from ..tensor import Tensor

        return isinstance(obj, Tensor)

    def __call__(
        cls, data: Any = None, requires_grad: bool = False, volatile: Any = None
    ) -> Any:
        from ..tensor import Tensor

        x = Tensor() if data is None else data
        if not isinstance(x, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        return x.detach().requires_grad_(bool(requires_grad) and not volatile)


class Variable(metaclass=_VariableMeta):
    """`Variable(tensor, requires_grad=False)`: a leaf on the memory of `tensor`.

    Every Tensor is an instance of Variable.
    """


__all__ = ["Variable"]
