"""The simulator's arithmetic against exact fractions, in every rounding mode PTX has."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from instruction_harness import NUMPY, exact, round_to, run, samples

MODES = ["rn", "rz", "rm", "rp"]
WIDTH = {"f16": "b16", "bf16": "b16", "f32": "b32", "f64": "b64"}


def shuffled(x: np.ndarray, seed: int) -> np.ndarray:
    """The same numbers in another order, many of them near their partners in size."""
    rng = np.random.default_rng(seed)
    other = rng.permutation(x)
    near = x.astype(np.float64) * rng.uniform(-1, 1, x.size)
    return np.where(rng.random(x.size) < 0.5, other, near.astype(x.dtype))


def expect(found: np.ndarray, values: list[Fraction | None], name: str, mode: str) -> None:
    """Each result is the exact value, rounded; None leaves an element out."""
    checked = 0
    for got, value in zip(found.astype(np.float64), values, strict=True):
        if value is None:
            continue
        want = round_to(value, name, mode)
        assert got == want, f"{got!r} instead of {want!r}"
        checked += 1
    assert checked > 50


def finite(x: np.ndarray) -> list[Fraction]:
    return [exact(v) for v in x.astype(np.float64)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["f32", "f64"])
@pytest.mark.parametrize("op", ["add", "sub", "mul"])
def test_sums_and_products(op, name, mode):
    x = samples(name, 150, 1)
    y = shuffled(x, 2)
    found = run(f"{op}.{mode}.{name} %out, %a0, %a1;", [x, y], NUMPY[name])
    a, b = finite(x), finite(y)
    rule = {"add": lambda p, q: p + q, "sub": lambda p, q: p - q, "mul": lambda p, q: p * q}[op]
    values = [rule(p, q) for p, q in zip(a, b, strict=True)]
    if name == "f64":  # errors of products below the smallest number are not exact in float64
        values = [v if abs(v) > Fraction(2) ** -960 or v == 0 else None for v in values]
    expect(found, values, name, mode)


@pytest.mark.parametrize("mode", MODES)
def test_fma_rounds_once(mode):
    x = samples("f32", 200, 3)
    y, z = shuffled(x, 4), shuffled(x, 5)
    cancel = np.random.default_rng(6).random(x.size) < 0.4
    with np.errstate(all="ignore"):
        z = np.where(cancel, -(x * y), z).astype(np.float32)
    z = np.where(np.isfinite(z), z, np.float32(0))
    found = run(f"fma.{mode}.f32 %out, %a0, %a1, %a2;", [x, y, z], np.float32)
    a, b, c = finite(x), finite(y), finite(z)
    expect(found, [p * q + r for p, q, r in zip(a, b, c, strict=True)], "f32", mode)


@pytest.mark.parametrize("name", ["f16", "bf16", "f64"])
def test_fma_of_other_formats(name):
    x = samples(name, 200, 7)
    y, z = shuffled(x, 8), shuffled(x, 9)
    bits = WIDTH[name]
    found = run(f"fma.rn.{name} %out, %a0, %a1, %a2;", [x, y, z], NUMPY[name])
    values: list[Fraction | None] = []
    for p, q, r in zip(finite(x), finite(y), finite(z), strict=True):
        value = p * q + r
        values.append(value if name != "f64" or abs(value) > Fraction(2) ** -900 else None)
    assert bits
    expect(found, values, name, "rn")


@pytest.mark.parametrize("name", ["f16", "bf16"])
@pytest.mark.parametrize("op", ["add", "sub", "mul"])
def test_arithmetic_of_halves(op, name):
    x = samples(name, 150, 10)
    y = shuffled(x, 11)
    found = run(f"{op}.rn.{name} %out, %a0, %a1;", [x, y], NUMPY[name])
    rule = {"add": lambda p, q: p + q, "sub": lambda p, q: p - q, "mul": lambda p, q: p * q}[op]
    values = [rule(p, q) for p, q in zip(finite(x), finite(y), strict=True)]
    expect(found, values, name, "rn")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["f32", "f64"])
def test_quotients(name, mode):
    x = samples(name, 150, 12)
    y = shuffled(x, 13)
    found = run(f"div.{mode}.{name} %out, %a0, %a1;", [x, y], NUMPY[name])
    values: list[Fraction | None] = []
    for p, q in zip(finite(x), finite(y), strict=True):
        value = p / q if q else None
        fits = value is not None and (name == "f32" or Fraction(2) ** -900 < abs(value))
        values.append(value if fits else None)
    expect(found, values, name, mode)


@pytest.mark.parametrize("mode", MODES)
def test_square_roots(mode):
    x = np.abs(samples("f32", 200, 14))
    found = run(f"sqrt.{mode}.f32 %out, %a0;", [x], np.float32)
    for value, root in zip(finite(x), found, strict=True):
        below, above = np.nextafter(root, np.float32(0)), np.nextafter(root, np.float32(np.inf))
        r, lo, hi = exact(root), exact(below), exact(above)
        if mode == "rn":
            assert ((r + lo) / 2) ** 2 <= value <= ((r + hi) / 2) ** 2
        elif mode == "rp":
            assert r * r >= value and (value == 0 or lo * lo < value)
        else:
            assert r * r <= value < hi * hi


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("source", "target"), [("f64", "f32"), ("f32", "f16"), ("f64", "f16")])
def test_narrowing(source, target, mode):
    x = samples(source, 300, 15)
    x = x[np.abs(x.astype(np.float64)) < 1e38]
    found = run(f"cvt.{mode}.{target}.{source} %out, %a0;", [x], NUMPY[target])
    expect(found, finite(x), target, mode)


@pytest.mark.parametrize(("target", "mode"), [("bf16", "rn"), ("bf16", "rz"), ("tf32", "rna"),
                                              ("tf32", "rn"), ("tf32", "rz")])  # fmt: skip
def test_narrowing_to_short_formats(target, mode):
    x = samples("f32", 300, 16)
    x = x[np.abs(x) < 1e38]
    kind = NUMPY.get(target, np.float32)
    found = run(f"cvt.{mode}.{target}.f32 %out, %a0;", [x], kind)
    expect(found, finite(x), target, mode)


@pytest.mark.parametrize("mode", ["rn", "rz"])
@pytest.mark.parametrize("target", ["f16", "bf16"])
def test_packed_narrowing(target, mode):
    x = samples("f32", 200, 17)
    x = x[np.abs(x) < 1e38]
    y = shuffled(x, 18)
    found = run(f"cvt.{mode}.{target}x2.f32 %out, %a0, %a1;", [x, y], np.uint32)
    halves = found.view(NUMPY[target]).reshape(-1, 2)
    expect(halves[:, 1], finite(x), target, mode)
    expect(halves[:, 0], finite(y), target, mode)


def test_widening_is_exact():
    for source, target in (("f16", "f32"), ("bf16", "f32"), ("f32", "f64"), ("f16", "f64")):
        x = samples(source, 100, 19)
        found = run(f"cvt.{target}.{source} %out, %a0;", [x], NUMPY[target])
        np.testing.assert_array_equal(found, x.astype(NUMPY[target]))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("source", ["s32", "u32", "s64", "u64"])
def test_integers_to_float(source, mode):
    kind = np.dtype({"s": "int", "u": "uint"}[source[0]] + source[1:])
    info, rng = np.iinfo(kind), np.random.default_rng(20)
    x = rng.integers(info.min, info.max, 150, kind, endpoint=True)
    x = np.r_[x, x >> kind.type(20), np.array([info.min, info.max, 0, 1, 2**24 + 1], kind)]
    found = run(f"cvt.{mode}.f32.{source} %out, %a0;", [x], np.float32)
    expect(found, [Fraction(int(v)) for v in x], "f32", mode)


@pytest.mark.parametrize("mode", ["rni", "rzi", "rmi", "rpi"])
@pytest.mark.parametrize("target", ["s32", "u32", "s16", "u8", "s64"])
def test_float_to_integers(target, mode):
    import math

    bits = int(target[1:])
    kind = np.dtype({"s": "int", "u": "uint"}[target[0]] + str(max(16, bits)))
    x = np.r_[samples("f32", 100, 21), np.arange(-5, 5, dtype=np.float32) + 0.5,
              np.float32([2**31, -(2**31), 3e9, 255.5, -40000, np.inf, -np.inf])]  # fmt: skip
    found = run(f"cvt.{mode}.{target}.f32 %out, %a0;", [x], kind)
    low, high = (0, 2**bits - 1) if target[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    rule = {"rni": round, "rzi": math.trunc, "rmi": math.floor, "rpi": math.ceil}[mode]
    for got, v in zip(found.tolist(), x.tolist(), strict=True):
        value = rule(v) if math.isfinite(v) else (high if v > 0 else low)
        assert got == min(max(value, low), high)
    nothing = run(f"cvt.{mode}.{target}.f32 %out, %a0;", [np.float32([np.nan])], kind)
    assert nothing[0] == (0 if bits < 64 else -(2**63))


def test_subnormals_are_flushed_only_with_ftz():
    x = np.float32([1e-40, -1e-40, 1.5, 2.0**-126])
    y = np.float32([1.0, 1.0, 1.0, -0.5])
    kept = run("mul.rn.f32 %out, %a0, %a1;", [x, y], np.float32)
    gone = run("mul.rn.ftz.f32 %out, %a0, %a1;", [x, y], np.float32)
    assert (kept == x * y).all() and kept[0] != 0
    np.testing.assert_array_equal(gone.view(np.uint32), np.float32([0, -0.0, 1.5, -0.0]).view("u4"))


def test_saturation_and_extremes():
    x = np.float32([-1, 0.25, 7, np.nan, -0.0, np.inf])
    y = np.float32([1, np.nan, 2, np.nan, 0.0, 1])
    sat = run("add.rn.sat.f32 %out, %a0, 0f00000000;", [x], np.float32)
    np.testing.assert_array_equal(sat, np.float32([0, 0.25, 1, 0, 0, 1]))
    least = run("min.f32 %out, %a0, %a1;", [x, y], np.float32)
    np.testing.assert_array_equal(least, np.float32([-1, 0.25, 2, np.nan, -0.0, 1]))
    assert np.signbit(least[4]) and not np.signbit(run("max.f32 %out, %a0, %a1;", [x, y], "f4")[4])
    strict = run("max.NaN.f32 %out, %a0, %a1;", [x, y], np.float32)
    np.testing.assert_array_equal(np.isnan(strict), [False, True, False, True, False, False])


def test_rounding_to_whole_numbers():
    x = np.float32([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 1e10])
    for mode, rule in (("rni", np.rint), ("rzi", np.trunc), ("rmi", np.floor), ("rpi", np.ceil)):
        found = run(f"cvt.{mode}.f32.f32 %out, %a0;", [x], np.float32)
        np.testing.assert_array_equal(found, rule(x))
