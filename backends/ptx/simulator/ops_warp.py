"""Operations among the lanes of a warp: shfl, vote, match, redux, elect, activemask."""

from __future__ import annotations

import numpy as np

from .decode import Decoder, Run, np_type, opcode
from .state import WARP, Fault, State, lane_bits

LANE = np.arange(WARP)


def by_warp(s: State, x: np.ndarray) -> np.ndarray:
    """One value per lane, shape (blocks, warps, 32)."""
    return s.full(x).reshape(s.blocks, s.warps, WARP)


def by_lane(s: State, x: np.ndarray) -> np.ndarray:
    """One value per warp, given to all of its lanes."""
    return np.repeat(x.reshape(s.blocks, s.warps), WARP, axis=1)


def of_lanes(s: State, x: np.ndarray) -> np.ndarray:
    return x.reshape(s.blocks, s.width)


@opcode("shfl")
def decode_shfl(d: Decoder) -> Run:
    if not d.has("sync"):
        raise d.error("only shfl.sync is supported.")
    mode = d.need("up", "down", "bfly", "idx")
    d.type("b32")
    first, second = d.pair(0)
    put = d.putter(first, "b32")
    flag = d.putter(second, "pred") if second is not None else None
    a, b, c = d.get(1, "b32"), d.get(2, "u32"), d.get(3, "u32")
    d.members = d.get(4, "u32")

    def run(s: State) -> None:
        index, inside = source_lanes(mode, by_warp(s, b(s)), by_warp(s, c(s)))
        values = by_warp(s, a(s))
        found = np.take_along_axis(values, index, -1)
        there = np.take_along_axis(by_warp(s, s.mask), index, -1)
        if not there.all():
            undefined(s, there)
            found = np.where(there, found, np.uint32(0xFFFFFFFF))
        put(s, of_lanes(s, found))
        if flag:
            flag(s, of_lanes(s, inside))

    return run


def undefined(s: State, there: np.ndarray) -> None:
    """Lanes that read from a lane that takes no part: an error in strict runs."""
    bad = s.full(s.mask) & ~there.reshape(s.shape)
    if s.strict and bad.any():
        lane = np.argwhere(bad)[0]
        raise Fault("reads from a lane that is not active", (int(lane[0]), int(lane[1])))


def source_lanes(mode: str, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lane each lane reads from, whether that lane was in range)."""
    b, segment = (b & 31).astype(np.int64), ((c >> np.uint32(8)) & 31).astype(np.int64)
    clamp = (c & 31).astype(np.int64)
    lowest = LANE & segment
    highest = lowest | (clamp & ~segment)
    if mode == "up":
        index, inside = LANE - b, LANE - b >= highest
    elif mode == "down":
        index, inside = LANE + b, LANE + b <= highest
    elif mode == "bfly":
        index, inside = LANE ^ b, LANE ^ b <= highest
    else:
        index = lowest | (b & ~segment)
        inside = index <= highest
    return np.where(inside, index, np.broadcast_to(LANE, index.shape)), inside


@opcode("vote")
def decode_vote(d: Decoder) -> Run:
    if not d.has("sync"):
        raise d.error("only vote.sync is supported.")
    mode = d.need("all", "any", "uni", "ballot")
    type_ = d.type("b32", "pred")
    put, p = d.put(0, type_), d.get(1, "pred")
    d.members = members = d.get(2, "u32")

    def run(s: State) -> None:
        votes = lane_bits(s, s.mask & p(s)) & members(s)
        asked = lane_bits(s, s.mask) & members(s)
        if mode == "ballot":
            put(s, votes)
        elif mode == "any":
            put(s, votes != 0)
        else:
            every = votes == asked
            put(s, every | (votes == 0) if mode == "uni" else every)

    return run


@opcode("activemask")
def decode_activemask(d: Decoder) -> Run:
    d.type("b32")
    put = d.put(0, "b32")
    return lambda s: put(s, lane_bits(s, s.mask))


@opcode("elect")
def decode_elect(d: Decoder) -> Run:
    if not d.has("sync"):
        raise d.error("expected elect.sync.")
    first, second = d.pair(0)
    put = d.putter(first, "b32")
    flag = d.putter(second, "pred")
    d.members = members = d.get(1, "u32")

    def run(s: State) -> None:
        bits = lane_bits(s, s.mask) & members(s)
        lowest = bits & (~bits + np.uint32(1))
        own = np.uint32(1) << (np.arange(s.width, dtype=np.uint32)[None, :] % np.uint32(WARP))
        leader = np.log2(np.maximum(lowest, 1)).astype(np.uint32)
        put(s, leader)
        flag(s, own == lowest)

    return run


@opcode("match")
def decode_match(d: Decoder) -> Run:
    mode = d.need("any", "all")
    d.need("sync")
    type_ = d.type("b32", "b64")
    first, second = d.pair(0)
    put = d.putter(first, "b32")
    flag = d.putter(second, "pred") if second is not None else None
    a = d.get(1, type_)
    d.members = members = d.get(2, "u32")

    def run(s: State) -> None:
        values = by_warp(s, a(s))
        weights = np.uint64(1) << LANE.astype(np.uint64)
        active = by_warp(s, s.mask)
        same = (values[..., :, None] == values[..., None, :]) & active[..., None, :]
        bits = (same * weights).sum(-1, dtype=np.uint64).astype(np.uint32)
        bits = of_lanes(s, bits) & members(s)
        if mode == "any":
            put(s, bits)
            return
        every = bits == (lane_bits(s, s.mask) & members(s))
        put(s, np.where(every, members(s), np.uint32(0)))
        if flag:
            flag(s, every)

    return run


REDUCE = {"add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and,
          "or": np.bitwise_or, "xor": np.bitwise_xor}  # fmt: skip


@opcode("redux")
def decode_redux(d: Decoder) -> Run:
    d.need("sync")
    type_ = d.type("u32", "s32", "b32")
    name = d.need(*REDUCE)
    put, a = d.put(0, type_), d.get(1, type_)
    d.members = members = d.get(2, "u32")
    kind, rule = np_type(type_), REDUCE[name]
    edges = np.iinfo(kind)
    neutral = kind.type({"min": edges.max, "max": edges.min, "and": edges.max}.get(name, 0))

    def run(s: State) -> None:
        bits = np.uint32(1) << LANE.astype(np.uint32)
        part = (by_warp(s, members(s)) & bits) != 0
        values = np.where(part & by_warp(s, s.mask), by_warp(s, a(s)), neutral)
        put(s, by_lane(s, rule.reduce(values, axis=-1).astype(kind)))

    return run
