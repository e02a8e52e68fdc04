"""What machine to generate code for.

`host_target()` describes this machine; `NNCOMP_ISA` (baseline, avx2 or avx512) lowers it, so that
the code paths of older machines can be run and tested on a newer one. `machine(target)` is the
LLVM side of a `Target`. llvmlite is imported on first use, because importing it costs about 50 ms.
"""

from __future__ import annotations

import functools
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .known_host import Host

LEVELS = ("baseline", "avx2", "avx512")

_NEEDED = {
    "avx2": ("avx2", "fma"),
    "avx512": ("avx2", "fma", "avx512f", "avx512vl", "avx512bw", "avx512dq"),
}
_VECTORS = {"baseline": (128, 16), "avx2": (256, 16), "avx512": (512, 32)}  # bits, registers
_GENERIC_CPU = {"baseline": "x86-64", "avx2": "x86-64-v3", "avx512": "x86-64-v4"}
# What x86-64-v3 and -v4 imply beyond the level itself: switched off where a host lacks it.
IMPLIED = ("avx512cd", "bmi", "bmi2", "f16c", "lzcnt", "movbe", "popcnt", "crc32", "cx16", "sahf")


@dataclass(frozen=True)
class Target:
    """The instruction set that code is generated for, in LLVM's words."""

    triple: str
    cpu: str
    features: str
    vector_bits: int
    vector_registers: int

    @property
    def arch(self) -> str:
        """First part of the triple: `x86_64`, `aarch64`; Apple's `arm64` reads `aarch64`."""
        arch = self.triple.split("-", 1)[0]
        return {"amd64": "x86_64", "arm64": "aarch64"}.get(arch, arch)

    @property
    def fma(self) -> bool:
        """Whether a fused multiply-add is one instruction (else LLVM calls libm's slow `fmaf`)."""
        return self.arch == "aarch64" or (self.arch == "x86_64" and self.vector_bits >= 256)


    @property
    def bf16_pairs(self) -> bool:
        """Whether one instruction adds two products of bfloat16 to a float32 sum (vdpbf16ps)."""
        return self.vector_bits == 512 and "+avx512bf16" in self.features.split(",")


def lanes(target: Target, itemsize: int) -> int:
    """How many items of `itemsize` bytes one vector register holds."""
    if itemsize not in (1, 2, 4, 8):
        raise ValueError(f"an item of {itemsize} bytes has no lane; expected 1, 2, 4 or 8 bytes")
    return target.vector_bits // 8 // itemsize


def host_target() -> Target:
    """The target of this machine, lowered to `NNCOMP_ISA` where that is set.

    Raises ValueError for a level that is unknown or that this machine cannot run.
    """
    return _target_at(os.environ.get("NNCOMP_ISA", "").strip().lower())


@functools.cache
def _target_at(wanted: str) -> Target:
    """The host's target, lowered to level `wanted` ('' keeps the host's own)."""
    cpu, features, triple = host()
    level = level_of(triple, features)
    if wanted and wanted not in LEVELS:
        raise ValueError(f"NNCOMP_ISA is {wanted!r}; expected one of {', '.join(LEVELS)}")
    if wanted and LEVELS.index(wanted) > LEVELS.index(level):
        raise ValueError(
            f"NNCOMP_ISA asks for {wanted!r}, but this CPU ({cpu}) goes up to {level!r}; "
            f"unset NNCOMP_ISA or choose {level!r} or lower"
        )
    is_x86 = Target(triple, cpu, "", 0, 0).arch == "x86_64"
    if wanted and is_x86:
        missing = [f"-{name}" for name in IMPLIED if not features.get(name)]
        return Target(triple, _GENERIC_CPU[wanted], ",".join(missing), *_VECTORS[wanted])
    flags = ",".join(f"{'+' if on else '-'}{name}" for name, on in sorted(features.items()))
    return Target(triple, cpu, flags, *(_VECTORS[level] if is_x86 else (128, 32)))


def level_of(triple: str, features: dict[str, bool]) -> str:
    """The highest of LEVELS that a CPU with these features can run."""
    if Target(triple, "", "", 0, 0).arch != "x86_64":
        return "baseline"
    runs = [level for level in LEVELS if all(features.get(f) for f in _NEEDED.get(level, ()))]
    return runs[-1]


@functools.cache
def host() -> tuple[str, dict[str, bool], str]:
    """CPU name, feature flags and triple of this machine, as LLVM sees them."""
    found = _known_host()
    return found.cpu, found.features, found.triple


def needs_llvm() -> bool:
    """Whether LLVM has to be asked what machine this is."""
    return _recorded_host() is None


@functools.cache
def _recorded_host() -> Host | None:
    from . import known_host

    return known_host.find()


@functools.cache
def _known_host() -> Host:
    """From the disk where LLVM was asked before."""
    from . import known_host

    found = _recorded_host()
    if found is None:
        llvm = binding()
        version = ".".join(map(str, llvm.llvm_version_info))
        cpu, features = llvm.get_host_cpu_name(), dict(llvm.get_host_cpu_features())
        found = known_host.Host(cpu, features, llvm.get_process_triple(), version)
        known_host.save(found, new_folder=False)
    return found


_binding_lock = threading.RLock()


@functools.cache
def binding():
    """`llvmlite.binding`, ready to generate code for this machine."""
    from .early import open_library

    with _binding_lock:
        open_library()
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        return llvm


@functools.cache
def versions() -> tuple[str, str]:
    """llvmlite's and LLVM's versions, both part of every cache key."""
    import llvmlite

    return llvmlite.__version__, _known_host().llvm


_local = threading.local()


# How hard LLVM works on machine code, 0 to 3. Kernels come out as fast at 1 as at 2, in two thirds
# of the time; 0 is for long code without loops of its own.
KERNELS, QUICK = 1, 0


def machine(target: Target, effort: int = KERNELS):
    """This thread's llvmlite TargetMachine for `target` (one must not be used by two threads)."""
    made = _local.__dict__.setdefault("machines", {})
    if (target, effort) not in made:
        from . import known_host

        llvm = binding()
        known_host.save(_known_host())
        if target.triple != host()[2]:  # code for another machine: to look at, not to run
            llvm.initialize_all_targets()
            llvm.initialize_all_asmprinters()
        made[target, effort] = llvm.Target.from_triple(target.triple).create_target_machine(
            cpu=target.cpu, features=target.features, opt=effort, reloc=_reloc(target),
            codemodel="small",
        )  # fmt: skip
    return made[target, effort]


@functools.cache
def layout_line(target: Target) -> str:
    """What a module for `target` begins with. Kept: asking LLVM takes llvmlite's lock, which
    threads that compile would wait for."""
    worker = machine(target)
    return f'target datalayout = "{worker.target_data}" target triple = "{worker.triple}" '


def _reloc(target: Target) -> str:
    """Code that can lie anywhere, except where there is no such thing."""
    return "static" if target.arch.startswith("wasm") else "pic"


def is_posix(target: Target) -> bool:
    """Whether code for `target` may call pthread functions."""
    return not any(name in target.triple for name in ("windows", "win32", "wasm"))


def is_linux(target: Target) -> bool:
    """Whether threads can be pinned to CPUs: the calls for it are Linux's own."""
    return "linux" in target.triple
