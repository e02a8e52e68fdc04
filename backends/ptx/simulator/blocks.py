"""Basic blocks of a flat kernel: decoded instructions, how each block ends, live registers.

A block is entered only at its first instruction. Instructions at which the lanes of a warp have to
meet (shuffles, matrix operations, barriers) start a block, so lanes can wait in front of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from . import (  # noqa: F401  (each registers its opcodes)
    ops_async,
    ops_atomic,
    ops_bits,
    ops_compare,
    ops_convert,
    ops_float,
    ops_int,
    ops_matrix,
    ops_move,
    ops_warp,
)  # fmt: skip
from .decode import Decoder, Get, Run, decode
from .flat import Flat, Op
from .ops_control import Barrier, decode_barrier
from .state import EVERYTHING, Fault, State
from .syntax import PtxError

ENDS = ("bra", "brx", "ret", "exit", "trap", "brkpt")
BARRIERS = ("bar", "barrier")
MEETINGS = ("shfl", "vote", "match", "redux", "elect", "mma", "wmma", "ldmatrix", "stmatrix",
            "movmatrix")  # fmt: skip


@dataclass
class Block:
    """Straight-line code; `kind` says what happens after it."""

    runs: list[Run] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    kind: str = "next"  # next, branch, table, exit, trap, barrier
    guard: tuple[int, bool] | None = None
    targets: tuple[int, ...] = ()  # blocks to branch to
    following: int = -1  # the next block in the text
    index: Get | None = None  # of a table
    members: Get | str | None = None  # of a meeting: the lane mask, or "warp"
    barrier: Barrier | None = None
    reads: set[int] = field(default_factory=set)  # before they are written here
    writes: set[int] = field(default_factory=set)
    live_in: frozenset[int] = frozenset()
    classes: dict[str, int] = field(default_factory=dict)
    effects: list[tuple] = field(default_factory=list)  # (reads, writes, guarded) of each op

    def successors(self) -> tuple[int, ...]:
        if self.kind in ("exit", "trap") and not self.guard:
            return ()
        if self.kind == "branch" and not self.guard:
            return self.targets
        if self.kind in ("exit", "trap", "next", "barrier"):
            return (self.following,)
        return (*self.targets, self.following)


@dataclass
class Kernel:
    """A kernel ready to run."""

    flat: Flat
    blocks: list[Block]
    needs: dict[tuple, frozenset[int]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.flat.name

    def needed(self, places: tuple[int, ...]) -> frozenset[int]:
        """Registers whose values matter to lanes that are about to enter these blocks."""
        found = self.needs.get(places)
        if found is None:
            found = frozenset().union(*(self.blocks[b].live_in for b in places))
            self.needs[places] = found
        return found


def is_meeting(op: Op) -> bool:
    if op.opcode in BARRIERS:
        return True
    return op.opcode in MEETINGS


def leaders(ops: list[Op]) -> list[int]:
    """Positions where a block starts."""
    starts = {0, len(ops)}
    for at, op in enumerate(ops):
        starts.update(op.targets)
        if op.opcode in ENDS or op.opcode in BARRIERS:
            starts.add(at + 1)
        if is_meeting(op):
            starts.add(at)
    return sorted(starts)


def build(flat: Flat) -> Kernel:
    """Decode a kernel; PtxError names the first instruction that is not supported."""
    starts = leaders(flat.ops)
    number = {at: i for i, at in enumerate(starts)}
    blocks = []
    for first, last in zip(starts, [*starts[1:], len(flat.ops)], strict=True):
        block = Block(following=number.get(last, -1))
        for op in flat.ops[first:last]:
            add(block, op, number, flat)
        blocks.append(block)
    blocks[-1].kind = "exit"  # the position after the last instruction
    liveness(blocks)
    return Kernel(flat, blocks)


def add(block: Block, op: Op, number: dict[int, int], flat: Flat) -> None:
    """Append one instruction to its block."""
    block.ops.append(op)
    block.classes[op.opcode] = block.classes.get(op.opcode, 0) + 1
    if op.opcode in ENDS:
        end(block, op, number, flat)
        return
    if op.opcode in BARRIERS and "warp" not in op.mods:
        d = Decoder(op, flat.implicit)
        if op.guard:
            raise d.error("a guarded barrier is not supported.")
        block.kind, block.barrier = "barrier", decode_barrier(d)
        if d.mods:
            raise d.error(f"modifier .{d.mods[0]} is not supported.")
        block.members = "warp" if block.barrier.aligned else None
        note(block, d.reads, d.writes, False)
        return
    run, d = decode(op, flat.implicit)
    if is_meeting(op):
        if op.guard:
            raise PtxError(f"{op.text}: a guarded warp operation is not supported.", op.line)
        block.members = d.members
    note(block, d.reads, d.writes, op.guard is not None)
    block.runs.append(guarded(run, op.guard) if op.guard else run)


def note(block: Block, reads: set[int], writes: set[int], partial: bool) -> None:
    block.reads |= reads - block.writes
    if partial:
        block.reads |= writes - block.writes  # other lanes keep their old values
    block.writes |= writes
    block.effects.append((reads, writes, partial))


def end(block: Block, op: Op, number: dict[int, int], flat: Flat) -> None:
    d = Decoder(op, flat.implicit)
    d.has("uni")
    kinds = {"bra": "branch", "brx": "table", "ret": "exit", "exit": "exit"}
    block.kind = kinds.get(op.opcode, "trap")
    block.guard = op.guard
    block.targets = tuple(number[t] for t in op.targets)
    if op.opcode == "brx":
        if not d.has("idx"):
            raise d.error("expected brx.idx.")
        block.index = d.get(0, "u32")
        if op.guard:
            raise d.error("a guarded brx.idx is not supported.")
    if d.mods:
        raise d.error(f"modifier .{d.mods[0]} is not supported.")
    note(block, d.reads, set(), False)


def guarded(run: Run, guard: tuple[int, bool]) -> Run:
    """`@p` in front of an instruction: fewer lanes execute it."""
    index, negated = guard

    def guarded_run(s: State) -> None:
        p = s.regs[index]
        if p is None:
            raise Fault("is guarded by a predicate that was never written")
        if negated:
            p = ~p
        active = s.mask & p
        if not active.any():
            return
        saved = s.mask, s.keep
        s.mask, s.keep = active, EVERYTHING
        if p.all():
            s.mask, s.keep = saved
        try:
            run(s)
        finally:
            s.mask, s.keep = saved

    return guarded_run


def liveness(blocks: list[Block]) -> None:
    """live_in of each block: what it reads, and what later blocks read that it does not write."""
    live = [frozenset(block.reads) for block in blocks]
    changed = True
    while changed:
        changed = False
        for at in range(len(blocks) - 1, -1, -1):
            block = blocks[at]
            out: set[int] = set()
            for target in block.successors():
                if target >= 0:
                    out |= live[target]
            new = frozenset(block.reads | (out - block.writes))
            if new != live[at]:
                live[at], changed = new, True
    for block, found in zip(blocks, live, strict=True):
        block.live_in = found
