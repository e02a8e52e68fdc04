"""UninitializedParameter and UninitializedBuffer: tensors whose shape is not known yet."""

from __future__ import annotations

from typing import Any

import nncomp

from ..tensor import Tensor
from .parameter import Buffer, Parameter

_NO_SHAPE = (
    "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in "
    "`load_state_dict` when trying to load an uninitialized parameter into an initialized one. "
    "Call `forward` to initialize the parameters before accessing their attributes."
)


class UninitializedTensorMixin:
    """A tensor without elements that ``materialize`` turns into a plain parameter or buffer."""

    cls_to_become: type

    def materialize(
        self, shape: Any, device: Any = None, dtype: Any = None
    ) -> None:
        """Take on ``shape``, and become a plain parameter or buffer; values are not set."""
        kind = self.data.dtype if dtype is None else dtype
        self.data = nncomp.empty(tuple(shape), dtype=kind, device=device)
        self.__class__ = self.cls_to_become

    @property
    def shape(self) -> Any:
        """RuntimeError: there is none yet."""
        raise RuntimeError(_NO_SHAPE)

    @staticmethod
    def apply_op(op: Any, inputs: Any, attrs: dict) -> Any:
        """ValueError: the tensor has no value."""
        raise ValueError(
            f"Attempted to use an uninitialized parameter in {op.name}. This error happens when "
            "you are using a `LazyModule` or explicitly manipulating "
            "`torch.nn.parameter.UninitializedParameter` objects. When using LazyModules Call "
            "`forward` with a dummy batch to initialize the parameters before calling torch "
            "functions"
        )

    def share_memory_(self) -> Any:
        """RuntimeError: there is no memory yet."""
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to "
            "initialize the parameters before calling `module.share_memory()`."
        )

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """An empty tensor of the dtype that ``materialize`` shall use."""
        return self.data.to(*args, **kwargs)

    def type(self, *args: Any, **kwargs: Any) -> Any:
        """The same by the name of a type."""
        return self.data.type(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __deepcopy__(self, memo: dict) -> Any:
        if id(self) not in memo:
            copied = type(self)(requires_grad=self.requires_grad, dtype=self.data.dtype)
            memo[id(self)] = copied
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return type(self), (self.requires_grad, None, self.data.dtype)


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A parameter of a lazy module before its first forward()."""

    cls_to_become = Parameter

    def __new__(
        cls, requires_grad: bool = True, device: Any = None, dtype: Any = None
    ) -> UninitializedParameter:
        data = nncomp.empty(0, device=device, dtype=dtype)
        return Tensor._make_subclass(cls, data, requires_grad)


class UninitializedBuffer(UninitializedTensorMixin, Buffer):
    """A buffer of a lazy module before its first forward()."""

    cls_to_become = Tensor

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None,
        persistent: bool = True,
    ) -> UninitializedBuffer:  # fmt: skip
        made = Tensor._make_subclass(cls, nncomp.empty(0, device=device, dtype=dtype))
        made.persistent = persistent
        return made


def is_lazy(value: Any) -> bool:
    """True for a parameter or buffer without a shape."""
    return isinstance(value, UninitializedTensorMixin)


__all__ = ["UninitializedBuffer", "UninitializedParameter"]
