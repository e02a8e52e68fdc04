"""Random numbers are counter-based: a draw is a pure function of (seed, offset).

A Generator counts its draws. `next_key` hands out the key of the next draw and advances the offset
by one; while a graph is recorded it gives the graph's `rng` input plus the number of the draw, so
that compiled code draws what eager code would have drawn.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np

from .autograd.modes import state
from .device import device, require_cpu

DEFAULT_SEED = 67280421310721  # torch's seed before any manual_seed


class Generator:
    """A stream of draws: its seed and how many were made."""

    def __init__(self, device: Any = "cpu"):
        require_cpu(device)
        self._lock = threading.Lock()
        self._seed, self._offset = DEFAULT_SEED, 0

    @property
    def device(self) -> device:
        """The device the generator is for: the CPU."""
        return device("cpu")

    def manual_seed(self, seed: int) -> Generator:
        """Begin the stream of `seed` (an int in [-2^63, 2^64)); returns the generator."""
        seed = int(seed)
        if not -(2**63) <= seed < 2**64:
            raise RuntimeError(f"Overflow when unpacking long: seed {seed} does not fit 64 bits")
        with self._lock:
            self._seed, self._offset = (seed + 2**63) % 2**64 - 2**63, 0
        return self

    def initial_seed(self) -> int:
        """The seed that the stream began with."""
        return self._seed

    def seed(self) -> int:
        """Begin a stream with a seed from the operating system; returns it."""
        seed = int.from_bytes(os.urandom(8), "little") >> 1
        self.manual_seed(seed)
        return seed

    def advance(self, draws: int = 1) -> tuple[int, int]:
        """(seed, offset) of the next draw, after which `draws` draws count as made."""
        with self._lock:
            offset = self._offset
            self._offset = offset + draws
            return self._seed, offset

    def get_state(self) -> Any:
        """The state as an int64 tensor [seed, offset]."""
        return _tensor((self._seed, self._offset))

    def set_state(self, new_state: Any) -> Generator:
        """Continue from a state that get_state() gave."""
        values = new_state.tolist()
        if len(values) != 2:
            raise RuntimeError(f"a generator state has 2 numbers (seed, offset), got {len(values)}")
        with self._lock:
            self._seed, self._offset = int(values[0]), int(values[1])
        return self

    def clone_state(self) -> Generator:
        """Another generator at the same point of the stream."""
        return Generator().set_state(self.get_state())

    def __getstate__(self) -> tuple[int, int]:
        return self._seed, self._offset

    def __setstate__(self, values: tuple[int, int]) -> None:
        self._lock = threading.Lock()
        self._seed, self._offset = values


default_generator = Generator()


def _tensor(values: tuple[int, int]) -> Any:
    from .tensor import Tensor

    return Tensor._wrap(np.array(values, np.int64))


def next_key(generator: Generator | None = None) -> Any:
    """The key (int64[2]: seed, offset) of the next draw; the offset advances by one."""
    if state.tracer is not None:
        return state.tracer.next_key(generator)
    return _tensor((generator or default_generator).advance())


def manual_seed(seed: int) -> Generator:
    """Begin the default stream of `seed`; returns the default generator."""
    refuse_in_trace("manual_seed()")
    return default_generator.manual_seed(seed)


def refuse_in_trace(what: str) -> None:
    """TraceError if a graph is being recorded, since seeding would happen only once."""
    if state.tracer is not None:
        from .trace_error import trace_error

        raise trace_error(
            f"{what} while a graph is recorded: it would take place once, not at each call; "
            "seed outside of the traced function"
        )


def initial_seed() -> int:
    """The seed of the default stream."""
    return default_generator.initial_seed()


def seed() -> int:
    """Begin the default stream with a seed from the operating system; returns it."""
    refuse_in_trace("seed()")
    return default_generator.seed()


def get_rng_state() -> Any:
    """The state of the default stream."""
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Continue the default stream from a state that get_rng_state() gave."""
    refuse_in_trace("set_rng_state()")
    default_generator.set_state(new_state)
