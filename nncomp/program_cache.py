"""The compiled programs of one callable, by signature, and why each of them was made."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from .ir.graph import Graph
from .rare_collections import rare_collections
from .signature import Key, describe_difference

MAX_PROGRAMS = 64


class ProgramCache:
    """Finds the program for a signature, or makes one; safe to use from many threads.

    More than MAX_PROGRAMS are not kept: the oldest goes, with one warning.
    """

    title = "program"

    def __init__(self) -> None:
        self.programs: dict[Key, tuple[Any, ...]] = {}
        self.reasons: list[str] = []
        self._made: list[tuple[Key, Any]] = []  # oldest first
        self._lock = threading.RLock()

    def find(self, key: Key, leaves: Sequence) -> Any:
        """A program for this signature whose guards hold; None if there is none."""
        for program in self.programs.get(key, ()):
            if program.stale(leaves) is None:
                return program
        return None

    def find_or_make(
        self, key: Key, leaves: Sequence, make: Callable[[], Any], names: Sequence[str] = ()
    ) -> Any:
        """The program for this signature, made by `make()` if there is none that fits."""
        with self._lock:
            program = self.find(key, leaves)  # another thread may have been first
            if program is None:
                reason = self._reason(key, leaves, names)
                with rare_collections():
                    program = make()
                self.reasons.append(reason)
                self._made.append((key, program))
                self.programs[key] = (program, *self.programs.get(key, ()))
                if len(self._made) > MAX_PROGRAMS:
                    self._drop_oldest()
            return program

    def _reason(self, key: Key, leaves: Sequence, names: Sequence[str]) -> str:
        """Why one more program is needed."""
        if not self._made:
            return "first call"
        same = self.programs.get(key)
        if same:
            return str(same[0].stale(leaves))
        return describe_difference(self._made[-1][0], key, names)

    def _drop_oldest(self) -> None:
        key, program = self._made.pop(0)
        left = tuple(p for p in self.programs[key] if p is not program)
        if left:
            self.programs[key] = left
        else:
            del self.programs[key]
        if len(self.reasons) == MAX_PROGRAMS + 1:
            warnings.warn(
                f"{self.title} was compiled {len(self.reasons)} times, lately because "
                f"{self.reasons[-1]}. From now on the oldest program is dropped for each new one. "
                "Pad inputs to a few shapes, or pass numbers that change as tensors.",
                stacklevel=5,
            )

    # -- looking inside ---------------------------------------------------------------------------

    def explain(self) -> str:
        """Why each program was compiled, and what it consists of."""
        made = list(self._made)
        lines = [f"{self.title}: {len(made)} program(s)"]
        lines += [f"  {i}: {reason}" for i, reason in enumerate(self.reasons)]
        return "\n".join(lines + [line for _, program in made for line in program.summary()])

    @property
    def last(self) -> Any:
        """The program compiled last; RuntimeError before the first call."""
        if not self._made:
            raise RuntimeError(f"{self.title} was not called yet, so nothing is compiled")
        return self._made[-1][1]

    @property
    def graph(self) -> Graph:
        """The traced Graph of the program compiled last."""
        return self.last.graph

    @property
    def fused_graph(self) -> Graph:
        """The Graph of kernels of the program compiled last."""
        return self.last.fused_graph

    @property
    def ptx(self) -> str:
        """The PTX text of the program compiled last; RuntimeError for other backends."""
        text = getattr(self.last.runner, "ptx", None)
        if text is None:
            raise RuntimeError(f"{self.title} has no PTX text: compile it with backend=\"ptx\"")
        return text
