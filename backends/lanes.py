"""Short names for writing float arithmetic on one LLVM type.

`Lanes` wraps an Emitter for one float type, scalar or vector, so that the formulas of the vector
math read like formulas. `fma` becomes a multiply and an add on machines without it. Nothing here
uses fast-math flags: every width gives the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence

from .llvm import Emitter, Value, vector_type

BITS = {"float": "i32", "double": "i64"}


class Lanes:
    """Float arithmetic on values of the type of `like`; constants are splats of that type."""

    def __init__(self, e: Emitter, like: Value, has_fma: bool = True):
        self.e, self.type, self.lanes, self.has_fma = e, like.type, like.lanes, has_fma
        self.scalar = like.scalar_type
        self.int_type = vector_type(BITS[self.scalar], like.lanes)

    def c(self, number: float) -> Value:
        """A float constant."""
        return self.e.const(self.type, number)

    def i(self, number: int) -> Value:
        """An integer constant as wide as the float; 0x80000000 and the like may be written so."""
        width = 32 if self.scalar == "float" else 64
        signed = (number + (1 << width - 1)) % (1 << width) - (1 << width - 1)
        return self.e.const(self.int_type, signed)

    # -- floats ------------------------------------------------------------------------------

    def add(self, a: Value, b: Value) -> Value:
        return self.e.binary("fadd", a, b)

    def sub(self, a: Value, b: Value) -> Value:
        return self.e.binary("fsub", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        return self.e.binary("fmul", a, b)

    def div(self, a: Value, b: Value) -> Value:
        """a / b, of vectors behind a fence.

        Where LLVM (22) knows that lanes of both are zero, as behind masked loads, it takes the
        quotient for zero, too, and drops the select that is to remove its nan.
        """
        if self.lanes and not a.ref.startswith("splat"):
            a = self.e.fence(a)
        return self.e.binary("fdiv", a, b)

    def neg(self, a: Value) -> Value:
        return self.e.unary("fneg", a)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a * b + c, rounded once where the machine can."""
        return self.e.fma(a, b, c) if self.has_fma else self.add(self.mul(a, b), c)

    def product_error(self, a: Value, b: Value, product: Value) -> Value:
        """a * b - product, where `product` is the rounded a * b (T. J. Dekker, 1971)."""
        if self.has_fma:
            return self.e.fma(a, b, self.neg(product))
        half = -1 << (12 if self.scalar == "float" else 27)
        high_a, high_b = (self.from_bits(self.and_(self.to_bits(v), half)) for v in (a, b))
        low_a, low_b = self.sub(a, high_a), self.sub(b, high_b)
        error = self.sub(self.mul(high_a, high_b), product)
        for left, right in ((high_a, low_b), (low_a, high_b), (low_a, low_b)):
            error = self.add(error, self.mul(left, right))
        return error

    def unary(self, intrinsic: str, a: Value) -> Value:
        """fabs, sqrt, trunc, floor, ..."""
        return self.e.intrinsic(intrinsic, a)

    def abs(self, a: Value) -> Value:
        return self.unary("fabs", a)

    def polynomial(self, u: Value, coefficients: Sequence[float]) -> Value:
        """Horner's rule, coefficients from the lowest order."""
        value = self.c(coefficients[-1])
        for coefficient in coefficients[-2::-1]:
            value = self.fma(value, u, self.c(coefficient))
        return value

    def compare(self, how: str, a: Value, b: Value | float) -> Value:
        """`fcmp how`; a plain number is made a constant."""
        return self.e.binary(f"fcmp {how}", a, b if isinstance(b, Value) else self.c(b))

    def select(self, condition: Value, a: Value | float, b: Value | float) -> Value:
        a, b = (v if isinstance(v, Value) else self.c(v) for v in (a, b))
        return self.e.select(condition, a, b)

    def at_most(self, a: Value, high: float) -> Value:
        """min(a, high); nan stays nan (one x86 instruction in this form)."""
        return self.select(self.compare("ogt", a, high), high, a)

    def at_least(self, a: Value, low: float) -> Value:
        """max(a, low); nan stays nan."""
        return self.select(self.compare("olt", a, low), low, a)

    # -- bits --------------------------------------------------------------------------------

    def to_bits(self, a: Value) -> Value:
        return self.e.convert("bitcast", a, BITS[self.scalar])

    def from_bits(self, a: Value) -> Value:
        return self.e.convert("bitcast", a, self.scalar)

    def int_op(self, opcode: str, a: Value, b: Value | int) -> Value:
        return self.e.binary(opcode, a, b if isinstance(b, Value) else self.i(b))

    def and_(self, a: Value, b: Value | int) -> Value:
        return self.int_op("and", a, b)

    def sign_bit(self, a: Value) -> Value:
        """The bits of `a` with everything but the sign cleared."""
        return self.and_(self.to_bits(a), 1 << (31 if self.scalar == "float" else 63))

    def flip_sign(self, a: Value, sign: Value) -> Value:
        """`a` negated where `sign` (0 or a lone sign bit) is set."""
        return self.from_bits(self.int_op("xor", self.to_bits(a), sign))

    def copysign(self, size: Value, sign: Value) -> Value:
        return self.e.intrinsic("copysign", size, sign)
