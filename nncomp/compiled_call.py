"""One compiled specialization of a function: traced graph, runners, and how to call them.

Without gradients a call is: gather arrays, run, wrap results. With gradients the forward program
also returns what the backward program needs, and the tape gets one node for the whole call.
"""

from __future__ import annotations

import dataclasses
import inspect
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import dispatch
from .autograd.modes import state
from .backends import expect_compile
from .binding import Binding, Prepared, Source
from .compiled_fast import Shortcut
from .compiled_gradient import CallNode, GradientPrograms
from .compiled_watch import WatchedGuards
from .cuda.running import backend_for
from .ir.graph import Graph
from .ir.types import TensorType
from .names_guard import NamesGuard
from .program_guards import ProgramGuards
from .progress import show_compilations
from .tensor import Tensor
from .trace_error import TraceError, state_message
from .trace_guards import Guard, ModuleGuard, TensorGuard
from .trace_result import Output, Traced
from .trace_slots import finder, tensors_in
from .tracing import trace_call

show_compilations()
_tracing = threading.RLock()  # a trace puts Python state back, which two at once would mix up


def trace_guarded(
    functions: Sequence[Callable], run: Callable, args: tuple, kwargs: dict, root: Any,
    for_calls: bool = True,
) -> tuple[Traced, NamesGuard]:  # fmt: skip
    """A recording of `run`, with a guard on what `functions` read; TraceError if they change it."""
    modules = root.modules() if root is not None else ()
    objects = [v for v in (*args, *kwargs.values()) if _has_state(v)]
    names = NamesGuard([*functions, *(f for m in modules for f in _functions_of(m))], objects)
    with _tracing, _no_foreign_draws():
        try:
            traced = trace_call(run, args, kwargs, root, for_calls, [names])
            changed = names.unexplained()
            if changed is not None:
                raise TraceError(state_message(names.codes, changed))
        finally:
            names.undo()
    met = [g.module for g in traced.guards if isinstance(g, ModuleGuard)]
    names.follow([f for module in met for f in _functions_of(module)])
    return traced, names


def _functions_of(module: Any) -> list[Callable]:
    """What runs when a module is called."""
    kinds = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
    fields = module.__dict__
    return [module.forward, *(hook for kind in kinds for hook in fields.get(kind, {}).values())]


@contextmanager
def _no_foreign_draws() -> Iterator[None]:
    """TraceError if Python's or numpy's random numbers are drawn: the graph would freeze them."""
    python, numpy = random.getstate(), _numpy_state()
    yield
    drawn = "random" if random.getstate() != python else None
    now = _numpy_state()
    if drawn is None and any(map(np.any, map(np.not_equal, now[1:], (numpy or now)[1:]))):
        drawn = "numpy.random"
    if drawn is None and not numpy and now and now[2] != np.random.RandomState().get_state()[2]:
        drawn = "numpy.random"  # loaded in the traced function, and not as fresh as it was
    if drawn is not None:
        random.setstate(python)
        if numpy:
            np.random.set_state(numpy)
        raise TraceError(
            f"the traced function draws from {drawn}, which would happen once, not at each call; "
            "draw with nncomp's functions, or outside and pass the numbers in"
        )


def _numpy_state() -> Any:
    """The state of numpy's global generator; empty while nobody has loaded it (it takes 3 MB)."""
    return np.random.get_state() if "numpy.random" in sys.modules else ()


def _has_state(value: Any) -> bool:
    """True for an object whose attributes a function may read; Modules have guards of their own."""
    known = isinstance(value, (Tensor, type)) or hasattr(value, "named_modules")
    return not known and hasattr(value, "__dict__") and not dataclasses.is_dataclass(value)


def all_guards(
    traced: Traced, names: NamesGuard, sources: Sequence[Source], more: Sequence[Guard] = ()
) -> WatchedGuards:
    """One guard for everything that must hold for the program to be used again."""
    replaced = {id(s.tensor) for s in sources}
    kept = [
        g for g in traced.guards if not (isinstance(g, TensorGuard) and id(g.tensor) in replaced)
    ]
    return WatchedGuards(ProgramGuards([*kept, *more, names]))


def specialize(
    fn: Callable,
    args: tuple,
    kwargs: dict,
    leaves: list,
    backend: str,
    threads: int | None,
    options: Mapping[str, Any] | None = None,
) -> Specialization:
    """Trace `fn` on these arguments and compile it."""
    start = time.perf_counter()
    expect_compile(backend)
    owner = getattr(fn, "__self__", None) if inspect.ismethod(fn) else None
    root = owner if hasattr(owner, "named_modules") else None
    if root is not None and fn.__name__ == "forward":
        fn = root.forward  # it may have been replaced
    traced, names = trace_guarded([fn], fn, args, kwargs, root)
    sources = [*_gradient_sources(traced, leaves), *slot_sources(traced)]
    traced_at = time.perf_counter()
    chosen, more = backend_for(backend, options, [*traced.captures, *leaves])
    guards = all_guards(traced, names, sources, more)
    made = Specialization(traced, guards, sources, leaves, chosen)
    made.threads = threads
    made.seconds = {"trace": traced_at - start, "compile": time.perf_counter() - traced_at}
    return made


def _gradient_sources(traced: Traced, leaves: Sequence[Tensor]) -> Iterator[Source]:
    """The `.grad` tensors that the function reads: they are found anew at each call."""
    captured = set(map(id, traced.captures))
    owners: dict[int, Any] = {id(x): x for x in traced.captures}
    owners |= {id(x): x for x, _ in traced.grads if isinstance(x, Tensor)}
    owners |= {id(x): i for i, x in enumerate(leaves)}
    for owner in owners.values():
        g = _owner(owner, leaves)._grad
        if g is not None and id(g) in captured:
            yield Source(g, lambda leaves, o=owner: _owner(o, leaves)._grad, "a .grad that is read")


