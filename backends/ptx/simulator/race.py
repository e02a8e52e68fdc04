"""Conflicts between threads: two accesses of the same bytes, one a write, nothing in between.

Accesses of a block's threads are ordered by barriers, those of a warp's lanes also by
bar.warp.sync, those of different blocks only by a fence and an atomic on both sides. For each
granule of memory the last write and the range of readers since the last barrier are kept, so a
conflict is found whichever thread the simulator ran first.
"""

from __future__ import annotations

import numpy as np

from .memory import BASE
from .releases import Releases
from .spaces import UNSIGNED, view
from .state import WARP, Fault, State, index3

STRONG = frozenset(("relaxed", "acquire", "release", "volatile", "acq_rel"))


class Shadow:
    """Who touched each granule of one space, and when; thread numbers count from 1."""

    writer: np.ndarray
    w_epoch: np.ndarray
    w_warp: np.ndarray
    w_time: np.ndarray
    w_line: np.ndarray
    w_atomic: np.ndarray
    low: np.ndarray
    high: np.ndarray
    r_epoch: np.ndarray
    r_warp: np.ndarray
    r_time: np.ndarray
    r_line: np.ndarray
    r_strong: np.ndarray

    def __init__(self, size: int):
        for name in self.__annotations__:
            setattr(self, name, np.zeros(size, np.int32))


