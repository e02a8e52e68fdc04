"""Float operations as machine code: accuracy, special values, and the same bits at every width."""

from __future__ import annotations

import math
import operator

import numpy as np
import pytest
from nncomp.backends import coefficients, coefficients_double, fit_coefficients, fit_double
from nncomp.backends.llvm import module_text
from nncomp.backends.scalar import emit_scalar
from scalar_harness import (
    NUMPY,
    SAMPLE,
    SPECIALS,
    apply,
    cross,
    kernel_text,
    run,
    same_bits,
    ulps,
)

# -- float32 functions of one operand -----------------------------------------------------------


def each(function):
    def over(x):
        values = [function(v) if not math.isnan(v) else v for v in x.tolist()]
        return np.array(values, np.float64)

    return over


def sigmoid(x):
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1.0) / (1.0 + small)


REFERENCE = {
    "exp": (np.exp, 1.0),
    "exp2": (np.exp2, 1.0),
    "expm1": (np.expm1, 1.7),
    "log": (np.log, 1.0),
    "log2": (np.log2, 1.2),
    "log1p": (np.log1p, 1.7),
    "sin": (np.sin, 1.7),
    "cos": (np.cos, 1.7),
    "tan": (np.tan, 3.2),
    "asin": (np.arcsin, 2.7),
    "acos": (np.arccos, 2.0),
    "atan": (np.arctan, 2.2),
    "sinh": (np.sinh, 2.0),
    "cosh": (np.cosh, 1.7),
    "tanh": (np.tanh, 5.0),
    "erf": (each(math.erf), 5.0),
    "erfc": (each(math.erfc), 5.0),
    "sigmoid": (sigmoid, 2.5),
    "sqrt": (np.sqrt, 0.5),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 1.5),
    "reciprocal": (lambda x: 1 / x, 0.5),
}


def reference(name, x):
    with np.errstate(all="ignore"):
        return REFERENCE[name][0](x.astype(np.float64))


@pytest.mark.parametrize("name", REFERENCE)
def test_float32_is_accurate_over_the_whole_range_and_at_every_width(name):
    got = apply(name, [SAMPLE], "float32")
    want = reference(name, SAMPLE)
    error = ulps(got, want)
    worst = error.argmax()
    assert error[worst] <= REFERENCE[name][1], (SAMPLE[worst], got[worst], want[worst])
    zero = got == 0
    assert np.array_equal(np.signbit(got[zero]), np.signbit(want[zero]))


@pytest.mark.parametrize("name", REFERENCE)
def test_float32_without_fma_emits_none_and_stays_accurate(name):
    body = lambda e, xs: emit_scalar(e, name, xs, "float32", False)  # noqa: E731
    function, emitter = kernel_text(body, ["float32"], "float32", 8)
    assert "llvm.fma" not in module_text([function], [emitter])
    got = apply(name, [SAMPLE[::4]], "float32", widths=(0, 16), has_fma=False)
    assert ulps(got, reference(name, SAMPLE[::4])).max() <= REFERENCE[name][1] + 1.0


@pytest.mark.parametrize("name", ["tanh", "erf", "sin", "cos"])
def test_results_never_pass_one(name):
    x = np.concatenate([np.linspace(0, 12, 1 << 18), [np.inf] if name in ("tanh", "erf") else [0]])
    assert np.abs(apply(name, [x.astype(np.float32)], "float32", widths=(0, 16))).max() <= 1.0


def test_large_angles_next_to_multiples_of_half_pi():
    count = np.arange(1, 60000, dtype=np.float64)
    x = (count * (math.pi / 2)).astype(np.float32)
    huge = np.float32(16367173) * np.float32(2.0) ** np.arange(0, 100, dtype=np.float32)
    x = np.concatenate([x, huge, -x, -huge])
    for name in ("sin", "cos", "tan"):
        got = apply(name, [x], "float32")
        assert ulps(got, reference(name, x)).max() <= REFERENCE[name][1]


