"""Imports every module with rules, which fills load_rules.RULES."""

from __future__ import annotations

from . import (  # noqa: F401
    load_contrib,
    load_control,
    load_convolution,
    load_detection,
    load_elementwise,
    load_index,
    load_linear,
    load_norm,
    load_quantize,
    load_recurrent,
    load_reduce,
    load_resize,
    load_shape,
    load_signal,
)
