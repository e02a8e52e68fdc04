"""The tensors behind the inputs of a recorded graph, and the arrays they have at a call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from . import dispatch
from .random_state import default_generator
from .released import ABSENT, identity, present, release
from .scatter import OVERLAP
from .tensor import Tensor
from .trace_result import Traced

Leaves = Sequence[Tensor]
GiveUp = Callable[[np.ndarray], None]  # takes the memory of an array


class Source:
    """Where to find a captured tensor that is replaced between calls, such as `p.grad`."""

    def __init__(self, tensor: Tensor, find: Callable[[Leaves], Tensor | None], words: str):
        """`find` gets the tensors among the arguments of a call."""
        self.tensor, self.find, self.words = tensor, find, words
        self.type, self.device = tensor._type, tensor.device

    def check(self, found: Tensor | None) -> str | None:
        """None if a tensor of the same type was found, else what was."""
        now = getattr(found, "_type", None)
        if found is not None and found.device != self.device:
            return f"{self.words} moved from {self.device} to {found.device}"
        return None if now == self.type else f"{self.words} changed from {self.type} to {now}"


class Binding:
    """The input tensors of one program, in graph order: captures, arguments, the random key."""

    def __init__(self, traced: Traced, sources: Iterable[Source] = ()):
        self.captures: list[Tensor] = list(traced.captures)
        self.draws = traced.draws
        self.names = traced.graph.input_names
        by_id = {id(s.tensor): s for s in sources}
        found = ((i, by_id.get(id(x))) for i, x in enumerate(self.captures))
        self.sources = [(i, s) for i, s in found if s is not None]
        updated = {name for name in traced.graph.output_names if name}
        self.updated = [i for i, name in enumerate(self.names) if name in updated]
        self._captured = set(map(id, self.captures))
        self._checked: list[Any] = [None] * len(self.captures)
        self.releasable: frozenset[int] = frozenset()  # captures that the program never reads

    def stale(self, leaves: Leaves) -> str | None:
        """Why the tensors that are there now do not fit the program; None if they do."""
        for i, source in self.sources:
            x = source.find(leaves)
            if x is not self.captures[i]:
                reason = source.check(x)
                if reason is not None:
                    return reason
                if self._shares_a_write(i, x):
                    return f"{source.words} shares memory with a tensor that is written in place"
                self.captures[i] = x  # type: ignore[call-overload]
        return None

    def _shares_a_write(self, i: int, x: Any) -> bool:
        """Whether `x` as capture i and another capture overlap, and one of them is written."""
        count = len(self.captures)
        others = range(count) if i in self.updated else [j for j in self.updated if j < count]
        return any(j != i and _may_share(self.captures[j]._data, x._data) for j in others)

    def tensors(self, leaves: Leaves) -> list[Tensor]:
        """All input tensors (without the random key); `stale` put new ones in their places."""
        return [*self.captures, *leaves]

    def arrays(self, tensors: Sequence[Tensor]) -> list[np.ndarray]:
        """C-contiguous arrays for the graph inputs; the generator moves on by the draws made."""
        if self.releasable:
            arrays = [x._data if i not in self.releasable else present(x)
                      for i, x in enumerate(tensors)]
        else:
            arrays = [x._data for x in tensors]
        checked, count = self._checked, len(self._checked)
        for i, array in enumerate(arrays):
            if i < count and array is checked[i]:
                continue
            flags = array.flags
            if not (flags.c_contiguous and flags.aligned):
                arrays[i] = np.array(array, order="C")
            elif i < count and i not in self.releasable:
                checked[i] = array
        if self.draws:
            arrays.append(np.array(default_generator.advance(self.draws), np.int64))
        return arrays

    # -- tensors that the program writes ----------------------------------------------------------

    def before_writes(self, tensors: Sequence[Tensor]) -> None:
        """Make sure that memory about to be written belongs to its tensor alone.

        Call it before `arrays`: a tensor that borrowed its memory gets its own here.
        """
        for i in self.updated:
            x = tensors[i]
            if x._borrowed is not None:
                dispatch.own_memory(x)
            if x._storage is not None and x._storage.borrowers:
                x._storage.settle()
            array = x._data
            if array is not (self._checked[i] if i < len(self._checked) else None):
                self._check_writable(self.names[i], array)
        if self.updated and len(tensors) > len(self.captures):
            self._check_aliases(tensors)

    @staticmethod
    def _check_writable(name: str, array: np.ndarray) -> None:
        if not array.flags.writeable:
            raise RuntimeError(
                f"'{name}' is written in place but lies on read-only memory; clone() it first"
            )
        pairs = zip(array.strides, array.shape, strict=True)
        if array.size and any(step == 0 and n > 1 for step, n in pairs):
            raise RuntimeError(OVERLAP)

    def _check_aliases(self, tensors: Sequence[Tensor]) -> None:
        """RuntimeError if a written tensor shares memory with an argument.

        Captured tensors were compared with each other when the graph was recorded.
        """
        for j in range(len(self.captures), len(tensors)):
            y = tensors[j]
            if y._storage is None and id(y) not in self._captured:
                continue
            for i in range(len(tensors)) if j in self.updated else self.updated:
                if i != j and _may_share(tensors[i]._data, y._data):
                    if dispatch.shares(tensors[i]._data, y._data):
                        raise RuntimeError(
                            f"'{self.names[i]}' and '{self.names[j]}' share memory, and one of "
                            "them is written in place; clone() one of them"
                        )

    def after_writes(self, tensors: Sequence[Tensor], arrays: Sequence[np.ndarray]) -> None:
        """Copy back what was written to a contiguous copy, and count the write."""
        for i in self.updated:
            x = tensors[i]
            if arrays[i] is not x._data:
                x._data[...] = arrays[i]
            if x._storage is not None:
                x._storage.writes += 1
            if x._counter is None:
                x._counter = [0]
            x._counter[0] += 1


def _may_share(a: Any, b: Any) -> bool:
    if a.__class__ is b.__class__ is np.ndarray:
        return np.may_share_memory(a, b)
    return dispatch.shares(a, b)


class Prepared:
    """Work that depends on parameters alone, redone when one of them was written."""

    def __init__(self, runner: Any, binding: Binding, constant: set[str]):
        self.runner, self.captures = runner, binding.captures
        self.places = [i for i, name in enumerate(binding.names) if name in constant]
        self.tensors = [binding.captures[i] for i in self.places]
        self.restore: dict[int, Any] = getattr(runner, "restore", {})
        binding.releasable = frozenset(self.restore)
        self._state: tuple[list[int], list[Any], list] | None = None

    def arrays(self, arrays: list[np.ndarray]) -> Sequence[np.ndarray]:
        """The prepared arrays for these inputs, from the last call if nothing was written since.

        A tensor whose memory a numpy array of the user shares may change unseen: then always anew.
        Tensors that the prepared arrays hold the values of may be released; `arrays` then has
        `ABSENT` for them.
        """
        if self.runner.prepared is None:
            return ()
        versions, held, exposed = self._versions()
        if self._state is not None and not exposed and self._state[0] == versions:
            return self._state[2]
        del held  # nothing but the tensors is to know their arrays
        self._state = None
        made = self._make(arrays)
        versions, held, _ = self._versions()
        self._state = versions, held, made
        return made

    def _versions(self) -> tuple[list[int], list[Any], bool]:
        """What changes with the values; what keeps ids from being used again; seen by others?"""
        held = [identity(x) for x in self.tensors]
        versions, exposed = [], False
        for i, x in enumerate(self.tensors):
            storage = x._storage
            versions.append(id(held[i]))
            versions.append(x._counter[0] if x._counter is not None else 0)
            versions.append(storage.writes if storage is not None else 0)
            exposed = exposed or (storage is not None and storage.exposed)
        return versions, held, exposed

    def _make(self, arrays: list[np.ndarray]) -> list:
        """New prepared arrays; what was given up for others is there only meanwhile."""
        for i, x in zip(self.places, self.tensors, strict=True):
            if arrays[i] is ABSENT:
                arrays[i] = x._released.values()

        def done(inputs: list[int], results: list[np.ndarray], give_up: GiveUp) -> None:
            for i in inputs:
                if i in self.restore:
                    self._release(i, arrays, results, give_up)

        return self.runner.prepare(arrays, done) if self.restore else self.runner.prepare(arrays)

    def _release(
        self, i: int, arrays: list[np.ndarray], results: list[np.ndarray], give_up: GiveUp
    ) -> None:
        x, (number, steps) = self.captures[i], self.restore[i]
        if present(x) is ABSENT:  # for an earlier program
            arrays[i] = ABSENT
        elif present(x) is arrays[i]:
            arrays[i] = ABSENT
            if not release(x, results[number], steps, give_up):
                arrays[i] = present(x)
