"""How many threads to use.

The default is what this process may really use: the CPUs of its affinity mask, cut to the CPU
quota of its cgroup (v1 or v2). `NNCOMP_THREADS`, or else `OMP_NUM_THREADS`, overrides it, and
`set_num_threads` overrides both. Nothing here starts a thread.
"""

from __future__ import annotations

import math
import operator
import os
from pathlib import Path

MAX_THREADS = 1024

_threads: int | None = None  # what set_num_threads chose, or the default once it was asked for


def get_num_threads() -> int:
    """Number of threads that programs run with (torch's name).

    The default is worked out on first use and then kept: this is asked before every run.
    """
    global _threads
    if _threads is None:
        _threads = default_threads()
    return _threads


def set_num_threads(n: int | None) -> None:
    """Run programs with `n` threads from now on; None works out the default afresh.

    Raises TypeError for anything but a whole number, ValueError outside 1..1024.
    """
    global _threads
    if isinstance(n, bool):
        raise TypeError(f"set_num_threads got {n!r}; expected a whole number of threads")
    if n is not None:
        try:
            n = operator.index(n)
        except TypeError:
            raise TypeError(
                f"set_num_threads got {n!r} of type {type(n).__name__}; expected a whole number"
            ) from None
        _check_range(n, f"set_num_threads got {n}")
    _threads = n


def default_threads() -> int:
    """`NNCOMP_THREADS`, else `OMP_NUM_THREADS`, else the CPUs this process may use.

    Raises ValueError where a variable is set to something that is not a thread count.
    """
    for variable in ("NNCOMP_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(variable, "").strip()
        if text:
            return _parse(variable, text)
    return min(usable_cpus(), MAX_THREADS)


def usable_cpus() -> int:
    """CPUs of the affinity mask, cut to the cgroup's quota (rounded up); at least 1."""
    cpus, quota = len(allowed_cpus()), cgroup_quota()
    return max(1, cpus if quota is None else min(cpus, math.ceil(quota)))


def allowed_cpus() -> list[int]:
    """The CPU numbers that this process may run on, in rising order."""
    try:
        return sorted(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # macOS and Windows have no affinity call
        return list(range(os.cpu_count() or 1))


def cgroup_quota(proc: str | Path = "/proc/self") -> float | None:
    """CPUs' worth of time that the cgroups of this process allow; None where nothing limits it.

    `proc` is the folder that holds the `cgroup` and `mountinfo` files. Every group from the
    process's own up to the mounted root counts: the lowest limit wins.
    """
    quotas = [
        quota
        for kind, folder in _cgroup_folders(Path(proc))
        if (quota := _quota_of(kind, folder)) is not None
    ]
    return min(quotas, default=None)


def _parse(variable: str, text: str) -> int:
    """OMP_NUM_THREADS may be a list with one number per nesting level: the first one counts."""
    first = text.split(",")[0].strip() if variable == "OMP_NUM_THREADS" else text
    if not (first.isascii() and first.isdigit()):
        raise ValueError(
            f"{variable} is {text!r}; expected a whole number of threads, such as {variable}=4"
        )
    return _check_range(int(first), f"{variable} is {text!r}")


def _check_range(n: int, got: str) -> int:
    if not 1 <= n <= MAX_THREADS:
        raise ValueError(f"{got}; expected a number of threads from 1 to {MAX_THREADS}")
    return n


def _cgroup_folders(proc: Path) -> list[tuple[str, Path]]:
    """('v1' or 'v2', folder) of each group that limits the CPU time of this process."""
    try:
        groups = (proc / "cgroup").read_text().splitlines()
        mounts = (proc / "mountinfo").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    paths: dict[str, str] = {}
    for line in groups:
        fields = line.split(":", 2)
        if len(fields) == 3 and (fields[:2] == ["0", ""] or "cpu" in fields[1].split(",")):
            paths["v1" if fields[1] else "v2"] = fields[2]
    folders = []
    for kind, root, point in filter(None, map(_cpu_mount, mounts)):
        if kind in paths:
            folders += [(kind, f) for f in _up_to(Path(point), _below(root, paths[kind]))]
    return folders


def _cpu_mount(line: str) -> tuple[str, str, str] | None:
    """Kind, root and mount point of a mountinfo line, if it mounts the CPU controller."""
    left, found, right = line.partition(" - ")
    fields, tail = left.split(), right.split()
    if not found or len(fields) < 5 or len(tail) < 3:
        return None
    if tail[0] == "cgroup2":
        return "v2", fields[3], fields[4]
    if tail[0] == "cgroup" and "cpu" in tail[2].split(","):
        return "v1", fields[3], fields[4]
    return None


def _below(root: str, path: str) -> list[str]:
    """Parts of `path` below the mounted `root`: inside a container the mount starts lower."""
    parts, top = Path(path).parts[1:], Path(root).parts[1:]
    if ".." in parts:
        return []
    return list(parts[len(top) :]) if parts[: len(top)] == top else []


def _up_to(point: Path, parts: list[str]) -> list[Path]:
    return [point.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]


def _quota_of(kind: str, folder: Path) -> float | None:
    """Quota divided by period; an absent, unlimited or unreadable file means no limit."""
    try:
        if kind == "v2":
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        cpus = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # 'max' is v2's word for no limit
        return None
    return cpus if cpus > 0 else None  # -1 is v1's
