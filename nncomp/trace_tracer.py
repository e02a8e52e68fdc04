"""The Tracer: while one is active, every operation on Tensors becomes a node of a graph.

A traced Tensor holds the Node of its value. Memory is modelled by GraphStorage: one per piece of
memory, with the Node of its present content. Views replay their movement ops on that content, and a
write puts a new Node there, so an in-place program becomes a pure graph. Eager tensors that are met
become graph inputs ("captures"). The tape is recorded as in eager mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import dispatch, inplace, scope
from .autograd import tape
from .autograd.modes import state
from .ir import Node, build_node, input_node, ops
from .ir.graph import Loc
from .ir.op import Op, attribute_key
from .ir.types import TensorType, int64
from .scatter import OVERLAP, scatter_chain
from .size import Size
from .trace_bodies import straight_through
from .trace_constants import evaluate
from .trace_error import trace_error, user_line
from .trace_layout import after, contiguous, has_overlap

DETACH = (ops.detach, {})


class GraphStorage:
    """A piece of memory in the graph: the Node of its present content, and where it came from."""

    __slots__ = (
        "node", "first", "writes", "origin", "strides", "requires_grad", "gained_history",
    )  # fmt: skip

    def __init__(self, node: Node, origin: Any = None, strides: Any = None, requires_grad=False):
        self.node = self.first = node
        self.writes = 0
        self.origin = origin  # an eager tensor, an argument's name, or None for a result
        self.strides = strides or contiguous(node.type.shape)
        self.requires_grad = requires_grad
        self.gained_history = False  # a recorded write made it depend on what requires a gradient


class Tracer:
    """Records one graph."""

    def __init__(self, parent: Tracer | None = None):
        self.parent = parent
        self.captured: dict[Any, GraphStorage] = {}
        self.names: dict[Any, tuple[str, Any]] = {}
        self.remembered: dict[int, tuple] = {}
        self.hooks: list[tuple[Node, dict, int, Callable]] = []
        self.alive: list[Any] = []  # keeps ids in keys valid
        self.rng: Node | None = None
        self.draws = self.unnamed = 0

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

    def node_of(self, x: Any) -> Node:
        """The node of the present value of any tensor."""
        if x._tracer is not self:
            return self._captured_node(x)
        storage = x._storage
        if storage is None or x._at == storage.writes:
            return x._data
        node = storage.node
        for op, attrs in x._chain:
            node = self.build(op, (node,), attrs)
        x._data, x._at = node, storage.writes
        return node

    # -- tensors from outside ---------------------------------------------------------------------

    def _captured_node(self, x: Any) -> Node:
        storage = self.capture(x)
        if storage.requires_grad and not x.requires_grad:
            return self.build(ops.detach, (storage.node,), {})
        return storage.node

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
        self.alive.append(x)
        steps = tuple((op.name, attribute_key(attrs)) for op, attrs in x._chain)
        memory = (id(x._storage or x), steps, x._type)
        named = self.names.get(memory)
        if x.requires_grad and named is not None and named[1] is not x:
            return id(x)
        return memory

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

    # -- memory -----------------------------------------------------------------------------------

    def storage_of(self, x: Any) -> GraphStorage:
        """The storage of a tensor; a result gets one when it is first shared."""
        if x._tracer is not self:
            return self.capture(x)
        if x._storage is None:
            x._storage, x._at = GraphStorage(x._data, requires_grad=x.requires_grad), 0
        return x._storage

    def chain_of(self, x: Any) -> tuple:
        """The movement ops from the content of its storage to a tensor."""
        if x._tracer is self:
            return x._chain
        return (DETACH,) if self.capture(x).requires_grad and not x.requires_grad else ()

    def strides(self, x: Any) -> tuple[int, ...]:
        """The strides that the tensor has eagerly."""
        if x._tracer is self and x._storage is None:
            return contiguous(x._type.shape)
        storage = self.storage_of(x)
        shape, strides = storage.node.type, storage.strides
        for op, attrs in self.chain_of(x):
            strides = after(op, attrs, shape.shape, strides)
            shape = op.type(shape, **attrs)
        return strides

    def view(self, op: Op, x: Any, attrs: dict[str, Any]) -> Any:
        """A movement op whose result shares the memory of `x`, if it does so eagerly."""
        if after(op, attrs, x._type.shape, self.strides(x)) is None:
            return self.apply(op, (x,), attrs)
        attrs = {k: tuple(v) if type(v) is Size else v for k, v in attrs.items()}
        node = self.build(op, (self.node_of(x),), attrs)
        chain = (*self.chain_of(x), (op, attrs))
        if x.requires_grad and not state.grad_enabled:
            node, chain = self._cut(node), (*chain, DETACH)
        result = self._alias(x, node, chain)
        if state.grad_enabled:
            inplace.add_history(result, x, op, attrs)
        return result

    def _alias(self, x: Any, node: Node, chain: tuple) -> Any:
        storage = self.storage_of(x)
        result = self.wrap(node)
        inplace.link(result, x, storage, chain)
        result._at = storage.writes
        return result

    def detach(self, x: Any, share_version: bool) -> Any:
        """The same memory without history."""
        node, chain = self.node_of(x), self.chain_of(x)
        if x.requires_grad:
            node, chain = self.build(ops.detach, (node,), {}), (*chain, DETACH)
        result = self._alias(x, node, chain)
        if not share_version:
            result._counter = [x._counter[0]]
        return result

    def detach_(self, x: Any) -> None:
        """Cut the content of a storage off from its history."""
        self.remember(x)
        storage = self.storage_of(x)
        storage.node = self.build(ops.detach, (storage.node,), {})
        storage.requires_grad = False
        storage.writes += 1

    def assign(self, x: Any, value: Any) -> None:
        """Write `value` into the memory of `x`; the history is the caller's matter."""
        self.remember(x)
        if x._base is not None:
            self.remember(x._base)
        if has_overlap(x._type.shape, self.strides(x)):
            raise RuntimeError(OVERLAP)
        new, storage, chain = self.node_of(value), self.storage_of(x), self.chain_of(x)
        recorded = state.grad_enabled and DETACH not in chain
        if value.requires_grad and not recorded:
            new = self._cut(new)
        whole = scatter_chain(storage.node, chain, new)
        if not recorded and (storage.requires_grad or x.requires_grad):
            whole = straight_through(storage.node, whole)
        if recorded and value.requires_grad:
            storage.requires_grad = storage.gained_history = True
        storage.node = whole
        storage.writes += 1

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
