"""trace: run a module or function once, on tensors without values, and record it as a Graph.

    graph = trace(model, x)

Parameters and buffers become graph inputs under their state_dict names, arguments under the names of
forward's parameters. In-place writes to them become outputs that say what to overwrite. Whatever a
graph cannot express is refused with a TraceError that names the user's line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import inplace, scope
from .autograd.modes import state
from .ir import Graph, Node, input_node, ops
from .ir.graph import toposort, with_operands
from .trace_error import TraceError, trace_error
from .trace_function import hook_call, recording
from .trace_guards import Guard, ModuleGuard, TensorGuard
from .trace_tracer import DETACH, GraphStorage, Tracer
from .trace_values import map_leaves, named_arguments, unique_name


def trace(function: Callable, *args: Any, **kwargs: Any) -> Graph:
    """The graph of `function(*args, **kwargs)`; a function or a Module.

    TraceError for what a graph cannot express. Values, gradients and Python state are not changed.
    """
    return trace_call(function, args, kwargs).graph


@dataclass
class Traced:
    """A recorded call.

    graph          inputs: captures, then arguments, then `rng` if numbers are drawn; outputs: results,
                   then what `graph.output_names` says to overwrite
    captures       the eager tensors behind the first inputs
    arguments      names of the tensors among the arguments, in order
    n_results      number of plain outputs
    requires_grad  for each plain output: may gradients be asked for it
    draws          how many random keys one call takes
    guards         what must hold for the graph to be used again
    grads          (tensor, output number): set its .grad to that output (None: to None)
    """

    graph: Graph
    captures: list[Any]
    arguments: list[str]
    n_results: int
    requires_grad: list[bool]
    draws: int
    guards: list[Guard]
    grads: list[tuple[Any, int | None]]
    structure: Any = field(repr=False)

    def rebuild(self, values: Sequence, arguments: Sequence | None = None) -> Any:
        """What the function returned, with `values` for the plain outputs.

        An output that is an argument, or a view of one, is taken from `arguments` (the tensors of
        this call, in order) if they are given, so that it shares memory as it does eagerly.
        """

        def place(leaf: Any, path: str) -> Any:
            return leaf.take(values, arguments) if isinstance(leaf, Output) else leaf

        return map_leaves(self.structure, place)


class Output:
    """Where one tensor of the result comes from: a plain output, or memory of the caller."""

    def __init__(
        self,
        number: int | None = None,
        argument: int | None = None,
        capture: Any = None,
        chain: tuple = (),
    ):
        self.number, self.argument, self.capture, self.chain = number, argument, capture, chain

    def take(self, values: Sequence, arguments: Sequence | None) -> Any:
        """The tensor for the caller."""
        if self.capture is not None:
            source = self.capture
        elif self.argument is not None and arguments is not None:
            source = arguments[self.argument]
        else:
            return values[self.number]
        for op, attrs in self.chain:
            if op is ops.detach:
                source = inplace.alias(source)
            else:
                source = inplace.view(op, source, **attrs)
        return source


def trace_call(
    function: Callable, args: tuple = (), kwargs: dict | None = None, root: Any = None
) -> Traced:
    """Record `function(*args, **kwargs)`.

    `root` is the module whose parameters give the captured tensors their names; by default the
    function itself, the object whose method it is, or the modules that the function refers to.
    """
    if state.tracer is not None:
        raise trace_error("a graph is being recorded already; call the function itself")
    recorder = _Recorder(function, args, kwargs or {}, root)
    try:
        return recorder.run()
    finally:
        recorder.restore()


class _Recorder:
    """One call of trace_call, from the arguments to the Traced."""

    def __init__(self, function: Callable, args: tuple, kwargs: dict, root: Any):
        self.function, self.args, self.kwargs = function, args, kwargs
        self.roots = dict(_roots(function, root))
        self.tracer = Tracer()
        self.guards = [
            ModuleGuard(name, module)
            for prefix, top in self.roots.items()
            for name, module in top.named_modules(prefix=prefix)
        ]
        self._name_state()
        self.taken = {name for name, _ in self.tracer.names.values()} | {"rng"}
        self.inputs: list[GraphStorage] = []
        self.examples: list[Any] = []
        self.traced_arguments: list[Any] = []

    def _name_state(self) -> None:
        names = self.tracer.names
        for prefix, top in self.roots.items():
            for members in (top.named_parameters, top.named_buffers):
                for name, x in members(prefix=prefix):
                    if x is not None:
                        names.setdefault(self.tracer.key_of(x), (name, x))
                        self.tracer.remember(x)

    def run(self) -> Traced:
        """Run the function on traced arguments and collect what it did."""
        tracer = self.tracer
        _refuse_backward_hooks(self.guards)
        top = next(iter(self.roots.values()), None)
        with scope.tracing(top), recording(tracer, state.grad_enabled):
            args, kwargs = self._arguments()
            result = self.function(*args, **kwargs)
            structure, outputs = self._outputs(result)
            nodes = [tracer.node_of(y) for y in outputs]
            states = self._reassigned_state()
            writes = [(name, tracer.node_of(x)) for name, x in states]
            grads = self._grads()
            writes += [(name, tracer.node_of(g)) for _, name, g in grads if g is not None]
            writes = self._writes() + writes
            replaced = self._hooks()
        self._check_aliases()
        everything = _substitute([*nodes, *(n for _, n in writes)], replaced)
        names = [""] * len(nodes) + [name for name, _ in writes]
        captures = sorted(tracer.captured.values(), key=self._order())
        graph_inputs = [s.first for s in (*captures, *self.inputs)]
        if tracer.rng is not None:
            graph_inputs.append(tracer.rng)
        graph = Graph(_graph_name(self.function), graph_inputs, everything, names)
        owners = [s.origin for s in captures]
        where = {name: i for i, name in enumerate(names) if name}
        return Traced(
            graph=graph,
            captures=owners,
            arguments=[s.first.attrs["name"] for s in self.inputs],
            n_results=len(nodes),
            requires_grad=[bool(y.requires_grad) for y in outputs],
            draws=tracer.draws,
            guards=[*self.guards, *(TensorGuard(s.first.attrs["name"], s.origin) for s in captures)],
            grads=[(x, None if g is None else where[name]) for x, name, g in grads],
            structure=structure,
        )

    def _order(self) -> Callable:
        """Captures in state_dict order, then the others as they were met."""
        places = {name: i for i, (name, _) in enumerate(self.tracer.names.values())}
        last = len(places)
        return lambda s: places.get(s.first.attrs["name"], last)

    # -- arguments and results --------------------------------------------------------------------

    def _arguments(self) -> tuple[tuple, dict]:
        target = self.function
        target = getattr(target, "forward", target) if hasattr(target, "named_modules") else target
        names = named_arguments(target, self.args, self.kwargs)
        values = [*self.args, *self.kwargs.values()]
        made = [map_leaves(v, self._argument, n) for n, v in zip(names, values, strict=True)]
        count = len(self.args)
        return tuple(made[:count]), dict(zip(self.kwargs, made[count:], strict=True))

    def _argument(self, x: Any, path: str) -> Any:
        if not hasattr(x, "_type"):
            return x
        array = x._data  # raises for a tensor without a value
        node = input_node(unique_name(path, self.taken), x._type)
        strides = tuple(s // array.itemsize for s in array.strides)
        storage = GraphStorage(node, node.attrs["name"], strides, x.requires_grad)
        inner = self.tracer.wrap(node)
        inner._storage, inner._requires_grad = storage, x.requires_grad
        self.inputs.append(storage)
        self.examples.append(x)
        self.traced_arguments.append(inner)
        return inner

    def _outputs(self, result: Any) -> tuple[Any, list[Any]]:
        """The structure with Outputs in place of tensors, and the tensors that are graph outputs."""
        outputs: list[Any] = []
        numbers: dict[int, int] = {}
        origins = {id(s): i for i, s in enumerate(self.inputs)}

        def place(y: Any, path: str) -> Any:
            if not hasattr(y, "_type"):
                return y
            if y._tracer is None:
                return Output(capture=y)
            storage, chain = y._storage, y._chain
            if storage is not None and hasattr(storage.origin, "_type"):
                if not self._is_other_history(y, storage):
                    return Output(capture=storage.origin, chain=chain)
            if id(y) not in numbers:
                numbers[id(y)] = len(outputs)
                outputs.append(y)
            argument = origins.get(id(storage)) if storage is not None else None
            if argument is not None and self._is_other_history(y, storage):
                argument = None
            return Output(numbers[id(y)], argument, None, chain)

        return map_leaves(result, place), outputs

    def _is_other_history(self, y: Any, storage: GraphStorage) -> bool:
        """True if replaying the views of `y` on the caller's tensor would lose its gradient."""
        if y.requires_grad and storage.writes:
            return True
        return any(op is not ops.detach and op is ops.unfold for op, _ in y._chain)

    # -- what forward changed ---------------------------------------------------------------------

    def _writes(self) -> list[tuple[str, Node]]:
        """(name of the input to overwrite, its new content) for all written inputs."""
        written = [s for s in (*self.tracer.captured.values(), *self.inputs) if s.writes]
        for s in written:
            if s.gained_history:
                raise TraceError(
                    f"'{s.first.attrs['name']}' comes from outside of the graph and is written in "
                    "place with a value that requires grad, so its history would be lost; clone() it "
                    "before writing, or write it under no_grad"
                )
        return [(s.first.attrs["name"], s.node) for s in written]

    def _reassigned_state(self) -> list[tuple[str, Any]]:
        """Tensors that replaced a module's tensor under the same attribute, as writes to the old one.

        Any other change of a module raises TraceError.
        """
        found = []
        for guard in self.guards:
            for key, old, new in guard.changes():
                changed = _changed_entries(old, new)
                if changed is None:
                    raise TraceError(_state_message(guard, key, old, new))
                for label, before, after in changed:
                    found.append(self._state_write(guard, label or key, before, after))
        return found

    def _state_write(self, guard: ModuleGuard, key: str, old: Any, new: Any) -> tuple[str, Any]:
        if getattr(old, "_type", None) != getattr(new, "_type", _NOTHING):
            raise TraceError(_state_message(guard, key, old, new))
        if new.requires_grad:
            raise TraceError(
                f"forward stored a tensor that requires grad in '{key}' of {guard.where()}, so a "
                "later call would go back through this one; store new.detach()"
            )
        storage = self.tracer.capture(old)
        if storage.writes:
            raise TraceError(
                f"forward both wrote '{key}' of {guard.where()} in place and replaced it; do one of "
                "the two"
            )
        return storage.first.attrs["name"], new

    def _grads(self) -> list[tuple[Any, str, Any]]:
        """(tensor, output name, new gradient) for eager tensors whose .grad the function changed."""
        found = []
        for x, fields, _ in list(self.tracer.remembered.values()):
            if x._requires_grad != fields.get("_requires_grad", False) and x._grad_fn is None:
                raise trace_error(
                    "requires_grad of a tensor from outside the graph was changed; set it before "
                    "the traced function"
                )
            if x._grad is not fields.get("_grad"):
                name = self.tracer.capture(x).first.attrs["name"]
                found.append((x, f"{name}.grad", x._grad))
        return found

    def _hooks(self) -> dict[Node, Node]:
        """For each node with tensor hooks the `call` node that runs them in the backward pass."""
        grouped: dict[Node, list] = {}
        for node, hooks, number, hook in self.tracer.hooks:
            if hooks is not None and number in hooks:
                grouped.setdefault(node, []).append(hook)
        return {node: hook_call(self.tracer, node, hooks) for node, hooks in grouped.items()}

    def _check_aliases(self) -> None:
        """TraceError if a written tensor shares memory with another input of the graph."""
        pairs = [(s, s.origin) for s in self.tracer.captured.values()]
        pairs += list(zip(self.inputs, self.examples, strict=True))
        for s, x in pairs:
            for other, y in pairs if s.writes else ():
                if other is not s and np.may_share_memory(x._data, y._data):
                    if np.shares_memory(x._data, y._data, max_work=10000):
                        raise TraceError(
                            f"'{s.first.attrs['name']}' is written in place and shares memory with "
                            f"'{other.first.attrs['name']}', another input of the graph; clone() one "
                            "of them"
                        )

    def restore(self) -> None:
        """Put eager tensors and modules back as they were."""
        for guard in self.guards:
            if guard.check() is not None:
                guard.restore()
        self.tracer.restore()


