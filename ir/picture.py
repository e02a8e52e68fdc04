"""Pictures of graphs: networkx, DOT and SVG.

`to_dot` writes Graphviz text, one cluster per scope. `to_svg` draws without Graphviz: nodes in
layers by their longest path from an input, ordered within a layer by where their neighbours are.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from .graph import Graph, Node
from .printer import Namer, name_text, type_text, value_text

ROW, GAP, LETTER = 62, 18, 7.2  # pixels: layer distance, distance in a layer, letter width
BOX = 36
COLORS = {"input": "#dbeafe", "output": "#dcfce7", "matmul": "#fde68a", "conv": "#fde68a"}


def to_networkx(graph: Graph):
    """A networkx.DiGraph: nodes by printed name, with `op`, `label`, `type`, `scope`, `line`.

    An edge's `operand` is the position at the reader. Constants written as literals are part of the
    label; outputs are nodes called `return 0`, `return 1`, ...
    """
    import networkx

    namer, out = Namer(graph), networkx.DiGraph(name=graph.name)
    for node in graph.inputs:
        name = name_text(node.attrs["name"])
        out.add_node(name, op="input", label=name, type=str(node.type), scope="", line="")
    for node in graph.nodes:
        if namer.has_line(node):
            _add_node(out, node, namer)
    for i, (node, target) in enumerate(zip(graph.outputs, graph.output_names, strict=True)):
        name, label = f"return {i}", f"-> {target}" if target else f"return {i}"
        out.add_node(name, op="output", label=label, type=str(node.type), scope="", line="")
        out.add_edge(_owner(node, namer), name, operand=0)
    return out


def _add_node(out, node: Node, namer: Namer):
    name = namer.names[node]
    operands = [namer.operand(x) if _is_literal(x, namer) else "" for x in node.inputs]
    literals = [text for text in operands if text]
    label = f"{name}({', '.join(literals)})" if literals else name
    attrs = {k: value_text(v) for k, v in node.attrs.items() if not isinstance(v, Graph)}
    scope, line = node.loc
    out.add_node(
        name, op=node.name, label=label, type=type_text(node.type), scope=scope, line=line,
        attrs=attrs,
    )  # fmt: skip
    for i, x in enumerate(node.inputs):
        if not _is_literal(x, namer):
            out.add_edge(_owner(x, namer), name, operand=i)


def _is_literal(node: Node, namer: Namer) -> bool:
    return node.name == "full" and not namer.has_line(node)


def _owner(node: Node, namer: Namer) -> str:
    """The drawn node a value belongs to: the operation for one of its several results."""
    return namer.names[node.inputs[0] if node.name == "get" else node]


# -- DOT ------------------------------------------------------------------------------------------


def to_dot(graph: Graph, clusters: bool = True) -> str:
    """Graphviz text; with `clusters` one box per scope."""
    drawn = to_networkx(graph)
    lines = [f"digraph {_quoted(graph.name)} {{", "  node [shape=box, style=filled];"]
    scopes: dict[str, list[str]] = {}
    for name, data in drawn.nodes(data=True):
        scopes.setdefault(data["scope"] if clusters else "", []).append(name)
    for number, (scope, names) in enumerate(scopes.items()):
        rows = [f"  {_dot_node(name, drawn.nodes[name])}" for name in names]
        if scope:
            rows = [f"  subgraph cluster_{number} {{", f"    label={_quoted(scope)};",
                    *(f"  {row}" for row in rows), "  }"]  # fmt: skip
        lines += rows
    lines += [f"  {_quoted(a)} -> {_quoted(b)};" for a, b in drawn.edges]
    return "\n".join([*lines, "}"]) + "\n"


def _dot_node(name: str, data: dict) -> str:
    label = f"{_quoted(data['label'])[:-1]}\\n{data['type']}\""
    return f'{_quoted(name)} [label={label}, fillcolor="{_color(data)}"];'


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _color(data: dict) -> str:
    return data.get("color") or COLORS.get(data["op"], "#f3f4f6")


# -- SVG ------------------------------------------------------------------------------------------


def to_svg(graph: Graph) -> str:
    """A drawing of the graph from inputs (top) to outputs (bottom), as SVG text."""
    return _svg(to_networkx(graph), graph.name)


def draw_boxes(boxes: dict[str, dict], edges: Iterable[tuple[str, str]], title: str) -> str:
    """SVG text of any acyclic graph. A box has `label` and `type` (two lines of text), `op`,
    `scope`, `line` (its tooltip), and if it likes a `color`.
    """
    import networkx

    drawn = networkx.DiGraph()
    drawn.add_nodes_from(boxes.items())
    drawn.add_edges_from(edges)
    return _svg(drawn, title)


def _svg(drawn, title: str) -> str:
    import networkx

    layers = _ordered(drawn, [list(layer) for layer in networkx.topological_generations(drawn)])
    width_of = {n: _box_width(d) for n, d in drawn.nodes(data=True)}
    spans = [sum(width_of[n] + GAP for n in layer) + GAP for layer in layers]
    width, height = max(spans, default=GAP), len(layers) * ROW + GAP
    place: dict[str, tuple[float, float]] = {}
    for number, (layer, span) in enumerate(zip(layers, spans, strict=True)):
        x = (width - span) / 2 + GAP
        for name in layer:
            place[name] = (x + width_of[name] / 2, GAP + number * ROW)
            x += width_of[name] + GAP
    parts = [_edge(place[a], place[b]) for a, b in drawn.edges]
    parts += [_box(*place[n], width_of[n], d) for n, d in drawn.nodes(data=True)]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        'font-family="monospace" font-size="12">'
    )
    return "\n".join([head, f"<title>{escape(title)}</title>", *parts, "</svg>"]) + "\n"


def _ordered(drawn, layers: list[list[str]]) -> list[list[str]]:
    """Layers sorted by the mean position of their neighbours, down and up a few times."""
    for sweep in range(6):
        downwards = sweep % 2 == 0
        near = drawn.predecessors if downwards else drawn.successors
        position: dict[str, float] = {}
        for layer in layers if downwards else reversed(layers):
            at = {name: i / max(len(layer), 1) for i, name in enumerate(layer)}
            for name in layer:
                known = [position[x] for x in near(name) if x in position]
                at[name] = sum(known) / len(known) if known else at[name]
            layer.sort(key=at.__getitem__)
            position.update((name, (i + 0.5) / len(layer)) for i, name in enumerate(layer))
    return layers


def _box_width(data: dict) -> float:
    return max(len(data["label"]), len(data["type"])) * LETTER + 16


def _box(x: float, y: float, width: float, data: dict) -> str:
    place = " ".join(part for part in (data["scope"], data["line"]) if part)
    attrs = ", ".join(f"{k}={v}" for k, v in data.get("attrs", {}).items())
    tip = " | ".join(part for part in (f"{data['op']}({attrs})", place) if part)
    return (
        f"<g><title>{escape(tip)}</title>"
        f'<rect x="{x - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" height="{BOX}" rx="5" '
        f'fill="{_color(data)}" stroke="#6b7280"/>'
        f'<text x="{x:.1f}" y="{y + 15:.1f}" text-anchor="middle">{escape(data["label"])}</text>'
        f'<text x="{x:.1f}" y="{y + 29:.1f}" text-anchor="middle" fill="#6b7280">'
        f"{escape(data['type'])}</text></g>"
    )


def _edge(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x0, y0), (x1, y1) = start, end
    y0, middle = y0 + BOX, (y0 + BOX + y1) / 2
    path = f"M{x0:.1f},{y0:.1f} C{x0:.1f},{middle:.1f} {x1:.1f},{middle:.1f} {x1:.1f},{y1:.1f}"
    return f'<path d="{path}" fill="none" stroke="#9ca3af"/>'
