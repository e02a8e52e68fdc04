"""The pictures of the page, as SVG: the roofline, and the kernels with what they hand on."""

from __future__ import annotations

import math
from html import escape

from ..ir.graph import Graph, Node
from ..ir.picture import draw_boxes
from .report import Ceiling, KernelProfile, Report
from .sources import Sources

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 900, 460, 60, 40, 14, 150
COLORS = {"compute": "#c2410c", "memory": "#1d4ed8"}


class Axes:
    """Two logarithmic axes: FLOPs per byte, and GFLOP/s."""

    def __init__(self, report: Report, shown: list[KernelProfile]):
        intensities = [k.intensity or 1.0 for k in shown] or [1.0]
        rates = [k.gflops_per_second for k in shown if k.gflops_per_second > 0] or [1.0]
        peak = max(c.gflops for c in report.machine.ceilings)
        self.x = _decades(min(intensities), max(*intensities, 100.0))
        self.y = _decades(min(*rates, peak / 100), peak * 1.5)

    def at(self, intensity: float, rate: float) -> tuple[float, float]:
        """Pixels of a point."""
        (x0, x1), (y0, y1) = self.x, self.y
        across = (math.log10(intensity) - x0) / (x1 - x0)
        up = (math.log10(max(rate, 10.0**y0)) - y0) / (y1 - y0)
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        return LEFT + across * (right - LEFT), bottom - up * (bottom - TOP)


def _decades(low: float, high: float) -> tuple[int, int]:
    first = math.floor(math.log10(low))
    return first, max(math.ceil(math.log10(high)), first + 1)


