"""cvt: between integers, floats and half formats, with every rounding mode they have."""

from __future__ import annotations

import numpy as np

from .decode import Decoder, Run, np_type, opcode
from .ops_float import Rule, positive
from .rounding import (
    FORMATS,
    bf16_to_f32,
    f32_to_bf16,
    flush,
    narrow,
    odd,
    pack2,
    saturate,
    tf32_nearest_away,
    tf32_nearest_even,
    to_integral,
    to_odd_f32,
)  # fmt: skip
from .state import State
from .syntax import type_bits

FLOATS = ("f16", "bf16", "f32", "f64")
PAIRS = ("f16x2", "bf16x2")
INTEGRAL = ("rni", "rzi", "rmi", "rpi")
MODES = ("rn", "rz", "rm", "rp", "rna")


@opcode("cvt")
def decode_cvt(d: Decoder) -> Run:
    source = d.type()
    target = d.type()
    mode = d.pick(*INTEGRAL, *MODES)
    ftz, sat, relu = d.has("ftz"), d.has("sat"), d.has("relu")
    finite = d.has("satfinite")
    if target in PAIRS:
        return to_pair(d, mode, target, relu, finite)
    if target == "tf32":
        return to_tf32(d, source, mode)
    if target in FLOATS and source in FLOATS:
        rule = float_to_float(d, source, target, mode, ftz, sat)
    elif target in FLOATS:
        rule = int_to_float(d, source, target, mode, sat)
    elif source in FLOATS:
        rule = float_to_int(d, source, target, mode, ftz)
    else:
        rule = int_to_int(source, target, sat)
    if relu or finite:
        inner = rule
        rule = lambda x: bounded(inner(x), target, relu, finite)  # noqa: E731
    put, a = d.put(0, target, wide=True), d.get(1, source, wide=True)
    return lambda s: put(s, rule(a(s)))


def bounded(x: np.ndarray, target: str, relu: bool, finite: bool) -> np.ndarray:
    """Results of .relu and .satfinite."""
    form = FORMATS[target]
    if relu:
        x = form.close(positive(form.open(x)))
    return largest(x, target) if finite else x


def to_pair(d: Decoder, mode: str, target: str, relu: bool, finite: bool) -> Run:
    """cvt.rn.bf16x2.f32 d, a, b: a becomes the upper half."""
    put, a, b = d.put(0, target), d.get(1, "f32"), d.get(2, "f32")
    half = target[:-2]

    def close(x: np.ndarray) -> np.ndarray:
        if relu:
            x = positive(x)
        x = shrink(x, half, mode)
        return largest(x, half) if finite else x

    def run(s: State) -> None:
        high, low = np.broadcast_arrays(close(a(s)), close(b(s)))
        put(s, pack2(np.stack([low, high], -1)))

    return run


def largest(x: np.ndarray, target: str) -> np.ndarray:
    """.satfinite: infinities become the largest number of their sign."""
    bits = x.view(np.uint16)
    infinite, most = {"f16": (0x7C00, 0x7BFF), "bf16": (0x7F80, 0x7F7F)}[target]
    sign = bits & np.uint16(0x8000)
    found = np.where(bits & np.uint16(0x7FFF) == infinite, sign | np.uint16(most), bits)
    return found.view(x.dtype)


def to_tf32(d: Decoder, source: str, mode: str) -> Run:
    if d.op.mods[-2:] != ("tf32", source) or {"relu", "satfinite"} & set(d.op.mods):
        raise d.error("only plain conversions to tf32 are supported.")
    put, a = d.put(0, "b32"), d.get(1, "f32")
    if mode == "rz":
        return lambda s: put(s, a(s).view(np.uint32) & np.uint32(0xFFFFE000))
    rule = tf32_nearest_away if mode == "rna" else tf32_nearest_even
    return lambda s: put(s, rule(a(s)))


