"""MoreMethods: the rarer methods of Tensor, and those that are left out on purpose.

One line per method, as in tensor_methods; what a method does is written at the function.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import functions, storage
from .device import require_cpu
from .flags import strided
from .functions import reshaping_methods
from .functions.binding import in_place
from .functions.draws import cauchy_, geometric_
from .functions.special_values import eager_array
from .inplace import assign
from .refused import with_refused_methods

_IN_PLACE = (
    "arccos arccosh arcsin arcsinh arctan arctan2 arctanh deg2rad rad2deg greater greater_equal "
    "less less_equal not_equal float_power heaviside digamma erfinv gcd i0 igamma igammac lcm "
    "ldexp lgamma mvlgamma nextafter polygamma renorm sgn sinc scatter_reduce index_reduce put "
    "conj_physical"
)
_PLAIN = (
    "angle arccosh arcsinh arctanh as_strided as_strided_scatter cholesky cholesky_inverse "
    "cholesky_solve conj conj_physical corrcoef cov det diagonal_scatter diff digamma dsplit "
    "erfinv frexp gcd hardshrink histogram hsplit i0 igamma igammac index_reduce inverse is_conj "
    "is_distributed is_inference is_neg isreal lcm ldexp lgamma logdet matrix_exp matrix_power "
    "mvlgamma nanmean nanmedian nanquantile narrow_copy nextafter nonzero_static pinverse "
    "polygamma prelu put qr renorm resolve_conj resolve_neg scatter_reduce select_scatter sgn "
    "signbit sinc slice_scatter slogdet split_with_sizes sum_to_size svd triangular_solve "
    "unsafe_chunk unsafe_split unsafe_split_with_sizes vdot vsplit"
)
_FALSE = (
    "is_ipu is_maia is_mkldnn is_mps is_mtia is_nested is_sparse_csr is_vulkan is_xla is_xpu"
)


def _elsewhere(kind: str) -> Any:
    """The method that moves a tensor to a device of one kind, of which there are none."""

    def move(self: Any, *args: Any, **kwargs: Any) -> Any:
        return require_cpu(kind)

    move.__name__ = move.__qualname__ = kind
    move.__doc__ = f"RuntimeError: there is no device of kind {kind}."
    return move


class _Rare:
    """Methods with a body of their own."""

    squeeze_ = reshaping_methods.squeeze_
    unsqueeze_ = reshaping_methods.unsqueeze_
    transpose_ = swapaxes_ = swapdims_ = reshaping_methods.transpose_
    t_ = reshaping_methods.t_
    resize_ = reshaping_methods.resize_
    resize_as_ = reshaping_methods.resize_as_
    set_ = reshaping_methods.set_
    fill_diagonal_ = reshaping_methods.fill_diagonal_
    geometric_ = geometric_
    cauchy_ = cauchy_
    ipu, xpu, mtia = _elsewhere("ipu"), _elsewhere("xpu"), _elsewhere("mtia")

    @property
    def layout(self) -> Any:
        """strided: tensors are dense."""
        return strided

    @property
    def name(self) -> None:
        """None: tensors have no names."""
        return None

    @property
    def imag(self) -> Any:
        """RuntimeError: the elements are real."""
        return functions.imag(self)

    def as_strided_(self, *args: Any) -> Any:
        """Refuse: as_strided() gives a copy here, so that it cannot change this tensor."""
        raise NotImplementedError(
            "Tensor.as_strided_() is not supported: strides are not free to choose; use "
            "as_strided(), which gives a copy"
        )

    def as_subclass(self, cls: type) -> Any:
        """An instance of a subclass of Tensor on the same memory."""
        return type(self)._make_subclass(cls, self)  # type: ignore[attr-defined]

    def apply_(self, callable: Any) -> Any:
        """Replace each element by what a Python function makes of it."""
        return self.map2_(self, self, lambda x, _, __: callable(x))

    def map_(self, tensor: Any, callable: Any) -> Any:
        """Replace each element by callable(element, element of `tensor`)."""
        return self.map2_(tensor, tensor, lambda x, y, _: callable(x, y))

    def map2_(self, x: Any, y: Any, callable: Any) -> Any:
        """Replace each element by callable(element, element of `x`, element of `y`)."""
        if self.requires_grad:
            raise TypeError("Can't call apply_() on a Variable that requires grad. Use "
                            "var.detach().apply_()")  # fmt: skip
        arrays = [eager_array(t, "map2_") for t in (self, *self._expanded(x, y))]
        made = np.array(
            [callable(*(v.item() for v in row)) for row in zip(*(a.flat for a in arrays),
                                                               strict=True)],
            arrays[0].dtype,
        )  # fmt: skip
        return assign(self, functions.from_numpy(made.reshape(arrays[0].shape)))

    def _expanded(self, *tensors: Any) -> list:
        return [t.detach().expand(self.shape) for t in tensors]

    def dim_order(self, **options: Any) -> tuple[int, ...]:
        """The dims from the largest stride to the smallest."""
        return tuple(sorted(range(self.dim()), key=lambda i: -self.stride(i)))

    def is_pinned(self, device: Any = None) -> bool:
        """False: memory is not pinned for another device."""
        return False

    def is_shared(self) -> bool:
        """False: memory is not shared between processes."""
        return False

    def is_set_to(self, tensor: Any) -> bool:
        """True if both see the same memory with the same shape and strides."""
        same = self.shape == tensor.shape and self.stride() == tensor.stride()
        return same and self.data_ptr() == tensor.data_ptr()

    def new(self, *args: Any) -> Any:
        """A tensor of the same dtype: new(2, 3) or new([1, 2])."""
        if len(args) == 1 and not isinstance(args[0], int):
            return functions.tensor(args[0]).to(self.dtype)
        return functions.empty(*args or (0,), dtype=self.dtype)

    def new_empty_strided(self, size: Any, stride: Any, **options: Any) -> Any:
        """A tensor of the same dtype with those strides, whose values do not matter."""
        options.setdefault("dtype", self.dtype)
        return functions.empty_strided(size, stride, **options)

    def to_dense(self, dtype: Any = None, **options: Any) -> Any:
        """The tensor itself, which is dense."""
        return self if dtype is None else self.to(dtype)

    def storage(self) -> storage.TypedStorage:
        """The elements of the memory behind this tensor."""
        return storage.TypedStorage(self.detach().numpy(), self.dtype)

    def untyped_storage(self) -> storage.UntypedStorage:
        """The bytes of the memory behind this tensor."""
        return storage.UntypedStorage(self.detach().numpy())

    def storage_type(self) -> type:
        """The type that storage() gives."""
        return storage.TypedStorage

    def storage_offset(self) -> int:
        """Elements between the first one of the memory and the first one of this tensor."""
        return storage.offset_of(self.numpy_array("storage_offset()"))

    def const_data_ptr(self) -> int:
        """Address of the first element."""
        return self.data_ptr()


def _filled(cls: type) -> type:
    for name in _PLAIN.split():
        setattr(cls, name, getattr(functions, name))
    for name in _IN_PLACE.split():
        setattr(cls, f"{name}_", in_place(getattr(functions, name)))
    for name in _FALSE.split():
        setattr(cls, name, property(lambda self: False, doc="False: a dense tensor on the CPU."))
    return cls


@with_refused_methods
@_filled
class MoreMethods(_Rare):
    """The rarer methods of Tensor."""
