"""What the figures were measured on: processor, system, versions, and how busy it was."""

from __future__ import annotations

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "nncomp", "numpy", "llvmlite", "cuda-bindings", "torch", "onnxruntime", "openvino", "onnx",
    "jax", "jaxlib",
)  # fmt: skip


def describe() -> dict[str, object]:
    """Everything known about this machine now, ready for JSON."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": cpu_name(),
        "cpus": len(allowed_cpus()),
        "memory_gb": memory(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "load": load,
        "versions": {p: v for p in PACKAGES if (v := version(p)) is not None},
    }


def version(package: str) -> str | None:
    """The installed version of a package; None without one."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpu_name() -> str:
    """The processor as the system calls it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory() -> float | None:
    """Installed memory in GB (10**9 bytes)."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None


def allowed_cpus() -> list[int]:
    """The CPUs that this process may use, in rising order."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def choose_cpus(threads: int) -> list[int]:
    """One CPU for each thread: cores first, their second hardware threads only when all are used.

    Empty where there are fewer CPUs than threads: then nothing is bound.
    """
    allowed, seen, first, second = allowed_cpus(), set(), [], []
    for cpu in allowed:
        core = siblings(cpu)
        (second if core in seen else first).append(cpu)
        seen.add(core)
    chosen = (first + second)[:threads]
    return sorted(chosen) if len(chosen) == threads else []


def siblings(cpu: int) -> str:
    """A text that all CPUs of one core share."""
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return path.read_text().strip()
    except OSError:
        return str(cpu)
