"""The Graph: a directed acyclic graph of typed nodes over whole tensors.

A `Node` is immutable: an op, operand nodes, attributes, and the result type that the op's type rule
gave. A `Graph` names its inputs and lists its outputs; its nodes are what the outputs reach. Passes
build new nodes and leave the untouched ones alone, so "unchanged" is `is`.

Where a node came from (module path and the user's file:line) travels in `loc`; it has no meaning
for the computation and is not part of any key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from .op import OPS, Op, OpError
from .operators import Operators
from .types import TensorType


class Loc(NamedTuple):
    """Where the user wrote it: `scope` is a module path (`net.fc1`), `line` is `file.py:14`."""

    scope: str = ""
    line: str = ""


NOWHERE = Loc()


class Node(Operators):
    """One operation of a Graph; `name` is the op's. `op` is None for a graph input, which is called
    `attrs["name"]`, and whose `name` is `input`.

    A node does not change, so what was found out about it is noted on it: `sound` by `verify`,
    `settled` by rewriting (a bit per set of rules that do not fit), `key` by `cse`."""

    __slots__ = ("op", "inputs", "attrs", "type", "loc", "name", "sound", "settled", "key")

    def __init__(self, op: Op | None, inputs: tuple[Node, ...], attrs: Mapping, type, loc=NOWHERE):
        self.op, self.inputs, self.type, self.loc = op, inputs, type, loc
        self.name: str = op.name if op is not None else "input"  # asked for most often of all
        self.attrs = attrs if isinstance(attrs, MappingProxyType) else MappingProxyType(dict(attrs))
        self.sound, self.settled = False, 0
        self.key: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def dtype(self):
        return self.type.dtype

    def __repr__(self) -> str:
        return f"<{self.name} : {self.type}>"

    @staticmethod
    def apply_op(op: Op, inputs: tuple, attrs: dict[str, Any]):
        return build_node(op, inputs, attrs)


def build_node(op: Op, inputs: Iterable, attrs: Mapping, loc: Loc | None = None):
    """A new node, typed by the op's rule; ops with several results give a tuple of `get` nodes."""
    inputs = tuple(inputs)
    for x in inputs:
        if not isinstance(x, Node):
            raise OpError(f"{op.name}: operands must be Nodes, got {type(x).__name__}")
    result = op.type(*(x.type for x in inputs), **attrs)
    if loc is None:
        loc = next((x.loc for x in inputs if x.loc.scope or x.loc.line), NOWHERE)
    node = Node(op, inputs, attrs, result, loc)
    if isinstance(result, TensorType):
        # Its type is what `verify` would find; graphs among the attributes are left to it.
        node.sound = OPS.get(op.name) is op and Graph not in map(type, attrs.values())
        return node
    return tuple(Node(OPS["get"], (node,), {"index": i}, t, loc) for i, t in enumerate(result))


def input_node(name: str, type: TensorType, loc: Loc = NOWHERE) -> Node:
    return Node(None, (), {"name": name}, type, loc)


class Graph:
    """Named inputs, outputs, and every node the outputs need.

    `output_names` says what an output is for: "" for a plain result, otherwise the name of the
    input (a parameter or buffer) that the caller must overwrite with it.
    """

    __slots__ = ("name", "inputs", "outputs", "output_names", "sound", "_nodes", "_users")

    def __init__(self, name: str, inputs, outputs, output_names=None):
        self.name = name
        self.inputs: tuple[Node, ...] = tuple(inputs)
        self.outputs: tuple[Node, ...] = tuple(outputs)
        self.output_names: tuple[str, ...] = tuple(output_names or ("",) * len(self.outputs))
        self.sound = False  # noted by `verify`
        self._nodes: tuple[Node, ...] | None = None
        self._users: dict[Node, list[Node]] | None = None

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All operation nodes, operands before users, in a stable order; inputs are not listed."""
        if self._nodes is None:
            self._nodes = tuple([n for n in toposort(self.outputs) if n.op is not None])
        return self._nodes

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(n.attrs["name"] for n in self.inputs)

    def with_outputs(self, outputs, output_names=None) -> Graph:
        return Graph(self.name, self.inputs, outputs, output_names or self.output_names)

    def users(self) -> dict[Node, list[Node]]:
        """For each node the nodes that read it (a graph output is not a user). Not to be changed:
        it is made once."""
        if self._users is None:
            out: dict[Node, list[Node]] = {n: [] for n in (*self.inputs, *self.nodes)}
            for n in self.nodes:
                for x in n.inputs if len(n.inputs) < 2 else dict.fromkeys(n.inputs):
                    out[x].append(n)
            self._users = out
        return self._users

    def __str__(self) -> str:
        from .printer import print_graph

        return print_graph(self)

    def __repr__(self) -> str:
        return f"<graph {self.name}: {len(self.inputs)} inputs, {len(self.nodes)} nodes>"


def toposort(roots: Iterable[Node]) -> list[Node]:
    """Every node reachable from `roots`, operands first, in depth-first order (no recursion)."""
    order: list[Node] = []
    seen: set[Node] = set()
    stack: list[Node | None] = list(roots)[::-1]
    while stack:
        node = stack.pop()
        if node is None:  # the operands of the next one are done
            order.append(stack.pop())  # type: ignore[arg-type]
        elif node not in seen:
            seen.add(node)
            pending = [x for x in node.inputs if x not in seen]
            if pending:
                stack += (node, None)
                pending.reverse()
                stack += pending
            else:
                order.append(node)
    return order


def rebuild(graph: Graph, visit: Callable[[Node, tuple[Node, ...]], Node | None]) -> Graph:
    """A graph in which `visit(node, new_operands)` may replace each node; None keeps it.

    A kept node whose operands did not change stays the same object.
    """
    new: dict[Node, Node] = {}  # what was replaced
    for node in graph.nodes:
        operands = node.inputs
        for x in operands if new else ():
            if x in new:
                operands = tuple([new.get(x, x) for x in operands])
                break
        replacement = visit(node, operands)
        if replacement is None:
            replacement = with_operands(node, operands)
        if replacement is not node:
            new[node] = replacement
    outputs = tuple([new.get(x, x) for x in graph.outputs])
    if outputs == graph.outputs:
        return graph
    return graph.with_outputs(outputs)


def with_operands(node: Node, operands: tuple[Node, ...]) -> Node:
    """The same operation on other operands of the same types."""
    if operands is node.inputs or operands == node.inputs:  # equal when they are the same
        return node
    made = Node(node.op, operands, node.attrs, node.type, node.loc)
    made.key = node.key
    made.sound = node.sound and [x.type for x in operands] == [x.type for x in node.inputs]
    return made


def inline(graph: Graph, arguments: Iterable[Node]) -> tuple[Node, ...]:
    """The outputs of `graph` as nodes over `arguments` in place of its inputs."""
    new = dict(zip(graph.inputs, arguments, strict=True))
    for node in graph.nodes:
        new[node] = with_operands(node, tuple([new[x] for x in node.inputs]))
    return tuple(new[x] for x in graph.outputs)
