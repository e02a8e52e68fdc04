"""Scalar operations on integers and bools as LLVM text.

Integers wrap. Division by zero gives 0 and the smallest number divided by -1 wraps: neither traps.
Shifts by the width or more give 0, or copies of the sign for a signed shift to the right.
"""

from __future__ import annotations

from collections.abc import Callable

from .llvm import Emitter, Value


class Ints:
    """Integer arithmetic on values of the type of `like`."""

    def __init__(self, e: Emitter, like: Value, signed: bool):
        self.e, self.type, self.signed = e, like.type, signed
        self.width = int(like.scalar_type[1:])

    def c(self, number: int) -> Value:
        return self.e.const(self.type, number)

    def op(self, opcode: str, a: Value, b: Value | int) -> Value:
        return self.e.binary(opcode, a, b if isinstance(b, Value) else self.c(b))

    def sided(self, opcode: str, a: Value, b: Value | int) -> Value:
        """`div`, `rem`, `icmp lt` ... with the s or u that fits the type."""
        prefix, _, name = opcode.rpartition(" ")
        letter = "s" if self.signed else "u"
        return self.op(f"{prefix} {letter}{name}".strip(), a, b)

    def extreme(self, name: str, a: Value, b: Value | int) -> Value:
        """`max` or `min`."""
        b = b if isinstance(b, Value) else self.c(b)
        return self.e.intrinsic(("s" if self.signed else "u") + name, a, b)

    def select(self, condition: Value, a: Value | int, b: Value | int) -> Value:
        a, b = (v if isinstance(v, Value) else self.c(v) for v in (a, b))
        return self.e.select(condition, a, b)


def _abs(m: Ints, x: Value) -> Value:
    return m.extreme("max", x, m.op("sub", m.c(0), x)) if m.signed else x


def _sign(m: Ints, x: Value) -> Value:
    x = m.extreme("min", x, 1)
    return m.extreme("max", x, -1) if m.signed else x


def _divide(m: Ints, a: Value, b: Value) -> tuple[Value, Value]:
    """Truncated quotient and remainder, 0 and 0 where b is 0, without traps."""
    zero = m.op("icmp eq", b, 0)
    unsafe = zero
    if m.signed:
        lowest = m.op("icmp eq", a, -(1 << m.width - 1))
        wraps = m.e.binary("and", lowest, m.op("icmp eq", b, -1))
        unsafe = m.e.binary("or", zero, wraps)
    divisor = m.select(unsafe, 1, b)
    quotient = m.select(zero, 0, m.sided("div", a, divisor))
    return quotient, m.sided("rem", a, divisor)


def _quotient(m: Ints, a: Value, b: Value) -> Value:
    return _divide(m, a, b)[0]


def _fmod(m: Ints, a: Value, b: Value) -> Value:
    return _divide(m, a, b)[1]


def _floors(m: Ints, rest: Value, b: Value) -> Value:
    """Where the floored quotient is one below the truncated one."""
    differ = m.op("icmp slt", m.op("xor", rest, b), 0)
    return m.e.binary("and", differ, m.op("icmp ne", rest, 0))


def _remainder(m: Ints, a: Value, b: Value) -> Value:
    rest = _fmod(m, a, b)
    if not m.signed:
        return rest
    # with b = 0 the rest is 0, so nothing is added
    return m.select(_floors(m, rest, b), m.op("add", rest, b), rest)


def _floor_divide(m: Ints, a: Value, b: Value) -> Value:
    quotient, rest = _divide(m, a, b)
    if not m.signed:
        return quotient
    return m.select(_floors(m, rest, b), m.op("sub", quotient, 1), quotient)


def _pow(m: Ints, a: Value, b: Value) -> Value:
    """Repeated squaring over the bits of b; a negative b gives 0 unless a is 1 or -1."""
    with m.e.loop(0, m.width, carry=[m.c(1), a, b]) as loop:
        result, square, left = loop.carry
        one = m.op("icmp ne", m.op("and", left, 1), 0)
        result = m.select(one, m.op("mul", result, square), result)
        loop.next(result, m.op("mul", square, square), m.op("lshr", left, 1))
    result = loop.result[0]
    if not m.signed:
        return result
    unit = m.op("icmp ult", m.op("add", a, 1), 3)  # -1, 0 or 1
    unit = m.e.binary("and", unit, m.op("icmp ne", a, 0))  # whose powers have period 2
    negative = m.op("icmp slt", b, 0)
    odd = m.op("icmp ne", m.op("and", b, 1), 0)
    below = m.select(unit, m.select(odd, a, 1), 0)
    return m.select(negative, below, result)


def _shift_left(m: Ints, a: Value, b: Value) -> Value:
    fits = m.op("icmp ult", b, m.width)
    return m.select(fits, m.op("shl", a, m.select(fits, b, 0)), 0)


def _shift_right(m: Ints, a: Value, b: Value) -> Value:
    fits = m.op("icmp ult", b, m.width)
    if m.signed:
        return m.op("ashr", a, m.select(fits, b, m.width - 1))
    return m.select(fits, m.op("lshr", a, m.select(fits, b, 0)), 0)


def _same(m: Ints, x: Value) -> Value:
    return x


def _never(m: Ints, x: Value) -> Value:
    return m.op("icmp ne", m.c(0), m.c(0))


def _always(m: Ints, x: Value) -> Value:
    return m.op("icmp eq", m.c(0), m.c(0))


BOTH: dict[str, Callable[..., Value]] = {
    "eq": lambda m, a, b: m.op("icmp eq", a, b),
    "ne": lambda m, a, b: m.op("icmp ne", a, b),
    "lt": lambda m, a, b: m.sided("icmp lt", a, b),
    "le": lambda m, a, b: m.sided("icmp le", a, b),
    "gt": lambda m, a, b: m.sided("icmp gt", a, b),
    "ge": lambda m, a, b: m.sided("icmp ge", a, b),
    "bitwise_and": lambda m, a, b: m.op("and", a, b),
    "bitwise_or": lambda m, a, b: m.op("or", a, b),
    "bitwise_xor": lambda m, a, b: m.op("xor", a, b),
    "bitwise_not": lambda m, x: m.op("xor", x, -1),
    "logical_not": lambda m, x: m.op("icmp eq", x, 0),
    "select": lambda m, condition, a, b: m.e.select(condition, a, b),
    "isnan": _never,
    "isinf": _never,
    "isfinite": _always,
}

INT_OPS = BOTH | {
    "neg": lambda m, x: m.op("sub", m.c(0), x),
    "abs": _abs,
    "sign": _sign,
    "floor": _same,
    "ceil": _same,
    "round": _same,
    "trunc": _same,
    "add": lambda m, a, b: m.op("add", a, b),
    "sub": lambda m, a, b: m.op("sub", a, b),
    "mul": lambda m, a, b: m.op("mul", a, b),
    "fma": lambda m, a, b, c: m.op("add", m.op("mul", a, b), c),
    "div": _quotient,
    "fmod": _fmod,
    "remainder": _remainder,
    "floor_divide": _floor_divide,
    "pow": _pow,
    "maximum": lambda m, a, b: m.extreme("max", a, b),
    "minimum": lambda m, a, b: m.extreme("min", a, b),
    "shift_left": _shift_left,
    "shift_right": _shift_right,
}

BOOL_OPS = BOTH | {
    "abs": _same,
    "sign": _same,
    "add": BOTH["bitwise_or"],
    "mul": BOTH["bitwise_and"],
    "maximum": BOTH["bitwise_or"],
    "minimum": BOTH["bitwise_and"],
}
