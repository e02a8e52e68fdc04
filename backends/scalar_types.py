"""Element types in memory and in registers, and the conversions between them.

Half and bfloat values compute as `float`, bools as `i1`; everything else computes in the type that
memory holds. Conversions follow torch: to an integer truncates (out of range saturates, nan gives
0), to bool is `!= 0` (so nan is True), to a narrower float rounds to nearest even.
"""

from __future__ import annotations

from .llvm import Emitter, Value, suffix, vector_type

_MEMORY = {
    "float32": "float",
    "float64": "double",
    "float16": "half",
    "bfloat16": "bfloat",
    "int8": "i8",
    "int16": "i16",
    "int32": "i32",
    "int64": "i64",
    "uint8": "i8",
    "bool": "i8",
}
_COMPUTE = _MEMORY | {"float16": "float", "bfloat16": "float", "bool": "i1"}
FLOATS = ("float32", "float64", "float16", "bfloat16")


class UnsupportedScalar(ValueError):
    """A scalar operation, or its use with a dtype, that has no LLVM form here."""


def memory_type(dtype: str) -> str:
    """The LLVM type that memory holds: `bool` is i8, `float16` is half."""
    return _of(_MEMORY, dtype)


def compute_type(dtype: str) -> str:
    """The LLVM type that arithmetic uses: `bool` is i1, `float16` and `bfloat16` are float."""
    return _of(_COMPUTE, dtype)


def _of(types: dict[str, str], dtype: str) -> str:
    if dtype not in types:
        known = ", ".join(types)
        raise UnsupportedScalar(f"dtype {dtype!r} has no LLVM type; use one of {known}.")
    return types[dtype]


def _require(what: str, value: Value, scalar: str, dtype: str) -> None:
    if value.scalar_type != scalar:
        raise UnsupportedScalar(
            f"{what} of {dtype} needs a value of LLVM type {scalar} (or a vector of it), got "
            f"{value.type}."
        )


# -- memory --------------------------------------------------------------------------------------


def from_memory(e: Emitter, value: Value, dtype: str, has_half: bool = True) -> Value:
    """A loaded value (of `memory_type`) in its compute type; any non-zero bool byte is true.

    `has_half=False` widens half in integer steps, for machines without such an instruction.
    """
    _require("from_memory", value, memory_type(dtype), dtype)
    if dtype == "bool":
        return e.binary("icmp ne", value, e.const(value.type, 0))
    if dtype == "bfloat16":
        wide = e.convert("zext", e.convert("bitcast", value, "i16"), "i32")
        return e.convert("bitcast", _int(e, "shl", wide, 16), "float")
    if dtype == "float16":
        return e.convert("fpext", value, "float") if has_half else _widen_half(e, value)
    return value


def to_memory(e: Emitter, value: Value, dtype: str, has_half: bool = True) -> Value:
    """A computed value in the type that memory holds, rounded to nearest even."""
    _require("to_memory", value, compute_type(dtype), dtype)
    if dtype == "bool":
        return e.convert("zext", value, "i8")
    if dtype == "bfloat16":
        return _narrow_bfloat(e, value)
    if dtype == "float16":
        return e.convert("fptrunc", value, "half") if has_half else _narrow_half(e, value)
    return value


def _int(e: Emitter, opcode: str, a: Value, number: int) -> Value:
    return e.binary(opcode, a, e.const(a.type, number))


def _narrow_bfloat(e: Emitter, value: Value) -> Value:
    """Integer steps: LLVM's own fptrunc calls a library routine on machines without bfloat."""
    bits = e.convert("bitcast", value, "i32")
    even = _int(e, "and", _int(e, "lshr", bits, 16), 1)
    rounded = e.binary("add", _int(e, "add", bits, 0x7FFF), even)
    quiet = _int(e, "or", bits, 0x400000)
    bits = e.select(e.binary("fcmp uno", value, value), quiet, rounded)
    return e.convert("bitcast", e.convert("trunc", _int(e, "lshr", bits, 16), "i16"), "bfloat")


