"""The report as one HTML page that needs nothing else: roofline, table, graph, code."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .plot import groups, roofline
from .report import KernelProfile, Report
from .sources import Sources
from .table import HEADS, MARKED, Units, cells, summary, total

BUDGET = 1_500_000  # characters of LLVM text, and as many of assembly

STYLE = """
body { font: 14px sans-serif; margin: 24px; color: #111827; }
table { border-collapse: collapse; font-size: 12px; }
th, td { padding: 2px 7px; text-align: right; white-space: nowrap; }
th { background: #f3f4f6; cursor: pointer; position: sticky; top: 0; }
td.left, th.left { text-align: left; }
tbody tr:hover { background: #fef9c3; }
tr.top td { font-weight: bold; }
tfoot td { border-top: 1px solid #111827; }
pre { background: #f9fafb; padding: 8px; overflow: auto; max-height: 60vh; font-size: 12px; }
.scroll { overflow: auto; max-height: 85vh; border: 1px solid #e5e7eb; }
summary { cursor: pointer; padding: 2px 0; }
details details { margin-left: 18px; }
"""

SCRIPT = """
document.querySelectorAll("th").forEach((head, column) => {
  let up = false;
  head.onclick = () => {
    const body = document.querySelector("tbody"), rows = [...body.rows];
    const value = row => {
      const text = row.cells[column].dataset.v;
      return isNaN(text) ? text : +text;
    };
    const order = (a, b) => a < b ? -1 : a > b ? 1 : 0;
    up = !up;
    rows.sort((a, b) => (up ? 1 : -1) * order(value(a), value(b)));
    body.append(...rows);
  };
});
const open = () => {
  const section = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (section && section.tagName === "DETAILS") section.open = true;
};
addEventListener("hashchange", open);
open();
"""


def page(report: Report) -> str:
    """The whole page."""
    sources: Sources | None = report.sources
    parts = [
        f"<h1>{escape(report.title)}</h1>",
        f"<pre>{escape(chr(10).join(summary(report)))}</pre>",
        "<h2>Roofline</h2>",
        "<p>A dot is a kernel: its place says FLOPs per byte and the rate of its fastest run, its "
        "size the share of the time, red that arithmetic bounds it and blue that memory does. "
        f"Lines are ceilings measured on this machine. {_without_flops(report)}</p>",
        roofline(report),
        "<h2>Kernels</h2>",
        "<p>In the order in which they run; a click on a head sorts. Rates and percentages are "
        "those of the fastest run, ms and share those of the median.</p>",
        _table(report),
    ]
    if sources is not None:
        parts += ["<h2>Graph</h2>", "<p>What is fused is one box; redder took longer.</p>"]
        parts += [f'<div class="scroll">{groups(report, sources)}</div>', "<h2>Code</h2>"]
        parts += _code(report, sources)
    return "\n".join([
        "<!DOCTYPE html>", '<html lang="en"><head><meta charset="utf-8">',
        f"<title>{escape(report.title)}: profile</title>", f"<style>{STYLE}</style></head><body>",
        *parts, f"<script>{SCRIPT}</script>", "</body></html>", "",
    ])  # fmt: skip


def _without_flops(report: Report) -> str:
    missing = sum(not (k.flops and k.intensity) for k in report.kernels)
    return f"Not drawn: {missing} kernels without floating-point arithmetic." if missing else ""


def _table(report: Report) -> str:
    units = Units.of(report)
    head = "".join(f"<th{_side(s)}>{escape(t)}</th>" for t, (_, s) in _with_sides(units.heads()))
    last = _with_sides(total(report, units))
    foot = "".join(f"<td{_side(s)}>{escape(t)}</td>" for t, (_, s) in last)
    rows = "\n".join(_row(k, units) for k in report.kernels)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>'
        f"<tfoot><tr>{foot}</tr></tfoot></table></div>"
    )


def _row(k: KernelProfile, units: Units) -> str:
    parts = []
    for text, (name, side) in _with_sides(cells(k, units)):
        tip, value = "", text.strip("*%") or "0"
        if name == "where":
            tip, text = f' title="{escape(chr(10).join(k.locs))}"', k.where
        elif name == "ops":
            tip = f' title="{escape(k.ops)}"'
        shown = escape(text)
        if name == "ops":
            shown = f'<a href="#k-{escape(k.kernel)}">{shown}</a>'
        if name == "top":
            value = str(k.rank)
        parts.append(f'<td{_side(side)}{tip} data-v="{escape(value)}">{shown}</td>')
    mark = ' class="top"' if k.rank <= MARKED else ""
    return f"<tr{mark}>{''.join(parts)}</tr>"


def _with_sides(texts: Sequence[str]):
    return zip(texts, HEADS, strict=True)


def _side(side: str) -> str:
    return ' class="left"' if side == "<" else ""


def _code(report: Report, sources: Sources) -> list[str]:
    """A section for each kernel, those that take longest in total first."""
    uses: dict[str, list[KernelProfile]] = {}
    for k in report.kernels:
        uses.setdefault(k.kernel, []).append(k)
    order = sorted(uses.values(), key=lambda ks: -sum(k.ms for k in ks))
    left = {"LLVM": BUDGET, "Assembly": BUDGET}
    sections, cut = [], 0
    for lines in order:
        texts = {"LLVM": sources.llvm, "Assembly": sources.assembly}
        shown = []
        for title, make in texts.items():
            text = make(lines[0].kernel) if left[title] > 0 else ""
            if text and len(text) <= left[title]:
                left[title] -= len(text)
                shown.append(_fold(title, text))
            else:
                left[title], cut = 0, cut + 1
        sections.append(_section(lines, sources, shown))
    note = (
        f"Kernels that take longest come first. To keep the page small, {cut} texts of LLVM code "
        "or assembly of the ones at the end are left out."
        if cut
        else "Kernels that take longest come first."
    )
    return [f"<p>{note}</p>", *sections]


def _section(lines: list[KernelProfile], sources: Sources, shown: list[str]) -> str:
    first = lines[0]
    numbers = ", ".join(str(k.number) for k in lines)
    head = f"{first.kernel} [{first.kind}]: {first.ops}, {sum(k.ms for k in lines):.4f} ms, lines "
    parts = [
        _fold("Nodes", sources.nodes_text(first.number)),
        _fold("Loops", sources.loops(first.number)),
        *shown,
    ]
    return (
        f'<details id="k-{escape(first.kernel)}"><summary>{escape(head + numbers)}</summary>\n'
        + "\n".join(parts)
        + "</details>"
    )


def _fold(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary><pre>{escape(text)}</pre></details>"
