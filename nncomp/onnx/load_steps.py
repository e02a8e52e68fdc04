"""A graph of a file as a list of Steps: plain Python data, checked for order and for names.

A Step is one ONNX node. Attributes are Python numbers, strings, lists, arrays, or the Body of a
branch or loop. `Body.check` refuses what no rule can run, all of it in one message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .load_file import OnnxLoadError, Tensors
from .load_rules import rule_of

DEFAULT_DOMAINS = ("", "ai.onnx")


class OnnxRunError(RuntimeError):
    """An operator of a loaded model got operands that it has no result for."""


@dataclass
class Step:
    """One node: what it computes, from which values, under which names."""

    op_type: str
    domain: str
    name: str
    inputs: list[str]  # "" for one that is left out
    outputs: list[str]
    attrs: dict[str, Any]
    opset: int
    data: bytes = field(default=b"", repr=False)  # the NodeProto, if no rule runs the step
    prepared: dict[Any, Any] = field(default_factory=dict, repr=False)  # bodies of functions

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, `default` if it is not there."""
        return self.attrs.get(name, default)

    def wants(self, number: int) -> bool:
        """True if anything reads output `number`."""
        return len(self.outputs) > number and bool(self.outputs[number])

    def where(self) -> str:
        """The node in words."""
        domain = f" of {self.domain}" if self.domain else ""
        name = self.name or (self.outputs[0] if self.outputs else "")
        return f"{self.op_type}{domain} (opset {self.opset}, node {name!r})"

    def error(self, reason: str) -> OnnxRunError:
        return OnnxRunError(f"{self.where()}: {reason}")

    def bodies(self) -> Iterator[Body]:
        for value in self.attrs.values():
            if isinstance(value, Body):
                yield value


@dataclass
class Body:
    """A graph: names of inputs and outputs, stored values, and steps in order."""

    inputs: list[str]
    outputs: list[str]
    arrays: dict[str, np.ndarray]
    steps: list[Step]
    _done: list[list[str]] | None = field(default=None, repr=False)

    def done_after(self) -> list[list[str]]:
        """For each step the names that nothing after it reads."""
        if self._done is None:
            last: dict[str, int] = {}
            for i, step in enumerate(self.steps):
                last.update(dict.fromkeys((*step.inputs, *step.outputs, *_read_inside(step)), i))
            for name in self.outputs:
                last.pop(name, None)
            self._done = [[] for _ in self.steps]
            for name, i in last.items():
                self._done[i].append(name)
        return self._done

    def all_steps(self) -> Iterator[Step]:
        """The steps, those of bodies within steps included."""
        for step in self.steps:
            yield step
            for body in step.bodies():
                yield from body.all_steps()


def _read_inside(step: Step) -> Iterator[str]:
    """Names that the bodies of a step use."""
    for body in step.bodies():
        yield from body.outputs
        for inner in body.all_steps():
            yield from inner.inputs
            for deeper in inner.bodies():
                yield from deeper.outputs


class Reader:
    """Makes Bodies of GraphProtos and FunctionProtos."""

    def __init__(self, tensors: Tensors, opsets: Mapping[str, int]):
        self.tensors, self.opsets = tensors, opsets

    def graph(self, proto: Any, known: Iterable[str] = ()) -> Body:
        """A graph in which the names `known` have values already."""
        if proto.sparse_initializer:
            name = proto.sparse_initializer[0].values.name
            raise OnnxLoadError(f"tensor {name!r} is sparse; store it dense")
        arrays = {t.name: self.tensors.array_of(t) for t in proto.initializer}
        inputs = [x.name for x in proto.input if x.name not in arrays]
        defined = {*known, *inputs, *arrays}
        steps = self.steps(proto.node, defined)
        outputs = [x.name for x in proto.output]
        missing = [name for name in outputs if name not in defined]
        if missing:
            raise OnnxLoadError(f"output {missing[0]!r} of graph {proto.name!r} is never computed")
        return Body(inputs, outputs, arrays, steps)

    def function(self, proto: Any, attrs: Mapping[str, Any]) -> Body:
        """The body of a function called with `attrs`."""
        own = Reader(self.tensors, {o.domain: o.version for o in proto.opset_import})
        given = {a.name: own.attribute(a, set()) for a in proto.attribute_proto}
        given.update(attrs)
        defined = set(proto.input)
        steps = own.steps(proto.node, defined, given)
        return Body(list(proto.input), list(proto.output), {}, steps)

    def steps(self, protos: Any, defined: set[str], given: Mapping | None = None) -> list[Step]:
        """Steps in the order of the file; `defined` grows by what they compute."""
        found, own = [], set()
        for proto in protos:
            step = self.step(proto, defined, given or {})
            for name in step.inputs:
                if name and name not in defined:
                    raise OnnxLoadError(
                        f"{step.where()} reads {name!r}, which nothing before it computes"
                    )
            for name in step.outputs:
                if name and name in own:
                    raise OnnxLoadError(f"{step.where()} computes {name!r}, which is there already")
                own.add(name)
                defined.add(name)
            found.append(step)
        return found

    def step(self, proto: Any, defined: set[str], given: Mapping[str, Any]) -> Step:
        domain = "" if proto.domain in DEFAULT_DOMAINS else proto.domain
        opset = self.opsets.get(domain, self.opsets.get("ai.onnx", 0) if not domain else 0)
        step = Step(proto.op_type, domain, proto.name, list(proto.input), list(proto.output), {},
                    opset)  # fmt: skip
        if rule_of(step) is None:
            step.data = proto.SerializeToString()
        if not opset:
            raise OnnxLoadError(f"{step.where()}: the file imports no version of this domain")
        for attribute in proto.attribute:
            if attribute.ref_attr_name:
                if attribute.ref_attr_name in given:
                    step.attrs[attribute.name] = given[attribute.ref_attr_name]
                continue
            step.attrs[attribute.name] = self.attribute(attribute, defined, step.outputs)
        return step

    def attribute(self, proto: Any, defined: set[str], outputs: Sequence[str] = ()) -> Any:
        """The value of an attribute as Python data; `outputs` are the names of the node's results.
        """
        if proto.type == TENSOR:
            return self.tensors.array_of(proto.t, "".join(outputs[:1]))
        kind = _KINDS.get(proto.type)
        if kind is None:
            raise OnnxLoadError(f"attribute {proto.name!r} has a type that is not supported here")
        return kind(self, proto, defined)


def _graph_attribute(reader: Reader, proto: Any, defined: set[str]) -> Body:
    return reader.graph(proto.g, defined)


TENSOR = 4  # AttributeProto.AttributeType
_KINDS: dict[int, Callable[[Reader, Any, set[str]], Any]] = {  # by AttributeProto.AttributeType
    1: lambda r, a, d: a.f,
    2: lambda r, a, d: a.i,
    3: lambda r, a, d: a.s.decode("utf-8", "replace"),
    5: _graph_attribute,
    6: lambda r, a, d: list(a.floats),
    7: lambda r, a, d: list(a.ints),
    8: lambda r, a, d: [s.decode("utf-8", "replace") for s in a.strings],
    13: lambda r, a, d: None,  # the type of an Optional, which values have anyway
}
