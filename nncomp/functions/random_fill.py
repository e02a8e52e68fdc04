"""Filling a large tensor with random numbers block by block.

Element i of a draw is a function of the key and of i alone, so that blocks give the very numbers of
the whole. Temporaries then stay in the cache, where those of a whole embedding table would take six
times its memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd.modes import state
from ..dispatch import wrap
from ..inplace import assign
from ..ir.threefry import threefry_words
from ..ir.types import TensorType, int32
from ..random_state import Generator, default_generator

BLOCK = 1 << 16  # elements


class Part:
    """A generator for the elements from `start` on of draws that another one would make."""

    def __init__(self, whole: Generator, start: int) -> None:
        self.generator, self.start = whole.clone_state(), start

    def words(self, shape: tuple[int, ...]) -> Any:
        """The next draw's random bits of a block of this shape."""
        key = np.array(self.generator.advance(), np.int64)
        type_ = TensorType(shape, int32)
        return wrap(threefry_words(key, type_.size, self.start).reshape(shape), type_)


def fill(x: Any, values: Callable[[tuple[int, ...], Any], Any], generator: Any) -> Any:
    """Write `values(shape, generator)` of the shape of `x`, elementwise in the draws, into `x`."""
    shape = tuple(x.shape)
    if state.tracer is not None or x.numel() <= BLOCK or state.grad_enabled:
        return assign(x, values(shape, generator))
    if not x.is_contiguous():
        return assign(x, values(shape, generator))
    whole, flat = generator or default_generator, x.view(-1)
    for start in range(0, x.numel(), BLOCK):
        part = Part(whole, start)
        block = flat[start : start + BLOCK]
        assign(block, values(tuple(block.shape), part))
    whole.set_state(part.generator.get_state())
    return x


__all__ = ["BLOCK", "Part", "fill"]
