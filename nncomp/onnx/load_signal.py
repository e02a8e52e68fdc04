"""Rules of signal processing: DFT and STFT as products with cosines and sines, MelWeightMatrix.

Complex numbers are pairs along the last axis.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import nncomp

from ..functions.creation import from_numpy
from ..ir.types import float64
from .load_reduce import one_axis
from .load_rules import rule
from .load_steps import Step
from .protobuf import dtype_of_number


def _waves(length: int, rows: int, inverse: bool) -> tuple[Any, ...]:
    """(cosines, sines) of shape (length, rows): the angle of place j in frequency k is -2 pi j k/n.
    """
    turns = np.outer(np.arange(length), np.arange(rows)) % length  # exact, so that angles are small
    angle = 2 * np.pi * turns / length * (1 if inverse else -1)
    scale = 1 / length if inverse else 1
    return tuple(from_numpy(f(angle) * scale) for f in (np.cos, np.sin))


def _transformed(x: Any, length: int, rows: int, inverse: bool) -> Any:
    """The transform of (..., length, 1 or 2) along the last but one axis: (..., rows, 2).

    In float64, as the sums are as long as the signal.
    """
    dtype, x = x.dtype, x.to(float64)
    cos, sin = _waves(length, rows, inverse)
    real, imaginary = x[..., 0], (x[..., 1] if x.shape[-1] == 2 else None)
    a, b = nncomp.matmul(real, cos), nncomp.matmul(real, sin)
    if imaginary is not None:
        a = a - nncomp.matmul(imaginary, sin)
        b = b + nncomp.matmul(imaginary, cos)
    return nncomp.stack([a, b], -1).to(dtype)


@rule("DFT", known=(1, 2))
def dft(n: Step, x: Any, length: np.ndarray | None, axis: np.ndarray | None) -> Any:
    rank, inverse = len(x.shape), bool(n.get("inverse", 0))
    if axis is None:
        number = n.get("axis", 1) if n.opset < 20 else -2
    else:
        number = int(axis.reshape(-1)[0])
    at = one_axis(n, rank, axis=number)
    if at == rank - 1:
        raise n.error("axis must not be the last one, which holds real and imaginary parts")
    half = bool(n.get("onesided", 0))
    x = nncomp.movedim(x, at, rank - 2)
    points = x.shape[-2]
    if half and inverse:
        size = 2 * (points - 1) if length is None else int(length.reshape(-1)[0])
        return nncomp.movedim(_real_inverse(x, size), rank - 2, at)
    size = points if length is None else int(length.reshape(-1)[0])
    if size < points:
        x = x.narrow(-2, 0, size)
    elif size > points:
        x = nncomp.constant_pad_nd(x, [0, 0, 0, size - points])
    y = _transformed(x, size, size // 2 + 1 if half else size, inverse)
    return nncomp.movedim(y, rank - 2, at)


def _real_inverse(x: Any, size: int) -> Any:
    """The real signal whose first half of frequencies is x; the others are their conjugates."""
    kept = size // 2 + 1
    x = x.narrow(-2, 0, kept)
    rest = nncomp.flip(x.narrow(-2, 1, size - kept), (-2,))
    mirrored = nncomp.stack([rest[..., 0], -rest[..., 1]], -1)
    return _transformed(nncomp.cat([x, mirrored], -2), size, size, True)[..., :1]


@rule("STFT", known=(1, 3))
def stft(n: Step, x: Any, step: np.ndarray, window: Any, length: np.ndarray | None) -> Any:
    """Frames of a signal (batch, time, 1 or 2), windowed and transformed."""
    size = window.shape[0] if length is None else int(length.reshape(-1)[0])
    hop = int(step.reshape(-1)[0])
    count = 1 + (x.shape[1] - size) // hop
    starts = np.arange(count)[:, None] * hop + np.arange(size)[None]
    frames = x[:, from_numpy(starts)]
    if window is not None:
        frames = frames * window.reshape([1, 1, -1, 1])
    half = n.get("onesided", 1) and x.shape[-1] == 1
    return _transformed(frames, size, size // 2 + 1 if half else size, False)


@rule("MelWeightMatrix", known=(0, 1, 2, 3, 4))
def mel_weight_matrix(
    n: Step, bins: np.ndarray, length: np.ndarray, rate: np.ndarray, low: np.ndarray,
    high: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Triangles over the frequencies of a spectrum, equally far apart on the mel scale."""
    count, size = int(bins), int(length)
    first, last = (2595 * math.log10(1 + float(f) / 700) for f in (low, high))
    mels = np.arange(count + 2) * ((last - first) / (count + 2)) + first
    hertz = 700 * (10 ** (mels / 2595) - 1)
    edges = ((size + 1) * hertz // int(rate)).astype(np.int64)
    y = np.zeros((size // 2 + 1, count))
    for i, (lower, centre, upper) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        if lower == centre:
            y[centre, i] = 1
        else:
            y[lower : centre + 1, i] = np.arange(centre - lower + 1) / (centre - lower)
        if upper > centre:
            y[centre:upper, i] = np.arange(upper - centre, 0, -1) / (upper - centre)
    dtype = dtype_of_number(n.get("output_datatype", 1))
    return y.astype(dtype.numpy)
