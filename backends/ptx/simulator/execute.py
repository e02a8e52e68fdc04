"""Running a kernel on the lanes of some blocks: who executes what next, and who waits for whom.

Lanes that are about to enter the same basic block go together; of several such groups the one at
the lowest block goes first, which lets diverged lanes meet again. Lanes wait in front of warp
operations and barriers until all others that take part are there; if that never comes, it is an
error that names them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .blocks import Block, Kernel
from .counters import Counter
from .ops_control import Barrier, barrier_result
from .state import Fault, State, lane_bits

FAIR = 4096  # steps after which another group gets a turn, for threads that wait for a flag


class Waiting:
    """Threads at one barrier: those that go on when it opens, and those that only arrived."""

    def __init__(self, shape: tuple[int, int]):
        self.places: dict[int, tuple[np.ndarray, Barrier]] = {}
        self.arrived = np.zeros(shape, bool)


class Run:
    """One chunk of blocks in flight."""

    def __init__(self, kernel: Kernel, state: State, limit: int):
        self.kernel, self.s, self.limit = kernel, state, limit
        self.pending: dict[int, np.ndarray] = {0: state.exists}
        self.stalled: dict[int, np.ndarray] = {}
        self.barriers: dict[int, Waiting] = {}
        self.retried = -1
        self.counter: Counter | None = None

    def run(self) -> None:
        """Until all threads have returned."""
        while True:
            if not self.pending and not self.retry():
                break
            at = min(self.pending)
            if self.s.steps % FAIR == FAIR - 1:
                at = max(self.pending)
            self.step(at, self.pending.pop(at))
        if self.barriers:
            self.complain()

    def retry(self) -> bool:
        """Nobody can go on: lanes that waited for others try again, once."""
        s = self.s
        if not self.stalled:
            return False
        if self.retried == s.steps:
            at, mask = next(iter(self.stalled.items()))
            block = self.kernel.blocks[at]
            s.op = block.ops[0]
            lane = np.argwhere(s.full(mask))[0]
            raise Fault("waits for lanes of its warp that never get here",
                        (int(lane[0]), int(lane[1])))  # fmt: skip
        self.retried = s.steps
        self.pending, self.stalled = self.stalled, {}
        return True

    def places(self) -> tuple[int, ...]:
        """Blocks that lanes other than the running ones will enter."""
        if not self.stalled and not self.barriers:
            return tuple(sorted(self.pending)) if len(self.pending) > 1 else tuple(self.pending)
        waiting = (p for w in self.barriers.values() for p in w.places)
        return tuple(sorted({*self.pending, *self.stalled, *waiting}))

    def step(self, at: int, mask: np.ndarray) -> None:
        """Execute one block for the lanes of `mask`."""
        s, block = self.s, self.kernel.blocks[at]
        if block.members is not None and mask is not s.live:
            mask = self.gather(at, block, mask)
            if not mask.any():
                return
        s.steps += 1
        if s.steps > self.limit:
            s.op = block.ops[0] if block.ops else None
            raise Fault(f"no end after {self.limit} steps: an endless loop, or raise `limit`")
        s.mask = mask
        places = self.places()
        s.keep = self.kernel.needed(places) if places else frozenset()
        if self.counter is not None:
            self.counter.block(s, block)
        if s.observer is not None:
            for run, s.op in zip(block.runs, block.ops, strict=False):
                run(s)
            self.leave(block, mask)
            return
        last: Callable[[State], None] | None = None
        try:
            for last in block.runs:
                last(s)
        except Exception:
            s.op = block.ops[block.runs.index(last)] if last else None
            raise
        self.leave(block, mask)

    def leave(self, block: Block, mask: np.ndarray) -> None:
        """Send the lanes on to where they go after a block."""
        kind = block.kind
        if kind == "next":
            self.arrive(block.following, mask)
        elif kind == "branch":
            if block.guard is None:
                self.arrive(block.targets[0], mask)
            else:
                self.fork(block, mask)
        elif kind == "barrier":
            self.at_barrier(block, mask)
        elif kind == "exit":
            taken = mask if block.guard is None else self.guard(block, mask)
            if block.guard is not None:
                rest = mask & ~taken
                if rest.any():
                    self.arrive(block.following, rest)
            if taken.any():
                self.finish(taken)
        elif kind == "table":
            self.switch(block, mask)
        else:
            self.trap(block, mask)

    def arrive(self, at: int, mask: np.ndarray) -> None:
        for group in (self.pending, self.stalled):
            other = group.pop(at, None)
            if other is not None:
                mask = mask | other
                if mask.size > 1 and (mask == self.s.live).all():
                    mask = self.s.live
        self.pending[at] = mask

    def guard(self, block: Block, mask: np.ndarray) -> np.ndarray:
        assert block.guard
        index, negated = block.guard
        p = self.s.regs[index]
        if p is None:
            self.s.op = block.ops[-1]
            raise Fault("branches on a predicate that was never written")
        return mask & ~p if negated else mask & p

    def fork(self, block: Block, mask: np.ndarray) -> None:
        taken = self.guard(block, mask)
        if not taken.any():
            self.arrive(block.following, mask)
            return
        rest = mask & ~taken
        if not rest.any():
            self.arrive(block.targets[0], mask)
            return
        self.arrive(block.targets[0], taken)
        self.arrive(block.following, rest)

    def switch(self, block: Block, mask: np.ndarray) -> None:
        assert block.index
        index = block.index(self.s)
        for number, target in enumerate(block.targets):
            taken = mask & (index == number)
            if taken.any():
                self.arrive(target, taken)
        if (mask & (index >= len(block.targets))).any():
            self.s.op = block.ops[-1]
            raise Fault("branches past the end of its table")

    def trap(self, block: Block, mask: np.ndarray) -> None:
        taken = mask if block.guard is None else self.guard(block, mask)
        if taken.any():
            self.s.op = block.ops[-1]
            lane = np.argwhere(self.s.full(taken))[0]
            raise Fault("trap", (int(lane[0]), int(lane[1])))
        self.arrive(block.following, mask)

    def finish(self, mask: np.ndarray) -> None:
        """These lanes return."""
        s = self.s
        s.live = s.live & ~mask
        for group in (self.pending, self.stalled):
            for at, other in group.items():
                if other.size > 1 and (other == s.live).all():
                    group[at] = s.live
        for name in list(self.barriers):
            self.open(name)

    # -- meeting --------------------------------------------------------------------------------

    def gather(self, at: int, block: Block, mask: np.ndarray) -> np.ndarray:
        """The lanes of `mask` whose partners are all there; the others stall."""
        s = self.s
        here, live = lane_bits(s, mask), lane_bits(s, s.live)
        if block.members == "warp":
            missing = live & ~here
        else:
            s.mask = mask
            assert callable(block.members)
            members = np.broadcast_to(block.members(s), s.shape)
            missing = members & live & ~here
        ready = missing == 0
        if ready[s.full(mask)].all():
            return mask
        late = mask & ~ready
        old = self.stalled.pop(at, None)
        self.stalled[at] = late if old is None else late | old
        return mask & ready

    def at_barrier(self, block: Block, mask: np.ndarray) -> None:
        """Lanes get to a barrier; those of blocks that are complete go on."""
        s, barrier = self.s, block.barrier
        assert barrier is not None
        s.mask, s.op = mask, block.ops[-1]
        name = barrier.name(s)
        whole = mask is s.live and barrier.count is None and not self.barriers
        if s.strict and barrier.count is None and s.live is not s.exists:
            self.strict_barrier(mask)
        if whole and barrier.kind == "sync":
            if s.observer is not None:
                s.observer.barrier(s, np.ones(s.blocks, bool))
            self.arrive(block.following, mask)
            return
        for number in np.unique(name if name.size == 1 else s.full(name)[s.full(mask)]):
            chosen = s.full(mask & (name == number))
            waiting = self.barriers.setdefault(int(number), Waiting(s.shape))
            waiting.arrived = waiting.arrived | chosen
            if barrier.kind == "arrive":
                self.arrive(block.following, chosen)
            else:
                old = waiting.places.get(block.following)
                both = chosen if old is None else old[0] | chosen
                waiting.places[block.following] = (both, barrier)
            self.open(int(number))

    def strict_barrier(self, mask: np.ndarray) -> None:
        s = self.s
        gone = s.full(s.exists & ~s.live)
        blocks = np.asarray(s.full(mask).any(1) & gone.any(1))
        if blocks.any():
            lane = np.argwhere(gone & blocks[:, None])[0]
            raise Fault("a thread of the block returned before this barrier",
                        (int(lane[0]), int(lane[1])))  # fmt: skip

    def open(self, name: int) -> None:
        """Let the blocks go on whose threads are all at barrier `name`."""
        s, waiting = self.s, self.barriers[name]
        counts = waiting.arrived.sum(1)
        expected = s.full(s.live).sum(1)
        for _, barrier in waiting.places.values():
            if barrier.count is not None:
                s.mask = s.live
                expected = np.broadcast_to(barrier.count(s), (s.blocks, 1))[:, 0]
        done = (counts >= expected) & (counts > 0)
        if not done.any() or not waiting.places:
            return
        places, waiting.places = waiting.places, {}
        if s.observer is not None:
            s.observer.barrier(s, done)
        waiting.arrived = waiting.arrived & ~done[:, None]
        for place, (mask, barrier) in places.items():
            go = mask & done[:, None]
            if barrier.kind == "red" and go.any():
                barrier_result(s, barrier, go)
            if go.any():
                if (go == s.live).all():
                    go = s.live
                self.arrive(place, go)
            stay = mask & ~done[:, None]
            if stay.any():
                waiting.places[place] = (stay, barrier)
        if not waiting.arrived.any():
            del self.barriers[name]

    def complain(self) -> None:
        """Threads wait at a barrier and nobody else is left to come."""
        s = self.s
        for name, waiting in self.barriers.items():
            for place, (mask, _) in waiting.places.items():
                lane = np.argwhere(mask)[0]
                block = next(b for b in self.kernel.blocks if b.following == place and b.barrier)
                s.op = block.ops[-1]
                here = int(waiting.arrived[lane[0]].sum())
                raise Fault(f"waits for ever: {here} of the block's {s.threads} threads are at "
                            f"barrier {name}", (int(lane[0]), int(lane[1])))  # fmt: skip
