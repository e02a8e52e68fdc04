"""Lazy layers: the number of input features is that of the first input."""

from __future__ import annotations

from typing import Any

import nncomp

from ..tensor import Tensor
from . import batchnorm, conv
from ._lazy import LazyModuleMixin
from ._structure_functions import Size
from ._uninitialized import UninitializedBuffer, UninitializedParameter
from .linear import Linear


class LazyLinear(LazyModuleMixin, Linear):
    """Linear whose in_features are inferred."""

    cls_to_become = Linear

    def __init__(
        self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(0, 0, False)
        options = {"device": device, "dtype": dtype}
        self.weight = UninitializedParameter(**options)
        self.out_features = out_features
        if bias:
            self.bias = UninitializedParameter(**options)

    def reset_parameters(self) -> None:
        """Draw the parameters, once there are any."""
        if not self.has_uninitialized_params() and self.in_features != 0:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:
        """Take in_features from ``input`` (*, in_features)."""
        if self.has_uninitialized_params():
            with nncomp.no_grad():
                self.in_features = input.shape[-1]
                self.weight.materialize((self.out_features, self.in_features))
                if self.bias is not None:
                    self.bias.materialize((self.out_features,))
                self.reset_parameters()
        if self.in_features == 0:
            self.in_features = input.shape[-1]


class _LazyConv(LazyModuleMixin):
    """What lazy convolutions share."""

    def _set_out(self, out_channels: int, bias: bool, device: Any, dtype: Any) -> None:
        options = {"device": device, "dtype": dtype}
        self.weight = UninitializedParameter(**options)
        self.out_channels = out_channels
        if bias:
            self.bias = UninitializedParameter(**options)

    def reset_parameters(self) -> None:
        """Draw the parameters, once there are any."""
        if not self.has_uninitialized_params() and self.in_channels != 0:
            super().reset_parameters()

    def _channels_of(self, input: Tensor) -> int:
        n = self._n
        if input.dim() not in (n + 1, n + 2):
            raise RuntimeError(
                f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to "
                f"{type(self).__name__}, but got input of size: {input.shape}"
            )
        return input.shape[-n - 1]

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """Take in_channels from ``input`` (N, in_channels, *) or (in_channels, *)."""
        if self.has_uninitialized_params():
            self.in_channels = self._channels_of(input)
            if self.in_channels % self.groups != 0:
                raise ValueError("in_channels must be divisible by groups")
            self.weight.materialize(self._weight_size())
            if self.bias is not None:
                self.bias.materialize((self.out_channels,))
            self.reset_parameters()


class _LazyPlainConv(_LazyConv):
    def __init__(
        self,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode
        )
        self._set_out(out_channels, bias, device, dtype)


class _LazyTransposedConv(_LazyConv):
    def __init__(
        self,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            0, 0, kernel_size, stride, padding, output_padding, groups, False, dilation,
            padding_mode,
        )  # fmt: skip
        self._set_out(out_channels, bias, device, dtype)


class LazyConv1d(_LazyPlainConv, conv.Conv1d):
    """Conv1d whose in_channels are inferred."""

    cls_to_become = conv.Conv1d


class LazyConv2d(_LazyPlainConv, conv.Conv2d):
    """Conv2d whose in_channels are inferred."""

    cls_to_become = conv.Conv2d


class LazyConv3d(_LazyPlainConv, conv.Conv3d):
    """Conv3d whose in_channels are inferred."""

    cls_to_become = conv.Conv3d


class LazyConvTranspose1d(_LazyTransposedConv, conv.ConvTranspose1d):
    """ConvTranspose1d whose in_channels are inferred."""

    cls_to_become = conv.ConvTranspose1d


class LazyConvTranspose2d(_LazyTransposedConv, conv.ConvTranspose2d):
    """ConvTranspose2d whose in_channels are inferred."""

    cls_to_become = conv.ConvTranspose2d


class LazyConvTranspose3d(_LazyTransposedConv, conv.ConvTranspose3d):
    """ConvTranspose3d whose in_channels are inferred."""

    cls_to_become = conv.ConvTranspose3d


class _LazyNorm(LazyModuleMixin):
    """What lazy batch and instance normalization share."""

    _affine, _tracked = True, True

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool | None = None,
        track_running_stats: bool | None = None,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(0, eps, momentum, False, False)
        options = {"device": device, "dtype": dtype}
        self.affine = self._affine if affine is None else affine
        tracked = self._tracked if track_running_stats is None else track_running_stats
        self.track_running_stats = tracked
        if self.affine:
            self.weight = UninitializedParameter(**options)
            if bias:
                self.bias = UninitializedParameter(**options)
        if tracked:
            self.running_mean = UninitializedBuffer(**options)
            self.running_var = UninitializedBuffer(**options)
            self.num_batches_tracked = nncomp.tensor(0, dtype=nncomp.int64, device=device)

    def reset_parameters(self) -> None:
        """Reset statistics and parameters, once there are any."""
        if not self.has_uninitialized_params() and self.num_features != 0:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:
        """Take num_features from ``input`` (N, num_features, *)."""
        if self.has_uninitialized_params():
            self.num_features = input.shape[1]
            for members in (self._parameters, self._buffers):
                for value in members.values():
                    if hasattr(value, "materialize"):
                        value.materialize((self.num_features,))
            self.reset_parameters()


class LazyBatchNorm1d(_LazyNorm, batchnorm.BatchNorm1d):
    """BatchNorm1d whose num_features are inferred."""

    cls_to_become = batchnorm.BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, batchnorm.BatchNorm2d):
    """BatchNorm2d whose num_features are inferred."""

    cls_to_become = batchnorm.BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, batchnorm.BatchNorm3d):
    """BatchNorm3d whose num_features are inferred."""

    cls_to_become = batchnorm.BatchNorm3d


class LazyInstanceNorm1d(_LazyNorm, batchnorm.InstanceNorm1d):
    """InstanceNorm1d whose num_features are inferred."""

    cls_to_become = batchnorm.InstanceNorm1d


class LazyInstanceNorm2d(_LazyNorm, batchnorm.InstanceNorm2d):
    """InstanceNorm2d whose num_features are inferred."""

    cls_to_become = batchnorm.InstanceNorm2d


class LazyInstanceNorm3d(_LazyNorm, batchnorm.InstanceNorm3d):
    """InstanceNorm3d whose num_features are inferred."""

    cls_to_become = batchnorm.InstanceNorm3d


__all__ = [
    "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d", "LazyConv1d", "LazyConv2d",
    "LazyConv3d", "LazyConvTranspose1d", "LazyConvTranspose2d", "LazyConvTranspose3d",
    "LazyInstanceNorm1d", "LazyInstanceNorm2d", "LazyInstanceNorm3d", "LazyLinear",
]  # fmt: skip
