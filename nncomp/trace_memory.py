"""Memory while a graph is recorded: in-place programs become pure graphs.

A GraphStorage is a piece of memory with the Node of its present content. Views replay their
movement ops on that content, and a write puts a new Node there. Tensors without history on memory
that has one (detach(), .data, views under no_grad) live on a fork: a storage of its own that
follows each write to the other one, by value only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import inplace
from .autograd.modes import state
from .ir import Node, ops
from .ir.op import Op
from .scatter import OVERLAP, scatter_chain
from .size import Size
from .trace_bodies import straight_through
from .trace_error import trace_error
from .trace_layout import Strides, after, contiguous, has_overlap

Chain = tuple[tuple[Op, dict], ...]


class GraphStorage:
    """A piece of memory in the graph: the Node of its present content, and where it came from."""

    __slots__ = (
        "node", "first", "writes", "origin", "strides", "requires_grad", "gained_history",
        "lineage", "source", "forks",
    )  # fmt: skip

    def __init__(
        self,
        node: Node,
        origin: Any = None,
        strides: Strides | None = None,
        requires_grad: bool = False,
    ):
        self.node = self.first = node
        self.writes = 0
        self.origin = origin  # an eager tensor, an argument's name, or None for a result
        self.strides = strides or contiguous(node.type.shape)
        self.requires_grad = requires_grad
        self.gained_history = False  # a recorded write made it depend on what requires a gradient
        self.lineage: Any = None  # the tensor that this history belongs to
        self.source: tuple[GraphStorage, Chain] | None = None  # what this is a fork of, and where
        self.forks: list[tuple[GraphStorage, Chain]] = []


class GraphMemory:
    """The part of the Tracer that models memory."""

    def node_of(self, x: Any) -> Node:
        """The node of the present value of any tensor."""
        own = x._tracer is self
        storage = x._storage if own else self.storage_of(x)
        if storage is None:
            return x._data
        if own and x._at == storage.writes:
            return x._data
        node = storage.node
        if own:
            for op, attrs in x._chain:
                node = self.build(op, (node,), attrs)
        if storage.requires_grad and not x.requires_grad:
            node = self.build(ops.detach, (node,), {})
        if own:
            x._data, x._at = node, storage.writes
        return node

    def storage_of(self, x: Any) -> GraphStorage:
        """The storage of a tensor; a result gets one when it is first shared."""
        if x._tracer is not self:
            storage = self.capture(x)
            if storage.requires_grad and not x.requires_grad:
                return self._fork(storage, (), storage.strides)
            return storage
        if x._storage is None:
            x._storage, x._at = GraphStorage(x._data, requires_grad=x.requires_grad), 0
        return x._storage

    def chain_of(self, x: Any) -> Chain:
        """The movement ops from the content of its storage to a tensor."""
        return x._chain if x._tracer is self else ()

    def strides(self, x: Any) -> Strides:
        """The strides that the tensor has eagerly."""
        if x._tracer is self and x._storage is None:
            return contiguous(x._type.shape)
        storage = self.storage_of(x)
        type_, strides = storage.node.type, storage.strides
        for op, attrs in self.chain_of(x):
            strides = after(op, attrs, type_.shape, strides)
            type_ = op.type(type_, **attrs)
        return strides

    # -- views ------------------------------------------------------------------------------------

    def view(self, op: Op, x: Any, attrs: dict[str, Any]) -> Any:
        """A movement op whose result shares the memory of `x`, if it does so eagerly."""
        strides = after(op, attrs, x._type.shape, self.strides(x))
        if strides is None:
            return self.apply(op, (x,), attrs)
        attrs = {k: tuple(v) if type(v) is Size else v for k, v in attrs.items()}
        storage, chain = self.storage_of(x), (*self.chain_of(x), (op, attrs))
        if x.requires_grad and not state.grad_enabled:
            return self._on(self._fork(storage, chain, strides), x)
        result = self.wrap(self.build(op, (self.node_of(x),), attrs))
        inplace.link(result, x, storage, chain)
        result._at = storage.writes
        if state.grad_enabled:
            inplace.add_history(result, x, op, attrs)
        return result

    def detach(self, x: Any, share_version: bool) -> Any:
        """The same memory without history."""
        storage, chain = self.storage_of(x), self.chain_of(x)
        if x.requires_grad:
            result = self._on(self._fork(storage, chain, self.strides(x)), x)
        else:
            result = self.wrap(self.node_of(x))
            inplace.link(result, x, storage, chain)
            result._at = storage.writes
        if not share_version:
            result._counter = [x._counter[0]]
        return result

    def _on(self, fork: GraphStorage, x: Any) -> Any:
        """A tensor that is all of a fork, with the version of `x`."""
        result = self.wrap(fork.node)
        inplace.link(result, x, fork, ())
        result._at = fork.writes
        return result

    def _fork(self, storage: GraphStorage, chain: Chain, strides: Strides) -> GraphStorage:
        """The storage for tensors without history on a part of `storage`."""
        for fork, place in storage.forks:
            if place == chain and not fork.requires_grad:
                return fork
        node = self.build(ops.detach, (self._replay(storage.node, chain),), {})
        fork = GraphStorage(node, None, strides)
        fork.source = storage, chain
        storage.forks.append((fork, chain))
        return fork

    def _replay(self, node: Node, chain: Chain) -> Node:
        for op, attrs in chain:
            node = self.build(op, (node,), attrs)
        return node

    # -- writes -----------------------------------------------------------------------------------

    def assign(self, x: Any, value: Any) -> None:
        """Write `value` into the memory of `x`; the history is the caller's matter."""
        self.remember(x)
        if x._base is not None:
            self.remember(x._base)
        if has_overlap(x._type.shape, self.strides(x)):
            raise RuntimeError(OVERLAP)
        new, storage, chain = self.node_of(value), self.storage_of(x), self.chain_of(x)
        recorded = state.grad_enabled
        if value.requires_grad and not recorded:
            new = self.build(ops.detach, (new,), {})
        whole = scatter_chain(storage.node, chain, new)
        if recorded and value.requires_grad:
            self._gain_history(storage, x)
        elif not recorded and storage.requires_grad:
            whole = straight_through(storage.node, whole)
        self._put(storage, whole)
        self._follow(storage, None)

    def _gain_history(self, storage: GraphStorage, x: Any) -> None:
        """Note whose history a recorded write gave to a storage."""
        root = x if x._base is None else x._base
        if storage.lineage is not None and storage.lineage is not root:
            raise trace_error(
                "two detached tensors on the same memory are both written with values that require "
                "grad, so each has a history of its own; clone() one of them"
            )
        storage.lineage = root
        storage.requires_grad = storage.gained_history = True

    def _put(self, storage: GraphStorage, node: Node) -> None:
        storage.node = node
        storage.writes += 1

    def _follow(self, storage: GraphStorage, done: GraphStorage | None) -> None:
        """Bring the values of a written storage to its forks and to what it is a fork of."""
        for fork, chain in storage.forks:
            if fork is not done:
                self._copy(self._replay(storage.node, chain), storage, fork)
                self._follow(fork, storage)
        if storage.source is not None and storage.source[0] is not done:
            source, chain = storage.source
            self._copy(scatter_chain(source.node, chain, storage.node), storage, source)
            self._follow(source, storage)

    def _copy(self, node: Node, origin: GraphStorage, target: GraphStorage) -> None:
        """Make `node` the content of `target`, whose history stays its own."""
        if origin.requires_grad:
            node = self.build(ops.detach, (node,), {})
        if target.requires_grad:
            node = straight_through(target.node, node)
        self._put(target, node)

    def detach_(self, x: Any) -> None:
        """Cut the content of a storage off from its history."""
        self.remember(x)
        storage = self.storage_of(x)
        self._put(storage, self.build(ops.detach, (storage.node,), {}))
        storage.requires_grad = False
        storage.lineage = None

    # -- what the Tracer adds ---------------------------------------------------------------------

    def apply(self, op: Op, inputs: Sequence, attrs: dict[str, Any]) -> Any:
        """Record an operation."""
        raise NotImplementedError

    def build(self, op: Op, nodes: Sequence[Node], attrs: dict[str, Any]) -> Any:
        """A new node."""
        raise NotImplementedError

    def wrap(self, node: Node) -> Any:
        """A traced Tensor on a node."""
        raise NotImplementedError

    def capture(self, x: Any) -> GraphStorage:
        """The storage of a tensor from outside."""
        raise NotImplementedError

    def remember(self, x: Any) -> None:
        """Note the state of an eager tensor."""
        raise NotImplementedError
