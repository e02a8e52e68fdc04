"""One compiled specialization of a function: traced graph, runners, and how to call them.

Without gradients a call is: gather arrays, run, wrap results. With gradients the forward program also
returns what the backward program needs, and the tape gets one node for the whole call.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import backends, dispatch
from .autograd import Function
from .autograd.modes import no_grad, state
from .ir.grad import joint
from .ir.graph import Graph
from .ir.passes import run_pipeline
from .ir.split_backward import Split, split_backward
from .random_state import default_generator
from .tensor import Tensor
from .tracing import Traced, trace_call


def specialize(
    fn: Callable, args: tuple, kwargs: dict, leaves: list, backend: str, threads: int | None
) -> Specialization:
    """Trace `fn` on these arguments and compile it."""
    start = time.perf_counter()
    root = getattr(fn, "__self__", None) if inspect.ismethod(fn) else None
    traced = trace_call(fn, args, kwargs, root=root)
    traced_at = time.perf_counter()
    made = Specialization(traced, leaves, backend, threads)
    made.seconds = {"trace": traced_at - start, "compile": time.perf_counter() - traced_at}
    return made


def why_stale(traced: Traced) -> str | None:
    """The first guard that no longer holds, in words."""
    for guard in traced.guards:
        reason = guard.check()
        if reason is not None:
            return reason
    return None


def results_as_outputs(traced: Traced) -> Graph:
    """The traced graph with new `.grad` values as plain outputs: they replace no input."""
    graph = traced.graph
    known = set(graph.input_names)
    names = tuple(n if n in known else "" for n in graph.output_names)
    return Graph(graph.name, graph.inputs, graph.outputs, names)


class Binding:
    """The tensors behind the inputs of a traced graph, and the arrays they have at a call."""

    def __init__(self, traced: Traced):
        self.captures: list[Tensor] = list(traced.captures)
        self.draws = traced.draws
        self.names = traced.graph.input_names
        updated = {name for name in traced.graph.output_names if name}
        self.updated = [i for i, name in enumerate(self.names) if name in updated]

    def tensors(self, leaves: Sequence[Tensor]) -> list[Tensor]:
        """All input tensors in graph order (without the generator's key)."""
        return [*self.captures, *leaves]

    def arrays(self, tensors: Sequence[Tensor]) -> list[np.ndarray]:
        """C-contiguous arrays for the graph inputs; the generator moves on by the draws made."""
        out = []
        for x in tensors:
            array = x._data
            if array.__class__ is not np.ndarray:
                raise dispatch.leaked(None, (x,))
            out.append(array if array.flags.c_contiguous else np.ascontiguousarray(array))
        if self.draws:
            out.append(np.array(default_generator.advance(self.draws), np.int64))
        return out

    def before_writes(self, tensors: Sequence[Tensor]) -> None:
        """Make sure that memory about to be written belongs to its tensor alone."""
        for i in self.updated:
            x = tensors[i]
            dispatch.own_memory(x)
            if x._storage is not None:
                x._storage.settle()
            if not x._data.flags.writeable:
                raise RuntimeError(f"{self.names[i]} is on read-only memory and cannot be updated")

    def after_writes(self, tensors: Sequence[Tensor], arrays: Sequence[np.ndarray]) -> None:
        """Copy back what was written to a contiguous copy, and count the write."""
        for i in self.updated:
            x = tensors[i]
            if arrays[i] is not x._data:
                x._data[...] = arrays[i]
            if x._counter is None:
                x._counter = [0]
            x._counter[0] += 1


class Prepared:
    """Work that depends on parameters alone, redone when one of them was written."""

    def __init__(self, runner: Any, binding: Binding, constant: set[str]):
        self.runner = runner
        self.tensors = [
            t for t, name in zip(binding.captures, binding.names, strict=False) if name in constant
        ]
        self.state: tuple[tuple, list] | None = None

    def arrays(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        if self.runner.prepared is None:
            return []
        key = tuple(
            (id(t._data), t._counter[0] if t._counter else 0) for t in self.tensors
        )
        exposed = any(t._storage is not None and t._storage.exposed for t in self.tensors)
        if exposed or self.state is None or self.state[0] != key:
            self.state = key, self.runner.prepare(arrays)
        return self.state[1]


class Specialization:
    """A traced graph with its compiled programs."""

    seconds: dict[str, float]

    def __init__(self, traced: Traced, leaves: list, backend: str, threads: int | None):
        self.traced, self.threads = traced, threads
        self.graph = results_as_outputs(traced)
        self.backend = backends.get(backend)
        self.binding = Binding(traced)
        tensors = self.binding.tensors(leaves)
        wanted = state.grad_enabled
        self.wrt = [i for i, x in enumerate(tensors) if wanted and x.requires_grad]
        self.plain = [t for t in self.graph.output_names if not t]
        self.split: Split | None = None
        self._lock = threading.Lock()
        self._backward: Any = None
        if self.wrt and any(traced.requires_grad):
            self._compile_pair()
        else:
            updated = {self.binding.names[i] for i in self.binding.updated}
            constant = {
                name for name in self.binding.names[: len(self.binding.captures)]
            } - updated
            self.runner = self.backend.compile(self.graph, tuple(sorted(constant)))
            self.prepared = Prepared(self.runner, self.binding, constant)

    def _compile_pair(self) -> None:
        names = [self.binding.names[i] for i in self.wrt]
        both = joint(self.graph, names)
        self.joint = both
        cotangents = len(both.inputs) - len(self.graph.inputs)
        optimized = run_pipeline(both)
        self.split = split_backward(optimized, len(self.graph.outputs), cotangents)
        self.runner = self.backend.compile(self.split.forward)

    @property
    def fused_graph(self) -> Graph:
        return self.runner.fused_graph

    @property
    def backward(self) -> Any:
        """The backward program, compiled when it is first needed."""
        if self._backward is None:
            with self._lock:
                if self._backward is None:
                    assert self.split is not None
                    self._backward = self.backend.compile(self.split.backward)
        return self._backward

    def stale(self) -> str | None:
        """Why this program does not fit the present Python state; None if it does."""
        return why_stale(self.traced)

    def summary(self) -> list[str]:
        """Lines for explain(): sizes and times."""
        times = ", ".join(f"{k} {v * 1e3:.0f} ms" for k, v in self.seconds.items())
        kernels = sum(n.name == "fused" for n in self.fused_graph.nodes)
        head = f"  {self.graph.name}: {len(self.graph.nodes)} nodes -> {kernels} kernels ({times})"
        return [head]

    # -- calling ---------------------------------------------------------------------------------

    def __call__(self, leaves: Sequence[Tensor]) -> Any:
        tensors = self.binding.tensors(leaves)
        if self.split is None:
            results = [_wrap(v) for v in self._run(tensors)]
            return self._finish(results, leaves)
        inputs = [tensors[i] for i in self.wrt]
        results = _CompiledCall.apply(self, tensors, *inputs)
        return self._finish(list(results) if isinstance(results, tuple) else [results], leaves)

    def _finish(self, results: list, leaves: Sequence[Tensor]) -> Any:
        """The function's own result; gradients that it left in `.grad` are put there."""
        place = 0
        positions = {}
        for number, name in enumerate(self.graph.output_names):
            if not name:
                positions[number] = place
                place += 1
        for x, number in self.traced.grads:
            x._grad = None if number is None else results[positions[number]]
        return self.traced.rebuild(results[: self.traced.n_results], leaves)

    def _run(self, tensors: Sequence[Tensor]) -> list[np.ndarray]:
        arrays = self.binding.arrays(tensors)
        prepared = self.prepared.arrays(arrays)
        return self._execute(tensors, arrays, prepared)

    def _execute(self, tensors, arrays, prepared=()) -> list[np.ndarray]:
        self.binding.before_writes(tensors)
        values = self.runner(arrays, prepared, self.threads)
        self.binding.after_writes(tensors, arrays)
        return [v for v in values if v is not None]

    def run_forward(self, tensors: Sequence[Tensor]) -> tuple[list, list, list]:
        """(results, kept values, arrays of the inputs) of the forward program."""
        arrays = self.binding.arrays(tensors)
        values = self._execute(tensors, arrays)
        count = len(self.plain)
        return values[:count], values[count:], arrays

    def run_backward(self, kept, arrays, gradients: Sequence[Tensor]) -> list[np.ndarray]:
        """Arrays of the gradients of the inputs in `wrt`."""
        assert self.split is not None
        names = list(self.binding.names)
        passed = [arrays[names.index(n)] for n in self.split.passed]
        cotangents = [np.ascontiguousarray(g._data) for g in gradients]
        return self.backward([*kept, *passed, *cotangents], (), self.threads)

    def differentiate(self, tensors: Sequence[Tensor], key: Any, gradients) -> list[Tensor]:
        """The gradients as differentiable tensors: the joint graph run op by op on Tensors."""
        values = dict(zip(self.joint.inputs, [*tensors, *key, *gradients], strict=True))
        for node in self.joint.nodes:
            operands = [values[x] for x in node.inputs]
            if not operands:
                made = Tensor.apply_op(node.op, (), dict(node.attrs))
            elif node.name == "get":
                made = operands[0][node.attrs["index"]]
            else:
                made = node.op(*operands, **node.attrs)
            values[node] = made
        return [values[n] for n in self.joint.outputs[len(self.graph.outputs) :]]


class _CompiledCall(Function):
    """The tape's node for one call of a compiled program."""

    @staticmethod
    def forward(ctx: Any, program: Specialization, tensors: list, *inputs: Tensor) -> Any:
        with no_grad():
            results, kept, arrays = program.run_forward(tensors)
        ctx.program, ctx.kept, ctx.tensors = program, kept, tensors
        ctx.arrays = arrays
        ctx.save_for_backward(*inputs)
        outputs = [_wrap(v) for v in results]
        ctx.floats = [i for i, x in enumerate(outputs) if x.dtype.is_floating_point]
        ctx.mark_non_differentiable(
            *(x for x, needs in zip(outputs, program.traced.requires_grad, strict=False) if not needs)
        )
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        program = ctx.program
        inputs = ctx.saved_tensors
        cotangents = [grads[i] for i in ctx.floats]
        if state.grad_enabled:
            tensors = list(ctx.tensors)
            for place, x in zip(program.wrt, inputs, strict=True):
                tensors[place] = x
            key = [Tensor._wrap(a) for a in ctx.arrays[len(tensors) :]]
            found = program.differentiate(tensors, key, cotangents)
        else:
            found = [_wrap(a) for a in program.run_backward(ctx.kept, ctx.arrays, cotangents)]
        return None, None, *found


def _wrap(array: np.ndarray) -> Tensor:
    """A Tensor on an array that nobody else holds."""
    from .ir.types import type_of_array

    return dispatch.wrap(array, type_of_array(array))
