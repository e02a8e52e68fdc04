"""A kernel in the user's words: its ops, and the module path and line they come from.

The nodes of one line and module that together are a well-known function get its name. Nodes that
only move elements are left out where anything else remains.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ..ir.graph import NOWHERE, Graph, Loc, Node
from ..ir.op import Creation, Movement
from ..ir.work import node_flops, pieces_of

SILENT = ("cast", "get", "detach", "bounded", "input")
ARITHMETIC = frozenset(("sum", "sub", "div", "mul", "add", "neg"))
IDIOMS = (  # what must be there, what belongs to it, its name
    ({"amax", "exp", "sum", "log"}, {"amax", "exp", "log", *ARITHMETIC}, "log_softmax"),
    ({"amax", "exp", "sum"}, {"amax", "exp", *ARITHMETIC}, "softmax"),
    ({"sqrt", "sum"}, {"sqrt", *ARITHMETIC}, "norm"),
    ({"erf"}, {"erf", "mul", "add", "div"}, "gelu"),
    ({"gelu constant"}, {"tanh", "sigmoid", "exp", "pow", *ARITHMETIC}, "gelu"),
)
GELU = 0.044715  # of its form with tanh
PLAIN_NAMES = {
    "take": "index", "amax": "max", "window_max": "max_pool", "depthwise": "conv",
    "winograd": "conv",
}  # fmt: skip
CONVOLUTIONS = ("conv", "conv_transpose", "conv_weight")
LONGEST = 6  # words
Origins = dict[Loc, set[str]]  # the contractions that were traced at a place


def origins_of(graph: Graph) -> Origins:
    """Where a traced graph has which contractions: later passes give them all one form."""
    found: Origins = {}
    for node in graph.nodes:
        for key, body in node.attrs.items():
            if isinstance(body, Graph) and key != "vjp_body":
                for loc, names in origins_of(body).items():
                    found.setdefault(loc, set()).update(names)
        if node.name in (*CONVOLUTIONS, "matmul"):
            found.setdefault(node.loc, set()).add(node.name)
    return found


def members(node: Node | None) -> tuple[Node, ...]:
    """The nodes that one kernel computes."""
    if node is None:
        return ()
    return node.attrs["body"].nodes if node.name == "fused" else (node,)


def ops_text(node: Node | None, origins: Origins, number: int = 0) -> str:
    """`conv + add + relu`; a kernel without a node copies. `number` counts the node's calls."""
    if node is None:
        return "copy"
    if number and not pieces_of(node):
        return "border"
    nodes = [n for n in members(node) if n.name not in SILENT]
    nodes = [n for n in nodes if not isinstance(n.op, Creation)] or nodes
    nodes = [n for n in nodes if not isinstance(n.op, Movement)] or nodes
    words: list[str] = []
    for group in _by_loc(nodes):
        words += _words(group, origins)
    short = [w for i, w in enumerate(words) if i == 0 or words[i - 1] != w]
    if len(short) > LONGEST:
        short = [*short[: LONGEST - 1], "..."]
    return " + ".join(short) or "copy"


def _by_loc(nodes: Iterable[Node]) -> list[list[Node]]:
    groups: dict[Loc, list[Node]] = {}
    for node in nodes:
        groups.setdefault(node.loc, []).append(node)
    return list(groups.values())


def _words(nodes: list[Node], origins: Origins) -> list[str]:
    names = {n.name for n in nodes}
    if any(_is_constant(x, GELU) for n in nodes for x in n.inputs):
        names.add("gelu constant")
    for needed, consumed, word in IDIOMS:
        if needed <= names:
            first = next(i for i, n in enumerate(nodes) if n.name in consumed)
            before = [n for n in nodes[:first]]
            after = [n for n in nodes[first:] if n.name not in consumed]
            return [*_plain(before, origins), word, *_plain(after, origins)]
    return _plain(nodes, origins)


def _is_constant(node: Node, value: float) -> bool:
    return node.name == "full" and abs(float(node.attrs["value"]) - value) < 1e-7


def _plain(nodes: list[Node], origins: Origins) -> list[str]:
    limits = {n: found for n in nodes if (found := _limit(n))}
    tests = {n.inputs[0] for n in limits if n.name == "where"}
    if len(limits) > 1:
        limits = dict.fromkeys(limits, "clamp")
    return [limits.get(n) or _name(n, origins.get(n.loc, ())) for n in nodes if n not in tests]


def _limit(node: Node) -> str:
    """`relu` for max(x, 0) and `clamp` for other constants, written as a choice or as a maximum."""
    constants = [x.attrs["value"] for x in node.inputs if x.name == "full"]
    if node.name == "where":
        test = node.inputs[0]
        limits = [x.attrs["value"] for x in test.inputs if x.name == "full"]
        if test.name not in ("le", "lt") or len(limits) != 1 or limits != constants:
            return ""
    elif node.name not in ("maximum", "minimum") or not constants:
        return ""
    return "relu" if constants == [0] and node.name != "minimum" else "clamp"


def _name(node: Node, traced: Collection[str]) -> str:
    if node.name != "contract":
        return PLAIN_NAMES.get(node.name, node.name)
    names = [n for n in CONVOLUTIONS if n in traced]
    if not names or ("matmul" in traced and sum(e > 1 for e, *_ in node.attrs["k"]) < 2):
        return "matmul"
    return names[0] if len(names) == 1 else "conv"


def main_loc(node: Node | None, home: Loc = NOWHERE) -> Loc:
    """The place of the member with the most work; `home` where no member has one."""
    found = [n for n in members(node) if n.loc.scope or n.loc.line]
    return max(found, key=node_flops).loc if found else home


def homes_of(graph: Graph, home: Loc = NOWHERE) -> dict[Node, Loc]:
    """For the nodes inside of loops, where the loop comes from."""
    homes: dict[Node, Loc] = {}
    for node in graph.nodes:
        homes[node] = home
        body = node.attrs.get("body") if node.name == "scan" else None
        if isinstance(body, Graph):
            homes |= homes_of(body, node.loc if node.loc != NOWHERE else home)
    return homes


def all_locs(node: Node | None) -> list[Loc]:
    """The places of all members, each once, in their order."""
    return list(dict.fromkeys(n.loc for n in members(node) if n.loc.scope or n.loc.line))
