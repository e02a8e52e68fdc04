"""One recording, from the arguments to the Traced: what goes in, what comes out, what changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from . import scope
from .autograd.modes import state
from .device import CPU, device
from .dispatch import shares
from .ir import Graph, Node, input_node
from .ir.graph import toposort, with_operands
from .trace_error import TraceError, codes_of, state_message, trace_error
from .trace_function import hook_call, recording
from .trace_guards import ModuleGuard, StateGuard, TensorGuard
from .trace_hooks import hooked_calls, with_hooks
from .trace_memory import GraphStorage
from .trace_outputs import Results
from .trace_result import Traced
from .trace_slots import Entry, Slot, slots_for
from .trace_tracer import Tracer
from .trace_values import map_leaves, named_arguments, unique_name


class Recorder:
    """One call of trace_call, from the arguments to the Traced."""

    def __init__(
        self, function: Callable, args: tuple, kwargs: dict, root: Any, for_calls: bool,
        watched: Sequence[StateGuard] = (),
    ):  # fmt: skip
        self.function, self.args, self.kwargs = function, args, kwargs
        self.for_calls, self.watched = for_calls, watched
        self.roots = dict(_roots(function, root, args))
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

    def _meet(self, module: Any, path: str) -> None:
        """Watch a module that runs but does not belong to a root, such as a global one."""
        known = {id(g.module) for g in self.guards}
        found = [(n, m) for n, m in module.named_modules(prefix=path) if id(m) not in known]
        met = [ModuleGuard(n, m) for n, m in found if not _is_new(m)]
        self.guards += met

    def run(self) -> Traced:
        """Run the function on traced arguments and collect what it did."""
        tracer = self.tracer
        tracer.place = self._place()
        top = next(iter(self.roots.values()), None)
        with scope.tracing(top, self._meet), recording(tracer, state.grad_enabled):
            args, kwargs = self._arguments()
            result = self.function(*args, **kwargs)
            slots = self._slots() if self.for_calls else []
            whole = (result, [slot.value for slot in slots]) if slots else result
            results = Results(whole, self.inputs, self.traced_arguments, self.for_calls)
            outputs = results.computed
            nodes = [tracer.node_of(y) for y in outputs]
            replaced_state = [] if self.for_calls else self._replaced_state()
            writes = [(name, tracer.node_of(x)) for name, x in replaced_state]
            grads = self._grads()
            replaced, boundaries = self._hooks(), hooked_calls(tracer)  # these may capture, too
            captured = [s.origin for s in self._captures()]
            reached = results.inputs_behind([*captured, *self.traced_arguments])
            writes += [(name, tracer.node_of(g)) for _, name, g in grads if g is not None]
            writes = self._writes() + writes
        self._check_aliases()
        nodes = _substitute([*nodes, *(n for _, n in writes)], replaced)
        nodes = with_hooks(nodes, boundaries)
        graph = self._graph(nodes, [""] * len(outputs) + [name for name, _ in writes])
        where = {name: i for i, name in enumerate(graph.output_names) if name}
        captures = self._captures()
        return Traced(
            graph=graph,
            captures=[s.origin for s in captures],
            arguments=[_name(s) for s in self.inputs],
            n_results=len(outputs),
            requires_grad=[bool(y.requires_grad) for y in outputs],
            draws=tracer.draws,
            guards=[*self.guards, *(TensorGuard(_name(s), s.origin) for s in captures)],
            grads=[(x, None if g is None else where[name]) for x, name, g in grads],
            structure=results.structure,
            reached=reached,
            slots=slots,
        )

    def _place(self) -> device:
        """cuda if an argument or a parameter is there."""
        found: list[Any] = []
        for value in (*self.args, *self.kwargs.values()):
            map_leaves(value, lambda x, path: found.append(x), "")
        for root in self.roots.values():
            found += [*root.parameters(), *root.buffers()]
        places = (x.device for x in found if hasattr(x, "_type"))
        return next((place for place in places if place.type == "cuda"), CPU)

    def _graph(self, nodes: list[Node], names: list[str]) -> Graph:
        inputs = [s.first for s in (*self._captures(), *self.inputs)]
        if self.tracer.rng is not None:
            inputs.append(self.tracer.rng)
        return Graph(_graph_name(self.function), inputs, nodes, names)

    def _captures(self) -> list[GraphStorage]:
        """Captures in state_dict order, then the others as they were met."""
        places = {name: i for i, (name, _) in enumerate(self.tracer.names.values())}
        last = len(places)
        return sorted(self.tracer.captured.values(), key=lambda s: places.get(_name(s), last))

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
        inner._grad = x._grad
        self.inputs.append(storage)
        self.examples.append(x)
        self.traced_arguments.append(inner)
        return inner

    # -- what forward changed ---------------------------------------------------------------------

    def _writes(self) -> list[tuple[str, Node]]:
        """(name of the input to overwrite, its new content) for all written inputs."""
        written = [s for s in (*self.tracer.captured.values(), *self.inputs) if s.writes]
        for s in written:
            if s.gained_history:
                raise TraceError(
                    f"'{_name(s)}' comes from outside of the graph and is written in "
                    "place with a value that requires grad, so its history would be lost; clone() "
                    "it before writing, or write it under no_grad"
                )
        return [(_name(s), s.node) for s in written]

    def _slots(self) -> list[Slot]:
        """Where forward left tensors behind; TraceError if it changed something else of a Module.

        What else it changed of `watched` is for their owner to find.
        """
        guards: list[StateGuard] = [*self.guards, *self.watched]
        slots = slots_for(
            [entry for guard in guards for entry in guard.entries()],
            [pair for guard in guards for pair in guard.values()],
            self._read_as,
        )
        for guard in guards:
            guard.slots = slots
        for module_guard in self.guards:
            entry = module_guard.unexplained()
            if entry is not None:
                raise TraceError(state_message(codes_of(module_guard.cls.forward), entry))
        return list(slots.values())

    def _read_as(self, x: Any) -> Any:
        found = None if x._tracer is not None else self.tracer.captured.get(self.tracer.key_of(x))
        return None if found is None else found.origin

    def _replaced_state(self) -> list[tuple[str, Any]]:
        """Tensors that replaced a module's tensor under its name, as writes to the old one.

        Any other change of a module raises TraceError.
        """
        return [
            self._state_write(guard, entry) for guard in self.guards for entry in guard.entries()
        ]

    def _state_write(self, guard: ModuleGuard, entry: Entry) -> tuple[str, Any]:
        old, new = entry.old, entry.new
        if getattr(old, "_type", None) != getattr(new, "_type", _NOTHING):
            raise TraceError(state_message(codes_of(guard.cls.forward), entry))
        if new.requires_grad:
            raise TraceError(
                f"forward stored a tensor that requires grad as {entry.words}, so a later call "
                "would go back through this one; store new.detach()"
            )
        storage = self.tracer.capture(old)
        if storage.writes:
            raise TraceError(
                f"forward both wrote {entry.words} in place and replaced it; do one of the two"
            )
        return _name(storage), new

    def _grads(self) -> list[tuple[Any, str, Any]]:
        """(tensor or argument number, output name, new gradient) where .grad changed."""
        found = []
        for x, fields, _ in list(self.tracer.remembered.values()):
            if x._requires_grad != fields.get("_requires_grad", False) and x._grad_fn is None:
                raise trace_error(
                    "requires_grad of a tensor from outside the graph was changed; set it before "
                    "the traced function"
                )
            if x._grad is not fields.get("_grad"):
                name = _name(self.tracer.capture(x))
                found.append((x, f"{name}.grad", x._grad))
        rows = zip(self.inputs, self.traced_arguments, self.examples, strict=True)
        for number, (storage, inner, x) in enumerate(rows):
            if inner._grad is not x._grad:
                if not x.is_leaf:
                    raise TraceError(
                        f"backward() inside of the graph reaches argument '{_name(storage)}', "
                        "which has a history outside of it; detach() it, or call backward() outside"
                    )
                found.append((number, f"{_name(storage)}.grad", inner._grad))
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
        inputs = [(s, s.origin._data) for s in self.tracer.captured.values()]
        inputs += [(s, x._data) for s, x in zip(self.inputs, self.examples, strict=True)]
        if not any(s.writes for s, _ in inputs):
            return
        active: list[tuple[int, GraphStorage, np.ndarray]] = []
        for low, high, s, array in sorted(map(_extent, inputs), key=lambda row: row[0]):
            active = [row for row in active if row[0] > low]
            for _, other, taken in active:
                if (s.writes or other.writes) and shares(array, taken):
                    written, shared = (s, other) if s.writes else (other, s)
                    raise TraceError(
                        f"'{_name(written)}' is written in place and shares memory with "
                        f"'{_name(shared)}', another input of the graph; clone() one of them"
                    )
            active.append((high, s, array))

    def restore(self) -> None:
        """Put eager tensors and modules back as they were."""
        for guard in self.guards:
            guard.undo()
        self.tracer.restore()


_NOTHING = object()


def _name(storage: GraphStorage) -> str:
    """The name of the graph input that a storage began as."""
    return storage.first.attrs["name"]


def _address(array: Any) -> int:
    if array.__class__ is np.ndarray:
        return array.__array_interface__["data"][0]
    return array.address


def _extent(item: tuple[GraphStorage, np.ndarray]) -> tuple[int, int, GraphStorage, np.ndarray]:
    """The addresses between which an array lies."""
    storage, array = item
    low = high = _address(array)
    for n, step in zip(array.shape, array.strides, strict=True):
        low += min(step * (n - 1), 0)
        high += max(step * (n - 1), 0)
    return low, high + array.itemsize * bool(array.size), storage, array


def _roots(function: Callable, root: Any, args: tuple) -> Iterator[tuple[str, Any]]:
    """(prefix, module) for the modules whose tensors and attributes belong to the function."""
    for module in (root, function, getattr(function, "__self__", None), *args[:1]):
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


def _is_new(module: Any) -> bool:
    """True for a module that the traced function made: its tensors are traced ones."""
    tensors = (*module._parameters.values(), *module._buffers.values())
    return any(x is not None and x._tracer is not None for x in tensors)


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