def slot_sources(traced: Traced) -> Iterator[Source]:
    """Tensors that the graph reads and that calls replace: what an earlier call left behind."""
    captured = set(map(id, traced.captures))
    for slot in traced.slots:
        for path, x in tensors_in(slot.before):
            if id(x) in captured and not slot.exact:
                yield Source(x, finder(slot, path), slot.words)


def _owner(owner: Any, leaves: Sequence[Tensor]) -> Tensor:
    """A tensor that is given as itself or by its number among the arguments."""
    return leaves[owner] if isinstance(owner, int) else owner


def wrap_all(arrays: Sequence[np.ndarray], types: Sequence[TensorType]) -> list[Tensor]:
    """Tensors on arrays that nobody else holds."""
    return [dispatch.wrap(a, t) for a, t in zip(arrays, types, strict=True)]


class Specialization:
    """A traced graph with its compiled programs."""

    seconds: dict[str, float]
    threads: int | None = None

    def __init__(
        self,
        traced: Traced,
        guards: WatchedGuards,
        sources: Sequence[Source],
        leaves: list,
        backend: Any,
    ):
        self.traced, self.guards = traced, guards
        self.graph = _results_as_outputs(traced)
        self.backend = backend
        self.binding = Binding(traced, sources)
        names = self.graph.output_names
        self.types = [n.type for n, to in zip(self.graph.outputs, names, strict=True) if not to]
        self.without_grad = [_owner(x, leaves)._grad is None for x, _ in traced.grads]
        self.simple = None if traced.grads else only_output(traced.structure)
        self.gradient: GradientPrograms | None = None
        needed = state.grad_enabled and any(traced.requires_grad)
        if needed:
            tensors = self.binding.tensors(leaves)
            self.gradient = GradientPrograms.make(self, [x.requires_grad for x in tensors])
        if self.gradient is not None:
            self.runner = self.gradient.forward
            self.prepared = None
        else:
            constant = self._constant({i for i, _ in self.binding.sources})
            self.runner = self.backend.compile(self.graph, tuple(sorted(constant)))
            self.prepared = Prepared(self.runner, self.binding, constant)
        self.shortcut = Shortcut.of(self)

    def _constant(self, replaced: set[int]) -> set[str]:
        """Names of the captured inputs that calls do not change."""
        binding = self.binding
        moving = replaced | set(binding.updated)
        return {binding.names[i] for i in range(len(binding.captures)) if i not in moving}

    @property
    def fused_graph(self) -> Graph:
        """The Graph of kernels."""
        return self.runner.fused_graph

    def stale(self, leaves: Sequence[Tensor]) -> str | None:
        """Why this program does not fit the present Python state; None if it does."""
        for (x, _), before in zip(self.traced.grads, self.without_grad, strict=True):
            if (_owner(x, leaves)._grad is None) != before:
                return f"the .grad of a tensor is {'there' if before else 'None'} now"
        return self.binding.stale(leaves) or self.guards.check()

    def summary(self) -> list[str]:
        """Lines for explain(): sizes and times."""
        times = ", ".join(f"{k} {v * 1e3:.0f} ms" for k, v in self.seconds.items())
        kernels = sum(n.name == "fused" for n in self.fused_graph.nodes)
        size = f"{len(self.graph.nodes)} nodes -> {kernels} kernels"
        backward = ", with backward" if self.gradient is not None else ""
        return [f"  {self.graph.name}: {size}{backward} ({times})"]

    def __call__(self, leaves: Sequence[Tensor]) -> Any:
        binding = self.binding
        tensors = binding.tensors(leaves)
        node = None if self.gradient is None else CallNode(self.gradient, tensors)
        if binding.updated:
            binding.before_writes(tensors)
        arrays = binding.arrays(tensors)
        prepared = () if self.prepared is None else self.prepared.arrays(arrays)
        values = self.runner(arrays, prepared, self.threads)
        if binding.updated:
            binding.after_writes(tensors, arrays)
            values = [v for v in values if v is not None]
        results = wrap_all(values[: len(self.types)], self.types)
        if node is not None:
            node.keep(values[len(self.types) :], arrays[len(tensors) :])
            for number, y in enumerate(results[: self.traced.n_results]):
                if self.traced.requires_grad[number]:
                    y._grad_fn, y._output_nr, y._requires_grad = node, number, True
        if self.simple is not None:
            return results[self.simple]
        return self._finish(results, leaves)

    def _finish(self, results: list[Tensor], leaves: Sequence[Tensor]) -> Any:
        """The function's own result; gradients that it left in `.grad` are put there."""
        names = self.traced.graph.output_names
        plain = [i for i, to in enumerate(self.graph.output_names) if not to]
        by_name = {names[i]: y for i, y in zip(plain, results, strict=True) if names[i]}
        for x, number in self.traced.grads:
            g = None if number is None else by_name[names[number]]
            _owner(x, leaves)._grad = g
        return self.traced.rebuild(results[: self.traced.n_results], leaves)


def _results_as_outputs(traced: Traced) -> Graph:
    """The traced graph with new `.grad` values as plain outputs: they replace no input."""
    graph = traced.graph
    known = set(graph.input_names)
    names = tuple(n if n in known else "" for n in graph.output_names)
    return Graph(graph.name, graph.inputs, graph.outputs, names)


def only_output(structure: Any) -> int | None:
    """The number of the plain output that is the whole result; None for any other result."""
    alone = isinstance(structure, Output) and structure.argument is None
    return structure.number if alone and structure.capture is None else None


__all__ = [
    "Specialization", "only_output", "slot_sources", "specialize", "trace_guarded", "wrap_all",
]  # fmt: skip
