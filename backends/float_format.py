"""What the vector math must know of float32 and float64: fields, tables, where functions end."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

from . import coefficients, coefficients_double
from .lanes import Lanes

# Adding ROUND to |n| < 2**21 leaves n + 254 in the low bits: rounding to nearest and conversion to
# integer in one addition. 254 is twice the exponent bias, see `vector_math.times_power`.
ROUND = 12582912.0 + 254.0
ROUND_DOUBLE = 6755399441055744.0  # n + ROUND_DOUBLE holds n in its low bits
ROUND_DOUBLE_BITS = 0x4338000000000000


class Format(NamedTuple):
    """A binary floating-point format and the limits of functions in it."""

    table: ModuleType  # the coefficients
    mantissa: int  # stored bits of it
    bias: int
    sign: int  # the position of the sign bit
    round: float  # n + round holds n + 2 * bias in its low bits
    tiny: float  # the smallest normal number
    epsilon: float  # below it expm1(x) and log1p(x) are x
    sqrt_half_bits: int
    exp_low: float  # exp is 0 from here on, and inf from exp_high
    exp_high: float
    exp2_low: float
    exp2_high: float
    expm1_low: float
    expm1_high: float


_FORMATS = {
    "float": Format(
        coefficients, 23, 127, 31, ROUND, 2.0**-126, 2.0**-25, 0x3F3504F3,
        -104.0, 90.0, -151.0, 129.0, -26.0, 89.0,
    ),
    "double": Format(
        coefficients_double, 52, 1023, 63, ROUND_DOUBLE + 2046.0, 2.0**-1022, 2.0**-54,
        0x3FE6A09E667F3BCD, -746.0, 711.0, -1076.0, 1025.0, -40.0, 710.0,
    ),
}  # fmt: skip


def format_of(m: Lanes) -> Format:
    """The format that `m` computes in."""
    return _FORMATS[m.scalar]
