"""What a profile found: figures of every kernel, of the machine, and of the whole call."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Level:
    """A part of the memory: GB/s of a stream from it, and the bytes it holds (None: no limit)."""

    name: str
    capacity: int | None
    gigabytes_per_second: float


@dataclass(frozen=True)
class Ceiling:
    """Most that a number of threads can do: float32 multiply-adds in GFLOP/s, and the levels."""

    threads: int
    gflops: float
    levels: tuple[Level, ...]


@dataclass(frozen=True)
class Machine:
    """The processor and its measured ceilings: for one thread and for those of the profile."""

    cpu: str
    code_for: str
    ceilings: tuple[Ceiling, ...]

    def ceiling(self, threads: int) -> Ceiling:
        """The ceiling of `threads` threads."""
        return next(c for c in self.ceilings if c.threads == threads)


@dataclass(frozen=True)
class KernelProfile:
    """One kernel of the program. Rates and percentages belong to the fastest run.

    `flops` and `bytes` are those of one run, over all `calls` of a kernel in a loop; bytes are the
    least that must move. `level` is the memory that bounds it most.
    """

    number: int
    kernel: str
    kind: str
    ops: str
    scope: str
    line: str
    locs: tuple[str, ...]
    calls: int
    threads: int
    ms: float
    min_ms: float
    share: float  # percent of the time of all kernels (medians)
    rank: int  # 1 for the one that takes longest
    flops: int
    bytes: int
    gflops_per_second: float
    gigabytes_per_second: float
    intensity: float | None  # FLOPs per byte; None if nothing moves
    percent_of_peak: float
    percent_of_bandwidth: float
    percent_of_roofline: float
    bound: str  # compute, memory
    level: str
    wait_ms: float = 0.0  # of `ms`, that its threads waited for the slowest one, on average

    @property
    def where(self) -> str:
        """Module path and line."""
        return " ".join(part for part in (self.scope, self.line) if part)


@dataclass(frozen=True)
class Report:
    """The profile of one compiled graph; `print` it, or write it as JSON or HTML.

    `total_ms` and `min_total_ms` are whole calls of the program as it runs in production;
    `kernels_ms` is the sum of the kernels' medians, each measured with all threads waiting for it.
    `meeting_ns` is what an empty barrier of the threads took, before the runs and after them.
    """

    title: str
    kernels: tuple[KernelProfile, ...]
    machine: Machine
    total_ms: float
    min_total_ms: float
    kernels_ms: float
    min_kernels_ms: float
    threads: int
    repeat: int
    meeting_ns: tuple[float, float] = (0.0, 0.0)
    sources: Any = field(default=None, repr=False, compare=False)

    @property
    def flops(self) -> int:
        """FLOPs of one run."""
        return sum(k.flops for k in self.kernels)

    @property
    def bytes(self) -> int:
        """Bytes that the kernels must move in one run."""
        return sum(k.bytes for k in self.kernels)

    @property
    def wait_ms(self) -> float:
        """Milliseconds that a thread waits for others in the kernels of one run, on average."""
        return sum(k.wait_ms for k in self.kernels)

    @property
    def percent_of_roofline(self) -> float:
        """Time that the kernels need at least, in percent of the time they took (fastest runs)."""
        least = sum(k.percent_of_roofline / 100 * k.min_ms for k in self.kernels)
        return 100 * least / self.min_kernels_ms if self.min_kernels_ms else 0.0

    def __str__(self) -> str:
        from .table import table

        return table(self)

    def to_dict(self) -> dict[str, Any]:
        """All figures, in plain values."""
        values = {name: value for name, value in vars(self).items() if name != "sources"}
        values["kernels"] = [asdict(k) for k in self.kernels]
        values["machine"] = asdict(self.machine)
        return values

    def to_json(self) -> str:
        """All figures as JSON text; `from_json` reads it back."""
        return json.dumps(self.to_dict(), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report that `to_json` wrote; it has no source texts."""
        values = json.loads(text)
        rows = (dict(k, locs=tuple(k["locs"])) for k in values["kernels"])
        kernels = tuple(KernelProfile(**row) for row in rows)
        machine = dict(values["machine"], ceilings=tuple(map(_ceiling, _ceilings(values))))
        values |= {"kernels": kernels, "machine": Machine(**machine)}
        return cls(**{**values, "meeting_ns": tuple(values.get("meeting_ns", (0.0, 0.0)))})

    def save_html(self, path: str | Path) -> None:
        """Write a page with the roofline, the table, and the code of the kernels."""
        from .page import page

        Path(path).write_text(page(self), encoding="utf-8")


def _ceilings(values: dict[str, Any]) -> list[dict[str, Any]]:
    return values["machine"]["ceilings"]


def _ceiling(values: dict[str, Any]) -> Ceiling:
    levels = tuple(Level(**level) for level in values["levels"])
    return Ceiling(values["threads"], values["gflops"], levels)
