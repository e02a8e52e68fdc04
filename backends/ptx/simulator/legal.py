"""Which modifiers and types go with which opcode, as the PTX ISA lists them.

One pattern per form, in which {NAMES} stand for the alternatives of SETS. The decoders below may
understand more than is legal; text that an assembler would refuse must not pass here either
(tests/ptx/test_simulator_legal.py compares with ptxas).
"""

from __future__ import annotations

import re
from functools import cache

from .syntax import type_bits

SETS = {
    "RND": "(rn|rz|rm|rp)",
    "INT": "(u16|u32|u64|s16|s32|s64)",
    "HALVES": "(f16|f16x2)",
    "BRAINS": "(bf16|bf16x2)",
    "BITS": "(b16|b32|b64)",
    "PLAIN": "(b16|b32|b64|u16|u32|u64|s16|s32|s64|f32|f64)",
    "MEM": "(b8|b16|b32|b64|u8|u16|u32|u64|s8|s16|s32|s64|f32|f64)",
    "SCOPE": "(cta|cluster|gpu|sys)",
    "SPACE": "(global|shared|shared::cta|local|const|param)",
    "EVICT": "(L1::(evict_normal|evict_unchanged|evict_first|evict_last|no_allocate))",
    "PREFETCH": "(L2::(64B|128B|256B))",
    "CMP": "(eq|ne|lt|le|gt|ge)",
    "FCMP": "(eq|ne|lt|le|gt|ge|equ|neu|ltu|leu|gtu|geu|num|nan)",
    "BOOL": "(and|or|xor)",
}
SUMS = ["{INT}", "cc.(u32|s32|u64|s64)", "sat.s32", "[{RND}.][ftz.][sat.]f32", "[{RND}.]f64",
        "[rn.][ftz.][sat.]{HALVES}", "[rn.]{BRAINS}"]  # fmt: skip
EXTREMES = ["{INT}", "[relu.](s16x2|s32)", "u16x2", "[ftz.][NaN.][xorsign.abs.](f32|f16|f16x2)",
            "f64", "[NaN.][xorsign.abs.]{BRAINS}"]  # fmt: skip
SIGNS = ["(s16|s32|s64)", "[ftz.](f32|f16|f16x2)", "f64", "{BRAINS}"]
SHORT = ["approx.[ftz.]f32"]
COMPARISONS = ["(eq|ne)[.{BOOL}].{BITS}", "{CMP}[.{BOOL}].(s16|s32|s64|u16|u32|u64)",
               "(lo|ls|hi|hs)[.{BOOL}].(u16|u32|u64)", "{FCMP}[.{BOOL}][.ftz].(f32|f16|f16x2)",
               "{FCMP}[.{BOOL}].(f64|bf16|bf16x2)"]  # fmt: skip
LOADS = ["[(weak|volatile|(relaxed|acquire).{SCOPE}).][{SPACE}.][(ca|cg|cs|lu|cv).]"
         "[{EVICT}.][{PREFETCH}.][(v2|v4|v8).]{MEM}",
         "[weak.]global.[(ca|cg|cs).]nc.[{EVICT}.][{PREFETCH}.][(v2|v4|v8).]{MEM}"]  # fmt: skip
STORES = ["[(weak|volatile|(relaxed|release).{SCOPE}).][(global|shared|shared::cta|local|param).]"
          "[(wb|cg|cs|wt).][{EVICT}.][(v2|v4|v8).]{MEM}"]  # fmt: skip
ORDER = "[(relaxed|acquire|release|acq_rel).][{SCOPE}.][(global|shared|shared::cta).]"
UPDATES = [ORDER + "(and|or|xor).(b32|b64)", ORDER + "add.(u32|s32|u64|f32|f64)",
           ORDER + "(min|max).(u32|s32|u64|s64)", ORDER + "(inc|dec).u32",
           ORDER + "add.noftz.({HALVES}|{BRAINS})"]  # fmt: skip
VECTORS = [ORDER + "add.(v2|v4).f32", ORDER + "(add|min|max).noftz.(v2|v4|v8).(f16|bf16)",
           ORDER + "(add|min|max).noftz.(v2|v4).(f16x2|bf16x2)"]  # fmt: skip