def test_rounding_and_tests_of_one_float():
    for dtype in ("float32", "float64"):
        with np.errstate(invalid="ignore"):
            x = np.concatenate([SPECIALS, np.arange(-5, 5, 0.25)]).astype(NUMPY[dtype])
        for name, of in {"floor": np.floor, "ceil": np.ceil, "round": np.rint, "trunc": np.trunc,
                         "neg": np.negative, "abs": np.abs}.items():
            assert same_bits(apply(name, [x], dtype), of(x)), name
        for name in ("isnan", "isinf", "isfinite", "logical_not"):
            want = getattr(np, name)(x)
            assert np.array_equal(apply(name, [x], dtype), want), name
        assert np.array_equal(apply("sign", [x], dtype), np.nan_to_num(np.sign(x)))


# -- float32 functions of two operands ----------------------------------------------------------


def test_pow_follows_c_at_special_values():
    a, b = cross(SPECIALS, SPECIALS)
    got = apply("pow", [a, b], "float32")
    with np.errstate(all="ignore"):
        want = np.power(a.astype(np.float64), b.astype(np.float64))
        exact = ~np.isfinite(want) | (want == 0) | (np.abs(want) == 1)
        assert same_bits(got[exact], want[exact].astype(np.float32))
        assert ulps(got, want).max() <= 1.0


def test_pow_is_accurate():
    random = np.random.default_rng(5)
    a = np.exp2(random.uniform(-126, 127, 1 << 17)).astype(np.float32)
    b = (random.uniform(-160, 140, a.size) / np.log2(a.astype(np.float64))).astype(np.float32)
    near = random.uniform(0.9, 1.1, 1 << 14).astype(np.float32)
    a = np.concatenate([a, near, -near])
    power = random.integers(-900, 900, near.size * 2).astype(np.float32)
    b = np.concatenate([b, power])
    for has_fma in (True, False):
        got = apply("pow", [a, b], "float32", has_fma=has_fma)
        with np.errstate(all="ignore"):
            want = np.power(a.astype(np.float64), b.astype(np.float64))
        assert ulps(got, want).max() <= (1.0 if has_fma else 1.3)


def test_atan2_has_every_quadrant_and_cs_special_values():
    random = np.random.default_rng(6)
    y, x = (np.exp2(random.uniform(-20, 20, 1 << 15)) * random.choice([-1, 1], 1 << 15)
            for _ in range(2))
    y, x = (np.concatenate([s, r]).astype(np.float32)
            for s, r in zip(cross(SPECIALS, SPECIALS), (y, x), strict=True))
    got = apply("atan2", [y, x], "float32")
    with np.errstate(all="ignore"):
        want = np.arctan2(y.astype(np.float64), x.astype(np.float64))
    zero = got == 0
    assert np.array_equal(np.signbit(got[zero]), np.signbit(want[zero]))
    assert ulps(got, want).max() <= 2.7


def float_pairs(dtype):
    random = np.random.default_rng(7)
    wide = [(np.exp2(random.uniform(-120, 120, 4096)) * random.choice([-1, 1], 4096))
            for _ in range(2)]
    ratio = [random.integers(-40, 40, 4096) * 0.25 for _ in range(2)]
    with np.errstate(invalid="ignore"):
        parts = zip(cross(SPECIALS, SPECIALS), wide, ratio, strict=True)
        return [np.concatenate(p).astype(np.float32).astype(NUMPY[dtype]) for p in parts]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("has_fma", [True, False])
