"""Algebra: removes operations that have no effect and replaces costly ones by cheap ones.

before:
    graph f(x: f32[2,3]) {
      mul_0 = mul(x, 1.0)                         : f32[2,3]
      pow_0 = pow(mul_0, 2.0)                     : f32[2,3]
      permute_0 = permute(pow_0, dims=(1,0))      : f32[3,2]
      permute_1 = permute(permute_0, dims=(1,0))  : f32[2,3]
      div_0 = div(permute_1, 4.0)                 : f32[2,3]
      return div_0
    }
after:
    graph f(x: f32[2,3]) {
      mul_0 = mul(x, x)         : f32[2,3]
      mul_1 = mul(mul_0, 0.25)  : f32[2,3]
      return mul_1
    }

Exact rules keep every bit, also for nan, infinities and -0.0 (so `x + 0.0` stays, it turns -0.0
into 0.0; `x + -0.0` goes). Rules with a `tol` round differently. Powers follow torch where it
differs from C: `x ** 0.5` is the square root.
Establishes: no rule of RULES fits. Needs: gradients taken.
"""

from __future__ import annotations

import math

from ..debug import debug
from ..graph import Graph
from ..ops import (
    abs,
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    cast,
    detach,
    div,
    eq,
    le,
    lt,
    maximum,
    minimum,
    neg,
    pow,
    sqrt,
    where,
)
from ..rewrite import Rules, literal, rewrite
from ..types import DType
from .fold_constants import RULES as CONSTANTS
from .simplify_movement import RULES as MOVEMENT

RULES = Rules()


def simplify(graph: Graph) -> Graph:
    """`graph` with all rules applied until none fits."""
    limit = [debug.rewrites] if debug.rewrites >= 0 else None
    return rewrite(graph, RULES.as_set(CONSTANTS, MOVEMENT), limit)


def is_int(x) -> bool:
    return x.dtype.kind in "iu"


def is_float(x) -> bool:
    return x.dtype.kind == "f"


def is_exact(x) -> bool:
    return x.dtype.kind in "iub"


def is_bool(x) -> bool:
    return x.dtype.kind == "b"


# -- add, sub, neg --------------------------------------------------------------------------------


@RULES.rule("x + 0 -> x for integers", when=is_int)
def add_zero(x):
    return x + 0, x


@RULES.rule("x + -0.0 -> x")
def add_minus_zero(x):
    return x + -0.0, x


@RULES.rule("x - 0 -> x")
def sub_zero(x):
    return x - 0, x


@RULES.rule("x - x -> 0 for integers", when=is_int)
def sub_self(x):
    return x - x, 0


@RULES.rule("0 - x -> -x for integers", when=is_int)
def zero_sub(x):
    return 0 - x, -x


@RULES.rule("-0.0 - x -> -x", when=is_float)
def minus_zero_sub(x):
    return -0.0 - x, -x


@RULES.rule("--x -> x")
def neg_neg(x):
    return neg(neg(x)), x


@RULES.rule("x + -y -> x - y")
def add_neg(x, y):
    return x + -y, x - y


@RULES.rule("x - -y -> x + y")
def sub_neg(x, y):
    return x - -y, x + y


@RULES.rule("abs(-x) -> abs(x)", when=lambda x: x.dtype.is_signed)
def abs_neg(x):
    return abs(neg(x)), abs(x)


@RULES.rule("abs(abs(x)) -> abs(x)")
def abs_abs(x):
    return abs(abs(x)), abs(x)


# -- mul, div, pow --------------------------------------------------------------------------------


@RULES.rule("x * 1 -> x")
def mul_one(x):
    return x * 1, x


@RULES.rule("x * 0 -> 0 for integers", when=is_int)
def mul_zero(x):
    return x * 0, 0


@RULES.rule("x * -1 -> -x", when=lambda x: x.dtype.is_signed)
def mul_minus_one(x):
    return x * -1, -x


@RULES.rule("-x * -y -> x * y")
def mul_neg_neg(x, y):
    return -x * -y, x * y


@RULES.rule("x / 1 -> x")
def div_one(x):
    return x / 1, x


@RULES.rule("-x / -y -> x / y")
def div_neg_neg(x, y):
    return -x / -y, x / y


SMALLEST = {"f16": -14, "bf16": -126, "f32": -126, "f64": -1022}  # exponents of normal numbers
LARGEST = {"f16": 15, "bf16": 127, "f32": 127, "f64": 1023}


def has_exact_inverse(x, c) -> bool:
    """c is a power of two whose inverse is a normal number of x's dtype, as c itself is."""
    if not math.isfinite(c) or c == 0:
        return False
    mantissa, exponent = math.frexp(c)  # |c| = 2 ** (exponent - 1) if |mantissa| is a half
    low, high = SMALLEST[x.dtype.short], LARGEST[x.dtype.short]
    inside = low <= exponent - 1 <= high and low <= 1 - exponent <= high
    return math.fabs(mantissa) == 0.5 and inside


@RULES.rule("x / c -> x * (1 / c) for a power of two c", when=has_exact_inverse)
def div_power_of_two(x, c):
    return div(x, literal(x, c)), x * literal(x, lambda c: 1.0 / c)


@RULES.rule("x ** 1 -> x")
def pow_one(x):
    return pow(x, 1), x


@RULES.rule("x ** 0 -> 1")
def pow_zero(x):
    return pow(x, 0), 1


@RULES.rule("x ** 2 -> x * x", tol=1e-6)
def pow_two(x):
    return pow(x, 2), x * x


