"""The scalar operations of kernels as LLVM text, for scalars and vectors of any width alike.

`emit_scalar` picks a formula by operation and dtype. Operands are in the compute type of their
dtype (scalar_types.py), all of one width. Nothing here is poison or undefined for any input bits.

    y = emit_scalar(e, "exp", [x], "float32")
    y = convert(e, y, "float32", "bfloat16")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .lanes import Lanes
from .llvm import Emitter, Value, vector_type
from .scalar_float import DOUBLE_OPS, FLOAT_OPS
from .scalar_int import BOOL_OPS, INT_OPS, Ints
from .scalar_types import (
    FLOATS,
    UnsupportedScalar,
    compute_type,
    convert,
    from_memory,
    memory_type,
    to_memory,
)

__all__ = [
    "UnsupportedScalar",
    "compute_type",
    "convert",
    "emit_scalar",
    "from_memory",
    "memory_type",
    "operand_count",
    "result_dtype",
    "supported_scalars",
    "to_memory",
]

_BINARY = (
    "add sub mul div pow maximum minimum remainder fmod floor_divide atan2 bitwise_and bitwise_or "
    "bitwise_xor shift_left shift_right eq ne lt le gt ge"
)
_OPERANDS = {"select": 3, "fma": 3, **dict.fromkeys(_BINARY.split(), 2)}  # others take one
_TESTS = frozenset("eq ne lt le gt ge isnan isinf isfinite logical_not".split())


def supported_scalars(dtype: str) -> frozenset[str]:
    """The names that `emit_scalar` knows for operands of `dtype`."""
    return frozenset(_table(dtype))


def operand_count(name: str) -> int:
    """How many operands the scalar operation takes."""
    return _OPERANDS.get(name, 1)


def result_dtype(name: str, dtype: str) -> str:
    """The dtype of the result for operands of `dtype`: bool for comparisons and tests."""
    return "bool" if name in _TESTS else dtype


def emit_scalar(
    e: Emitter, name: str, args: Sequence[Value], dtype: str, has_fma: bool = True
) -> Value:
    """Append the instructions of one scalar operation; returns its value.

    Operands have the compute type of `dtype` (the first one of `select` is i1); comparisons,
    `isnan`, `isinf`, `isfinite` and `logical_not` give i1, everything else the operands' type.
    `has_fma=False` keeps to separate multiplies and adds. sin, cos, tan, remainders and integer pow
    may open new basic blocks. Raises UnsupportedScalar for an unknown operation or operand.
    """
    emit = _table(dtype).get(name)
    if emit is None:
        raise UnsupportedScalar(
            f"scalar operation {name!r} on {dtype} has no LLVM form; it must be rewritten in "
            f"operations that have one before code is generated."
        )
    _check(name, args, dtype)
    last = args[-1]
    if dtype in FLOATS:
        return emit(Lanes(e, last, has_fma), *args)
    return emit(Ints(e, last, signed=dtype.startswith("int")), *args)


def _table(dtype: str) -> dict[str, Callable[..., Value]]:
    if compute_type(dtype) == "float":
        return FLOAT_OPS
    if dtype == "float64":
        return DOUBLE_OPS
    return BOOL_OPS if dtype == "bool" else INT_OPS


def _check(name: str, args: Sequence[Value], dtype: str) -> None:
    count = operand_count(name)
    lanes = args[-1].lanes if args else 0
    expected = [vector_type(compute_type(dtype), lanes)] * count
    if name == "select":
        expected[0] = vector_type("i1", lanes)
    got = [a.type for a in args]
    if got != expected:
        raise UnsupportedScalar(
            f"scalar operation {name!r} on {dtype} takes operands of LLVM types "
            f"({', '.join(expected)}), got ({', '.join(got)})."
        )
