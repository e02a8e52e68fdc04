"""What machines a file is made for: a platform, and one or more levels of its instruction set.

A level is a name and a `Target`. A file for x86-64 holds code for several levels and chooses one
when it runs; files for other platforms hold one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..target import IMPLIED, LEVELS, Target, host, level_of

TRIPLES = {
    "x86_64-linux": "x86_64-unknown-linux-gnu",
    "aarch64-linux": "aarch64-unknown-linux-gnu",
    "riscv64-linux": "riscv64-unknown-linux-gnu",
    "wasm32": "wasm32-unknown-unknown",
    "x86_64-macos": "x86_64-apple-macosx11.0.0",
    "aarch64-macos": "arm64-apple-macosx11.0.0",
    "x86_64-windows": "x86_64-pc-windows-msvc",
    "aarch64-windows": "aarch64-pc-windows-msvc",
}

# CPU, features, bits of a vector, vector registers
_X86 = {
    "baseline": ("x86-64", "", 128, 16),
    "avx2": ("x86-64-v3", "", 256, 16),
    "avx512": ("x86-64-v4", "", 512, 32),
}
_ONE_LEVEL = {
    "aarch64": ("generic", "", 128, 32),
    "riscv64": ("generic-rv64", "+m,+a,+f,+d,+c", 128, 16),
    "wasm32": ("generic", "+simd128,+bulk-memory,+sign-ext,+nontrapping-fptoint", 128, 16),
}


@dataclass(frozen=True)
class Level:
    """One of the instruction sets that a file has code for."""

    name: str
    target: Target


def platform_name(target: str) -> str:
    """The name of a platform, that of this machine for "host"; ValueError for an unknown one."""
    if target in TRIPLES:
        return target
    if target != "host":
        raise ValueError(
            f"unknown target {target!r}: expected 'host' or one of {', '.join(TRIPLES)}"
        )
    triple = host()[2]
    arch = Target(triple, "", "", 0, 0).arch
    system = next((s for s in ("linux", "windows") if s in triple), "macos")
    name = f"{arch}-{system}"
    if name not in TRIPLES:
        raise ValueError(
            f"this machine ({triple}) is no target; expected one of {', '.join(TRIPLES)}"
        )
    return name


def _platform_here() -> str:
    """The triple of files for this machine, nothing where there are none."""
    try:
        return TRIPLES[platform_name("host")]
    except ValueError:
        return ""


def levels_of(target: str, cpu: str | Sequence[str] | None = None) -> list[Level]:
    """The levels of a platform, lowest first; `cpu` names some of those of x86-64.

    ValueError for an unknown platform or level.
    """
    name = platform_name(target)
    triple = TRIPLES[name]
    arch = Target(triple, "", "", 0, 0).arch
    table = _X86 if arch == "x86_64" else {"baseline": _ONE_LEVEL[arch]}
    wanted = list(table) if cpu is None else [cpu] if isinstance(cpu, str) else list(cpu)
    unknown = [level for level in wanted if level not in table]
    if unknown or not wanted:
        raise ValueError(
            f"cpu={cpu!r}: expected one or more of {', '.join(table)} for the target {name}"
        )
    return [Level(n, Target(triple, *table[n])) for n in LEVELS if n in wanted]


def highest_here() -> str:
    """The highest level whose code in a file this machine runs.

    Files take all of x86-64-v3 or -v4 for granted, as their own choice by cpuid does.
    """
    _, features, triple = host()
    level = level_of(triple, features)
    more = {"avx2": [n for n in IMPLIED if n != "avx512cd"], "avx512": list(IMPLIED)}
    while not all(features.get(name) for name in more.get(level, ())):
        level = LEVELS[LEVELS.index(level) - 1]
    return level


def runs_here(level: Level) -> bool:
    """Whether this machine executes the code of a level."""
    if _platform_here() != level.target.triple:
        return False
    return LEVELS.index(level.name) <= LEVELS.index(highest_here())
