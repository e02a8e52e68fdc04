"""Second names that torch gives to functions."""

from __future__ import annotations

from .arithmetic import atan2, div, mul, pow, sub
from .compare import eq, ge, gt, le, lt, ne
from .join import cat, vstack
from .linalg import outer
from .selection import clamp
from .unary import abs, acos, acosh, asin, asinh, atan, atanh, neg, trunc
from .views import movedim, transpose

absolute = abs
arccos, arccosh = acos, acosh
arcsin, arcsinh = asin, asinh
arctan, arctanh = atan, atanh
arctan2 = atan2
clip = clamp
concat = concatenate = cat
divide = div
fix = trunc
ger = outer
greater, greater_equal = gt, ge
less, less_equal = lt, le
moveaxis = movedim
multiply = mul
negative = neg
not_equal = ne
row_stack = vstack
subtract = sub
swapaxes = swapdims = transpose

__all__ = [
    "absolute", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "clip",
    "concat", "concatenate", "divide", "eq", "fix", "ger", "greater", "greater_equal", "less",
    "less_equal", "moveaxis", "multiply", "negative", "not_equal", "pow", "row_stack", "subtract",
    "swapaxes", "swapdims",
]  # fmt: skip
