"""Barriers between the warps of a block, barriers within a warp, and memory fences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .decode import Decoder, Get, Put, Run, opcode
from .state import State


@dataclass
class Barrier:
    """bar.sync, bar.arrive, bar.red and barrier.*: which barrier, how many threads, what for."""

    kind: str  # sync, arrive, red
    aligned: bool
    name: Get
    count: Get | None  # None: all threads of the block
    put: Put | None = None  # result of red
    value: Get | None = None
    rule: str = ""  # popc, and, or


def decode_barrier(d: Decoder) -> Barrier:
    d.has("cta")
    aligned = d.op.opcode == "bar"
    aligned = d.has("aligned") or aligned
    kind = d.need("sync", "arrive", "red")
    if kind != "red":
        count = d.get(1, "u32") if d.count > 1 else None
        if kind == "arrive" and count is None:
            raise d.error("expected the number of threads.")
        return Barrier(kind, aligned, d.get(0, "u32"), count)
    rule = d.need("popc", "and", "or")
    type_ = d.type("u32", "pred")
    count = d.get(2, "u32") if d.count > 3 else None
    value = d.get(d.count - 1, "pred")
    return Barrier(kind, aligned, d.get(1, "u32"), count, d.put(0, type_), value, rule)


def barrier_result(s: State, barrier: Barrier, mask: np.ndarray) -> None:
    """What bar.red gives to the threads of `mask`."""
    assert barrier.value and barrier.put
    values = s.full(barrier.value(s) & mask)
    counts = values.sum(1, keepdims=True)
    if barrier.rule == "popc":
        result = counts.astype(np.uint32)
    elif barrier.rule == "or":
        result = counts > 0
    else:
        result = counts == s.full(mask).sum(1, keepdims=True)
    saved = s.mask
    s.mask = mask
    barrier.put(s, result)
    s.mask = saved


@opcode("bar", "barrier")
def decode_warp_barrier(d: Decoder) -> Run:
    """bar.warp.sync: the lanes of a mask wait for each other, and their memory accesses order."""
    d.need("warp")
    d.need("sync")
    d.members = d.get(0, "u32")

    def run(s: State) -> None:
        if s.observer is not None:
            s.observer.warp_barrier(s, s.mask)

    return run


@opcode("membar", "fence")
def decode_fence(d: Decoder) -> Run:
    names = ("cta", "gl", "gpu", "sys", "cluster", "level", "sc", "acq_rel", "proxy", "async",
             "acquire", "release", "async::generic", "alias", "mbarrier_init")  # fmt: skip
    while d.pick(*names):
        pass

    def run(s: State) -> None:
        if s.observer is not None:
            s.observer.fence(s, s.mask)

    return run