def test_float_remainders_are_exact(dtype, has_fma):
    a, b = float_pairs(dtype)
    with np.errstate(all="ignore"):
        rest = np.fmod(a, b)
        assert same_bits(apply("fmod", [a, b], dtype, has_fma=has_fma), rest)
        below = (rest != 0) & (np.signbit(rest) != np.signbit(b))
        want = np.where(below, rest + b, rest)
        assert same_bits(apply("remainder", [a, b], dtype, has_fma=has_fma), want)
        want = np.floor_divide(a, b)
    got = apply("floor_divide", [a, b], dtype, has_fma=has_fma)
    plain = np.isfinite(want) & (np.abs(want) < 2.0**20)
    assert np.array_equal(got[plain], want[plain])
    assert np.array_equal(got[~np.isfinite(want)], want[~np.isfinite(want)], equal_nan=True)
    assert np.allclose(got, want, rtol=1e-6, atol=0, equal_nan=True)


def test_float_arithmetic_and_comparison():
    arithmetic = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
    comparison = {n: getattr(operator, n) for n in ("eq", "ne", "lt", "le", "gt", "ge")}
    for dtype in ("float32", "float64"):
        a, b = float_pairs(dtype)
        with np.errstate(all="ignore"):
            for name, of in arithmetic.items():
                assert same_bits(apply(name, [a, b], dtype), of(a, b)), name
            for name, of in comparison.items():
                assert np.array_equal(apply(name, [a, b], dtype), of(a, b)), name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_maximum_and_minimum_propagate_nan(dtype):
    a, b = float_pairs(dtype)
    for name, of in (("maximum", np.maximum), ("minimum", np.minimum)):
        assert np.array_equal(apply(name, [a, b], dtype), of(a, b), equal_nan=True)
        for number in (0.0, -2.5, math.inf, math.nan):

            def with_constant(e, xs, name=name, number=number):
                constant = e.const(xs[0].type, number)
                flipped = emit_scalar(e, name, [constant, xs[0]], dtype)
                straight = emit_scalar(e, name, [xs[0], constant], dtype)
                return emit_scalar(e, name, [flipped, straight], dtype)

            for got in run(with_constant, [a], [dtype], dtype, (0, 8)):
                assert np.array_equal(got, of(a, NUMPY[dtype].type(number)), equal_nan=True)


def test_fma_rounds_once():
    a, b = np.random.default_rng(8).uniform(1, 2, (2, 4096)).astype(np.float32)
    got = apply("fma", [a, b, -(a * b)], "float32")
    want = a.astype(np.float64) * b - (a * b)
    assert np.array_equal(got, want) and np.any(got)


def test_separate_multiply_add_and_select():
    a, b = float_pairs("float32")
    c = a[::-1].copy()
    with np.errstate(all="ignore"):
        two_steps = a * b + c
        assert same_bits(apply("fma", [a, b, c], "float32", has_fma=False), two_steps)
    condition = np.arange(len(a)) % 3 == 0
    got = apply("select", [condition, a, b], "float32")
    assert same_bits(got, np.where(condition, a, b))


# -- float64 ------------------------------------------------------------------------------------


LONG = np.longdouble
DOUBLE = {  # units in the last place
    "exp": (np.exp, 1.0),
    "exp2": (np.exp2, 1.0),
    "expm1": (np.expm1, 2.0),
    "log": (np.log, 1.0),
    "log2": (np.log2, 1.1),
    "log1p": (np.log1p, 1.6),
    "sin": (np.sin, 1.6),
    "cos": (np.cos, 1.6),
    "tan": (np.tan, 3.0),
    "asin": (np.arcsin, 2.3),
    "acos": (np.arccos, 1.4),
    "atan": (np.arctan, 2.6),
    "sinh": (np.sinh, 1.8),
    "cosh": (np.cosh, 1.5),
    "tanh": (np.tanh, 2.8),
    "erf": (each(math.erf), 2.0),
    "erfc": (each(math.erfc), 5.0),
    "sigmoid": (sigmoid, 2.5),
    "sqrt": (np.sqrt, 0.5),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 1.5),
    "reciprocal": (lambda x: 1 / x, 0.5),
}


