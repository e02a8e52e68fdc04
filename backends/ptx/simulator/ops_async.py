"""cp.async: copies from global to shared memory that land late.

The data appears only when the thread waits for its group; until then the destination holds poison
and counts as not written, so a missing wait is seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .decode import Decoder, Run, opcode
from .ops_move import CACHING
from .spaces import Access, load
from .state import Fault, State
from .syntax import Number

IN_FLIGHT = np.uint8(2)  # mark of bytes that a copy will write


@dataclass
class Copy:
    """One cp.async of some lanes, not yet complete."""

    address: np.ndarray
    values: list[np.ndarray]
    mask: np.ndarray
    group: np.ndarray


@opcode("cp")
def decode_cp(d: Decoder) -> Run:
    if not d.has("async"):
        raise d.error("expected cp.async.")
    if d.has("commit_group"):
        return commit
    if d.has("wait_all"):
        return lambda s: wait(s, None)
    if d.has("wait_group"):
        keep = d.operand(0)
        if not isinstance(keep, Number):
            raise d.error("expected a number of groups.")
        count = int(keep.value)
        return lambda s: wait(s, count)
    return decode_copy(d)


def decode_copy(d: Decoder) -> Run:
    caching = d.need("ca", "cg")
    d.need("shared", "shared::cta")
    d.need("global")
    d.pick(*CACHING)
    (_, target), (_, source) = d.address(0), d.address(1)
    number = d.operand(2)
    if not isinstance(number, Number) or number.value not in ((16,) if caching == "cg" else
                                                              (4, 8, 16)):  # fmt: skip
        raise d.error("copies 4, 8 or 16 bytes (.cg: 16).")
    size = int(number.value)
    given = d.get(3, "u32") if d.count > 3 else None

    def run(s: State) -> None:
        to = target(s)
        access = Access(s, "shared", np.broadcast_to(to, s.shape), s.full(s.mask), size)
        access.aligned(s, access.index, size)
        if s.observer is not None:
            s.observer.write(s, "shared", to, s.mask, size, None)
        values = fetch(s, source(s), size, given(s) if given else None)
        spoil(s, access, size)
        mask = s.full(s.mask).copy()
        group = np.broadcast_to(s.groups, s.shape)
        s.copies.append(Copy(np.broadcast_to(to, s.shape), values, mask, group))

    return run


def fetch(s: State, source: np.ndarray, size: int, given: np.ndarray | None) -> list[np.ndarray]:
    """The source's bytes, zeros from the `given` number on."""
    width = min(size, 8)
    if given is None:
        return load(s, "globals", source, width, size // width)
    raw = np.zeros((*s.shape, size), np.uint8)
    saved = s.mask
    sizes = s.full(given)
    for count in np.unique(sizes[s.full(saved)]):
        if count > size:
            raise Fault(f"cp.async of {size} bytes with a source of {count}")
        s.mask = saved & (sizes == count)
        if count == size:
            parts = load(s, "globals", source, width, size // width)
            part = np.stack([s.full(p) for p in parts], -1).view(np.uint8)
            raw[s.mask] = part[s.mask]
        else:
            for i in range(int(count)):
                byte = load(s, "globals", source + np.uint64(i), 1, 1)[0]
                raw[..., i] = np.where(s.mask, byte, raw[..., i])
    s.mask = saved
    whole = raw.view({4: np.uint32, 8: np.uint64}[width])
    return [np.ascontiguousarray(whole[..., i]) for i in range(size // width)]


def spoil(s: State, access: Access, size: int) -> None:
    """Poison the destination until the copy lands."""
    at = access.index.reshape(-1)[:, None] + np.arange(size)
    s.shared[at] = 0xFF
    s.shared_valid[at] = IN_FLIGHT


def commit(s: State) -> None:
    """cp.async.commit_group"""
    s.groups = np.where(s.mask, s.groups + 1, s.groups) if s.mask is not s.live else s.groups + 1


def wait(s: State, keep: int | None) -> None:
    """Copies of the active lanes land, but for the last `keep` groups; None: all copies."""
    if keep is None:
        commit(s)
        keep = 0
    saved, left = s.mask, []
    done = s.groups - keep
    for copy in s.copies:
        landing = copy.mask & saved & (copy.group < done)
        if landing.any():
            s.mask = landing
            shapes = tuple(v.shape for v in copy.values)
            width = copy.values[0].dtype.itemsize * len(copy.values)
            if s.observer is not None:
                s.observer.write(
                    s, "shared", copy.address, landing, width, copy.values, counted=False)
            Access(s, "shared", copy.address, landing, width, shapes).write(s, copy.values)
            copy.mask = copy.mask & ~landing
        if copy.mask.any():
            left.append(copy)
    s.copies, s.mask = left, saved

