"""Order between blocks: what a fence and an atomic publish, and who has taken note of it.

A thread that fences and then performs an atomic releases its own writes and those that a barrier
ordered before it; a thread that performs an atomic and then fences acquires all that was released
by then, for itself and, from the next barrier on, for its block. Locations are not told apart: an
atomic anywhere counts, so this errs towards silence.
"""

from __future__ import annotations

import numpy as np

from .state import State

NEVER = np.iinfo(np.int64).max


class Releases:
    """Times of releases and acquisitions of one launch; thread numbers count from 1."""

    def __init__(self, blocks: int, width: int):
        self.width = width
        self.after = np.full((blocks, 4), NEVER)  # first release after each epoch, per block
        self.fenced = np.zeros(blocks * width + 1, np.int64)  # per thread: last fence,
        self.block_fenced = np.zeros(blocks, bool)
        self.own = np.zeros(blocks * width + 1, np.int64)  # fence of its last release,
        self.own_at = np.full(blocks * width + 1, NEVER)  # time of its last release,
        self.seen = np.zeros(blocks * width + 1, np.int64)  # last atomic,
        self.acquired = np.zeros(blocks * width + 1, np.int64)  # last atomic before a fence
        self.block_new = np.zeros(blocks, np.int64)  # acquired by some thread in this epoch
        self.block_old = np.zeros(blocks, np.int64)  # acquired before the last barrier

    def active(self, s: State, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(thread numbers, blocks) of the active lanes."""
        local, thread = np.nonzero(s.full(mask))
        blocks = s.block_ids[local]
        return blocks * self.width + thread + 1, blocks

    def barrier(self, blocks: np.ndarray) -> None:
        self.block_old[blocks] = np.maximum(self.block_old[blocks], self.block_new[blocks])

    def fence(self, s: State, mask: np.ndarray, clock: int) -> None:
        threads, blocks = self.active(s, mask)
        self.fenced[threads] = clock
        self.block_fenced[blocks] = True
        self.acquired[threads] = self.seen[threads]
        np.maximum.at(self.block_new, blocks, self.seen[threads])

    def atomic(self, s: State, mask: np.ndarray, clock: int, epoch: np.ndarray) -> None:
        threads, blocks = self.active(s, mask)
        self.seen[threads] = clock
        fenced = self.fenced[threads] > 0
        self.own[threads[fenced]] = self.fenced[threads[fenced]]
        self.own_at[threads[fenced]] = clock
        for block in np.unique(blocks[self.block_fenced[blocks]]):
            until = int(epoch[block - s.block_ids[0]])
            while until > self.after.shape[1]:
                self.after = np.concatenate([self.after, np.full_like(self.after, NEVER)], 1)
            row = self.after[block, :until]
            row[row == NEVER] = clock

    def passed(self, thread: np.ndarray, other: np.ndarray, epoch: np.ndarray,
               time: np.ndarray) -> np.ndarray:  # fmt: skip
        """Whether what `other` did in its epoch at `time` was released and `thread` acquired it."""
        its_block = (other - 1) // self.width
        column = np.minimum(epoch, self.after.shape[1] - 1)
        released = self.after[its_block, column]
        released = np.where(epoch >= self.after.shape[1], NEVER, released)
        mine = time <= self.own[other]
        released = np.where(mine, np.minimum(released, self.own_at[other]), released)
        taken = np.maximum(self.acquired[thread], self.block_old[(thread - 1) // self.width])
        return released <= taken
