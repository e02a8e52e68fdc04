"""Python operators on graph nodes, so that gradients and rewrite rules read like math.

Both operands must have one type; a Python number takes the type of the other operand.
"""

from __future__ import annotations

from .op import OPS, apply_like


def _binary(name: str, a, b):
    return OPS[name](a, _lift(b, a))


def _reversed(name: str, a, b):
    return OPS[name](_lift(b, a), a)


def _lift(value, like):
    if isinstance(value, (bool, int, float)):
        return apply_like(like, OPS["full"], value=value, shape=like.shape, dtype=like.dtype)
    return value


class Operators:
    """Arithmetic and comparison operators that build nodes; identity decides equality."""

    __slots__ = ()

    def __add__(self, other):
        return _binary("add", self, other)

    def __radd__(self, other):
        return _reversed("add", self, other)

    def __sub__(self, other):
        return _binary("sub", self, other)

    def __rsub__(self, other):
        return _reversed("sub", self, other)

    def __mul__(self, other):
        return _binary("mul", self, other)

    def __rmul__(self, other):
        return _reversed("mul", self, other)

    def __truediv__(self, other):
        return _binary("div", self, other)

    def __rtruediv__(self, other):
        return _reversed("div", self, other)

    def __pow__(self, other):
        return _binary("pow", self, other)

    def __neg__(self):
        return OPS["neg"](self)

    def __lt__(self, other):
        return _binary("lt", self, other)

    def __le__(self, other):
        return _binary("le", self, other)

    def __gt__(self, other):
        return _reversed("lt", self, other)

    def __ge__(self, other):
        return _reversed("le", self, other)

    def __and__(self, other):
        return _binary("bitwise_and", self, other)

    def __or__(self, other):
        return _binary("bitwise_or", self, other)

    def __xor__(self, other):
        return _binary("bitwise_xor", self, other)
