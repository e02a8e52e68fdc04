"""The texts behind a report: what each kernel computes, as graph, loops, LLVM code and assembly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..ir.graph import Graph, Node
from ..ir.printer import print_graph
from ..ir.program import Step


@dataclass
class Sources:
    """`steps` has one step for each line of the report; `codes` LLVM text by kernel name."""

    graph: Graph
    codes: dict[str, str]
    assemble: Callable[[str], str]
    steps: list[Step] = field(default_factory=list)

    def nodes_text(self, number: int) -> str:
        """The graph text of what line `number` computes."""
        node = self.steps[number].node
        if node is None:
            return "copy"
        body = node.attrs["body"] if node.name == "fused" else Graph(node.name, node.inputs, [node])
        return print_graph(_alone(body))

    def loops(self, number: int) -> str:
        """Its loops and stores."""
        return str(self.steps[number].kernel)

    def llvm(self, name: str) -> str:
        """The LLVM text of a kernel."""
        return self.codes.get(name, "")

    def assembly(self, name: str) -> str:
        """The assembly of a kernel; made when asked for."""
        return self.assemble(self.codes[name])


def _alone(graph: Graph) -> Graph:
    """The graph without what its inputs are computed from."""
    if all(x.op is None for x in graph.inputs):
        return graph
    from ..ir.graph import input_node

    new: dict[Node, Node] = {
        x: input_node(f"x{i}", x.type) for i, x in enumerate(dict.fromkeys(graph.inputs))
    }
    outputs = [
        Node(n.op, tuple(new[x] for x in n.inputs), n.attrs, n.type, n.loc) for n in graph.outputs
    ]
    return Graph(graph.name, tuple(new.values()), outputs)
