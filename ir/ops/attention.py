"""Attention in one op: what softmax(scores + mask) @ v becomes once a backend chose to fuse it."""

from __future__ import annotations

import numpy as np

from ..op import Op, op, require
from ..types import TensorType
from .contraction import strided


@op
class attention(Op):
    """softmax(scale * q k^T + mask) v over operands read in place -> [*batch, rows, width].

    Strides and `starts` count elements of the flattened operands: `batch` lists (extent, in q, in
    k, in v, in mask), `rows` is (extent, in q, in mask), `keys` (extent, in k, in v, in mask) and
    `depth` (extent, in k); along `depth` q and along `width` v are contiguous. A bool mask is True
    where a key takes part, a float mask is added; `causal`: key <= row. Rows that are -inf
    throughout give 0 if `safe`, nan otherwise.
    """

    differentiable = False

    def type(q, k, v, *mask, batch, rows, keys, depth, width, starts, scale, causal, safe):
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

    def eval(q, k, v, *mask, batch, rows, keys, depth, width, starts, scale, causal, safe):
        walks = _walks(batch, rows, keys, depth, width)
        wide = np.promote_types(q.dtype, np.float32)
        parts = [
            strided(x.ravel()[start:], walk)
            for x, walk, start in zip((q, k, v, *mask), walks, starts, strict=False)
        ]
        a, b, c = (x.astype(wide) for x in parts[:3])
        scores = np.matmul(a, np.swapaxes(b, -1, -2)) * wide.type(scale)
        if mask:
            is_bool = mask[0].dtype == np.bool_
            scores = np.where(parts[3], scores, -np.inf) if is_bool else scores + parts[3]
        if causal:
            scores = np.where(np.tri(rows[0], keys[0], dtype=bool), scores, -np.inf)
        with np.errstate(invalid="ignore"):
            top = scores.max(-1, keepdims=True)
            top = np.where(np.isneginf(top), 0, top) if safe else top
            shares = np.exp(scores - top)
            total = shares.sum(-1, keepdims=True)
            shares = shares / (np.where(total == 0, 1, total) if safe else total)
            return np.matmul(shares, c).astype(q.dtype)


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

