"""All primitive ops, one definition each. Importing this package fills `nncomp.ir.op.OPS`."""

from .attention import attention, attention_grad
from .channels_last import depthwise, window_conv, window_max
from .contraction import contract, conv, conv_transpose, conv_weight, matmul
from .creation import full, full_like, iota, iota_like, random_bits, zeros_like
from .elementwise import (
    abs,
    add,
    atan2,
    cos,
    div,
    erf,
    exp,
    expm1,
    floor,
    floor_divide,
    log,
    log1p,
    maximum,
    minimum,
    mul,
    neg,
    pow,
    remainder,
    round,
    sigmoid,
    sin,
    sqrt,
    sub,
    tanh,
)
from .group_conv import group_conv
from .indexing import argsort, bounded, index_add, index_put, index_reduce, take
from .logic import (
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    cast,
    eq,
    le,
    lt,
    shift_left,
    shift_right,
    where,
)
from .movement import concat, expand, flip, pad, permute, reshape, slice
from .quadrants import quadrant_sums
from .reduce import amax, argmax, cumsum, prod, sum
from .structure import again, call, detach, fused, get, scan
from .window import argmax_pool, fold, max_pool, unfold
from .winograd import winograd, winograd_weight
from .winograd_gradient import winograd_kernels, winograd_points
from .winograd_line import line_kernels, line_points, winograd_line

__all__ = [
    "abs", "add", "again", "amax", "argmax", "argmax_pool", "argsort", "atan2", "attention",
    "attention_grad", "bitwise_and", "bitwise_or", "bitwise_xor", "bounded", "call", "cast",
    "concat", "contract", "conv", "conv_transpose", "conv_weight", "cos", "cumsum", "depthwise",
    "detach", "div", "eq", "erf", "exp", "expand", "expm1", "flip", "floor", "floor_divide", "fold",
    "full", "full_like", "fused", "get", "group_conv", "index_add", "index_put", "index_reduce",
    "iota", "iota_like", "le", "line_kernels", "line_points", "log", "log1p", "lt", "matmul",
    "max_pool", "maximum", "minimum", "mul", "neg", "pad", "permute", "pow", "prod",
    "quadrant_sums", "random_bits", "remainder", "reshape", "round", "scan", "shift_left",
    "shift_right", "sigmoid", "sin", "slice", "sqrt", "sub", "sum", "take", "tanh", "unfold",
    "where", "window_conv", "window_max", "winograd", "winograd_kernels", "winograd_line",
    "winograd_points", "winograd_weight", "zeros_like",
]  # fmt: skip
