"""Floating-point arithmetic: sums, products, quotients, extremes, roots and approximations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .decode import Decoder, Run, opcode
from .fused import fma
from .rounding import (
    F32,
    FORMATS,
    Format,
    flush,
    narrow,
    odd_add,
    odd_div,
    odd_sqrt,
    saturate,
)  # fmt: skip
from .state import State

FLOAT_TYPES = frozenset(FORMATS)
Rule = Callable[..., np.ndarray]


def is_float(d: Decoder) -> bool:
    return bool(d.mods) and d.mods[-1] in FLOAT_TYPES


def simple(d: Decoder, form: Format, rule: Rule, arity: int, ftz: bool, sat: bool) -> Run:
    """d = close(rule(open(a), ...)), with flushing and saturation."""
    put = d.put(0, form.name)
    gets = [d.get(i + 1, form.name) for i in range(arity)]
    plain = form.base in ("f32", "f64")
    if plain and not ftz and not sat:
        if arity == 1:
            (one,) = gets
            return lambda s: put(s, rule(one(s)))
        if arity == 2:
            a, b = gets
            return lambda s: put(s, rule(a(s), b(s)))
        a, b, c = gets
        return lambda s: put(s, rule(a(s), b(s), c(s)))

    def run(s: State) -> None:
        values = [form.open(get(s)) for get in gets]
        if ftz:
            values = [flush(v) for v in values]
        result = rule(*values)
        if sat:
            result = saturate(result)
        if plain:
            put(s, flush(result) if ftz else result)
        else:
            put(s, form.close(result))

    return run


def directed(exact: Rule, mode: str) -> Rule:
    """float32 rule that rounds as `mode` says what `exact` gives in float64, rounded to odd."""
    return lambda *v: narrow(exact(*(x.astype(np.float64) for x in v)), F32, mode)


def directed64(value: np.ndarray, error: np.ndarray, mode: str) -> np.ndarray:
    """value + error, which is exact, rounded to float64 as `mode` says."""
    if mode == "rz":
        off = (error != 0) & ((error < 0) == (value > 0)) & (value != 0)
        return np.where(off, np.nextafter(value, 0.0), value)
    off = error < 0 if mode == "rm" else error > 0
    return np.where(off, np.nextafter(value, -np.inf if mode == "rm" else np.inf), value)


def add64(mode: str) -> Rule:
    def rule(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        s = a + b
        part = s - a
        return directed64(s, (a - (s - part)) + (b - part), mode)

    return rule


def mul64(mode: str) -> Rule:
    def rule(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        product = a * b
        return directed64(product, fma(a, b, -product), mode)

    return rule


def binary_rule(name: str, form: Format, mode: str) -> Rule:
    if mode == "rn":
        return {"add": np.add, "sub": np.subtract, "mul": np.multiply}[name]
    if form.name == "f64":
        if name == "mul":
            return mul64(mode)
        rule = add64(mode)
        return rule if name == "add" else lambda a, b: rule(a, -b)
    exact: dict[str, Rule] = {
        "add": odd_add, "sub": lambda a, b: odd_add(a, -b), "mul": np.multiply,
    }  # fmt: skip
    return directed(exact[name], mode)


def float_binary(d: Decoder, name: str) -> Run:
    """add, sub, mul of floats."""
    form = FORMATS[d.type()]
    mode = d.pick("rn", "rz", "rm", "rp", default="rn")
    ftz, sat = d.has("ftz"), d.has("sat")
    if mode != "rn" and form.base not in ("f32", "f64"):
        raise d.error("half types only round to nearest.")
    return simple(d, form, binary_rule(name, form, mode), 2, ftz, sat)


def half_fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a * b + c of half values held in float32: a float64 rounded to odd."""
    product = a.astype(np.float64) * b.astype(np.float64)
    return odd_add(product, c.astype(np.float64))


def odd_fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    return odd_add(a * b, c)