def roofline(report: Report) -> str:
    """The ceilings as lines, a dot per kernel: larger for more time, its figures as a tooltip."""
    shown = [k for k in report.kernels if k.flops and k.intensity]
    axes = Axes(report, shown)
    parts = [*_grid(axes)]
    for i, ceiling in enumerate(report.machine.ceilings):
        parts += _ceiling(axes, ceiling, last=i == len(report.machine.ceilings) - 1)
    parts += [_dot(axes, k) for k in sorted(shown, key=lambda k: -k.share)]
    x = (LEFT + WIDTH - RIGHT) / 2
    parts.append(_text(x, HEIGHT - 6, "FLOP per byte", "middle"))
    parts.append(f'<g transform="rotate(-90 12 200)">{_text(12, 200, "GFLOP/s", "middle")}</g>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
    return "\n".join([f'{head}width="{WIDTH}" font-family="sans-serif" font-size="11">',
                      *parts, "</svg>"])  # fmt: skip


def _grid(axes: Axes) -> list[str]:
    parts = []
    for power in range(axes.x[0], axes.x[1] + 1):
        x, bottom = axes.at(10.0**power, 10.0 ** axes.y[0])
        parts.append(_line((x, TOP), (x, bottom), "#e5e7eb"))
        parts.append(_text(x, bottom + 14, f"{10.0**power:g}", "middle"))
    for power in range(axes.y[0], axes.y[1] + 1):
        x, y = axes.at(10.0 ** axes.x[0], 10.0**power)
        parts.append(_line((x, y), (WIDTH - RIGHT, y), "#e5e7eb"))
        parts.append(_text(x - 4, y + 4, f"{10.0**power:g}", "end"))
    return parts


def _ceiling(axes: Axes, c: Ceiling, last: bool) -> list[str]:
    """The roof of a number of threads: solid for those of the profile, dashed for one."""
    dash, parts = "" if last else "4 3", []
    low, high, floor = 10.0 ** axes.x[0], 10.0 ** axes.x[1], 10.0 ** axes.y[0]
    words = f"{c.threads} thread{'s' if c.threads > 1 else ''}"
    x, y = axes.at(high, c.gflops)
    parts.append(_text(x + 4, y + 4, f"{c.gflops:.0f} GFLOP/s, {words}"))
    nearest = max(level.gigabytes_per_second for level in c.levels)
    parts.append(_line(axes.at(min(c.gflops / nearest, high), c.gflops), (x, y), "#111827", dash))
    for level in c.levels:
        ridge = min(c.gflops / level.gigabytes_per_second, high)
        start = max(low, floor / level.gigabytes_per_second)
        a = axes.at(start, start * level.gigabytes_per_second)
        b = axes.at(ridge, ridge * level.gigabytes_per_second)
        tip = f"{level.name}: {level.gigabytes_per_second:.0f} GB/s, {words}"
        parts.append(f"<g><title>{escape(tip)}</title>{_line(a, b, '#6b7280', dash)}</g>")
        if last:
            is_first = level is c.levels[0]  # its label stands above the line, others' below
            parts.append(
                _text(a[0] + (4 if is_first else 22), a[1] - (16 if is_first else -2), level.name)
            )
    return parts


def _dot(axes: Axes, k: KernelProfile) -> str:
    x, y = axes.at(k.intensity or 1.0, max(k.gflops_per_second, 1e-9))
    tip = (
        f"{k.number}: {k.ops}\n{k.where}\n{k.min_ms:.4f} ms, {k.share:.1f} % of the time\n"
        f"{k.gflops_per_second:.1f} GFLOP/s, {k.percent_of_roofline:.0f} % of its roofline "
        f"({k.bound if k.bound == 'compute' else k.level})"
    )
    return (
        f'<a href="#k-{escape(k.kernel)}"><circle cx="{x:.1f}" cy="{y:.1f}" '
        f'r="{3 + 1.6 * math.sqrt(k.share):.1f}" fill="{COLORS[k.bound]}" fill-opacity="0.55" '
        f'stroke="#fff"><title>{escape(tip)}</title></circle></a>'
    )


def _line(a: tuple[float, float], b: tuple[float, float], color: str, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    (x0, y0), (x1, y1) = a, b
    return (
        f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{color}"{dashed}/>'
    )


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


# -- the graph ------------------------------------------------------------------------------------


def groups(report: Report, sources: Sources) -> str:
    """One box per group of nodes that became a kernel, redder for more time; weights left out."""
    lines: dict[Node, list[KernelProfile]] = {}
    for k in report.kernels:
        node = sources.steps[k.number].node
        if node is not None:
            lines.setdefault(node, []).append(k)
    most = max((k.share for k in report.kernels), default=1.0) or 1.0
    boxes, edges, names = {}, [], {}
    for node in sources.graph.nodes:
        found = lines.get(node) or _inside(node, lines)
        if found:
            names[node] = str(found[0].number)
            boxes[names[node]] = _box(node, found, most)
            edges += [(a, names[node]) for x in node.inputs for a in _origin(x, names)]
    return draw_boxes(boxes, dict.fromkeys(edges), sources.graph.name)


def _origin(node: Node, names: dict[Node, str]) -> list[str]:
    """The boxes that a value comes from, through views."""
    if node in names:
        return [names[node]]
    return [a for x in node.inputs for a in _origin(x, names)]


def _inside(node: Node, lines: dict[Node, list[KernelProfile]]) -> list[KernelProfile]:
    """The kernels of a loop's body."""
    body = node.attrs.get("body") if node.name == "scan" else None
    inner = body.nodes if isinstance(body, Graph) else ()
    return [k for n in inner for k in (lines.get(n) or _inside(n, lines))]


def _box(node: Node, found: list[KernelProfile], most: float) -> dict:
    first, share = found[0], sum(k.share for k in found)
    label = f"loop of {len(found)} kernels" if node.name == "scan" else first.ops
    heat = int(245 - 130 * min(share / most, 1.0))
    return {
        "label": f"{first.number}: {label}",
        "type": f"{sum(k.ms for k in found):.4f} ms  {share:.1f}%",
        "op": first.kernel,
        "scope": first.scope,
        "line": first.line,
        "color": f"#ff{heat:02x}{heat:02x}" if share > 1 else "#f3f4f6",
    }