def float_to_float(d: Decoder, source: str, target: str, mode: str, ftz: bool, sat: bool) -> Rule:
    wide = np.float64 if source == "f64" else np.float32
    size = {"f16": 16, "bf16": 16, "f32": 32, "f64": 64}
    narrows = size[target] < size[source]
    if mode in INTEGRAL and source != target:
        raise d.error(f".{mode} needs equal types.")
    if narrows and mode not in ("rn", "rz", "rm", "rp"):
        raise d.error("expected a rounding mode.")
    if target == "bf16" and mode not in ("rn", "rz", ""):
        raise d.error("bf16 is rounded .rn or .rz.")
    if "bf16" in (source, target) and "f16" in (source, target):
        raise d.error("there is no conversion between f16 and bf16.")

    def rule(x: np.ndarray) -> np.ndarray:
        value = bf16_to_f32(x) if source == "bf16" else x.astype(wide)
        if ftz and source == "f32":
            value = flush(value)
        if mode in INTEGRAL:
            value = to_integral(value, mode)
        if sat:
            value = saturate(value)
        return shrink(value, target, mode, ftz)

    return rule


def shrink(value: np.ndarray, target: str, mode: str, ftz: bool = False) -> np.ndarray:
    """float32 or float64 to any float type."""
    if target == "bf16":
        if value.dtype == np.float64:
            value = to_odd_f32(value) if mode == "rn" else narrow(value, np.dtype("f4"), "rz")
        return f32_to_bf16(value, mode if mode in ("rn", "rz") else "rn")
    kind = np_type(target)
    if mode in MODES and kind.itemsize < value.dtype.itemsize:
        value = narrow(value.astype(np.float64), kind, mode)
    else:
        value = value.astype(kind)
    return flush(value) if ftz and target == "f32" else value


def int_to_float(d: Decoder, source: str, target: str, mode: str, sat: bool) -> Rule:
    if mode not in ("rn", "rz", "rm", "rp"):
        raise d.error("expected a rounding mode.")

    def rule(x: np.ndarray) -> np.ndarray:
        if mode == "rn" and target in ("f32", "f64"):
            value = x.astype(np_type(target))
        else:
            value = shrink(exact_float(x), target, mode)
            if target == "f64" and mode != "rn":
                raise d.error("64-bit integers only round to nearest in f64.")
        return saturate(value) if sat else value

    return rule


def exact_float(x: np.ndarray) -> np.ndarray:
    """Integers as float64, rounded to odd where 53 bits are too few."""
    near = x.astype(np.float64)
    if x.dtype.itemsize < 8:
        return near
    half = np.uint64(32) if x.dtype.kind == "u" else np.int64(32)
    high = (x >> half).astype(np.float64) * 2.0**32
    low = (x & x.dtype.type(0xFFFFFFFF)).astype(np.float64)
    return odd(near, low - (near - high))


def float_to_int(d: Decoder, source: str, target: str, mode: str, ftz: bool) -> Rule:
    """Rounds, then clamps to the target's range; NaN gives 0 (64-bit targets: the top bit)."""
    if mode not in INTEGRAL:
        raise d.error("expected .rni, .rzi, .rmi or .rpi.")
    kind = np_type(target)
    info = np.iinfo(kind)

    def rule(x: np.ndarray) -> np.ndarray:
        value = FORMATS[source].open(x)
        if ftz and source == "f32":
            value = flush(value)
        value = to_integral(value.astype(np.float64), mode)
        low, high = float(info.min), float(info.max)
        inside = (value >= low) & (value < high if kind.itemsize == 8 else value <= high)
        result = np.where(inside, value, 0).astype(kind)
        result = np.where(value > high if kind.itemsize < 8 else value >= high, info.max, result)
        result = np.where(value < low, info.min, result)
        nothing = 0 if kind.itemsize < 8 else (info.min if kind.kind == "i" else 1 << 63)
        return np.where(np.isnan(value), kind.type(nothing), result).astype(kind)

    return rule


def int_to_int(source: str, target: str, sat: bool) -> Rule:
    kind = np_type(target)
    if not sat:
        return lambda x: x.astype(kind)
    info = np.iinfo(kind)
    low = max(int(info.min), int(np.iinfo(np_type(source)).min))
    high = min(int(info.max), int(np.iinfo(np_type(source)).max))
    assert type_bits(target)
    return lambda x: np.clip(x, low, high).astype(kind)