def double_sample():
    random = np.random.default_rng(9)
    wide = np.exp2(random.uniform(-1074, 1024, 20000)) * random.choice([-1, 1], 20000)
    common = np.exp2(random.uniform(-60, 10, 20000)) * random.choice([-1, 1], 20000)
    edges = [5e-324, 2.2e-308, 709.7, 709.8, 710.4, 710.5, 711.0, -745.1, -745.2, 1023.9, -1074.5]
    edges += [1.7976931348623157e308, 27.2, 27.3, 22.0, 0.5, 1.0, 2.0**48, 2.0**49, 1e22, 1e300]
    parts = [SPECIALS.astype(np.float64), edges, np.negative(edges), wide, common]
    ranges = [random.uniform(-end, end, 20000) for end in (1, 40, 750)]
    return np.concatenate([*parts, *ranges])


@pytest.mark.parametrize("has_fma", [True, False])
@pytest.mark.parametrize("name", DOUBLE)
def test_float64_is_accurate_over_the_whole_range_and_at_every_width(name, has_fma):
    of, most = DOUBLE[name]
    with np.errstate(all="ignore"):
        x = double_sample()
        got = apply(name, [x], "float64", widths=(0, 2, 8), has_fma=has_fma)
        want = of(x.astype(LONG) if of.__class__ is np.ufunc else x)
        error = ulps(got, want, 53, -1074)
    worst = error.argmax()
    assert error[worst] <= most + (0 if has_fma else 0.8), (x[worst], got[worst], want[worst])


def test_float64_angles_next_to_multiples_of_half_pi():
    count = np.concatenate([np.arange(1, 50000), 2.0 ** np.arange(17, 47) + 1])
    x = count * (math.pi / 2)
    for name in ("sin", "cos", "tan"):
        got = apply(name, [x], "float64", widths=(0, 8))
        assert ulps(got, DOUBLE[name][0](x), 53, -1074).max() <= DOUBLE[name][1] + 1


def test_float64_of_two_operands():
    a, b = float_pairs("float64")
    with np.errstate(all="ignore"):
        for name, of in (("pow", np.power), ("atan2", np.arctan2)):
            for has_fma in (True, False):
                got = apply(name, [a, b], "float64", widths=(0, 2, 8), has_fma=has_fma)
                want = of(a.astype(LONG), b.astype(LONG))
                assert ulps(got, want, 53, -1074).max() <= 2.7
                zero = got == 0
                assert np.array_equal(np.signbit(got[zero]), np.signbit(of(a, b)[zero]))


def test_float64_pow_keeps_its_accuracy_where_the_result_is_far_from_one():
    random = np.random.default_rng(10)
    a = np.concatenate([np.exp2(random.uniform(-1074, 1023, 1 << 15)),
                        random.uniform(0.9, 1.1, 1 << 14)])
    b = random.uniform(-1080, 1030, a.size) / np.log2(a)
    with np.errstate(all="ignore"):
        want = np.power(a.astype(LONG), b.astype(LONG))
    for has_fma in (True, False):
        got = apply("pow", [a, b], "float64", widths=(0, 8), has_fma=has_fma)
        assert ulps(got, want, 53, -1074).max() <= (1.2 if has_fma else 1.5)


# -- tables --------------------------------------------------------------------------------


def test_the_generator_reproduces_the_tables():
    for name, numbers in fit_coefficients.generate().items():
        shipped = getattr(coefficients, name)
        assert len(shipped) == len(numbers)
        assert np.allclose(shipped, numbers, rtol=1e-3, atol=1e-9), name


@pytest.mark.skipif(np.finfo(LONG).nmant < 60, reason="the fits need floats longer than float64")
def test_the_generator_reproduces_the_double_tables():
    for name, numbers in fit_double.generate().items():
        shipped = getattr(coefficients_double, name)
        assert len(shipped) == len(numbers)
        u = np.linspace(-0.17, 0.17, 9)
        new, old = (np.polynomial.polynomial.polyval(u, c) for c in (numbers, shipped))
        assert np.allclose(new, old, rtol=1e-14, atol=0), name
