"""What a recorded function returned: tensors that the graph computes, and memory of the caller."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .autograd.tape import Edge, TapeNode, edge_of
from .ir import ops
from .trace_memory import GraphStorage
from .trace_result import Output
from .trace_values import map_leaves

_DETACH = (ops.detach, {})


class Results:
    """The structure of a result with Outputs in place of tensors, and the tensors to compute."""

    def __init__(
        self, result: Any, inputs: Sequence[GraphStorage], arguments: Sequence[Any], share: bool
    ):
        self.computed: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._arguments = {id(s): i for i, s in enumerate(inputs)}
        self._traced_arguments = arguments
        self._shared = _shared_memory(result) if share else {}
        self.structure = map_leaves(result, self._place)

    def _place(self, y: Any, path: str) -> Any:
        if not hasattr(y, "_type"):
            return y
        if y._tracer is None:
            return Output(capture=y)
        storage, chain = origin_of(y)
        base = self._shared.get(id(storage))
        if base is not None:
            history = self._number(y) if y.requires_grad and _DETACH in chain else None
            chain = _as_alias(y, storage, chain) if y is not base else chain
            return Output(self._number(base), None, None, chain, base=True, history=history)
        if storage is None or _has_other_history(y, storage, chain):
            return Output(self._number(y))
        if hasattr(storage.origin, "_type"):
            return Output(capture=storage.origin, chain=_as_alias(y, storage, chain))
        argument = self._arguments.get(id(storage))
        if argument is not None and y is not self._traced_arguments[argument]:
            chain = _as_alias(y, storage, chain)
        return Output(self._number(y), argument, None, chain)

    def _number(self, y: Any) -> int:
        """Which of the computed tensors it is."""
        if id(y) not in self._numbers:
            self._numbers[id(y)] = len(self.computed)
            self.computed.append(y)
        return self._numbers[id(y)]

    def inputs_behind(self, inputs: Iterable[Any]) -> list[set[int]]:
        """For each computed tensor the numbers of the `inputs` that its history leads to."""
        ends = {edge_of(x): i for i, x in enumerate(inputs) if x.requires_grad}
        return [_reached(edge_of(y), ends) if y.requires_grad else set() for y in self.computed]


def _reached(edge: Edge | None, ends: dict[Edge | None, int]) -> set[int]:
    found: set[int] = set()
    seen: set[TapeNode] = set()
    stack = [edge]
    while stack:
        edge = stack.pop()
        if edge in ends:
            found.add(ends[edge])
        elif edge is not None and edge[0] not in seen:
            seen.add(edge[0])
            stack.extend(edge[0].edges)
    return found


def _as_alias(y: Any, storage: GraphStorage, chain: tuple) -> tuple:
    """A chain that makes another tensor object, without history if `y` has none."""
    gains = storage.requires_grad and not y.requires_grad and _DETACH not in chain
    return (*chain, _DETACH) if gains or not chain else chain


def _has_other_history(y: Any, storage: GraphStorage, chain: tuple) -> bool:
    """True if replaying the views of `y` on memory of the caller would lose its gradient."""
    if y.requires_grad and (_DETACH in chain or (storage.writes and storage.origin is not None)):
        return True
    return any(op is ops.unfold for op, _ in chain)


def _shared_memory(result: Any) -> dict[int, Any]:
    """For memory of the graph that several results are views of, a tensor that is all of it."""
    views: dict[int, tuple[GraphStorage, dict[int, Any]]] = {}

    def collect(y: Any, path: str) -> Any:
        if getattr(y, "_tracer", None) is not None:
            storage, chain = origin_of(y)
            if storage is not None and not any(op is ops.unfold for op, _ in chain):
                views.setdefault(id(storage), (storage, {}))[1][id(y)] = y
        return y

    map_leaves(result, collect)
    return {
        key: _whole(storage, list(seen.values()))
        for key, (storage, seen) in views.items()
        if storage.origin is None and len(seen) > 1
    }


def _whole(storage: GraphStorage, views: list[Any]) -> Any:
    """The tensor that is all of a storage and has its history, if a view leads to one."""
    found = [y if y._base is None else y._base for y in views]
    found = [x for x in found if x._storage is storage and not x._chain]
    found.sort(key=lambda x: not x.requires_grad)
    if found and found[0].requires_grad == storage.requires_grad:
        return found[0]
    tracer = views[0]._tracer
    return tracer.wrap(tracer.build(ops.detach, (storage.node,), {}))


def origin_of(y: Any) -> tuple[GraphStorage | None, tuple]:
    """The storage that a traced tensor began on, and the ops (with `detach`) that lead to it."""
    storage, chain = y._storage, y._chain
    while storage is not None and storage.source is not None:
        storage, place = storage.source
        chain = (*place, _DETACH, *chain)
    return storage, chain
