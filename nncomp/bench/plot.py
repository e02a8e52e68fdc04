"""The plot as SVG: a bar per engine and row, its length the time relative to the best other engine.

Shorter is better; 1 is the best engine that is not nncomp. Long bars are cut at `LONGEST`.
"""

from __future__ import annotations

import math
from xml.sax.saxutils import escape

from .engines import OURS
from .results import EngineResult, Report, RowResult
from .table import number, title

LONGEST = 3.0  # times the best other engine
LEFT, RIGHT, UNIT = 350, 130, 180  # pixels: names, figures, and the length of 1
BAR, GAP, TOP = 14, 14, 64
COLORS = {
    "nncomp": "#c2410c", "torch": "#64748b", "torch-compile": "#94a3b8", "onnxruntime": "#0f766e",
    "openvino": "#1d4ed8", "jax": "#7e22ce",
}  # fmt: skip


def svg(report: Report) -> str:
    """The report as an SVG document."""
    body: list[str] = []
    y = TOP
    for row in report.rows:
        engines = [e for e in row.engines.values() if e.ok]
        if engines:
            body += group(row, engines, y)
            y += len(engines) * BAR + GAP
    width, height = LEFT + int(LONGEST * UNIT) + RIGHT, y + GAP
    line = LEFT + UNIT
    grid = f'<path d="M{line} {TOP - 8}V{y - GAP + 8}" stroke="#000" stroke-dasharray="3 3"/>'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
            '<rect width="100%" height="100%" fill="#fff"/>',
            text(10, 20, caption(report), size=12),
            *legend(report),
            *body,
            grid,
            "</svg>",
            "",
        ]
    )


def caption(report: Report) -> str:
    """What the plot shows."""
    m, s = report.machine, report.settings
    return (
        f"Median time relative to the best other engine (shorter is better): {m['cpu']}, "
        f"{s['threads']} threads, {str(m['date'])[:10]}"
    )


def legend(report: Report) -> list[str]:
    """A colored square and a name for each engine."""
    parts, x = [], 10
    for name in dict.fromkeys(name for row in report.rows for name in row.engines):
        parts.append(f'<rect x="{x}" y="32" width="10" height="10" fill="{color(name)}"/>')
        parts.append(text(x + 14, 41, name))
        x += 34 + 7 * len(name)
    return parts


def group(row: RowResult, engines: list[EngineResult], y: int) -> list[str]:
    """The bars of one row."""
    middle = y + len(engines) * BAR / 2 + 4
    parts = [text(LEFT - 8, middle, title(row), anchor="end")]
    best = row.best_peer() or engines[0]
    for i, engine in enumerate(engines):
        relative = engine.median / best.median
        length = min(relative, LONGEST) * UNIT
        top = y + i * BAR
        parts.append(
            f'<rect x="{LEFT}" y="{top}" width="{length:.1f}" height="{BAR - 2}" '
            f'fill="{color(engine.engine)}"/>'
        )
        more = " (cut)" if relative > LONGEST else ""
        label = f"{relative:.2f}   {number(engine.median)} ms{more}"
        weight = "bold" if engine.engine == OURS else "normal"
        parts.append(text(LEFT + length + 5, top + 10, label, weight=weight))
    return parts


def color(engine: str) -> str:
    """The color of an engine."""
    return COLORS.get(engine, "#333")


def text(
    x: float, y: float, words: str, anchor: str = "start", weight: str = "normal", size: int = 11
) -> str:
    """A text element."""
    assert math.isfinite(x + y)
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" '
        f'font-size="{size}">{escape(words)}</text>'
    )
