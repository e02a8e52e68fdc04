"""Attention in one op: what softmax(scores + mask) @ v becomes once a backend chose to fuse it."""

from __future__ import annotations

import numpy as np

from ..op import Op, op, require
from ..threefry import threefry_at
from ..types import TensorType, int64
from .contraction import strided


@op
class attention(Op):
    """softmax(scale * q k^T + mask) v over operands read in place -> [*batch, rows, width].

    Strides and `starts` count elements of the flattened operands: `batch` lists (extent, in q, in
    k, in v, in mask), `rows` is (extent, in q, in mask), `keys` (extent, in k, in v, in mask) and
    `depth` (extent, in k); along `depth` q and along `width` v are contiguous. A bool mask is True
    where a key takes part, a float mask is added; `causal`: key <= row. Rows that are -inf
    throughout give 0 if `safe`, nan otherwise.

    With `drop`, (least, gain, row stride, *batch strides), the last operand is the key of random
    numbers: element key + row * stride + .. of `random_bits` of it, read as an unsigned number,
    says whether a share is multiplied by `gain` (`least` or more) or dropped.
    """

    differentiable = False

    def type(q, k, v, *mask, batch, rows, keys, depth, width, starts, scale, causal, safe, drop=()):
        if drop:
            *mask, key = mask or (q,)
            _check_drop(key, batch, rows, keys, drop)
        require(len(mask) <= 1, f"attention: takes at most one mask, got {len(mask)}")
        same = q.dtype is k.dtype is v.dtype and q.dtype.kind == "f"
        require(same, f"attention: q, k and v need one float type, got {q}, {k} and {v}")
        for x in mask:
            fits = x.dtype is q.dtype or x.dtype.kind == "b"
            require(fits, f"attention: a mask is bool or {q.dtype.name}, got {x}")
        extents = (*(e for e, *_ in batch), rows[0], keys[0], depth[0], width)
        require(min(extents) > 0, f"attention: needs extents from 1 on, got {extents}")
        walks = _walks(batch, rows, keys, depth, width)
        for name, x, walk, start in zip("qkvm", (q, k, v, *mask), walks, starts, strict=False):
            last = start + sum((extent - 1) * stride for extent, stride in walk)
            low = min((start, *(stride for _, stride in walk)))
            require(low >= 0 and last < x.size, f"attention: {name} is read beyond its end ({x})")
        return TensorType((*(e for e, *_ in batch), rows[0], width), q.dtype)

    def eval(q, k, v, *mask, batch, rows, keys, depth, width, starts, scale, causal, safe, drop=()):
        mask, kept = _kept(mask, batch, rows, keys, drop)
        walks = _walks(batch, rows, keys, depth, width)
        wide = np.promote_types(q.dtype, np.float32)
        parts = [
            strided(x.ravel()[start:], walk)
            for x, walk, start in zip((q, k, v, *mask), walks, starts, strict=False)
        ]
        a, b, c = (x.astype(wide) for x in parts[:3])
        with np.errstate(invalid="ignore"):
            shares = _shares(a, b, parts[3:], scale, causal, safe)
            return np.matmul(_dropped(shares, kept, drop), c).astype(q.dtype)


@op
class attention_grad(Op):
    """Gradients of `attention` for q, k and v from g, that of its result -> `shape`, all three.

    The attributes of `attention`, and further: g is read at (start, row stride, *batch strides) of
    `given`; `made` says the same of the gradients for q, k and v in the result, which they fill;
    along depth and width all are contiguous. Those of q and k are multiplied by `gains`. Kernels
    may use `workspace` floats of memory.
    """

    differentiable = False

    def type(q, k, v, g, *mask, given, made, gains, shape, workspace=0, **attrs):
        of_result = attention.type(q, k, v, *mask, **attrs)
        require(attrs["depth"][1] in (1, 0), "attention_grad: k is contiguous along depth")
        require(g.dtype is q.dtype, f"attention_grad: g has q's type, got {g} for {q}")
        batch, rows, keys = attrs["batch"], attrs["rows"][0], attrs["keys"][0]
        depth, width = attrs["depth"][0], attrs["width"]
        result = TensorType(tuple(shape), q.dtype)
        extents = ((rows, width), (rows, depth), (keys, depth), (keys, width))
        places = zip((g, *[result] * 3), (given, *made), extents, strict=True)
        for x, place, (lines, length) in places:
            walk = _place_walk(batch, place, lines, length)
            last = place[0] + sum((extent - 1) * stride for extent, stride in walk)
            ok = min(place) >= 0 and last < x.size and (x is g or _is_injective(walk))
            require(ok, f"attention_grad: {place} is no place in {x}")
        total = of_result.size // (rows * width) * (rows * depth + keys * (depth + width))
        require(total == result.size, f"attention_grad: fills {total} elements of {result}")
        return result

    def eval(q, k, v, g, *mask, batch, rows, keys, depth, width, starts, scale, causal, safe,
             given, made, gains, shape, workspace=0, drop=()):  # fmt: skip
        mask, kept = _kept(mask, batch, rows, keys, drop)
        walks = _walks(batch, rows, keys, depth, width)
        wide = np.promote_types(q.dtype, np.float32)
        parts = [
            strided(x.ravel()[start:], walk)
            for x, walk, start in zip((q, k, v, *mask), walks, starts, strict=False)
        ]
        a, b, c = (x.astype(wide) for x in parts[:3])
        walk = _place_walk(batch, given, rows[0], width)
        slope = strided(g.ravel()[given[0] :], walk).astype(wide)
        with np.errstate(invalid="ignore"):
            shares = _shares(a, b, parts[3:], scale, causal, safe)
            pulled = _dropped(np.matmul(slope, np.swapaxes(c, -1, -2)), kept, drop)
            pulled = shares * (pulled - (pulled * shares).sum(-1, keepdims=True))
            results = (
                np.matmul(pulled, b) * wide.type(gains[0]),
                np.matmul(np.swapaxes(pulled, -1, -2), a) * wide.type(gains[1]),
                np.matmul(np.swapaxes(_dropped(shares, kept, drop), -1, -2), slope),
            )
        out = np.zeros(shape, q.dtype)
        for place, value in zip(made, results, strict=True):
            walk = _place_walk(batch, place, *value.shape[-2:])
            strides = [stride * out.itemsize for _, stride in walk]
            view = out.reshape(-1)[place[0] :]
            np.lib.stride_tricks.as_strided(view, value.shape, strides)[...] = value
        return out


