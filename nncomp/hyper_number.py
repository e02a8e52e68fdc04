"""Hyper-parameters of a traced optimizer step: numbers that are inputs of the compiled program.

An optimizer reads `group["lr"]` as a plain number. While its step is traced it gets a
`HyperNumber`, which also stands for a 0-d float64 input of the graph. Arithmetic gives more of
them, so a scheduler never causes a recompile. What Python code does with the value itself (a
comparison, `math.sqrt`) is written down as a condition under which the program may be used again.
"""

from __future__ import annotations

import numbers
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


class Condition:
    """What a traced step took for granted about its hyper-parameters."""

    def __init__(self, words: str, holds: Callable[[Sequence[float]], bool]):
        self.words, self.holds = words, holds


class HyperNumber:
    """A number, its name, and how to compute it: in the graph, and from the values of a step."""

    __slots__ = ("value", "name", "tensor", "read", "conditions")

    def __init__(
        self,
        value: float,
        name: str,
        tensor: Any,
        read: Callable[[Sequence[float]], float],
        conditions: list[Condition],
    ):
        self.value, self.name, self.tensor = value, name, tensor
        self.read, self.conditions = read, conditions

    # A number stays a number (with a graph side); with a tensor the result is that tensor's.

    def _arithmetic(self, op: Callable, other: Any, symbol: str, swapped: bool = False) -> Any:
        a, b = (other, self) if swapped else (self, other)
        if hasattr(other, "_type"):
            return op(_graph_side(a), _graph_side(b))
        if not isinstance(other, (HyperNumber, int, float, np.generic)):
            return NotImplemented
        read_a, read_b = _reader(a), _reader(b)
        return HyperNumber(
            float(op(_number(a), _number(b))),
            f"({_words(a)} {symbol} {_words(b)})",
            op(_graph_side(a), _graph_side(b)),
            lambda values: op(read_a(values), read_b(values)),
            self.conditions,
        )

    def __add__(self, other: Any) -> Any:
        return self._arithmetic(operator.add, other, "+")

    def __radd__(self, other: Any) -> Any:
        return self._arithmetic(operator.add, other, "+", True)

    def __sub__(self, other: Any) -> Any:
        return self._arithmetic(operator.sub, other, "-")

    def __rsub__(self, other: Any) -> Any:
        return self._arithmetic(operator.sub, other, "-", True)

    def __mul__(self, other: Any) -> Any:
        return self._arithmetic(operator.mul, other, "*")

    def __rmul__(self, other: Any) -> Any:
        return self._arithmetic(operator.mul, other, "*", True)

    def __truediv__(self, other: Any) -> Any:
        return self._arithmetic(operator.truediv, other, "/")

    def __rtruediv__(self, other: Any) -> Any:
        return self._arithmetic(operator.truediv, other, "/", True)

    def __pow__(self, other: Any) -> Any:
        return self._arithmetic(operator.pow, other, "**")

    def __rpow__(self, other: Any) -> Any:
        return self._arithmetic(operator.pow, other, "**", True)

    def __neg__(self) -> Any:
        return self._arithmetic(operator.mul, -1.0, "*")

    def __pos__(self) -> Any:
        return self

    # What reads the value becomes a condition.

    def _compare(self, op: Callable, other: Any, symbol: str) -> Any:
        if hasattr(other, "_type"):
            return op(self.tensor, other)
        if not isinstance(other, (HyperNumber, int, float, np.generic)):
            return NotImplemented
        outcome = bool(op(self.value, _number(other)))
        read_other = _reader(other)
        words = f"{self.name} {symbol} {_words(other)} is {not outcome} now"
        holds = lambda values: bool(op(self.read(values), read_other(values))) is outcome  # noqa: E731
        self.conditions.append(Condition(words, holds))
        return outcome

    def __eq__(self, other: object) -> Any:
        return self._compare(operator.eq, other, "==")

    def __ne__(self, other: object) -> Any:
        return self._compare(operator.ne, other, "!=")

    def __lt__(self, other: Any) -> Any:
        return self._compare(operator.lt, other, "<")

    def __le__(self, other: Any) -> Any:
        return self._compare(operator.le, other, "<=")

    def __gt__(self, other: Any) -> Any:
        return self._compare(operator.gt, other, ">")

    def __ge__(self, other: Any) -> Any:
        return self._compare(operator.ge, other, ">=")

    def __bool__(self) -> bool:
        return self._compare(operator.ne, 0.0, "!=")

    def __float__(self) -> float:
        """The value, which the program then depends on."""
        words = f"{self.name} is not {self.value} any more"
        self.conditions.append(Condition(words, lambda values: self.read(values) == self.value))
        return self.value

    def __int__(self) -> int:
        return int(float(self))

    def __abs__(self) -> float:
        return abs(float(self))

    def __round__(self, digits: int | None = None) -> float:
        return round(float(self), digits)

    def __floordiv__(self, other: Any) -> float:
        return float(self) // other

    def __mod__(self, other: Any) -> float:
        return float(self) % other

    def __hash__(self) -> int:
        return hash(float(self))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(float(self), dtype or np.float64)

    def __repr__(self) -> str:
        return f"<{self.name}: {self.value}>"


numbers.Real.register(HyperNumber)


def _graph_side(value: Any) -> Any:
    return value.tensor if isinstance(value, HyperNumber) else value


def _number(value: Any) -> float:
    return value.value if isinstance(value, HyperNumber) else value


def _reader(value: Any) -> Callable[[Sequence[float]], float]:
    return value.read if isinstance(value, HyperNumber) else lambda values: value


def _words(value: Any) -> str:
    return value.name if isinstance(value, HyperNumber) else str(value)
