"""atom and red: read-modify-write, one lane after the other where lanes share an address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .decode import UNSIGNED, Decoder, Get, Run, np_type, opcode
from .ops_float import greatest, least
from .ops_move import CACHING, MEMORY, SCOPES
from .rounding import FORMATS
from .spaces import Access, split, view
from .state import State
from .syntax import type_bits

NAMES = ("add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec")
Rule = Callable[..., Any]
RULES: dict[str, Rule] = {
    "add": np.add,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "exch": lambda old, new: new,
    "cas": lambda old, expected, new: np.where(old == expected, new, old),
    "inc": lambda old, top: np.where(old >= top, old.dtype.type(0), old + old.dtype.type(1)),
    "dec": lambda old, top: np.where((old == 0) | (old > top), top, old - old.dtype.type(1)),
}
AT_ONCE = {"add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and,
           "or": np.bitwise_or, "xor": np.bitwise_xor}  # fmt: skip


def rule_of(d: Decoder, name: str, type_: str) -> Rule:
    """The new value from the old one and the operands, as arrays of np_type(type_)."""
    if type_ not in FORMATS:
        return RULES[name]
    if name not in ("add", "min", "max", "exch"):
        raise d.error(f".{name} is not for .{type_}.")
    floats: dict[str, Rule] = {
        "add": np.add, "min": least, "max": greatest, "exch": RULES["exch"],
    }  # fmt: skip
    if type_ in ("f32", "f64"):
        return floats[name]
    form, inner = FORMATS[type_], floats[name]
    return lambda old, new: form.close(inner(form.open(old[:, None]), form.open(new[:, None])))[
        :, 0]  # fmt: skip


@opcode("atom", "red")
def decode_atom(d: Decoder) -> Run:
    fetch = d.op.opcode == "atom"
    type_ = d.type()
    d.has("noftz")
    count = int(d.pick("v2", "v4", "v8", default="v1")[1:])
    name = d.need(*NAMES)
    d.pick("relaxed", "acquire", "release", "acq_rel")
    d.pick(*SCOPES)
    d.pick(*CACHING)
    space = d.pick("global", "shared", "shared::cta")
    _, address = d.address(1 if fetch else 0)
    first = 2 if fetch else 1
    if name == "cas":
        gets = [[d.get(first, type_), d.get(first + 1, type_)]]
    else:
        items = d.items(first)
        if len(items) != count:
            raise d.error(f"{count} registers are expected.")
        gets = [[d.getter(item, type_)] for item in items]
    puts = [d.putter(item, type_) for item in d.items(0)] if fetch else []
    work = Atomic(name, type_, rule_of(d, name, type_), MEMORY.get(space, space), gets, fetch)

    def run(s: State) -> None:
        found = work.run(s, address)
        for put, value in zip(puts, found, strict=False):
            put(s, value)

    return run


class Atomic:
    """One atomic instruction."""

    def __init__(self, name: str, type_: str, rule: Rule, space: str, gets: list[list[Get]],
                 fetch: bool):  # fmt: skip
        self.name, self.type, self.rule, self.space = name, type_, rule, space
        self.gets, self.fetch = gets, fetch
        self.kind, self.width = np_type(type_), type_bits(type_) // 8

    def run(self, s: State, address: Get) -> list[np.ndarray]:
        where = s.full(address(s))
        pieces = [(self.space, 0, s.mask)]
        if self.space == "generic":
            pieces = split(s, where, s.mask)
        results = [np.zeros(s.shape, self.kind) for _ in self.gets]
        for space, start, mask in pieces:
            inner = where - np.uint64(start) if start else where
            for j, operands in enumerate(self.gets):
                self.one(s, space, inner + inner.dtype.type(j * self.width), mask, operands,
                         results[j])  # fmt: skip
        return results

    def one(self, s: State, space: str, address: np.ndarray, mask: np.ndarray,
            operands: list[Get], result: np.ndarray) -> None:  # fmt: skip
        """One element of each active lane."""
        lanes = s.full(mask)
        access = Access(s, space, address, lanes, self.width)
        access.aligned(s, access.index, self.width)
        if s.observer is not None:
            s.observer.atomic(s, space, address, mask, self.width)
        at = (access.index >> (self.width.bit_length() - 1)).reshape(-1)
        if s.check_written and not access.known:
            access.written(s, self.width, 1, at if access.picked is not None else
                           at.reshape(s.shape))  # fmt: skip
        data = view(s, space, access.data, UNSIGNED[8 * self.width]).view(self.kind)
        values = [s.full(get(s))[lanes] for get in operands]
        simple = self.kind.kind in "iu" or self.type in ("f32", "f64")
        if not self.fetch and self.name in AT_ONCE and simple and self.type not in (
                "f16x2", "bf16x2", "bf16"):  # fmt: skip
            AT_ONCE[self.name].at(data, at, values[0])
            return
        result[lanes] = in_turn(data, at, values, self.rule)


def in_turn(data: np.ndarray, at: np.ndarray, values: list[np.ndarray], rule: Rule) -> np.ndarray:
    """Apply lanes in order; lanes at different addresses go together. Returns the old values."""
    old = np.empty(len(at), data.dtype)
    order = np.argsort(at, kind="stable")
    ordered = at[order]
    fresh = np.r_[True, ordered[1:] != ordered[:-1]]
    start = np.maximum.accumulate(np.where(fresh, np.arange(len(at)), 0))
    rank = np.arange(len(at)) - start
    by_rank = order[np.argsort(rank, kind="stable")]
    ends = np.cumsum(np.bincount(rank))
    first = 0
    for end in ends:
        lanes = by_rank[first:end]
        first = end
        where = at[lanes]
        before = data[where]
        old[lanes] = before
        data[where] = rule(before, *(v[lanes] for v in values))
    return old