def _shares(q, k, mask, scale, causal: bool, safe: bool) -> np.ndarray:
    """softmax(scale * q k^T + mask)."""
    scores = np.matmul(q, np.swapaxes(k, -1, -2)) * q.dtype.type(scale)
    for x in mask:
        scores = np.where(x, scores, -np.inf) if x.dtype == np.bool_ else scores + x
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    top = scores.max(-1, keepdims=True)
    top = np.where(np.isneginf(top), 0, top) if safe else top
    shares = np.exp(scores - top)
    total = shares.sum(-1, keepdims=True)
    return shares / (np.where(total == 0, 1, total) if safe else total)


def _check_drop(key, batch, rows, keys, drop) -> None:
    """OpError unless `drop` counts random words of one key from 0 on, fewer than 2^32."""
    require(key == TensorType((2,), int64), f"attention: dropout needs a key i64[2], got {key}")
    least, gain, *strides = drop
    require(len(strides) == 1 + len(batch), f"attention: {drop} needs a stride per loop")
    last = sum((extent - 1) * stride for extent, stride in _drop_walk(batch, rows, keys, drop))
    require(min(strides) >= 0 and last < 1 << 32, f"attention: {drop} counts beyond 32 bits")
    require(0 <= least < 1 << 32 and gain > 0, f"attention: {drop} drops no share of the weights")


def _drop_walk(batch, rows, keys, drop) -> list[tuple[int, int]]:
    """(extent, stride) of every axis of the random words."""
    _, _, row, *strides = drop
    outer = ((e, stride) for (e, *_), stride in zip(batch, strides, strict=True))
    return [*outer, (rows[0], row), (keys[0], 1)]


def _kept(mask, batch, rows, keys, drop) -> tuple[tuple, np.ndarray | None]:
    """The masks without the key of dropout, and which shares stay (None: all)."""
    if not drop:
        return mask, None
    *mask, key = mask
    number = np.zeros((), np.uint64)
    for extent, stride in _drop_walk(batch, rows, keys, drop):
        number = number[..., None] + np.arange(extent, dtype=np.uint64) * np.uint64(stride)
    return tuple(mask), threefry_at(key, number).view(np.uint32) >= np.uint32(drop[0])


def _dropped(x: np.ndarray, kept: np.ndarray | None, drop) -> np.ndarray:
    """`x` where `kept`, times the gain, and 0 elsewhere."""
    return x if kept is None else np.where(kept, x * x.dtype.type(drop[1]), x.dtype.type(0))


def _place_walk(batch, place, lines: int, length: int) -> list[tuple[int, int]]:
    """(extent, stride) of the batch, the rows and the contiguous axis of one gradient."""
    _, row, *strides = place
    extents = [e for e, *_ in batch]
    require(len(strides) == len(extents), f"attention_grad: {place} needs a stride per batch loop")
    return [*zip(extents, strides, strict=True), (lines, row), (length, 1)]


def _is_injective(walk: list[tuple[int, int]]) -> bool:
    """Whether no two positions are one element: each stride is beyond all of the finer loops."""
    reach = 0
    for stride, extent in sorted((s, e) for e, s in walk if e > 1):
        if stride <= reach:
            return False
        reach += (extent - 1) * stride
    return True


def _walks(batch, rows, keys, depth, width) -> list[list[tuple[int, int]]]:
    """(extent, stride) of every axis of q, k, v and the mask."""
    outer = [[(e, strides[i]) for e, *strides in batch] for i in range(4)]
    (m, m_q, m_mask), (n, n_k, n_v, n_mask) = rows, keys
    inner = [
        [(m, m_q), (depth[0], 1)],
        [(n, n_k), depth],
        [(n, n_v), (width, 1)],
        [(m, m_mask), (n, n_mask)],
    ]
    return [a + b for a, b in zip(outer, inner, strict=True)]

