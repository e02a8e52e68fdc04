"""float64 functions for a target without a C library: where the CPU's would call it, others."""

from __future__ import annotations

from collections.abc import Sequence

from ..double_trig import WITHOUT_LIBRARY
from ..lanes import Lanes
from ..llvm import Emitter, Value
from ..scalar import emit_scalar
from .double_remainder import floor_divide, fmod, remainder

_REMAINDERS = {"fmod": fmod, "remainder": remainder, "floor_divide": floor_divide}


def double_math(e: Emitter, name: str, args: Sequence[Value]) -> Value:
    """The float64 operation `name` of numbers or vectors.

    sin, cos and tan of angles beyond 2**48 are nan; remainders are exact.
    """
    if name in WITHOUT_LIBRARY:
        return WITHOUT_LIBRARY[name](Lanes(e, args[0]), *args)
    if name in _REMAINDERS:
        return _by_lane(e, _REMAINDERS[name], args)
    return emit_scalar(e, name, args, "float64")


def _by_lane(e: Emitter, emit, args: Sequence[Value]) -> Value:
    """A scalar routine, once per lane."""
    count = args[0].lanes
    if not count:
        return emit(e, *args)
    total = Value("poison", args[0].type)
    for k in range(count):
        ones = [e.emit(a.scalar_type, f"extractelement {a}, i32 {k}", "one") for a in args]
        total = e.emit(total.type, f"insertelement {total}, {emit(e, *ones)}, i32 {k}", "v")
    return total
