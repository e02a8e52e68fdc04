"""Convolution layers and their adjoints: Conv1d to Conv3d, ConvTranspose1d to ConvTranspose3d."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import nncomp

from ..tensor import Tensor
from . import functional as F
from . import init
from ._structure_functions import Size, ntuple
from .module import Module
from .parameter import Parameter

_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    """What the convolutions of 1, 2 and 3 dimensions share; ``_function`` is the functional."""

    _n: int
    _function: Callable

    def __init__(
        self,
        in_channels: int,
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
        super().__init__()
        _check_channels(in_channels, out_channels, groups)
        n = self._n
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride = ntuple(kernel_size, n), ntuple(stride, n)
        self.padding = padding if isinstance(padding, str) else ntuple(padding, n)
        self.dilation = ntuple(dilation, n)
        self.transposed = False
        self.output_padding = (0,) * n
        self.groups = groups
        self.padding_mode = padding_mode
        self._check_padding()
        sizes = self._weight_size()
        self.weight = Parameter(nncomp.empty(*sizes, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(nncomp.empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _weight_size(self) -> tuple[int, ...]:
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    def _check_padding(self) -> None:
        if isinstance(self.padding, str):
            if self.padding not in ("same", "valid"):
                raise ValueError(
                    f"Invalid padding string '{self.padding}', should be one of "
                    "'valid', 'same'"
                )
            if self.padding == "same" and any(step != 1 for step in self.stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if self.padding_mode not in _MODES:
            raise ValueError(
                f"padding_mode must be one of {', '.join(repr(mode) for mode in _MODES)}, "
                f"but got padding_mode='{self.padding_mode}'"
            )

    def reset_parameters(self) -> None:
        """Draw the weight by kaiming_uniform_ with a = sqrt(5), the bias from the same range."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        init.fan_in_bias_(self.bias, self.weight)

    def _outer_padding(self) -> list[int]:
        """Return the padding as F.pad takes it, for the modes other than zeros."""
        if self.padding == "valid":
            return [0] * (2 * self._n)
        if self.padding != "same":
            return [side for amount in reversed(self.padding) for side in (amount, amount)]
        totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        return [side for t in reversed(totals) for side in (t // 2, t - t // 2)]

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (N, in_channels, *) or (in_channels, *)."""
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._outer_padding(), mode=self.padding_mode), 0
        return type(self)._function(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        """Show the channels and the options that are not the default."""
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        n = self._n
        if self.padding != (0,) * n:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * n:
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * n:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


def _check_channels(in_channels: int, out_channels: int, groups: int) -> None:
    if groups <= 0:
        raise ValueError("groups must be a positive integer")
    if in_channels % groups != 0:
        raise ValueError("in_channels must be divisible by groups")
    if out_channels % groups != 0:
        raise ValueError("out_channels must be divisible by groups")


class Conv1d(_ConvNd):
    """Convolution of (N, C, L); ``weight`` (out, in / groups, k)."""

    _n = 1
    _function = staticmethod(F.conv1d)


class Conv2d(_ConvNd):
    """Convolution of (N, C, H, W); ``weight`` (out, in / groups, kh, kw)."""

    _n = 2
    _function = staticmethod(F.conv2d)


class Conv3d(_ConvNd):
    """Convolution of (N, C, D, H, W); ``weight`` (out, in / groups, kd, kh, kw)."""

    _n = 3
    _function = staticmethod(F.conv3d)


class _ConvTransposeNd(_ConvNd):
    """What the transposed convolutions share; ``weight`` (in, out / groups, *kernel)."""

    def __init__(
        self,
        in_channels: int,
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
        if padding_mode != "zeros":
            raise ValueError(
                f'Only "zeros" padding mode is supported for {type(self).__name__}'
            )
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip
        self.transposed = True
        self.output_padding = ntuple(output_padding, self._n)

    def _weight_size(self) -> tuple[int, ...]:
        return (self.in_channels, self.out_channels // self.groups, *self.kernel_size)

    def _output_padding(self, input: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        """Return the output padding that gives ``output_size`` (with or without N and C)."""
        n = self._n
        wanted = list(output_size)[-n:]
        extra = []
        for number, size in enumerate(input.shape[-n:]):
            least = (size - 1) * self.stride[number] - 2 * self.padding[number]
            least += self.dilation[number] * (self.kernel_size[number] - 1) + 1
            if not least <= wanted[number] < least + self.stride[number]:
                raise ValueError(
                    f"requested an output size of {wanted}, but dimension {number} must be in "
                    f"[{least}, {least + self.stride[number] - 1}] (for an input of "
                    f"{list(input.shape[-n:])})"
                )
            extra.append(wanted[number] - least)
        return tuple(extra)

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Map (N, in_channels, *) or (in_channels, *); ``output_size`` settles the rounding."""
        extra = self.output_padding
        if output_size is not None:
            extra = self._output_padding(input, output_size)
        return type(self)._function(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups,
            self.dilation,
        )  # fmt: skip


class ConvTranspose1d(_ConvTransposeNd):
    """The adjoint of Conv1d."""

    _n = 1
    _function = staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_ConvTransposeNd):
    """The adjoint of Conv2d."""

    _n = 2
    _function = staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_ConvTransposeNd):
    """The adjoint of Conv3d."""

    _n = 3
    _function = staticmethod(F.conv_transpose3d)


__all__ = [
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
]  # fmt: skip
