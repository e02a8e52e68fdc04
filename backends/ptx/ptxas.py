"""Running NVIDIA's assembler where it is installed: does it take our text, and at what cost?

Used by tests alone; nothing at run time depends on it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ARCHITECTURES = ("sm_80", "sm_90", "sm_90a", "sm_100")
SECONDS = 120


class PtxasError(RuntimeError):
    """ptxas refused the text; the message holds what it printed."""


@dataclass
class Usage:
    """What one kernel takes on one architecture."""

    registers: int = 0
    shared: int = 0  # bytes, static
    stack: int = 0  # bytes per thread
    spill_stores: int = 0  # bytes
    spill_loads: int = 0  # bytes
    barriers: int = 0


@dataclass
class Assembled:
    """The outcome for one text and architecture."""

    arch: str
    cubin: bytes
    kernels: dict[str, Usage] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def spills(self) -> dict[str, Usage]:
        """Kernels that keep values in memory for want of registers."""
        return {k: u for k, u in self.kernels.items() if u.spill_stores or u.spill_loads}


def find() -> str | None:
    """Path of ptxas: NNCOMP_PTXAS, the PATH, CUDA_HOME, or None."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    places = [os.environ.get("NNCOMP_PTXAS"), shutil.which("ptxas")]
    places.append(str(Path(home) / "bin" / "ptxas") if home else None)
    return next((p for p in places if p and Path(p).is_file()), None)


def assemble(text: str, arch: str = "sm_80", options: tuple[str, ...] = ()) -> Assembled:
    """Assemble PTX for an architecture; PtxasError if it is refused or ptxas is missing."""
    program = find()
    if program is None:
        raise PtxasError("ptxas is not installed: put it on the PATH or set NNCOMP_PTXAS.")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(text)
        command = [program, "-v", f"-arch={arch}", *options, str(source), "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        output = done.stdout + done.stderr
        if done.returncode or not target.exists():
            raise PtxasError(f"ptxas -arch={arch} failed ({done.returncode}):\n{output.strip()}")
        return Assembled(arch, target.read_bytes(), *read(output))


def read(output: str) -> tuple[dict[str, Usage], list[str]]:
    """(usage of each kernel, warnings) from what `ptxas -v` prints."""
    kernels: dict[str, Usage] = {}
    usage = Usage()
    for line in output.splitlines():
        if match := re.search(r"Compiling entry function '([^']+)'", line):
            usage = kernels.setdefault(match[1], Usage())
        elif match := re.search(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line
        ):
            usage.stack, usage.spill_stores, usage.spill_loads = map(int, match.groups())
        elif match := re.search(r"Used (\d+) registers", line):
            usage.registers = int(match[1])
            usage.shared = number(r"(\d+) bytes smem", line)
            usage.barriers = number(r"used (\d+) barriers", line)
    warnings = [line for line in output.splitlines() if "warning" in line.lower()]
    return kernels, warnings


def number(pattern: str, line: str) -> int:
    match = re.search(pattern, line)
    return int(match[1]) if match else 0