class Race:
    """Watches one launch."""

    def __init__(self, blocks: int, width: int) -> None:
        self.clock = 0
        self.shadows: dict[str, Shadow] = {}
        self.granule = 1
        self.sync = Releases(blocks, width)

    def start(self, s: State, granule: int) -> None:
        """A new chunk of blocks."""
        self.granule = granule
        self.shadows.pop("shared", None)
        self.epoch = np.ones(s.blocks, np.int64)
        self.warp_epoch = np.ones((s.blocks, s.warps), np.int64)
        self.warps, self.first = s.warps, int(s.block_ids[0])

    # -- order ----------------------------------------------------------------------------------

    def barrier(self, s: State, blocks: np.ndarray) -> None:
        self.epoch[blocks] += 1
        self.clock += 1
        self.sync.barrier(s.block_ids[blocks])

    def warp_barrier(self, s: State, mask: np.ndarray) -> None:
        active = s.full(mask).reshape(s.blocks, s.warps, WARP).any(-1)
        self.warp_epoch[active] += 1

    def fence(self, s: State, mask: np.ndarray) -> None:
        """Later atomics of these threads release what was written; earlier ones acquire."""
        self.clock += 1
        self.sync.fence(s, mask, self.clock)

    def sync_access(self, s: State, mask: np.ndarray) -> None:
        """An atomic access, which fences before and after turn into synchronisation."""
        self.clock += 1
        mods = s.at_work.mods
        if "release" in mods or "acq_rel" in mods:
            self.sync.fence(s, mask, self.clock)
        self.sync.atomic(s, mask, self.clock, self.epoch)
        if "acquire" in mods or "acq_rel" in mods:
            self.sync.fence(s, mask, self.clock)

    def unordered(self, s: State, thread: np.ndarray, other: np.ndarray, epoch: np.ndarray,
                  warp: np.ndarray, time: np.ndarray) -> np.ndarray:  # fmt: skip
        """Whether an earlier access by thread `other` is a conflict for `thread` now."""
        different = (other != 0) & (other != thread)
        if not different.any():
            return different
        mine, its = (thread - 1) // WARP, (other - 1) // WARP
        block, its_block = mine // self.warps, its // self.warps
        local = block - self.first
        same_block = block == its_block
        now = self.epoch[local]
        now_warp = self.warp_epoch[local, mine % self.warps]
        ordered = same_block & (epoch != now)
        ordered |= (mine == its) & (warp != now_warp)
        if not same_block.all():
            ordered |= ~same_block & self.sync.passed(thread, other, epoch, time)
        return different & ~ordered

    # -- accesses -------------------------------------------------------------------------------

    def lanes(self, s: State, space: str, address: np.ndarray, mask: np.ndarray,
              nbytes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
        """(byte offsets, thread numbers, lane numbers) of the active lanes."""
        on = s.full(mask).reshape(-1)
        where = s.full(address).astype(np.int64)
        if space == "globals":
            where = where - BASE
        else:
            where = where + s.block_index * s.shared_stride
        lane = np.flatnonzero(on)
        thread = s.block_ids[lane // s.width] * s.width + lane % s.width + 1
        return where.reshape(-1)[lane], thread, lane

    def granules(self, where: np.ndarray, thread: np.ndarray, nbytes: int) -> tuple:
        """(granule, thread, lane position) of each granule of each lane's access."""
        count = max(1, nbytes // self.granule)
        first = where // self.granule
        cells = (first[:, None] + np.arange(count)).reshape(-1)
        return cells, np.repeat(thread, count), np.repeat(np.arange(len(where)), count)

    def shadow(self, s: State, space: str) -> Shadow:
        found = self.shadows.get(space)
        if found is None:
            size = s.shared.size if space == "shared" else len(s.memory.data)
            found = self.shadows[space] = Shadow(size // self.granule + 1)
        return found

    def read(self, s: State, space: str, address: np.ndarray, mask: np.ndarray,
             nbytes: int) -> None:  # fmt: skip
        strong = bool(STRONG & set(s.at_work.mods))
        if strong:
            self.sync_access(s, mask)
        where, thread, lane = self.lanes(s, space, address, mask, nbytes)
        cells, threads, which = self.granules(where, thread, nbytes)
        h = self.shadow(s, space)
        bad = self.unordered(s, threads, h.writer[cells], h.w_epoch[cells], h.w_warp[cells],
                             h.w_time[cells])  # fmt: skip
        if strong:
            bad &= h.w_atomic[cells] == 0
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            self.complain(s, space, "reads", "wrote", h.writer[cells[at]], h.w_line[cells[at]],
                          where[which[at]], lane[which[at]])  # fmt: skip
        self.note_read(s, h, cells, threads, strong)

    def note_read(self, s: State, h: Shadow, cells: np.ndarray, threads: np.ndarray,
                  strong: bool) -> None:  # fmt: skip
        order = np.argsort(cells, kind="stable")
        cells, threads = cells[order], threads[order]
        starts = np.flatnonzero(np.r_[True, cells[1:] != cells[:-1]])
        cell = cells[starts]
        low = np.minimum.reduceat(threads, starts)
        high = np.maximum.reduceat(threads, starts)
        old_low, old_high = h.low[cell], h.high[cell]
        state = h.r_epoch[cell], h.r_warp[cell], h.r_time[cell]
        matters = self.unordered(s, low, old_low, *state) | self.unordered(s, low, old_high, *state)
        matters |= (old_low == low) & (state[0] == self.now(s, low)[0])  # not before a barrier
        h.low[cell] = np.where(matters, np.minimum(low, old_low), low)
        h.high[cell] = np.where(matters, np.maximum(high, old_high), high)
        h.r_strong[cell] = np.where(matters, h.r_strong[cell] & strong, strong)
        h.r_epoch[cell], h.r_warp[cell] = self.now(s, low)
        h.r_time[cell] = self.clock
        h.r_line[cell] = s.at_work.line

    def now(self, s: State, thread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The current epochs of threads."""
        warp = (thread - 1) // WARP
        local = warp // self.warps - self.first
        return self.epoch[local], self.warp_epoch[local, warp % self.warps]

    def write(self, s: State, space: str, address: np.ndarray, mask: np.ndarray, nbytes: int,
              values: list[np.ndarray] | None, atomic: bool = False) -> None:  # fmt: skip
        strong = atomic or bool(STRONG & set(s.at_work.mods))
        if strong:
            self.sync_access(s, mask)
        where, thread, lane = self.lanes(s, space, address, mask, nbytes)
        cells, threads, which = self.granules(where, thread, nbytes)
        h = self.shadow(s, space)
        bad = self.unordered(s, threads, h.writer[cells], h.w_epoch[cells], h.w_warp[cells],
                             h.w_time[cells])  # fmt: skip
        if strong:
            bad &= h.w_atomic[cells] == 0
        if bad.any() and values is not None:
            bad &= ~self.unchanged(s, space, where, lane, values)[which]
        self.check(s, space, bad, h.writer, h.w_line, "wrote", cells, where, which, lane)
        for reader in (h.low, h.high):
            bad = self.unordered(s, threads, reader[cells], h.r_epoch[cells], h.r_warp[cells],
                                 h.r_time[cells])  # fmt: skip
            if strong:
                bad &= h.r_strong[cells] == 0
            self.check(s, space, bad, reader, h.r_line, "read", cells, where, which, lane)
        if not strong:
            self.same_instruction(s, space, where, lane, values)
        h.writer[cells] = threads
        h.w_epoch[cells], h.w_warp[cells] = self.now(s, threads)
        h.w_time[cells] = self.clock
        h.w_line[cells] = s.at_work.line
        h.w_atomic[cells] = strong

    def check(self, s: State, space: str, bad: np.ndarray, who: np.ndarray, line: np.ndarray,
              did: str, cells: np.ndarray, where: np.ndarray, which: np.ndarray,
              lane: np.ndarray) -> None:  # fmt: skip
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            self.complain(s, space, "writes", did, who[cells[at]], line[cells[at]],
                          where[which[at]], lane[which[at]])  # fmt: skip

    def unchanged(self, s: State, space: str, where: np.ndarray, lane: np.ndarray,
                  values: list[np.ndarray]) -> np.ndarray:  # fmt: skip
        """Lanes that write what is there already, which harms nobody."""
        width = values[0].dtype.itemsize
        data = s.memory.data if space == "globals" else s.shared
        current = view(s, space, data, UNSIGNED[width])
        result = np.ones(len(where), bool)
        for j, value in enumerate(values):
            at = np.minimum(where // width + j, len(current) - 1)
            result &= current[at] == s.full(value).reshape(-1)[lane]
        return result

    def same_instruction(self, s: State, space: str, where: np.ndarray, lane: np.ndarray,
                         values: list[np.ndarray] | None) -> None:  # fmt: skip
        """Lanes that write different values to one address in the same instruction."""
        order = np.argsort(where, kind="stable")
        twice = np.flatnonzero(where[order][1:] == where[order][:-1])
        if not len(twice):
            return
        one, other = order[twice], order[twice + 1]
        differ = np.ones(len(twice), bool)
        if values is not None:
            differ[:] = False
            for value in values:
                flat = s.full(value).reshape(-1)[lane]
                differ |= flat[one] != flat[other]
        if differ.any():
            at = int(np.flatnonzero(differ)[0])
            line = s.at_work.line
            first = int(lane[one[at]])
            thread = s.block_ids[first // s.width] * s.width + first % s.width + 1
            self.complain(s, space, "writes", "wrote", thread, line, where[other[at]],
                          lane[other[at]])  # fmt: skip

    def complain(self, s: State, space: str, does: str, did: str, other: int, line: int,
                 where: int, lane: int) -> None:  # fmt: skip
        """Raise the Fault of a conflict."""
        number = int(other) - 1
        block, thread = number // s.width, number % s.width
        name = f"block {index3(block, s.grid)}, thread {index3(thread, s.block)}"
        if space == "globals":
            place = f"global memory ({s.memory.describe(int(where))})"
        else:
            place = f"shared memory at {int(where) % max(1, s.shared_stride)}"
        raise Fault(f"race: {does} {place}, which {name} {did} at line {int(line)} with no "
                    "barrier in between", (int(lane) // s.width, int(lane) % s.width))  # fmt: skip
