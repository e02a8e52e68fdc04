"""Hyper-parameters of a traced optimizer step: numbers that are inputs of the compiled program.

An optimizer reads `group["lr"]` as a plain number. While its step is traced it gets a `HyperNumber`: a
float that also stands for a 0-d float64 input of the graph. Arithmetic gives tensors of the graph, so
a scheduler never causes a recompile; comparisons (`momentum != 0`) use the number, and their outcome
becomes a guard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class HyperNumber(float):
    """A float whose arithmetic is recorded; `tensor` is what it is in the graph."""

    tensor: Any
    note: Callable[[str, float, bool], None]

    @classmethod
    def make(cls, value: float, tensor: Any, note: Callable[[str, float, bool], None]):
        made = cls(value)
        made.tensor, made.note = tensor, note
        return made

    def _with(self, value: Any, tensor: Any) -> Any:
        return HyperNumber.make(float(value), tensor, self.note)

    def _compare(self, symbol: str, other: Any, outcome: bool) -> bool:
        self.note(symbol, float(other), outcome)
        return outcome

    # A number stays a number (with a graph side); with a tensor the result is that tensor's.

    def __add__(self, other: Any) -> Any:
        if is_tensor(other):
            return self.tensor + other
        return self._with(float(self) + other, self.tensor + plain(other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        if is_tensor(other):
            return self.tensor - other
        return self._with(float(self) - other, self.tensor - plain(other))

    def __rsub__(self, other: Any) -> Any:
        if is_tensor(other):
            return other - self.tensor
        return self._with(other - float(self), plain(other) - self.tensor)

    def __mul__(self, other: Any) -> Any:
        if is_tensor(other):
            return self.tensor * other
        return self._with(float(self) * other, self.tensor * plain(other))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        if is_tensor(other):
            return self.tensor / other
        return self._with(float(self) / other, self.tensor / plain(other))

    def __rtruediv__(self, other: Any) -> Any:
        if is_tensor(other):
            return other / self.tensor
        return self._with(other / float(self), plain(other) / self.tensor)

    def __pow__(self, other: Any, modulo: None = None) -> Any:
        if is_tensor(other):
            return self.tensor**other
        return self._with(float(self) ** other, self.tensor ** plain(other))

    def __rpow__(self, other: Any, modulo: None = None) -> Any:
        if is_tensor(other):
            return other**self.tensor
        return self._with(other ** float(self), plain(other) ** self.tensor)

    def __neg__(self) -> Any:
        return self._with(-float(self), -self.tensor)

    def __eq__(self, other: object) -> bool:
        return self._compare("==", other, float(self) == other)

    def __ne__(self, other: object) -> bool:
        return self._compare("!=", other, float(self) != other)

    def __lt__(self, other: Any) -> bool:
        return self._compare("<", other, float(self) < other)

    def __le__(self, other: Any) -> bool:
        return self._compare("<=", other, float(self) <= other)

    def __gt__(self, other: Any) -> bool:
        return self._compare(">", other, float(self) > other)

    def __ge__(self, other: Any) -> bool:
        return self._compare(">=", other, float(self) >= other)

    def __bool__(self) -> bool:
        return self._compare("!=", 0.0, float(self) != 0)

    def __hash__(self) -> int:
        return float.__hash__(self)


def is_tensor(value: Any) -> bool:
    return hasattr(value, "type_")


def plain(value: Any) -> Any:
    """The graph side of a HyperNumber, other numbers as they are."""
    return value.tensor if isinstance(value, HyperNumber) else value


COMPARE = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