FORMS: dict[str, list[str]] = {
    "add": [*SUMS, "(u16x2|s16x2)"],
    "sub": SUMS,
    "addc": ["[cc.](u32|s32|u64|s64)"],
    "subc": ["[cc.](u32|s32|u64|s64)"],
    "mul": ["(lo|hi).{INT}", "wide.(u16|s16|u32|s32)", *SUMS[3:]],
    "mad": ["(lo|hi).{INT}", "wide.(u16|s16|u32|s32)", "{RND}.[ftz.][sat.]f32", "{RND}.f64"],
    "fma": ["{RND}.[ftz.][sat.]f32", "{RND}.f64", "rn.[ftz.][(sat|relu).]{HALVES}",
            "rn.[relu.]{BRAINS}"],
    "mul24": ["(lo|hi).(u32|s32)"],
    "mad24": ["(lo|hi).(u32|s32)"],
    "div": ["{INT}", "(approx|full|{RND}).[ftz.]f32", "{RND}.f64"],
    "rem": ["{INT}"],
    "min": EXTREMES,
    "max": EXTREMES,
    "abs": SIGNS,
    "neg": SIGNS,
    "sad": ["{INT}"],
    "sqrt": [*SHORT, "{RND}.[ftz.]f32", "{RND}.f64"],
    "rcp": [*SHORT, "{RND}.[ftz.]f32", "{RND}.f64", "approx.ftz.f64"],
    "rsqrt": [*SHORT, "approx.[ftz.]f64"],
    "sin": SHORT,
    "cos": SHORT,
    "lg2": SHORT,
    "ex2": [*SHORT, "approx.{HALVES}", "approx.ftz.{BRAINS}"],
    "tanh": ["approx.(f32|f16|f16x2|bf16|bf16x2)"],
    "copysign": ["(f32|f64)"],
    "testp": ["(finite|infinite|number|notanumber|normal|subnormal).(f32|f64)"],
    "and": ["(pred|b16|b32|b64)"],
    "or": ["(pred|b16|b32|b64)"],
    "xor": ["(pred|b16|b32|b64)"],
    "not": ["(pred|b16|b32|b64)"],
    "cnot": ["{BITS}"],
    "lop3": ["b32"],
    "shl": ["{BITS}"],
    "shr": ["({BITS}|{INT})"],
    "shf": ["(l|r).(wrap|clamp).b32"],
    "popc": ["(b32|b64)"],
    "clz": ["(b32|b64)"],
    "brev": ["(b32|b64)"],
    "bfind": ["[shiftamt.](u32|u64|s32|s64)"],
    "bfe": ["(u32|u64|s32|s64)"],
    "bfi": ["(b32|b64)"],
    "prmt": ["b32"],
    "dp4a": ["(u32|s32).(u32|s32)"],
    "selp": ["{PLAIN}"],
    "slct": ["[ftz.]{PLAIN}.f32", "{PLAIN}.s32"],
    "setp": COMPARISONS,
    "mov": ["(pred|{PLAIN})"],
    "ld": LOADS,
    "ldu": ["[global.][(v2|v4).]{MEM}"],
    "st": STORES,
    "atom": [*UPDATES, *VECTORS, ORDER + "exch.(b32|b64)", ORDER + "cas.(b16|b32|b64)"],
    "red": [*UPDATES, *VECTORS],
    "shfl": ["sync.(up|down|bfly|idx).b32"],
    "vote": ["sync.(all|any|uni).pred", "sync.ballot.b32"],
    "match": ["(any|all).sync.(b32|b64)"],
    "redux": ["sync.(add|min|max).(u32|s32)", "sync.(and|or|xor).b32"],
    "activemask": ["b32"],
    "cvta": ["[to.](global|shared|shared::cta|local|const|param).(u32|u64)"],
}  # fmt: skip


@cache
def pattern(opcode: str) -> re.Pattern:
    """The legal modifiers of an opcode as one expression; [x] is an option, dots are literal."""
    forms = []
    for form in FORMS[opcode]:
        for name, choices in SETS.items():
            form = form.replace("{" + name + "}", choices)
        forms.append(form.replace("[", "(").replace("]", ")?").replace(".", r"\."))
    return re.compile("|".join(f"({form})" for form in forms))


@cache
def problem(opcode: str, mods: tuple[str, ...]) -> str:
    """What is wrong with an opcode's modifiers, or "" if they are legal or not listed here."""
    text = ".".join(mods)
    if opcode == "cvt":
        wrong = not legal_cvt(mods)
    else:
        wrong = opcode in FORMS and not pattern(opcode).fullmatch(text)
    if wrong:
        return f".{text} is no form of {opcode!r}."
    if opcode in ("ld", "st"):
        return too_wide(mods)
    return ""


