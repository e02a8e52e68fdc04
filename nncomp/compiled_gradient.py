"""Gradients of one compiled specialization: a forward program that keeps values, and its backward.

The tape gets one node per call. The backward program is compiled when it is first needed; gradients
of gradients run the joint graph op by op on Tensors.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import dispatch
from .autograd.modes import state
from .autograd.saved import save
from .autograd.tape import FREED, TapeNode, edge_of, zeros_of
from .ir import ops
from .ir.graph import Graph, Node, build_node, toposort
from .tensor import Tensor


class GradientPrograms:
    """The forward program that keeps values, and the backward program that takes them."""

    def __init__(self, owner: Any, wrt: list[int], reached: list[set[int]]):
        from .ir.grad import joint  # here: a start without gradients needs no pass
        from .ir.passes import run_pipeline
        from .ir.split_backward import split_backward

        self.owner, self.wrt, self.reached = owner, wrt, reached
        self.binding, self.backend, self.types = owner.binding, owner.backend, owner.types
        names = self.binding.names
        graph = owner.graph
        self.joint = joint(_cut(owner), [names[i] for i in wrt])
        floats = [i for i, t in enumerate(self.types) if t.dtype.is_floating_point]
        whole = run_pipeline(self.joint)
        if hasattr(self.backend, "before_split"):
            whole = self.backend.before_split(whole)
        self.split = split_backward(whole, len(graph.outputs), len(floats))
        self.forward = _compiled(self.backend, self.split.forward)
        self.passed = [names.index(n) for n in self.split.passed]
        self.floats = floats
        self.cotangents = [floats[i] for i in self.split.cotangents]
        gradients = self.joint.outputs[len(graph.outputs) :]
        self.gradients = Graph("gradients", self.joint.inputs, gradients)
        read = set(toposort(gradients))
        self.read = [i for i, n in enumerate(self.joint.inputs[: len(names)]) if n in read]
        self._backward: Any = None
        self._lock = threading.Lock()

    @classmethod
    def make(cls, owner: Any, requires: list[bool]) -> GradientPrograms | None:
        """The programs for the inputs that require a gradient and can get one; None without any."""
        traced = owner.traced
        outputs = [(i, r) for i, r in enumerate(traced.reached) if traced.requires_grad[i]]
        wrt = sorted({i for _, reached in outputs for i in reached if requires[i]})
        found = [{number for number, reached in outputs if i in reached} for i in wrt]
        return cls(owner, wrt, found) if wrt else None

    @property
    def backward(self) -> Any:
        """The backward program, compiled when it is first needed."""
        with self._lock:
            if self._backward is None:
                self._backward = _compiled(self.backend, self.split.backward)
            return self._backward

    def run_backward(self, node: CallNode, grads: Sequence[Tensor | None]) -> list:
        """The gradients of the inputs in `wrt`; None for those that no given cotangent reaches."""
        arrays = list(node.kept)
        count = len(node.saved)
        for i in self.passed:  # the random key comes after the tensors
            if i < count:
                arrays.append(_contiguous(node.saved[i].unpack(node.types[i], None)._data))
            else:
                arrays.append(node.key[i - count])
        for i in self.cotangents:
            g, t = grads[i], self.types[i]
            arrays.append(np.zeros(t.shape, t.dtype.numpy) if g is None else _contiguous(g._data))
        given = {i for i, g in enumerate(grads) if g is not None}
        found = self.backward(arrays, (), self.owner.threads)
        return [
            dispatch.wrap(a, node.types[i]) if given & reached else None
            for a, i, reached in zip(found, self.wrt, self.reached, strict=True)
        ]

    def differentiate(self, node: CallNode, grads: Sequence[Tensor | None]) -> list:
        """The gradients as differentiable tensors: the joint graph run op by op on Tensors."""
        given = {i for i, g in enumerate(grads) if g is not None}
        count = len(node.saved)
        edges = dict(zip(self.wrt, node.edges, strict=True))
        inputs = self.joint.inputs
        values: dict[Node, Any] = {}
        for i in self.read:
            if i < count:
                values[inputs[i]] = node.saved[i].unpack(node.types[i], edges.get(i))
            else:
                values[inputs[i]] = Tensor._wrap(node.key[i - count])
        seeds = inputs[len(self.binding.names) :]
        for seed, i in zip(seeds, self.floats, strict=True):
            values[seed] = zeros_of(self.types[i]) if grads[i] is None else grads[i]
        for step in self.gradients.nodes:
            values[step] = _apply(step, [values[x] for x in step.inputs])
        return [
            values[y] if given & reached else None
            for y, reached in zip(self.gradients.outputs, self.reached, strict=True)
        ]


def _compiled(backend: Any, graph: Graph) -> Any:
    """A compiled graph whose large results, dropped after each step, take their memory again."""
    runner = backend.compile(graph)
    if hasattr(runner, "executable"):
        runner.executable.keep_results()
    return runner


def _cut(owner: Any) -> Graph:
    """The graph with `detach` on plain outputs that no gradient may be asked for."""
    graph, outputs, number = owner.graph, [], 0
    needs = [*owner.traced.requires_grad, *(False for _ in owner.types)]
    for node, to in zip(graph.outputs, graph.output_names, strict=True):
        if not to:
            if not needs[number] and node.type.dtype.is_floating_point:
                node = build_node(ops.detach, (node,), {})
            number += 1
        outputs.append(node)
    return graph.with_outputs(outputs)


def _apply(node: Node, operands: list) -> Any:
    """One node of a graph on Tensors."""
    if not operands:
        return Tensor.apply_op(node.op, (), dict(node.attrs))
    if node.name == "get":
        return operands[0][node.attrs["index"]]
    return node.op(*operands, **node.attrs)


def _contiguous(array: np.ndarray) -> np.ndarray:
    return array if array.flags.c_contiguous else np.array(array, order="C")


class CallNode(TapeNode):
    """The tape's node for one call of a compiled program."""

    __slots__ = ("programs", "saved", "types", "kept", "key")

    def __init__(self, programs: GradientPrograms, tensors: Sequence[Tensor]):
        edges = [edge_of(tensors[i]) for i in programs.wrt]
        super().__init__(edges, len(programs.types))
        self.programs = programs
        self.saved: Any = [save(x) for x in tensors]
        self.types = [x._type for x in tensors]
        written = set(programs.binding.updated)
        for i in programs.read:
            if i in written:
                self.saved[i].keep()

    def keep(self, kept: list[np.ndarray], key: list[np.ndarray]) -> None:
        """Take what the forward program left for the backward one, and the random key."""
        self.kept, self.key = kept, key

    @property
    def makes_own(self) -> bool:
        """Compiled code writes each gradient into an array of its own; interpreters may not."""
        return hasattr(self.programs.backward, "executable")

    def name(self) -> str:
        return "CompiledBackward"

    def run(self, grads: list, wanted: Sequence[bool]) -> Sequence:
        if self.saved is FREED:
            raise RuntimeError(FREED)
        if state.grad_enabled or state.tracer is not None:
            return self.programs.differentiate(self, grads)
        return self.programs.run_backward(self, grads)

    def release(self) -> None:
        self.saved, self.kept = FREED, ()
