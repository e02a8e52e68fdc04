"""Activation functions that overwrite their input: relu_, elu_ and so on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tensor import Tensor
from . import _activation_functions as plain
from ._noise_functions import rrelu


def _in_place(function: Callable) -> Callable:
    def overwrite(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return input.copy_(function(input, *args, **kwargs))

    overwrite.__name__ = overwrite.__qualname__ = f"{function.__name__}_"
    overwrite.__doc__ = f"{function.__name__}, written into ``input``."
    return overwrite


relu_ = _in_place(plain.relu)
elu_ = _in_place(plain.elu)
celu_ = _in_place(plain.celu)
selu_ = _in_place(plain.selu)
leaky_relu_ = _in_place(plain.leaky_relu)
hardtanh_ = _in_place(plain.hardtanh)
threshold_ = _in_place(plain.threshold)
rrelu_ = _in_place(rrelu)

__all__ = [
    "celu_", "elu_", "hardtanh_", "leaky_relu_", "relu_", "rrelu_", "selu_", "threshold_",
]  # fmt: skip
