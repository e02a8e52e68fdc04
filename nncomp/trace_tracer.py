"""The Tracer: while one is active, every operation on Tensors becomes a node of a graph.

A traced Tensor holds the Node of its value; memory is modelled in trace_memory. Eager tensors that
are met become graph inputs ("captures"). The tape is recorded as in eager mode, so gradients can be
asked for inside of the traced code; what no_grad makes is cut off by `detach` nodes, so they can
also be taken of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import dispatch, scope
from .autograd import tape
from .autograd.modes import state
from .device import CPU
from .ir import Node, build_node, input_node, ops
from .ir.graph import Loc
from .ir.op import Op, attribute_key
from .ir.types import TensorType, int64
from .size import Size
from .trace_constants import evaluate
from .trace_error import trace_error, user_line
from .trace_memory import GraphMemory, GraphStorage


class Tracer(GraphMemory):
    """Records one graph."""

    place = CPU  # where the arguments and parameters are

    def __init__(self, parent: Tracer | None = None):
        self.parent = parent
        if parent is not None:
            self.place = parent.place
        self.captured: dict[Any, GraphStorage] = {}
        self.names: dict[Any, tuple[str, Any]] = {}
        self.remembered: dict[int, tuple] = {}
        self.hooks: list[tuple[Node, dict, int, Callable]] = []
        self.boundaries: dict[int, Any] = {}  # around modules with backward hooks
        self.keys: dict[int, tuple[Any, Any]] = {}
        self.rng: Node | None = None
        self.draws = self.unnamed = self.checkpoints = 0

    # -- operations -------------------------------------------------------------------------------

    def apply(self, op: Op, inputs: Sequence, attrs: dict[str, Any]) -> Any:
        """Record `op`; what it gives requires a gradient as it would eagerly."""
        for x in inputs:
            if not hasattr(x, "_type"):
                raise dispatch.operand_error(op, inputs)
        out = self.build(op, [self.node_of(x) for x in inputs], attrs)
        differentiable = op.differentiable and any(x.requires_grad for x in inputs)
        if differentiable and not state.grad_enabled:
            out = self._cut(out)
        if not isinstance(out, tuple):
            result = self.wrap(out)
        else:
            result = tuple(map(self.wrap, out))
        if differentiable and state.grad_enabled:
            tape.record(op, attrs, inputs, [x._type for x in inputs], result)
        return result

    def build(self, op: Op, nodes: Sequence[Node], attrs: dict[str, Any]) -> Any:
        """A node that knows the module path and the user's line."""
        attrs = {k: tuple(v) if type(v) is Size else v for k, v in attrs.items()}
        return build_node(op, nodes, attrs, Loc(scope.current_path(), user_line()))

    def _cut(self, out: Any) -> Any:
        """`detach` on float results: no_grad made them, so they pass no gradient on."""
        if isinstance(out, tuple):
            return tuple(map(self._cut, out))
        return self.build(ops.detach, (out,), {}) if out.type.dtype.kind == "f" else out

    def wrap(self, node: Node) -> Any:
        """A traced Tensor on a node."""
        result = dispatch.wrap(node, node.type)
        result._tracer = self
        return result

    # -- tensors from outside ---------------------------------------------------------------------

    def capture(self, x: Any) -> GraphStorage:
        """The storage that stands for a tensor from outside the trace, made a graph input."""
        if x._tracer is not None:
            return self.capture_traced(x)
        x._data  # an error that says why, if it has no value  # noqa: B018
        key = self.key_of(x)
        found = self.captured.get(key)
        if found is None:
            name, owner = self.names.get(key) or (self.fresh_name(), x)
            array = owner._data
            strides = tuple(s // array.itemsize for s in array.strides)
            node = input_node(name, owner._type)
            found = GraphStorage(node, owner, strides, owner.requires_grad)
            self.captured[key] = found
            self.remember(x)
            self.remember(owner)
        return found

    def capture_traced(self, x: Any) -> GraphStorage:
        """A traced tensor of another trace: an error here, an operand in a body."""
        raise dispatch.leaked(ops.detach, (x,))

    def fresh_name(self) -> str:
        """The next free `capture_0`."""
        taken = {name for name, _ in self.names.values()}
        while True:
            name = f"capture_{self.unnamed}"
            self.unnamed += 1
            if name not in taken:
                return name

    def key_of(self, x: Any) -> Any:
        """What identifies the memory of an eager tensor; aliases of one type share it."""
        known = self.keys.get(id(x))
        if known is not None:
            return known[1]
        steps = tuple((op.name, attribute_key(attrs)) for op, attrs in x._chain)
        memory = (id(x._storage or x), steps, x._type)
        named = self.names.get(memory)
        key: Any = memory
        if x.requires_grad and named is not None and named[1] is not x:
            key = id(x)
        self.keys[id(x)] = x, key  # x is kept, so that no other tensor gets its id
        return key

    def remember(self, x: Any) -> None:
        """Note the state of an eager tensor before the trace changes it."""
        if x._tracer is None and id(x) not in self.remembered:
            version = None if x._counter is None else x._counter[0]
            self.remembered[id(x)] = (x, dict(x.__dict__), version)

    def restore(self) -> None:
        """Put every eager tensor back as it was."""
        for x, fields, version in self.remembered.values():
            x.__dict__.clear()
            x.__dict__.update(fields)
            if version is not None:
                x._counter[0] = version

    # -- what has no meaning in a graph -----------------------------------------------------------

    def concrete(self, x: Any, what: str) -> np.ndarray:
        """The value of a tensor that is made of constants only; TraceError for any other."""
        if x._tracer is None:
            raise trace_error(
                f"{what} of a tensor {x._type} from outside the graph: its value may be another at "
                "the next call, so it must not be frozen into the graph. Read it before the traced "
                "function, and pass the Python number as an argument."
            )
        value = evaluate(self.node_of(x)) if x._tracer is self else None
        if value is None:
            raise trace_error(
                f"{what} of a traced tensor {x._type}: its value is not known while the graph is "
                "recorded. Use torch.where to choose between values, keep the decision in Python "
                "numbers and shapes, or compile the parts before and after it."
            )
        return value

    # -- random numbers and hooks -----------------------------------------------------------------

    def next_key(self, generator: Any = None) -> Any:
        """The key of the next draw: the graph input `rng` with the draw's number added."""
        from .random_state import default_generator

        if generator is not None and generator is not default_generator:
            raise trace_error(
                "only the default generator can be used while a graph is recorded; draw with other "
                "generators outside of the traced function and pass the numbers in"
            )
        node = self.rng_node()
        number, self.draws = self.draws, self.draws + 1
        if number:
            ramp = self.build(ops.iota, (), dict(shape=(2,), axis=0, dtype=int64))
            step = self.build(ops.full, (), dict(value=number, shape=(2,), dtype=int64))
            node = self.build(ops.add, (node, self.build(ops.mul, (ramp, step), {})), {})
        return self.wrap(node)

    def rng_node(self) -> Node:
        """The graph input that holds (seed, offset) of the first draw."""
        if self.rng is None:
            self.rng = input_node("rng", TensorType((2,), int64))
        return self.rng

    def register_hook(self, x: Any, hook: Callable) -> Any:
        """A tensor hook: on the tape for gradients asked here, in the graph for later ones."""
        self.remember(x)
        handle = x._add_hook(hook)
        hooks = handle.hooks_dict_ref()
        self.hooks.append((self.node_of(x), hooks, handle.id, hook))
        return handle

    def function(self, ctx: Any, args: tuple) -> Any:
        """A call of an autograd.Function."""
        from .trace_function import call_function

        return call_function(self, ctx, args)
