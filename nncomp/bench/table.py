"""The table as text: one block per row, the ratios of nncomp below, footnotes at the end."""

from __future__ import annotations

import math

from .engines import OURS
from .results import EngineResult, Report, RowResult

DASH = "-"
HEADS = (
    "engine", "median ms", "min ms", "ratio", "first s", "cached s", "peak MB", "difference", "",
)  # fmt: skip
LINE = 96  # characters of a footnote's line


def table(report: Report) -> str:
    """The whole report for a terminal or a log."""
    notes: list[str] = []
    blocks = [heading(report), figures(report, notes)]
    if any(not math.isnan(row.ratio(OURS)) for row in report.rows):
        blocks.append(summary(report))
    if notes:
        blocks.append("\n".join(f"[{i}] {note}" for i, note in enumerate(notes, 1)))
    return "\n\n".join(blocks) + "\n"


def heading(report: Report) -> str:
    """Machine, versions and method in a few lines."""
    m, s = report.machine, report.settings
    versions = ", ".join(f"{name} {value}" for name, value in m["versions"].items())
    lines = [
        f"{m['cpu']}, {m['cpus']} CPUs, {s['threads']} threads; {m['system']}, "
        f"Python {m['python']}; {m['date']}",
        versions,
        f"{s['rounds']} rounds of {s['burst']:g} s per engine, order rotated; ratio: median / "
        "best other engine's median",
    ]
    if "gpu" in m:
        lines.insert(1, f"on {m['gpu']}, products of float32: {s['precision']}")
    load = m["load"]
    if load is not None and load > 0.5:
        lines.append(f"warning: the machine was busy when this began (load {load:.1f})")
    return "\n".join(lines)


def figures(report: Report, notes: list[str]) -> str:
    """All engines of all rows, in columns; sentences for footnotes are added to `notes`."""
    cells: list[list[str]] = [list(HEADS)]
    titles: dict[int, str] = {}
    for row in report.rows:
        titles[len(cells)] = title(row)
        for engine in row.engines.values():
            cells.append(engine_cells(row, engine, notes))
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEADS))]
    lines = []
    for number, line in enumerate(cells):
        if number in titles:
            lines += ["", titles[number]]
        first, *rest = (
            text.ljust(w) if i in (0, len(HEADS) - 1) else text.rjust(w)
            for i, (text, w) in enumerate(zip(line, widths, strict=True))
        )
        lines.append("  ".join(["", first, *rest]).rstrip())
    return "\n".join(lines)


def title(row: RowResult) -> str:
    """The line above a row's engines."""
    batch = "" if row.batch is None else f", batch {row.batch}"
    kind = " (training step)" if row.train else ""
    return f"{row.title}{batch}{kind}{meetings(row)}"


def meetings(row: RowResult) -> str:
    """What it cost threads to meet in the rounds: whether the machine stayed as it was."""
    if not row.meetings:
        return ""
    low, high = min(row.meetings), max(row.meetings)
    return f"; threads meet in {low:.0f} to {high:.0f} ns"


def engine_cells(row: RowResult, engine: EngineResult, notes: list[str]) -> list[str]:
    """The texts of one line; dashes for what is not known."""
    marks = []
    for sentence in sentences(row, engine):
        if sentence not in notes:
            notes.append(sentence)
        marks.append(f"[{notes.index(sentence) + 1}]")
    return [
        engine.engine,
        number(engine.median),
        number(engine.minimum),
        number(row.ratio(engine.engine), 3),
        number(engine.first_cold_s, 2),
        number(engine.first_cached_s, 2),
        number(engine.peak_mb, 0),
        "reference" if engine.engine == row.reference else small(engine.difference),
        " ".join(marks),
    ]


def sentences(row: RowResult, engine: EngineResult) -> list[str]:
    """What must be said about one engine's line."""
    if engine.missing:
        return [f"{engine.engine}: {engine.missing}"]
    if engine.error:
        return [shorten(f"{row.name}, {engine.engine}: {engine.error}")]
    if not row.agrees(engine.engine):
        return [
            f"{row.name}: {engine.engine} differs from {row.reference} by "
            f"{engine.difference:.1e}, allowed are {row.tolerance:.0e}"
        ]
    return []


def summary(report: Report) -> str:
    """nncomp's ratio for each row, and the geometric mean."""
    rows = [(row, row.best_peer()) for row in report.rows]
    known = [(row, best) for row, best in rows if best and not math.isnan(row.ratio(OURS))]
    names = [*(row.name for row, _ in known), "geometric mean"]
    width = max(map(len, names))
    lines = [f"{OURS} / best other engine"]
    for row, best in known:
        lines.append(f"  {row.name:<{width}}  {row.ratio(OURS):6.3f}  ({best.engine})")
    lines.append(f"  {names[-1]:<{width}}  {report.geometric_mean():6.3f}")
    return "\n".join(lines)


def number(value: float | None, digits: int | None = None) -> str:
    """A number for a column: fixed digits, or about 4 significant ones."""
    if value is None or not math.isfinite(value):
        return DASH
    if digits is None:
        digits = max(0, 3 - math.floor(math.log10(value))) if value > 0 else 3
    return f"{value:.{min(digits, 5)}f}"


def small(value: float | None) -> str:
    """A difference."""
    return DASH if value is None else f"{value:.0e}"


def shorten(text: str) -> str:
    """One paragraph of at most 4 lines."""
    words = " ".join(text.split())
    return words if len(words) <= 4 * LINE else words[: 4 * LINE - 4] + " ..."