def too_wide(mods: tuple[str, ...]) -> str:
    """Vectors have up to 128 bits, in global memory 256 bits of 8 or 4 elements."""
    count = next((int(m[1:]) for m in mods if m in ("v2", "v4", "v8")), 1)
    bits = type_bits(mods[-1])
    near = set(mods) & {"shared", "shared::cta", "local", "const", "param"}
    most = 128 if near or bits < 32 else 256
    if count * bits > most or (count == 8 and (near or bits != 32)):
        return f"a vector of {count} times {bits} bits is too wide."
    if near and any(m.startswith("L1::") for m in mods):
        return "eviction hints are for global memory."
    return ""


FLOAT_BITS = {"f16": 16, "bf16": 16, "f32": 32, "f64": 64}
WHOLE = {"u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64"}


def legal_cvt(mods: tuple[str, ...]) -> bool:
    """Whether the modifiers of a cvt go with its types."""
    if len(mods) < 2:
        return False
    *front, target, source = mods
    text = ".".join(front)
    if target in ("f16x2", "bf16x2"):
        return source == "f32" and bool(re.fullmatch(r"(rn|rz)(\.relu)?(\.satfinite)?", text))
    if target == "tf32":
        rule = r"rna(\.satfinite)?|(rn|rz)(\.relu)?(\.satfinite)?"
        return source == "f32" and bool(re.fullmatch(rule, text))
    if target in WHOLE and source in WHOLE:
        return text == "" or (text == "sat" and narrows(source, target))
    if source not in FLOAT_BITS or target not in FLOAT_BITS:
        return {source, target} <= WHOLE | set(FLOAT_BITS) and legal_mixed(source, target, text)
    return bool(re.fullmatch(float_rule(source, target), text))


def narrows(source: str, target: str) -> bool:
    """Whether some value of a whole type does not fit into another."""
    low, high = edges(source)
    least, most = edges(target)
    return low < least or high > most


def edges(type_: str) -> tuple[int, int]:
    bits = type_bits(type_)
    return (0, 2**bits - 1) if type_[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def legal_mixed(source: str, target: str, text: str) -> bool:
    """Between whole numbers and floats."""
    brain, byte = "bf16" in (source, target), bool({source, target} & {"u8", "s8"})
    if brain and byte:
        return False
    sat = "" if brain else r"(\.sat)?"
    if target in WHOLE:
        ftz = r"(\.ftz)?" if source == "f32" else ""
        return bool(re.fullmatch(rf"(rni|rzi|rmi|rpi){ftz}{sat}", text))
    ftz = r"(\.ftz)?" if target == "f32" else ""
    return bool(re.fullmatch(rf"(rn|rz|rm|rp){ftz}{sat}", text))


def float_rule(source: str, target: str) -> str:
    """Between floats: narrowing rounds, widening does not, equal types round to whole numbers."""
    ftz = r"(\.ftz)?" if "f32" in (source, target) else ""
    if source == target:
        sat = "" if source == "bf16" else r"(\.sat)?"
        return rf"((rni|rzi|rmi|rpi)?{ftz}{sat})|(\.?(ftz)?\.?(sat)?)" if source == "f32" else (
            rf"(rni|rzi|rmi|rpi)?{sat}|(sat)?" if sat else "(rni|rzi|rmi|rpi)?")  # fmt: skip
    if {source, target} == {"f16", "bf16"}:
        return "(rn|rz|rm|rp)"
    if FLOAT_BITS[target] > FLOAT_BITS[source]:
        if source == "bf16":
            return r"(rn|rz|rm|rp)?(\.?ftz)?" if target == "f32" else "(rn|rz|rm|rp)?"
        return r"(ftz)?\.?(sat)?" if ftz else "(sat)?"
    if target in ("f16", "bf16") and source == "f32":
        sat = r"(\.sat)?" if target == "f16" else ""
        return rf"(rn|rz)(\.relu)?(\.satfinite)?|(rn|rz|rm|rp){ftz}{sat}"
    sat = "" if target == "bf16" else r"(\.sat)?"
    return rf"(rn|rz|rm|rp){ftz}{sat}"
