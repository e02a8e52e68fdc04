"""Builder: the nodes of an ONNX graph as they are made, with names that are given once.

A rule gets the builder, the node, and the names of its operands, and returns the name of its
result. What no result needs is dropped at the end, so rules may look through their operands.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..ir.graph import Graph, Node
from ..ir.types import DType, TensorType, bfloat16, broadcast_shapes, dtype_of_numpy, float32
from .protobuf import tensor_proto, third_party, type_number


class OnnxExportError(ValueError):
    """The model holds something that ONNX (at this opset) cannot express."""


def place(node: Node) -> str:
    """`model.py:14 (net.fc1)`, as far as it is known."""
    line, scope = node.loc.line, node.loc.scope
    return f"{line} ({scope})" if line and scope else line or scope or "an unknown place"


class Names:
    """Names that are not taken yet."""

    def __init__(self, taken: Iterable[str] = ()):
        self.taken = set(taken)
        self.counters: dict[str, itertools.count] = {}

    def fresh(self, stem: str) -> str:
        """`stem_0`, `stem_1`, ... whichever is free."""
        counter = self.counters.setdefault(stem, itertools.count())
        name = next(n for i in counter if (n := f"{stem}_{i}") not in self.taken)
        self.taken.add(name)
        return name


class Builder:
    """The nodes of one ONNX graph; that of a loop body shares names and constants with the outer.

    `values` holds the name of each Node's value (a tuple for several results). With `open_sizes`
    all that depends on sizes is in constants of its own, so that files for two sizes can be merged.
    """

    def __init__(self, opset: int, names: Names, users: dict[Node, list[Node]], outer: Any = None,
                 open_sizes: bool = False):  # fmt: skip
        self.opset, self.names, self.users = opset, names, users
        self.open_sizes = open_sizes if outer is None else outer.open_sizes
        self.nodes: list[Any] = []
        self.values: dict[Node, Any] = {}
        self.node: Node | None = None
        self.constants: list[Any] = [] if outer is None else outer.constants
        self._known: dict[tuple, str] = {} if outer is None else outer._known

    # -- emitting ---------------------------------------------------------------------------------

    def emit(self, op_type: str, *inputs: str, count: int = 1, **attrs: Any) -> Any:
        """Append an ONNX node; the name of its result (a tuple if `count` is not 1)."""
        outputs = [self.names.fresh(op_type.lower()) for _ in range(count)]
        scope = self.node.loc.scope if self.node is not None else ""
        name = f"{scope}/{outputs[0]}" if scope else outputs[0]
        attrs = {k: v for k, v in attrs.items() if v is not None and v != ()}
        attrs = {k: list(v) if isinstance(v, tuple) else v for k, v in attrs.items()}
        node = third_party().helper.make_node(op_type, list(inputs), outputs, name=name, **attrs)
        self.nodes.append(node)
        return outputs[0] if count == 1 else tuple(outputs)

    def constant(self, array: Any, dtype: DType | None = None) -> str:
        """The name of a constant; equal ones are one."""
        array = np.asarray(array)
        dtype = dtype or dtype_of_numpy(array.dtype)
        array = array.astype(dtype.numpy)
        key = (dtype.name, array.shape, array.tobytes())
        found = self._known.get(key)
        if found is None or self.open_sizes:
            found = self._known[key] = self.names.fresh("constant")
            value = tensor_proto(array, dtype)
            make = third_party().helper.make_node
            self.constants.append(make("Constant", [], [found], name=found, value=value))
        return found

    def ints(self, values: Sequence[int]) -> str:
        """A list of int64, as shapes and axes are given."""
        return self.constant(np.asarray(list(values), np.int64).reshape(len(values)))

    def scalar(self, value: Any, dtype: DType) -> str:
        return self.constant(np.asarray(value).astype(dtype.numpy), dtype)

    def filled(self, value: Any, type_: TensorType) -> str:
        """A tensor with one value everywhere."""
        if not type_.shape or (type_.size <= 16 and not self.open_sizes):
            return self.constant(np.full(type_.shape, value, type_.dtype.numpy), type_.dtype)
        late = type_.dtype is bfloat16 and self.opset < 20
        dtype = float32 if late else type_.dtype
        one = tensor_proto(np.full((1,), value, dtype.numpy), dtype)
        made = self.emit("ConstantOfShape", self.ints(type_.shape), value=one)
        return self.cast(made, bfloat16) if late else made

    # -- common steps -----------------------------------------------------------------------------

    def cast(self, x: str, dtype: DType) -> str:
        return self.emit("Cast", x, to=type_number(dtype))

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        allow = 1 if 0 in shape else None
        return self.emit("Reshape", x, self.ints(shape), allowzero=allow)

    def transpose(self, x: str, order: Sequence[int]) -> str:
        if list(order) == sorted(order):
            return x
        return self.emit("Transpose", x, perm=tuple(order))

    def slice(self, x: str, start: Sequence[int], stop: Sequence[int], axes: Sequence[int],
              step: Sequence[int] | None = None) -> str:  # fmt: skip
        if not axes:
            return x
        steps = [self.ints(step)] if step is not None else []
        return self.emit("Slice", x, self.ints(start), self.ints(stop), self.ints(axes), *steps)

    def reduce(self, op_type: str, x: str, axes: Sequence[int]) -> str:
        """A reduction that drops `axes`."""
        if not axes:
            return x
        if op_type == "ReduceSum" or self.opset >= 18:
            return self.emit(op_type, x, self.ints(axes), keepdims=0)
        return self.emit(op_type, x, axes=tuple(axes), keepdims=0)

    def pad(self, x: str, low: Sequence[int], high: Sequence[int], value: Any,
            dtype: DType) -> str:  # fmt: skip
        if not any((*low, *high)):
            return x
        return self.emit("Pad", x, self.ints((*low, *high)), self.scalar(value, dtype))

    # -- conditions -------------------------------------------------------------------------------

    def need(self, opset: int, what: str) -> None:
        """OnnxExportError unless the file's opset is at least `opset`."""
        if self.opset < opset:
            raise self.error(f"{what} needs opset_version >= {opset}, got {self.opset}")

    def error(self, reason: str) -> OnnxExportError:
        node = self.node
        assert node is not None
        return OnnxExportError(f"{place(node)}: {node.name} : {node.type}: {reason}")

    def broadcast(self, node: Node) -> list[str]:
        """Names of the operands without the expansions that ONNX does by itself."""
        small = [smaller(x) for x in node.inputs]
        shapes = [() if x.name == "full" else x.shape for x in small]
        if broadcast_shapes(*shapes) != node.type.shape:
            return [self.values[x] for x in node.inputs]
        return [
            self.scalar(x.attrs["value"], x.dtype) if x.name == "full" else self.values[x]
            for x in small
        ]

    def only_user(self, x: Node) -> bool:
        """True if nothing but one node reads x (an output of the graph has no user here)."""
        return len(self.users.get(x, ())) == 1


def smaller(x: Node) -> Node:
    """The operand that broadcasting makes x of."""
    while x.name == "expand" or (x.name == "reshape" and _only_leads(x)):
        x = x.inputs[0]
    return x


def _only_leads(x: Node) -> bool:
    """A reshape that only puts ones in front."""
    inner = x.inputs[0].shape
    extra = len(x.shape) - len(inner)
    return extra >= 0 and x.shape[:extra] == (1,) * extra and x.shape[extra:] == inner


def users_of(graph: Graph) -> dict[Node, list[Node]]:
    """Readers of each node, the caller of the graph counted as one."""
    users = graph.users()
    for x in graph.outputs:
        users[x].append(x)
    return users


def prune(nodes: Sequence[Any], needed: Iterable[str]) -> list[Any]:
    """The nodes that the names in `needed` depend on."""
    live, kept = set(needed), []
    for node in reversed(nodes):
        if any(name in live for name in node.output):
            kept.append(node)
            live.update(_reads(node))
    return kept[::-1]


def _reads(node: Any) -> set[str]:
    """Names that a node reads, those of its bodies included."""
    found = set(node.input)
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                found |= _reads(inner)
            found |= {o.name for o in attribute.g.output}
    return found
