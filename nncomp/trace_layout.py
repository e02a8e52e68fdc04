"""Strides of traced tensors, to know which reshapes are views and which copy, as they do eagerly.

A traced tensor has no memory, but its eager twin has: results of operations are contiguous, and
movement ops change strides in a way that shapes alone decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Strides = tuple[int, ...]


def contiguous(shape: Sequence[int]) -> Strides:
    """Row-major strides, in elements."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def after(op: Any, attrs: dict, shape: Sequence[int], strides: Strides) -> Strides | None:
    """The strides after a movement op; None if the op has to copy."""
    if op.name == "reshape":
        return reshaped(shape, strides, attrs["shape"])
    if op.name == "permute":
        return tuple(strides[d] for d in attrs["dims"])
    if op.name == "slice":
        return tuple(s * step for s, step in zip(strides, attrs["step"], strict=True))
    if op.name == "expand":
        pairs = zip(shape, attrs["shape"], strides, strict=True)
        return tuple(0 if n != m else s for n, m, s in pairs)
    if op.name == "unfold":
        rank = len(attrs["kernel"])
        last = strides[len(strides) - rank :]
        outer = tuple(s * t for s, t in zip(last, attrs["stride"], strict=True))
        inner = tuple(s * d for s, d in zip(last, attrs["dilation"], strict=True))
        return (*strides[: len(strides) - rank], *outer, *inner)
    return strides if op.name == "detach" else None


def reshaped(shape: Sequence[int], strides: Strides, new: Sequence[int]) -> Strides | None:
    """Strides of the same memory under another shape; None if no strides can do it.

    Neighbouring axes that lie one after the other in memory form a block; each block must be filled
    exactly by consecutive new axes.
    """
    if 0 in shape:
        return contiguous(new)
    blocks = _blocks(shape, strides)
    out: list[int] = []
    rest = list(reversed(new))
    for size, step in reversed(blocks):
        filled = 1
        while rest and (filled < size or rest[0] == 1):
            n = rest.pop(0)
            out.append(step * filled)
            filled *= n
        if filled != size:
            return None
    out.extend(1 for _ in rest)
    return tuple(reversed(out))


def _blocks(shape: Sequence[int], strides: Strides) -> list[tuple[int, int]]:
    """(elements, stride of the last axis) of each run of axes that lie one after the other."""
    blocks: list[tuple[int, int]] = []
    for n, s in zip(shape, strides, strict=True):
        if n == 1:
            continue
        if blocks and blocks[-1][1] == n * s:
            blocks[-1] = (blocks[-1][0] * n, s)
        else:
            blocks.append((n, s))
    return blocks or [(1, 1)]


def has_overlap(shape: Sequence[int], strides: Strides) -> bool:
    """True if several elements are one place in memory, as after expand."""
    return 0 not in shape and any(s == 0 and n > 1 for n, s in zip(shape, strides, strict=True))
