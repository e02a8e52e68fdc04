"""What may reach LLVM's PTX backend: anything it has no code for ends the whole process.

`llvm.exp` makes it exit, `llvm.sin` and `llvm.pow` abort, and a call of a C function is only
refused by the driver. So every called name is looked up here first, and what is not known to work
becomes an error that says which kernel asked for it.
"""

from __future__ import annotations

import re

# Overloaded intrinsics by name without the suffix of their types
_FLOAT = "fma fabs sqrt floor ceil trunc roundeven rint copysign minnum maxnum minimum maximum"
_INTEGER = "abs smin smax umin umax fshl fshr ctlz cttz ctpop bitreverse fptosi.sat fptoui.sat"
_GENERAL = "assume vector.reduce.or vector.reduce.and fmuladd memset memcpy memmove"
_BY_PASSES = (  # what LLVM's own passes make of comparisons, shifts and selections
    "is.fpclass usub.sat uadd.sat ssub.sat sadd.sat ucmp scmp ldexp umul.with.overflow "
    "uadd.with.overflow usub.with.overflow canonicalize minimumnum maximumnum lifetime.start "
    "lifetime.end experimental.noalias.scope.decl"
)
ALLOWED = frozenset(
    f"llvm.{name}" for name in f"{_FLOAT} {_INTEGER} {_GENERAL} {_BY_PASSES}".split()
)

_NVVM = (
    r"read\.ptx\.sreg\.(tid|ntid|ctaid|nctaid)\.[xyz]",
    r"read\.ptx\.sreg\.(laneid|warpsize)",
    r"barrier0",
    r"barrier\.cta\.sync\.aligned\.all",
    r"bar\.warp\.sync",
    r"membar\.(cta|gl|sys)",
    r"shfl\.sync\.(bfly|down|up|idx)\.(i32|f32)",
    r"vote\.(all|any|ballot)\.sync",
    r"redux\.sync\.\w+",
    r"cp\.async\.c[ag]\.shared\.global\.(4|8|16)(\.s)?",
    r"cp\.async\.(commit\.group|wait\.group|wait\.all)",
    r"ldmatrix\.sync\.aligned\.m8n8\.x[124](\.trans)?\.b16\.p3",
    r"mma\.m\d+n\d+k\d+\.\w+\.\w+(\.\w+)*",
    r"f2tf32\.rna",
    r"ex2\.approx(\.ftz)?\.(f|f32)",
)
_NVVM_ALLOWED = re.compile(rf"llvm\.nvvm\.({'|'.join(_NVVM)})$")
_SYMBOL = re.compile(r"call\s[^@\n]*@([\w.]+)\(")
_SUFFIX = re.compile(r"(\.(v\d+)?(p\d+|i\d+|f\d+|bf16))+$")
_DEFINED = re.compile(r"^define\s[^@\n]*@([\w.]+)\(", re.M)


class UnsupportedOnGpu(NotImplementedError):
    """A kernel needs something that there is no PTX code for."""


def check_text(text: str) -> None:
    """UnsupportedOnGpu if the LLVM text calls anything that the PTX backend cannot translate."""
    defined = set(_DEFINED.findall(text))
    for symbol in dict.fromkeys(_SYMBOL.findall(text)):
        if symbol not in defined and not is_allowed(symbol):
            names = ", ".join(sorted(defined)) or "a kernel"
            raise UnsupportedOnGpu(
                f"{names} calls {symbol!r}, which the PTX backend has no code for; compile this "
                'function with backend="cpu", or compute that part outside of it'
            )
    if " frem " in text:
        names = ", ".join(sorted(defined))
        raise UnsupportedOnGpu(f"{names} uses frem, which is inexact in PTX; write it as fmod")


def is_allowed(symbol: str) -> bool:
    """Whether a called symbol is an intrinsic that becomes PTX instructions."""
    if symbol.startswith("llvm.nvvm."):
        return _NVVM_ALLOWED.match(symbol) is not None
    return _SUFFIX.sub("", symbol) in ALLOWED