def float_fma(d: Decoder) -> Run:
    """fma, and mad of floats."""
    form = FORMATS[d.type()]
    mode = d.pick("rn", "rz", "rm", "rp", default="rn")
    ftz, sat, relu = d.has("ftz"), d.has("sat"), d.has("relu")
    if form.base in ("f32", "f64"):
        if mode == "rn":
            rule: Rule = fma
        elif form.name == "f32":
            rule = directed(odd_fma, mode)
        else:
            raise d.error("fma of f64 only rounds to nearest here.")
    else:
        rule = half_fma
    if relu:
        inner = rule
        rule = lambda a, b, c: positive(inner(a, b, c))  # noqa: E731
    return simple(d, form, rule, 3, ftz, sat)


def positive(x: np.ndarray) -> np.ndarray:
    """max(x, 0) that keeps NaN."""
    return np.where(x < 0, x.dtype.type(0), x)


@opcode("fma")
def decode_fma(d: Decoder) -> Run:
    return float_fma(d)


def least(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """min of PTX: -0 is below +0, NaN only if both are."""
    lower = (a < b) | ((a == b) & np.signbit(a)) | np.isnan(b)
    return np.where(lower, a, b)


def greatest(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    upper = (a > b) | ((a == b) & ~np.signbit(a)) | np.isnan(b)
    return np.where(upper, a, b)


def float_extreme(d: Decoder, name: str) -> Run:
    """min and max of floats, with .NaN and .xorsign.abs."""
    form = FORMATS[d.type()]
    ftz, nan = d.has("ftz"), d.has("NaN")
    sign, absolute = d.has("xorsign"), d.has("abs")
    if sign != absolute:
        raise d.error(".xorsign goes with .abs.")
    pick = least if name == "min" else greatest

    def rule(*values: np.ndarray) -> np.ndarray:
        result = values[0]
        for v in values[1:]:
            both = np.isnan(result) | np.isnan(v)
            found = pick(np.abs(result), np.abs(v)) if sign else pick(result, v)
            if sign:
                found = np.where(np.signbit(result) != np.signbit(v), -found, found)
            result = np.where(both, found.dtype.type(np.nan), found) if nan else found
        return result

    return simple(d, form, rule, d.count - 1, ftz, False)


def float_sign(d: Decoder, name: str) -> Run:
    """abs and neg of floats: the sign bit alone, NaN kept."""
    type_ = d.type()
    ftz = d.has("ftz")
    kind = {"f16": "b16", "bf16": "b16", "f32": "b32", "f64": "b64"}.get(type_, "b32")
    if ftz and type_ == "f32":
        rule = np.abs if name == "abs" else np.negative
        return simple(d, FORMATS["f32"], rule, 1, True, False)
    put, a = d.put(0, kind), d.get(1, kind)
    bits = {"b16": 0x8000, "b64": 1 << 63}.get(kind, 0x80008000 if "x2" in type_ else 1 << 31)
    width = {"b16": np.uint16, "b64": np.uint64}.get(kind, np.uint32)
    sign = width(bits)
    if name == "abs":
        return lambda s: put(s, a(s) & ~sign)
    return lambda s: put(s, a(s) ^ sign)


def div64(mode: str) -> Rule:
    """Quotients of float64 in a directed mode; exact for results that are not subnormal."""

    def rule(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        (m, e), (n, f) = np.frexp(a), np.frexp(b)
        q = m / n
        return np.ldexp(directed64(q, fma(-q, n, m) * np.sign(n), mode), e - f)

    return rule


def float_div(d: Decoder) -> Run:
    form = FORMATS[d.type("f32", "f64")]
    mode = d.need("rn", "rz", "rm", "rp", "approx", "full")
    ftz = d.has("ftz")
    if mode == "rn":
        return simple(d, form, np.divide, 2, ftz, False)
    if form.name == "f64":
        return simple(d, form, div64(mode), 2, False, False)
    if mode in ("approx", "full"):
        return approximate(d, lambda a, b: a / b, 2, ftz)
    return simple(d, form, directed(odd_div, mode), 2, ftz, False)


def approximate(d: Decoder, rule: Rule, arity: int, ftz: bool, ulps: int = 2) -> Run:
    """A float32 approximation: the correctly rounded result, moved a little if noise is on."""
    put = d.put(0, "f32")
    gets = [d.get(i + 1, "f32") for i in range(arity)]

    def run(s: State) -> None:
        values = [get(s) for get in gets]
        if ftz:
            values = [flush(v) for v in values]
        result = rule(*(v.astype(np.float64) for v in values)).astype(np.float32)
        if s.noise is not None:
            result = disturb(result, s.noise, ulps)
        put(s, flush(result) if ftz else result)

    return run


def disturb(x: np.ndarray, noise: np.random.Generator, ulps: int) -> np.ndarray:
    """Move numbers by up to `ulps` units in the last place; 0, 1, infinities and NaN stay."""
    moved = x.view(np.int32) + noise.integers(-ulps, ulps + 1, x.shape, np.int32)
    special = ~np.isfinite(x) | (np.abs(x) < np.float32(2.0**-120)) | (x == 1)
    return np.where(special, x, moved.view(np.float32))


@opcode("sqrt", "rcp")
def decode_root(d: Decoder) -> Run:
    exact: Rule = odd_sqrt if d.op.opcode == "sqrt" else lambda a: odd_div(np.ones_like(a), a)
    near: Rule = np.sqrt if d.op.opcode == "sqrt" else lambda a: a.dtype.type(1) / a
    form = FORMATS[d.type("f32", "f64")]
    mode = d.need("rn", "rz", "rm", "rp", "approx")
    ftz = d.has("ftz")
    if mode == "approx":
        if form.name == "f64":
            return simple(d, form, near, 1, False, False)
        return approximate(d, near, 1, ftz)
    if mode == "rn":
        return simple(d, form, near, 1, ftz, False)
    if form.name == "f64":
        raise d.error("f64 only rounds to nearest here.")
    return simple(d, form, directed(exact, mode), 1, ftz, False)


APPROXIMATIONS: dict[str, Rule] = {
    "rsqrt": lambda a: 1 / np.sqrt(a),
    "sin": np.sin,
    "cos": np.cos,
    "ex2": np.exp2,
    "lg2": np.log2,
    "tanh": np.tanh,
}


@opcode(*APPROXIMATIONS)
def decode_approximation(d: Decoder) -> Run:
    rule = APPROXIMATIONS[d.op.opcode]
    form = FORMATS[d.type()]
    if not d.has("approx"):
        raise d.error("expected .approx.")
    ftz = d.has("ftz")
    if form.name == "f32":
        return approximate(d, rule, 1, ftz, 2 if d.op.opcode != "tanh" else 4096)
    if form.name == "f64" and d.op.opcode != "rsqrt":
        raise d.error("there is no approximation for f64.")
    return simple(d, form, rule, 1, False, False)


@opcode("copysign")
def decode_copysign(d: Decoder) -> Run:
    form = FORMATS[d.type("f32", "f64")]
    return simple(d, form, lambda a, b: np.copysign(b, a), 2, False, False)


@opcode("testp")
def decode_testp(d: Decoder) -> Run:
    form = FORMATS[d.type("f32", "f64")]
    name = d.need("finite", "infinite", "number", "notanumber", "normal", "subnormal")
    tiny = np.finfo(form.compute).tiny
    rules: dict[str, Rule] = {
        "finite": np.isfinite,
        "infinite": np.isinf,
        "number": lambda a: ~np.isnan(a),
        "notanumber": np.isnan,
        "normal": lambda a: np.isfinite(a) & (np.abs(a) >= tiny),
        "subnormal": lambda a: (np.abs(a) < tiny) & (a != 0),
    }
    put, a, rule = d.put(0, "pred"), d.get(1, form.name), rules[name]
    return lambda s: put(s, rule(a(s)))

