"""Limits in kernel expressions: `where(x <= c, c, x)` and its like as one maximum or minimum.

A comparison into a mask and a select under it cost two slots where CPUs multiply; a comparison
whose operands are also the results is one instruction that runs beside the products. nan stays nan.
A zero that meets the limit 0 keeps its sign, as torch's relu does.
"""

from __future__ import annotations

from typing import NamedTuple

from nncomp.ir.loops import Call, Const, Expr


class Limit(NamedTuple):
    """`bound` where `x predicate bound` holds, else `x`."""

    x: Expr
    predicate: str
    bound: Const


def limit_of(expr: Call) -> Limit | None:
    """The limit that a float select is; None for any other select."""
    condition, result, rest = expr.args
    if expr.dtype.kind != "f" or not isinstance(result, Const) or not isinstance(condition, Call):
        return None
    if condition.name not in ("le", "lt"):
        return None
    left, right = condition.args
    if _same(right, result):
        if rest is left or _limits_above(rest, left, result):
            return Limit(rest, "olt", result)
    elif _same(left, result) and rest is right:
        return Limit(rest, "ogt", result)
    return None


def _limits_above(expr: Expr, x: Expr, low: Const) -> bool:
    """Whether `expr` is x with an upper limit above `low`: it is below `low` just where x is."""
    if not isinstance(expr, Call) or expr.name != "select":
        return False
    limit = limit_of(expr)
    if limit is None or limit.x is not x or limit.predicate != "ogt":
        return False
    return limit.bound.value > low.value


def _same(a: Expr, b: Const) -> bool:
    return isinstance(a, Const) and a.value == b.value and a.dtype == b.dtype