@RULES.rule("x ** 3 -> x * x * x", tol=1e-6)
def pow_three(x):
    return pow(x, 3), x * x * x


@RULES.rule("x ** -1 -> 1 / x", when=is_float, tol=1e-6)
def pow_minus_one(x):
    return pow(x, -1), 1 / x


@RULES.rule("x ** 0.5 -> sqrt(x)", when=is_float, tol=1e-6)
def pow_half(x):
    return pow(x, 0.5), sqrt(x)


# -- max, min, comparisons ------------------------------------------------------------------------


@RULES.rule("maximum(x, x) -> x")
def maximum_self(x):
    return maximum(x, x), x


@RULES.rule("minimum(x, x) -> x")
def minimum_self(x):
    return minimum(x, x), x


@RULES.rule("maximum(x, -inf) -> x", when=is_float)
def maximum_lowest(x):
    return maximum(x, -math.inf), x


@RULES.rule("minimum(x, inf) -> x", when=is_float)
def minimum_highest(x):
    return minimum(x, math.inf), x


@RULES.rule("maximum(maximum(x, y), y) -> maximum(x, y)")
def maximum_again(x, y):
    return maximum(maximum(x, y), y), maximum(x, y)


@RULES.rule("minimum(minimum(x, y), y) -> minimum(x, y)")
def minimum_again(x, y):
    return minimum(minimum(x, y), y), minimum(x, y)


@RULES.rule("x < x -> False")
def lt_self(x):
    return lt(x, x), False


@RULES.rule("x <= x -> True for integers", when=is_exact)
def le_self(x):
    return le(x, x), True


@RULES.rule("x == x -> True for integers", when=is_exact)
def eq_self(x):
    return eq(x, x), True


# -- bits -----------------------------------------------------------------------------------------


@RULES.rule("x & x -> x")
def and_self(x):
    return bitwise_and(x, x), x


@RULES.rule("x | x -> x")
def or_self(x):
    return bitwise_or(x, x), x


@RULES.rule("x ^ x -> 0")
def xor_self(x):
    return bitwise_xor(x, x), 0


@RULES.rule("x & 0 -> 0")
def and_zero(x):
    return bitwise_and(x, 0), 0


@RULES.rule("x | 0 -> x")
def or_zero(x):
    return bitwise_or(x, 0), x


@RULES.rule("x ^ 0 -> x")
def xor_zero(x):
    return bitwise_xor(x, 0), x


@RULES.rule("x & True -> x", when=is_bool)
def and_true(x):
    return bitwise_and(x, True), x


@RULES.rule("x | True -> True", when=is_bool)
def or_true(x):
    return bitwise_or(x, True), True


@RULES.rule("x ^ y ^ y -> x")
def xor_twice(x, y):
    return bitwise_xor(bitwise_xor(x, y), y), x


# -- where, cast, detach --------------------------------------------------------------------------


@RULES.rule("where(c, x, x) -> x")
def where_same(c, x):
    return where(c, x, x), x


@RULES.rule("where(True, x, y) -> x")
def where_true(x, y):
    return where(True, x, y), x


@RULES.rule("where(False, x, y) -> y")
def where_false(x, y):
    return where(False, x, y), y


@RULES.rule("where(c ^ True, x, y) -> where(c, y, x)")
def where_not(c, x, y):
    return where(bitwise_xor(c, True), x, y), where(c, y, x)


@RULES.rule("where(c, where(c, x, y), z) -> where(c, x, z)")
def where_where_true(c, x, y, z):
    return where(c, where(c, x, y), z), where(c, x, z)


@RULES.rule("where(c, x, where(c, y, z)) -> where(c, x, z)")
def where_where_false(c, x, y, z):
    return where(c, x, where(c, y, z)), where(c, x, z)


@RULES.rule("where(c, True, False) -> c")
def where_bool(c):
    return where(c, literal(c, True), literal(c, False)), c


def holds_all(wide: DType, narrow: DType) -> bool:
    """Every value of `narrow` is a value of `wide`."""
    if narrow is wide or narrow.kind == "b":
        return True
    if wide.kind == "f" and narrow.kind == "f":
        return wide.itemsize > narrow.itemsize
    if wide.kind == "f":  # all integers of n bits need n - 1 (signed) or n bits of mantissa
        bits = {"f16": 11, "bf16": 8, "f32": 24, "f64": 53}[wide.short]
        return narrow.itemsize * 8 - (narrow.kind == "i") <= bits
    if narrow.kind == "f" or wide.kind == "b":
        return False
    grows = wide.itemsize > narrow.itemsize
    return grows and (wide.kind == "i" or narrow.kind == "u")


def is_lossless_chain(x, a: DType, b: DType) -> bool:
    """Floats saturate where integers wrap, so int -> float -> int must not overflow at the end."""
    if x.dtype.kind in "iu" and a.kind == "f" and b.kind in "iu" and not holds_all(b, x.dtype):
        return False
    return holds_all(a, x.dtype)


@RULES.rule("cast(x, x.dtype) -> x", when=lambda x, a: x.dtype is a)
def cast_same(x, a):
    return cast(x, dtype=a), x


@RULES.rule("cast(cast(x, a), b) -> cast(x, b) when a holds all of x", when=is_lossless_chain)
def cast_cast(x, a, b):
    return cast(cast(x, dtype=a), dtype=b), cast(x, dtype=b)


@RULES.rule("detach(x) -> x")
def drop_detach(x):
    return detach(x), x
