"""Floating-point formats and rounding, as PTX defines them, on numpy arrays.

bf16 lies in uint16. A directed rounding starts from a float64 that was rounded "to odd": inexact
results get an odd last bit, so a second rounding to a narrow format sees on which side of a
representable value the exact result lies (Boldo and Melquiond 2008, "Emulation of FMA and correctly
rounded sums", section 3).
"""

from __future__ import annotations

import numpy as np

from .fused import fma

F16, F32, F64 = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)
U16, U32 = np.dtype(np.uint16), np.dtype(np.uint32)


def bf16_to_f32(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def f32_to_bf16(x: np.ndarray, mode: str = "rn") -> np.ndarray:
    """Round to bf16, to nearest even ("rn"), toward zero ("rz")."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    if mode == "rn":
        last = (bits >> np.uint32(16)) & np.uint32(1)
        rounded = bits + np.uint32(0x7FFF) + last
    elif mode == "rz":
        rounded = bits
    else:
        raise ValueError(mode)
    result = (rounded >> np.uint32(16)).astype(np.uint16)
    return np.where(np.isnan(x), np.uint16(0x7FFF), result)


def f64_to_bf16(x: np.ndarray) -> np.ndarray:
    """Round a float64 that was rounded to odd to bf16, to nearest even."""
    return f32_to_bf16(to_odd_f32(x))


def to_odd_f32(x: np.ndarray) -> np.ndarray:
    """float64 -> float32, inexact results with an odd last bit."""
    near = x.astype(np.float32)
    wide = near.astype(np.float64)
    return odd(near, np.where(np.isfinite(wide), x - wide, 0.0))


def odd(s: np.ndarray, error: np.ndarray) -> np.ndarray:
    """s, the sum s + error rounded to nearest, turned into that sum rounded to odd."""
    kind = np.int64 if s.dtype == F64 else np.int32
    bits = np.array(s, copy=True, order="C").view(kind)
    inexact = (error != 0) & np.isfinite(error) & np.isfinite(s) & ((bits & 1) == 0)
    if inexact.any():
        # Zero is even too: the tiniest number of the error's sign is its odd neighbour.
        outward = (error > 0) == ~np.signbit(s)
        bits += np.where(inexact, np.where(outward, 1, -1), 0).astype(kind)
    return bits.view(s.dtype)


def odd_add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a + b of float64, rounded to odd (Knuth's TwoSum gives the error)."""
    s = a + b
    part = s - a
    return odd(s, (a - (s - part)) + (b - part))


def odd_div(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b of float64 that came from float32, rounded to odd."""
    q = a / b
    rest = fma(-q, np.broadcast_to(b, q.shape), np.broadcast_to(a, q.shape))
    return odd(q, rest * np.sign(b))


def odd_sqrt(a: np.ndarray) -> np.ndarray:
    r = np.sqrt(a)
    return odd(r, fma(-r, r, a))


def narrow(x: np.ndarray, kind: np.dtype, mode: str) -> np.ndarray:
    """Round float64 (exact, or rounded to odd) to a narrower numpy float type."""
    near = x.astype(kind)
    if mode in ("rn", ""):
        return near
    wide = near.astype(np.float64)
    if mode == "rz":
        off, toward = np.abs(wide) > np.abs(x), np.zeros((), kind)
    elif mode == "rm":
        off, toward = wide > x, np.array(-np.inf, kind)
    elif mode == "rp":
        off, toward = wide < x, np.array(np.inf, kind)
    else:
        raise ValueError(mode)
    return np.where(off, np.nextafter(near, toward), near)


def to_integral(x: np.ndarray, mode: str) -> np.ndarray:
    """Round to whole numbers: rni, rzi, rmi, rpi."""
    rule = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}[mode]
    return rule(x)


def flush(x: np.ndarray) -> np.ndarray:
    """Subnormal float32 numbers become zeros of their sign."""
    small = np.abs(x) < np.float32(2.0**-126)
    return np.where(small, np.copysign(np.float32(0), x), x) if small.any() else x


def saturate(x: np.ndarray) -> np.ndarray:
    """Clamp to [0, 1]; NaN becomes 0."""
    zero, one = x.dtype.type(0), x.dtype.type(1)
    return np.where(x > zero, np.minimum(x, one), zero)


def tf32_nearest_away(x: np.ndarray) -> np.ndarray:
    """cvt.rna.tf32.f32: 10 bits after the point, halves away from zero."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    rounded = (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(x), rounded, bits & np.uint32(0xFFFFE000))


def tf32_nearest_even(x: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(x).view(np.uint32)
    last = (bits >> np.uint32(13)) & np.uint32(1)
    rounded = (bits + np.uint32(0x0FFF) + last) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(x), rounded, bits & np.uint32(0xFFFFE000))


def unpack2(x: np.ndarray, kind: np.dtype) -> np.ndarray:
    """uint32 of shape (b, t) -> its two 16-bit halves, low first, shape (b, t, 2)."""
    return np.ascontiguousarray(x).view(kind).reshape(*x.shape, 2)


def pack2(x: np.ndarray) -> np.ndarray:
    """The inverse of unpack2, for any 16-bit type."""
    return np.ascontiguousarray(x).view(np.uint32)[..., 0]


class Format:
    """How a type's values are computed with: `open` gives floats, `close` rounds to nearest."""

    def __init__(self, name: str):
        self.name = name
        self.pairs = name.endswith("x2")
        self.base = name[:-2] if self.pairs else name
        self.compute = F64 if name == "f64" else F32

    def open(self, x: np.ndarray) -> np.ndarray:
        """As float32 (float64 for f64), exactly; packed pairs get a last axis of 2."""
        if self.base in ("f32", "f64"):
            return x
        if self.pairs:
            x = unpack2(x, F16 if self.base == "f16" else U16)
        return x.astype(np.float32) if self.base == "f16" else bf16_to_f32(x)

    def close(self, x: np.ndarray) -> np.ndarray:
        """Round float32 results to the format; exact sums of its values round innocuously."""
        if self.base in ("f32", "f64"):
            return x
        if x.dtype == F64:
            result = x.astype(np.float16) if self.base == "f16" else f64_to_bf16(x)
        else:
            result = x.astype(np.float16) if self.base == "f16" else f32_to_bf16(x)
        return pack2(result) if self.pairs else result


FORMATS = {name: Format(name) for name in ("f16", "bf16", "f16x2", "bf16x2", "f32", "f64")}
