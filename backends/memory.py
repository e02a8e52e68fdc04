"""Reading and writing memory: one element, a run of lanes, or lane by lane.

Values come and go in the compute type of their dtype (scalar_types.py). Addresses of lanes that are
off may lie outside the buffer. bfloat16 moves as 16-bit integers: LLVM has no sound code for masked
vectors of bfloat on every machine.
"""

from __future__ import annotations

from .llvm import Emitter, Value, suffix, vector_type
from .scalar_types import from_memory, memory_type, to_memory


def _raw(dtype) -> str:
    return "i16" if dtype.name == "bfloat16" else memory_type(dtype.name)


def _loaded(e: Emitter, raw: Value, dtype) -> Value:
    if dtype.name == "bfloat16":
        raw = e.convert("bitcast", raw, "bfloat")
    return from_memory(e, raw, dtype.name)


def _to_store(e: Emitter, value: Value, dtype) -> Value:
    raw = to_memory(e, value, dtype.name)
    return e.convert("bitcast", raw, "i16") if dtype.name == "bfloat16" else raw


def address(e: Emitter, dtype, base: Value, offset: Value) -> Value:
    """Of element `offset`; a vector of offsets gives a vector of addresses."""
    element = memory_type(dtype.name)
    if offset.type != "i64":  # lanes, or the narrow indices of another target
        type = vector_type("ptr", offset.lanes)
        return e.pure(type, f"getelementptr {element}, {base}, {offset}", "p")
    at, constant = e.apart(offset)  # the constant becomes part of the instruction that reads
    for part in (at.ref, str(constant)):
        if part != "0":
            base = e.pure("ptr", f"getelementptr {element}, {base}, i64 {part}", "p")
    return base


def load_one(e: Emitter, dtype, at: Value) -> Value:
    return _loaded(e, e.load(_raw(dtype), at, dtype.itemsize), dtype)


def load_lanes(e: Emitter, dtype, at: Value, lanes: int, mask: Value | None) -> Value:
    """`lanes` neighbours from address `at`, or one from each of its addresses.

    0 where the mask is off.
    """
    type = vector_type(_raw(dtype), lanes)
    if at.lanes:
        mask = mask or e.const(vector_type("i1", lanes), True)
        pointer = Value(at.ref, f"{at.type} align {dtype.itemsize}")
        symbol = f"llvm.masked.gather.{suffix(type)}.v{lanes}p0"
        raw = e.call(type, symbol, pointer, mask, Value("zeroinitializer", type), hint="l")
    elif mask is None:
        raw = e.load(type, at, dtype.itemsize)
    else:
        raw = e.masked_load(type, at, mask, dtype.itemsize, Value("zeroinitializer", type))
    return _loaded(e, raw, dtype)


def store(e: Emitter, dtype, value: Value, at: Value, mask: Value | None = None) -> None:
    """Write one value, neighbours from address `at`, or one at each of its addresses."""
    raw = _to_store(e, value, dtype)
    if at.lanes:
        mask = mask or e.const(vector_type("i1", at.lanes), True)
        pointer = Value(at.ref, f"{at.type} align {dtype.itemsize}")
        symbol = f"llvm.masked.scatter.{suffix(raw.type)}.v{at.lanes}p0"
        e.call_void(symbol, raw, pointer, mask)
    elif mask is None:
        e.store(raw, at, dtype.itemsize)
    elif mask.ref.startswith("<") and raw.scalar_type.startswith("i"):
        _store_first(e, raw, at, dtype.itemsize, mask.ref.count("true"))
    else:
        e.masked_store(raw, at, mask, dtype.itemsize)


def _store_first(e: Emitter, raw: Value, at: Value, itemsize: int, live: int) -> None:
    """The first `live` lanes in parts of ..., 8, 4, 2, 1.

    LLVM 22 makes one wide store of a narrowed vector under a constant mask with one lane on, and so
    writes beyond it (AVX-512); stores without masks are as fast.
    """
    begin = 0
    for size in (1 << bit for bit in reversed(range(live.bit_length()))):
        if live & size:
            picks = ", ".join(f"i32 {begin + k}" for k in range(size))
            part = vector_type(raw.scalar_type, size)
            cut = f"shufflevector {raw}, {raw.type} poison, <{size} x i32> <{picks}>"
            here = e.emit("ptr", f"getelementptr {raw.scalar_type}, {at}, i64 {begin}", "p")
            e.store(e.emit(part, cut, "part"), here, itemsize)
            begin += size
