"""The report as a table of text, in the order in which the kernels run."""

from __future__ import annotations

from typing import NamedTuple

from .report import KernelProfile, Report

MARKED = 10  # kernels that take longest get their rank
WIDEST = {"ops": 34, "where": 40}
HEADS = (
    ("top", ">"), ("#", ">"), ("ops", "<"), ("where", "<"), ("calls", ">"), ("thr", ">"),
    ("{time}", ">"), ("min", ">"), ("wait", ">"), ("share", ">"),
    ("{scale}FLOP", ">"), ("{scale}B", ">"), ("GFLOP/s", ">"), ("GB/s", ">"), ("FLOP/B", ">"),
    ("peak", ">"), ("mem", ">"), ("roof", ">"), ("bound", "<"),
)  # fmt: skip


class Units(NamedTuple):
    """What a table counts times and work in: small programs get small units."""

    time: str
    per_ms: float
    scale: str
    size: float

    @classmethod
    def of(cls, report: Report) -> Units:
        """Microseconds below 1 ms in all; thousands below ten million bytes in all."""
        time = ("us", 1e3) if report.kernels_ms < 1 else ("ms", 1.0)
        return cls(*time, *(("k", 1e3) if report.bytes < 1e7 else ("M", 1e6)))

    def duration(self, ms: float) -> str:
        """A time, as a table shows it."""
        return f"{ms * self.per_ms:.{4 if self.per_ms == 1 else 2}f}"

    def heads(self) -> list[str]:
        """The heads of the columns."""
        return [name.format(time=self.time, scale=self.scale) for name, _ in HEADS]


def table(report: Report) -> str:
    """Summary, one line per kernel, totals."""
    units = Units.of(report)
    body = [cells(k, units) for k in report.kernels]
    rows = [tuple(units.heads()), *body, total(report, units)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADS))]
    lines = []
    for row in rows:
        parts = zip(row, widths, HEADS, strict=True)
        lines.append("  ".join(f"{text:{side}{n}}" for text, n, (_, side) in parts).rstrip())
    rule = "-" * max(map(len, lines))
    return "\n".join([*summary(report), "", lines[0], rule, *lines[1:-1], rule, lines[-1], ""])


def summary(report: Report) -> list[str]:
    """What was measured, on what, and how much of it is the kernels."""
    flops, megabytes = report.flops / 1e9, report.bytes / 1e6
    kernels = count(len(report.kernels), "kernel")
    return [
        f"{report.title}: {kernels}, {flops:.3g} GFLOP, {megabytes:.4g} MB; "
        f"{count(report.threads, 'thread')}, {count(report.repeat, 'run')}",
        f"machine: {report.machine.cpu}, {report.machine.code_for}",
        *(f"  {line}" for line in ceiling_lines(report)),
        f"call {report.total_ms:.3f} ms (fastest {report.min_total_ms:.3f}), kernels "
        f"{report.kernels_ms:.3f} ms (fastest {report.min_kernels_ms:.3f}), "
        f"{report.percent_of_roofline:.0f} % of the roofline",
        f"outside of kernels {max(report.total_ms - report.kernels_ms, 0.0):.3f} ms: threads that "
        "meet, checks of indices, making the results",
        *waiting(report),
    ]


def waiting(report: Report) -> list[str]:
    """How long threads wait for each other, and what meeting costs at the moment."""
    if report.threads == 1:
        return []
    before, after = report.meeting_ns
    return [
        f"in kernels a thread waits {report.wait_ms:.3f} ms for slower ones; an empty barrier "
        f"takes {before:.0f} ns before the runs, {after:.0f} ns after them"
    ]


def count(number: int, word: str) -> str:
    """`1 thread`, `2 threads`."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def ceiling_lines(report: Report) -> list[str]:
    """The ceilings, a line for each number of threads."""
    lines = []
    for c in report.machine.ceilings:
        levels = ", ".join(f"{x.name} {x.gigabytes_per_second:.0f} GB/s" for x in c.levels)
        lines.append(f"{count(c.threads, 'thread')}: {c.gflops:.1f} GFLOP/s; {levels}")
    return lines


def cells(k: KernelProfile, units: Units) -> tuple[str, ...]:
    """The texts of one kernel's line."""
    return (
        f"*{k.rank}" if k.rank <= MARKED else "",
        str(k.number),
        shorten(k.ops, WIDEST["ops"]),
        shorten(k.where, WIDEST["where"], keep_end=True),
        str(k.calls),
        str(k.threads),
        units.duration(k.ms),
        units.duration(k.min_ms),
        units.duration(k.wait_ms) if k.threads > 1 else "",
        f"{k.share:.1f}%",
        f"{k.flops / units.size:.2f}",
        f"{k.bytes / units.size:.2f}",
        f"{k.gflops_per_second:.1f}",
        f"{k.gigabytes_per_second:.1f}",
        "" if k.intensity is None else f"{k.intensity:.1f}",
        f"{k.percent_of_peak:.0f}%",
        f"{k.percent_of_bandwidth:.0f}%",
        f"{k.percent_of_roofline:.0f}%",
        k.bound if k.bound == "compute" else k.level,
    )


def total(report: Report, units: Units) -> tuple[str, ...]:
    """The texts of the last line."""
    seconds = max(report.min_kernels_ms, 1e-9) / 1e3
    rates = f"{report.flops / seconds / 1e9:.1f}", f"{report.bytes / seconds / 1e9:.1f}"
    intensity = f"{report.flops / report.bytes:.1f}" if report.bytes else ""
    return (
        "", "", "all kernels", "", str(sum(k.calls for k in report.kernels)), "",
        units.duration(report.kernels_ms), units.duration(report.min_kernels_ms),
        units.duration(report.wait_ms) if report.threads > 1 else "", "100.0%",
        f"{report.flops / units.size:.2f}", f"{report.bytes / units.size:.2f}", *rates, intensity,
        "", "", f"{report.percent_of_roofline:.0f}%", "",
    )  # fmt: skip


def shorten(text: str, width: int, keep_end: bool = False) -> str:
    """At most `width` characters; what is cut off is marked with dots."""
    if len(text) <= width:
        return text
    return "..." + text[3 - width :] if keep_end else text[: width - 3] + "..."
