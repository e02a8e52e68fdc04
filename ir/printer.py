"""Graph -> text, the one form used in dumps, docstrings, golden tests and error messages.

    graph mlp(x: f32[8,784], fc.weight: f32[128,784]) {
      permute_0 = permute(fc.weight, dims=(1,0))  : f32[784,128]   # net.fc1 model.py:14
      matmul_0 = matmul(x, permute_0)             : f32[8,128]     # net.fc1 model.py:14
      maximum_0 = maximum(matmul_0, 0.0)          : f32[8,128]     # net.act
      return maximum_0
    }

Names count per op, so one new node does not renumber a whole file. A constant next to another
operand of its type is written as a literal. `parser.parse_graph` reads the text back.
"""

from __future__ import annotations

import math
import numbers
import re
from typing import NamedTuple

from .graph import Graph, Loc, Node
from .op import Elementwise
from .types import DType, TensorType

WORD = re.compile(r"\w[\w.]*")
RESERVED = {"True", "False", "None", "graph", "return"}
PLAIN_SCOPE = re.compile(r"[\w.\[\]<>/-]+")
PLAIN_LINE = re.compile(r"[^\s:()'\"]+:\d+")
WIDEST = 72  # a longer expression does not push the type column further to the right


class Line(NamedTuple):
    """One line of a printed graph; `node` is None for headers, returns and braces."""

    node: Node | None
    text: str


def print_graph(graph: Graph, locs: bool = True) -> str:
    """The text of a graph; without `locs` two graphs that compute alike print alike."""
    return "\n".join(line.text for line in print_lines(graph, locs)) + "\n"


def print_lines(graph: Graph, locs: bool = True, indent: str = "") -> list[Line]:
    """The printed lines, each with the node it shows."""
    namer = Namer(graph)
    inputs = ", ".join(f"{input_text(n)}: {n.type}" for n in graph.inputs)
    lines = [Line(None, f"{indent}graph {name_text(graph.name)}({inputs}) {{")]
    shown = [n for n in graph.nodes if namer.has_line(n)]
    rows = [(n, f"{indent}  {namer.names[n]} = {_call_text(n, namer)}") for n in shown]
    column = max((len(text) for _, text in rows if len(text) <= WIDEST), default=0)
    types = [f"{text:<{column}}  : {type_text(n.type)}" for n, text in rows]
    edge = max((len(t) for t in types if len(t) <= WIDEST + 24), default=0)
    for (node, _), text in zip(rows, types, strict=True):
        bodies = {k: v for k, v in node.attrs.items() if isinstance(v, Graph)}
        text += " {" if bodies else ""
        note = loc_text(node.loc) if locs else ""
        lines.append(Line(node, f"{text:<{edge}}   # {note}" if note else text))
        for key, body in bodies.items():
            inner = print_lines(body, locs, indent + "    ")
            lines.append(Line(node, f"{indent}    {key} = {inner[0].text.lstrip()}"))
            lines += [Line(node, line.text) for line in inner[1:]]
        lines += [Line(node, f"{indent}  }}")] if bodies else []
    lines.append(Line(None, f"{indent}  {_return_text(graph, namer)}"))
    lines.append(Line(None, f"{indent}}}"))
    return lines


class Namer:
    """Gives every node of a graph its printed name, and says which constants are inline."""

    def __init__(self, graph: Graph):
        self.named_constants = _named_constants(graph)
        self.names: dict[Node, str] = {n: input_text(n) for n in graph.inputs}
        taken = set(self.names.values())
        count: dict[str, int] = {}
        for node in graph.nodes:
            if not self.has_line(node):
                continue
            while True:
                number = count.get(node.name, 0)
                count[node.name] = number + 1
                name = f"{node.name}_{number}"
                if name not in taken:
                    break
            self.names[node] = name

    def has_line(self, node: Node) -> bool:
        """False for results of a multi-result node and for inline constants."""
        return node.name != "get" and (node.name != "full" or node in self.named_constants)

    def operand(self, node: Node) -> str:
        if node.name == "get":
            return f"{self.operand(node.inputs[0])}[{node.attrs['index']}]"
        if node in self.names:
            return self.names[node]
        if node.name == "full":
            return value_text(node.attrs["value"])
        return input_text(node)  # not declared: verify complains


def literal_operands(node: Node) -> tuple[int, ...]:
    """The positions that may be written as literals: constants beside an operand of their type."""
    if not isinstance(node.op, Elementwise):
        return ()
    first = 1 if node.name == "where" else 0  # the condition has another type
    group = range(first, len(node.inputs))
    constant = tuple(i for i in group if node.inputs[i].name == "full")
    return constant if len(constant) < len(group) else ()


def _named_constants(graph: Graph) -> set[Node]:
    """The `full` nodes that need a line of their own."""
    named = {n for n in graph.outputs if n.name == "full"}
    for node in graph.nodes:
        inline = literal_operands(node)
        named.update(x for i, x in enumerate(node.inputs) if x.name == "full" and i not in inline)
    return named


def _call_text(node: Node, namer: Namer) -> str:
    parts = [namer.operand(x) for x in node.inputs]
    for key, value in node.attrs.items():
        if not isinstance(value, Graph):
            parts.append(f"{key}={value_text(value)}")
    return f"{node.name}({', '.join(parts)})"


def _return_text(graph: Graph, namer: Namer) -> str:
    parts = [
        namer.operand(n) + (f" -> {name_text(name)}" if name else "")
        for n, name in zip(graph.outputs, graph.output_names, strict=False)  # verify compares
    ]
    return f"return {', '.join(parts)}".rstrip()


def input_text(node: Node) -> str:
    """The name of an input; an op in the place of an input, which verify refuses, shows its own."""
    return name_text(node.attrs.get("name", node.name))


def name_text(name: str) -> str:
    """A name as it is, or in quotes when it could be taken for something else."""
    return name if is_plain_name(name) else repr(str(name))


def is_plain_name(name: str) -> bool:
    if not WORD.fullmatch(name) or name in RESERVED:
        return False
    try:
        float(name)  # "0.0", "1e5", "inf"
    except ValueError:
        return True
    return False


def value_text(value) -> str:
    """An attribute value; floats keep all their bits and always look like floats."""
    if isinstance(value, bool) or value is None:
        return repr(value)
    if isinstance(value, float):
        sign = "-" if math.isnan(value) and math.copysign(1.0, value) < 0 else ""
        return sign + float.__repr__(value)
    if isinstance(value, DType):
        return value.short
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, tuple):
        return f"({','.join(map(value_text, value))}{',' if len(value) == 1 else ''})"
    return repr(value)


def type_text(type) -> str:
    if isinstance(type, TensorType):
        return str(type)
    return f"({', '.join(map(str, type))}{',' if len(type) == 1 else ''})"


def loc_text(loc: Loc) -> str:
    """`net.fc1 model.py:14`; a pair of strings when either part has unusual characters."""
    plain_scope = not loc.scope or PLAIN_SCOPE.fullmatch(loc.scope)
    plain_line = not loc.line or PLAIN_LINE.fullmatch(loc.line)
    if plain_scope and plain_line:
        return " ".join(part for part in loc if part)
    return repr(tuple(loc))