_NOTHING = object()


def _changed_entries(old: Any, new: Any) -> list[tuple[str, Any, Any]] | None:
    """Replaced tensors of an attribute or of a dict of them; None if something else changed."""
    if hasattr(old, "_type") and hasattr(new, "_type"):
        return [("", old, new)]
    if not (isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys()):
        return None
    changed = [(k, v, new[k]) for k, v in old.items() if v is not new[k]]
    if all(hasattr(a, "_type") and hasattr(b, "_type") for _, a, b in changed):
        return changed
    return None


def _state_message(guard: ModuleGuard, key: str, old: Any, new: Any) -> str:
    sentence = guard.check() or f"attribute '{key}' of {guard.where()} changed"
    return (
        f"forward changes Python state that a graph cannot keep: {sentence}. Keep such state in a "
        "buffer and update it in place, or change it outside of forward."
    )


def _roots(function: Callable, root: Any) -> Iterator[tuple[str, Any]]:
    """(prefix, module) for the modules whose tensors and attributes belong to the function."""
    for module in (root, function, getattr(function, "__self__", None)):
        if hasattr(module, "named_modules"):
            yield "", module
            return
    function = getattr(function, "__wrapped__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        return
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    found = {}
    for name, cell in cells:
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    found |= {n: function.__globals__[n] for n in code.co_names if n in function.__globals__}
    for name, value in found.items():
        if hasattr(value, "named_modules") and not isinstance(value, type):
            yield name, value


def _refuse_backward_hooks(guards: Sequence[ModuleGuard]) -> None:
    for guard in guards:
        fields = guard.fields
        if fields.get("_backward_hooks") or fields.get("_backward_pre_hooks"):
            raise TraceError(
                f"{guard.where()} has a module backward hook, which a graph cannot keep; use "
                "tensor.register_hook() in forward, or run this module eagerly"
            )


def _graph_name(function: Callable) -> str:
    """The class of a module, or the name of a function, as an identifier."""
    owner = getattr(function, "__self__", None)
    if hasattr(function, "named_modules"):
        name = type(function).__name__
    elif hasattr(owner, "named_modules"):
        name = type(owner).__name__
    else:
        name = getattr(function, "__name__", "graph")
    return unique_name(name, set()).lower()


def _substitute(outputs: Sequence[Node], replaced: dict[Node, Node]) -> list[Node]:
    """The outputs with hook calls put behind their nodes."""
    if not replaced:
        return list(outputs)
    new: dict[Node, Node] = {}
    for node in toposort(outputs):
        kept = with_operands(node, tuple(new[x] for x in node.inputs))
        result = replaced.get(node)
        if result is not None:
            (call,) = result.inputs
            inner = Node(call.op, (kept, *call.inputs[1:]), call.attrs, call.type, call.loc)
            kept = Node(result.op, (inner,), result.attrs, result.type, result.loc)
        new[node] = kept
    return [new[x] for x in outputs]


__all__ = ["DETACH", "Guard", "TraceError", "Traced", "trace", "trace_call"]
