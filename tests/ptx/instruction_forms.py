"""Instructions in many forms, legal or not: opcodes with all types and many modifiers."""

from __future__ import annotations

from collections.abc import Iterator

TYPES = ("b8 b16 b32 b64 u8 u16 u32 u64 s8 s16 s32 s64 f16 f16x2 bf16 bf16x2 f32 f64 pred").split()
WIDER = {"u16": "u32", "s16": "s32", "u32": "u64", "s32": "s64"}
ROUNDED = ["", "rn", "rz", "rm", "rp", "ftz", "sat", "rn.ftz", "rn.sat", "rn.ftz.sat", "relu",
           "rn.relu", "approx", "full", "approx.ftz", "lo", "hi", "cc", "NaN", "xorsign.abs",
           "ftz.NaN", "NaN.xorsign.abs"]  # fmt: skip
CONVERSIONS = ["", "rn", "rz", "rm", "rp", "rna", "rni", "rzi", "rmi", "rpi", "sat", "ftz",
               "rn.ftz", "rn.sat", "rzi.sat", "rzi.ftz", "rn.relu", "rn.satfinite",
               "rna.satfinite"]  # fmt: skip
COMPARISONS = ("eq ne lt le gt ge lo ls hi hs equ neu ltu leu gtu geu num nan").split()
HEAD = """.version 9.0
.target sm_100
.address_size 64
.visible .entry k(.param .b64 x)
{
.reg .b16 %h<10>; .reg .b32 %r<10>; .reg .b64 %q<10>; .reg .pred %p<10>;
.shared .align 16 .b8 sm[64];
ld.param.b64 %q1, [x];
"""
FIRST = HEAD.count("\n") + 1  # line of the first instruction


def register(type_: str, number: int) -> str:
    """A register of the width of a type."""
    if type_ == "pred":
        return f"%p{number}"
    bits = 32 if type_.endswith("x2") or type_ == "tf32" else int(type_.lstrip("bufs"))
    return {8: "%h", 16: "%h", 32: "%r", 64: "%q"}[bits] + str(number)


def written(opcode: str, mods: str, type_: str, count: int, result: str = "") -> str:
    """`opcode.mods.type result, a, b, ...;` with `count` operands."""
    name = ".".join(part for part in (opcode, mods, type_) if part)
    operands = [register(result or type_, 1), *(register(type_, i + 2) for i in range(count))]
    return f"{name} {', '.join(operands)};"


def arithmetic() -> Iterator[str]:
    counts = {"add": 2, "sub": 2, "mul": 2, "fma": 3, "mad": 3, "div": 2, "min": 2, "max": 2,
              "rem": 2, "sad": 3, "copysign": 2}  # fmt: skip
    for opcode, count in counts.items():
        for type_ in [*TYPES[:-1], "u16x2", "s16x2"]:
            for mods in ROUNDED:
                yield written(opcode, mods, type_, count)
    for type_, wide in WIDER.items():
        yield written("mul", "wide", type_, 2, wide)
    for opcode in ("abs neg sqrt rcp rsqrt sin cos lg2 ex2 tanh not cnot popc clz brev").split():
        for type_ in TYPES:
            for mods in ("", "rn", "rz", "ftz", "approx", "approx.ftz", "rn.ftz"):
                result = "u32" if opcode in ("popc", "clz") else type_
                yield written(opcode, mods, type_, 1, result)


def conversions() -> Iterator[str]:
    numbers = [t for t in TYPES if "x2" not in t and (t[0] != "b" or t == "bf16") and t != "pred"]
    for target in [*numbers, "tf32"]:
        for source in numbers:
            for mods in CONVERSIONS:
                name = ".".join(part for part in ("cvt", mods, target, source) if part)
                yield f"{name} {register(target, 1)}, {register(source, 2)};"
    for target in ("f16x2", "bf16x2"):
        for mods in CONVERSIONS:
            name = ".".join(part for part in ("cvt", mods, target, "f32") if part)
            yield f"{name} %r1, %r2, %r3;"


def choices() -> Iterator[str]:
    for type_ in TYPES:
        for compare in COMPARISONS if type_ != "pred" else ():
            for mods in ("", ".ftz"):
                result = "%p1|%p2" if "x2" in type_ else "%p1"
                operands = f"{register(type_, 2)}, {register(type_, 3)}"
                yield f"setp.{compare}{mods}.{type_} {result}, {operands};"
        a, b = register(type_, 1), register(type_, 2)
        for opcode in ("and", "or", "xor"):
            yield written(opcode, "", type_, 2)
        for opcode in ("shl", "shr"):
            yield f"{opcode}.{type_} {a}, {b}, %r3;"
        yield f"selp.{type_} {a}, {b}, {register(type_, 3)}, %p1;"
        yield f"mov.{type_} {a}, {b};"
        yield f"bfe.{type_} {a}, {b}, %r3, %r4;"
        yield f"bfi.{type_} {a}, {b}, {register(type_, 5)}, %r3, %r4;"
        yield f"bfind.{type_} %r1, {b};"


def accesses() -> Iterator[str]:
    orders = ("volatile.", "relaxed.gpu.", "acquire.gpu.", "")
    for type_ in TYPES[:-1]:
        for count in (1, 2, 4, 8):
            items = ", ".join(register(type_, i + 1) for i in range(count))
            vector, items = (f"v{count}.", f"{{{items}}}") if count > 1 else ("", items)
            for space, address in (("", "[%q1]"), ("global.", "[%q1]"), ("shared.", "[sm]")):
                for order in orders:
                    yield f"ld.{order}{space}{vector}{type_} {items}, {address};"
                    yield f"st.{order}{space}{vector}{type_} {address}, {items};"
                for hint in ("nc.", "L1::no_allocate.", "cs.", "ca.", "nc.L1::no_allocate."):
                    yield f"ld.{space}{hint}{vector}{type_} {items}, {address};"
                    yield f"st.{space}{hint}{vector}{type_} {address}, {items};"
        for opcode in ("add min max and or xor exch cas inc dec").split():
            for mods in ("", "noftz."):
                tail = f", {register(type_, 3)}" if opcode == "cas" else ""
                for space, address in (("global", "[%q1]"), ("shared", "[sm]")):
                    name = f"{space}.{opcode}.{mods}{type_}"
                    value = register(type_, 2) + tail
                    yield f"atom.{name} {register(type_, 1)}, {address}, {value};"
                    yield f"red.{name} {address}, {value};"


def warps() -> Iterator[str]:
    for type_ in TYPES:
        a, b = register(type_, 1), register(type_, 2)
        for mode in ("up", "down", "bfly", "idx"):
            yield f"shfl.sync.{mode}.{type_} {a}|%p1, {b}, 1, 31, -1;"
        for mode in ("all", "any", "uni", "ballot"):
            yield f"vote.sync.{mode}.{type_} {a}, %p1, -1;"
        for mode in ("add", "min", "max", "and", "or", "xor"):
            yield f"redux.sync.{mode}.{type_} {a}, {b}, -1;"
        for mode in ("any", "all"):
            yield f"match.{mode}.sync.{type_} %r1, {b}, -1;"
        for mode in ("finite", "infinite", "number", "notanumber", "normal", "subnormal"):
            yield f"testp.{mode}.{type_} %p1, {b};"
    for mode in ("l.wrap", "l.clamp", "r.wrap", "r.clamp"):
        yield f"shf.{mode}.b32 %r1, %r2, %r3, %r4;"


FORMS = {"arithmetic": arithmetic, "conversions": conversions, "choices": choices,
         "accesses": accesses, "warps": warps}  # fmt: skip