def _widen_half(e: Emitter, value: Value) -> Value:
    wide = e.convert("zext", e.convert("bitcast", value, "i16"), "i32")
    sign = _int(e, "shl", _int(e, "and", wide, 0x8000), 16)
    size = _int(e, "shl", _int(e, "and", wide, 0x7FFF), 13)
    offset = _int(e, "add", size, (127 - 15) << 23)
    ends = _int(e, "add", offset, (127 - 15) << 23)  # inf and nan: the top exponent stays the top
    normal = e.select(_int(e, "icmp uge", size, 0x1F << 23), ends, offset)
    # a denormal half m * 2**-24: put m below the exponent of 2**-14, then take 2**-14 away
    small = e.convert("bitcast", _int(e, "add", offset, 1 << 23), "float")
    small = e.binary("fsub", small, e.const(small.type, 2.0**-14))
    small = e.convert("bitcast", small, "i32")
    bits = e.select(_int(e, "icmp ult", size, 1 << 23), small, normal)
    return e.convert("bitcast", e.binary("or", bits, sign), "float")


def _narrow_half(e: Emitter, value: Value) -> Value:
    bits = e.convert("bitcast", value, "i32")
    size = _int(e, "and", bits, 0x7FFFFFFF)
    even = _int(e, "and", _int(e, "lshr", size, 13), 1)
    normal = e.binary("add", _int(e, "add", size, 0xFFF - ((127 - 15) << 23)), even)
    normal = _int(e, "lshr", normal, 13)
    # below 2**-14: adding 1/2 leaves the rounded multiple of 2**-24 in the low bits
    small = e.convert("bitcast", size, "float")
    small = e.convert("bitcast", e.binary("fadd", small, e.const(small.type, 0.5)), "i32")
    small = _int(e, "sub", small, 0x3F000000)
    half = e.select(_int(e, "icmp ult", size, (127 - 14) << 23), small, normal)
    infinite = e.const(half.type, 0x7C00)
    half = e.select(_int(e, "icmp uge", size, (127 + 16) << 23), infinite, half)
    half = e.select(_int(e, "icmp ugt", size, 0x7F800000), e.const(half.type, 0x7E00), half)
    half = e.binary("or", half, _int(e, "and", _int(e, "lshr", bits, 16), 0x8000))
    return e.convert("bitcast", e.convert("trunc", half, "i16"), "half")


# -- conversion ----------------------------------------------------------------------------------


def convert(
    e: Emitter, value: Value, from_dtype: str, to_dtype: str, has_half: bool = True
) -> Value:
    """`value`, in the compute type of one dtype, as the compute type of another.

    To float16 and bfloat16 the value is rounded to what that dtype can hold (float64 by way of
    float32, as torch does).
    """
    target = compute_type(to_dtype)
    _require("convert", value, compute_type(from_dtype), from_dtype)
    if from_dtype == to_dtype:
        return value
    if to_dtype == "bool":
        return e.binary("fcmp une" if from_dtype in FLOATS else "icmp ne", value,
                        e.const(value.type, 0))
    if to_dtype in FLOATS:
        value = _to_float(e, value, from_dtype, target)
        if to_dtype in ("float16", "bfloat16"):
            value = from_memory(e, to_memory(e, value, to_dtype, has_half), to_dtype, has_half)
        return value
    if from_dtype in FLOATS:
        return _to_int(e, value, to_dtype)
    return _resize(e, value, target, from_dtype in ("uint8", "bool"))


def _to_float(e: Emitter, value: Value, from_dtype: str, target: str) -> Value:
    if from_dtype in FLOATS:
        if value.scalar_type == target:
            return value
        return e.convert("fpext" if target == "double" else "fptrunc", value, target)
    unsigned = from_dtype in ("uint8", "bool")
    return e.convert("uitofp" if unsigned else "sitofp", value, target)


def _to_int(e: Emitter, value: Value, to_dtype: str) -> Value:
    to = vector_type(compute_type(to_dtype), value.lanes)
    kind = "fptoui" if to_dtype == "uint8" else "fptosi"
    return e.call(to, f"llvm.{kind}.sat.{suffix(to)}.{suffix(value.type)}", value)


def _resize(e: Emitter, value: Value, target: str, unsigned: bool) -> Value:
    before, after = int(value.scalar_type[1:]), int(target[1:])
    if before == after:
        return value
    return e.convert("trunc" if after < before else "zext" if unsigned else "sext", value, target)
