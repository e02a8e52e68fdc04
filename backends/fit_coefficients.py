"""Fits the polynomials and rationals of the float32 vector math and writes coefficients.py.

    python -m nncomp.backends.fit_coefficients

Every fit is a minimax one found by Lawson's iteration: weighted least squares whose weights grow
where the error is largest (C. L. Lawson, 1961; for rationals with the denominator of the last
turn as a further weight, Sanathanan and Koerner, 1963). Coefficients are rounded to float32 one
after the other, lowest order first, and the rest is fitted again, so that rounding is repaired.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, getcontext
from pathlib import Path

import numpy as np

Array = np.ndarray
LONG = np.longdouble
NODES = 600
TURNS = 60


def nodes(low: float, high: float) -> Array:
    """Chebyshev points of an interval: dense at both ends, never on them."""
    angle = (np.arange(NODES, dtype=LONG) + LONG(0.5)) * (LONG(np.pi) / NODES)
    return LONG(low) + (LONG(high) - LONG(low)) * (1 - np.cos(angle)) / 2


def lawson(basis: Array, target: Array, weight: Array) -> Array:
    """Coefficients c with the smallest maximum of |weight * (basis @ c - target)|."""
    scale = np.abs(basis).max(axis=0)
    rows = (basis / scale * weight[:, None]).astype(np.float64)
    goal = (target * weight).astype(np.float64)
    importance = np.full(len(goal), 1.0)
    best, best_error = np.zeros(rows.shape[1]), math.inf
    for _ in range(TURNS):
        root = np.sqrt(importance)
        found = np.linalg.lstsq(rows * root[:, None], goal * root, rcond=None)[0]
        error = np.abs(rows @ found - goal)
        if error.max() < best_error:
            best, best_error = found, error.max()
        importance *= error / error.max() + 1e-6
        importance /= importance.max()
    return best / scale.astype(np.float64)


def polynomial(target: Array, u: Array, weight: Array, degree: int, dtype=np.float32) -> list:
    """Minimax polynomial in `u`, lowest order first, each coefficient a number of `dtype`."""
    fixed: list[float] = []
    left = target.astype(LONG)
    for order in range(degree + 1):
        powers = np.stack([u**k for k in range(order, degree + 1)], axis=1)
        coefficient = float(dtype(lawson(powers, left, weight)[0]))
        fixed.append(coefficient)
        left = left - LONG(coefficient) * u**order
    return fixed


def rational(target: Array, u: Array, degrees: tuple[int, int]) -> tuple[list, list]:
    """P and Q (P's constant is 1) with the smallest relative error of P(u) / Q(u)."""
    top, bottom = degrees
    unit = u / u.max()
    basis = np.polynomial.chebyshev.chebvander((2 * unit - 1).astype(np.float64), max(degrees))
    columns = np.concatenate([basis[:, : top + 1], -target[:, None] * basis[:, 1 : bottom + 1]], 1)
    denominator = np.ones_like(unit)
    for _ in range(12):
        found = lawson(columns, target * basis[:, 0], 1 / (target * denominator))
        below = np.concatenate([[1.0], found[top + 1 :]])
        denominator = (basis[:, : bottom + 1] @ below).astype(LONG)
    q = _monomials(below, float(u.max()))
    p = _monomials(found[: top + 1], float(u.max()))
    q = [float(np.float32(c / p[0])) for c in q]
    value = sum(LONG(c) * u**k for k, c in enumerate(q))
    return polynomial(target * value, u, 1 / (target * value), top), q


def _monomials(chebyshev: Array, width: float) -> list[float]:
    """Chebyshev coefficients on [0, width] turned into powers of u."""
    series = np.polynomial.Chebyshev(chebyshev, domain=[0.0, width])
    return list(series.convert(kind=np.polynomial.Polynomial).coef)


def _each(function: Callable[[float], float], x: Array) -> Array:
    return np.array([function(float(v)) for v in x], LONG)


def exponentials() -> dict[str, list]:
    """e^r = 1 + r + r^2 P(r), 2^r = 1 + r P(r), sinh x = x + x^3 P(x^2) on |x| <= 1."""
    r = nodes(-0.351, 0.351)
    half = nodes(-0.501, 0.501)
    x = nodes(0, 1)
    sinh = np.sinh(x)
    return {
        "EXP": polynomial((np.expm1(r) - r) / r**2, r, r**2, 4),
        "EXP2": polynomial(np.expm1(half * np.log(LONG(2))) / half, half, half, 5),
        "SINH": polynomial((sinh - x) / x**3, x * x, x**3 / sinh, 3),
    }


def logarithms() -> dict[str, list]:
    """log(1+f) = f - f^2/2 + f^3 P(f) and, in double, log2(1+f) = f P(f); 1+f in sqrt(1/2, 2)."""
    f = nodes(math.sqrt(0.5) - 1.0001, math.sqrt(2) - 0.9999)
    log = np.log1p(f)
    double = polynomial(log / np.log(LONG(2)) / f, f, f / log, 13, np.float64)
    return {
        "LOG": polynomial((log - f + f * f / 2) / f**3, f, np.abs(f**3 / log), 7),
        "LOG2_DOUBLE": double,
    }


def trigonometrics() -> dict[str, list]:
    """sin, tan, asin, atan x = x + x^3 P(x^2); cos x = 1 - x^2/2 + x^4 P(x^2)."""
    r = nodes(0, math.pi / 4 + 0.001)
    quarter = nodes(0, 0.5)
    unit = nodes(0, 1)

    def odd(value: Array, x: Array, degree: int) -> list:
        return polynomial((value - x) / x**3, x * x, x**3 / value, degree)

    return {
        "SIN": odd(np.sin(r), r, 2),
        "COS": polynomial((np.cos(r) - 1 + r * r / 2) / r**4, r * r, r**4, 2),
        "TAN": odd(np.tan(r), r, 5),
        "ASIN": odd(np.arcsin(quarter), quarter, 4),
        "ATAN": odd(np.arctan(unit), unit, 7),
    }


def sigmoids() -> dict[str, list]:
    """tanh x and erf x as x P(x^2) / Q(x^2); erfc x = e^(-x^2) P(t) / (1 + 2x), t = (x-2)/(x+2)."""
    found: dict[str, list] = {}
    x = nodes(0, TANH_LIMIT)
    found["TANH_P"], found["TANH_Q"] = rational(np.tanh(x) / x, x * x, (4, 5))
    x = nodes(0, ERF_LIMIT)
    found["ERF_P"], found["ERF_Q"] = rational(_each(math.erf, x) / x, x * x, (5, 5))
    t = nodes(-1, (10.3 - 2) / (10.3 + 2))
    x = 2 * (1 + t) / (1 - t)
    scaled = _each(math.erfc, x) * np.exp(x * x) * (1 + 2 * x)
    found["ERFC"] = polynomial(scaled, t, 1 / scaled, 9)
    return found


TANH_LIMIT = 9.02  # tanh rounds to 1 from here on
ERF_LIMIT = 3.93  # erf rounds to 1 from here on


def pi_fraction(bits: int) -> int:
    """floor(pi * 2**bits) by Machin's formula in integers."""
    guard = bits + 64

    def arctan_inverse(n: int) -> int:
        term = total = (1 << guard) // n
        k = 1
        while term:
            term //= -n * n
            total += term // (2 * k + 1)
            k += 1
        return total

    return 4 * (4 * arctan_inverse(5) - arctan_inverse(239)) >> 64


def split(value: Decimal, sizes: list[int]) -> list[float]:
    """Parts of at most `sizes` significant bits each whose sum is `value`."""
    parts = []
    for size in sizes:
        mantissa, exponent = math.frexp(float(value))
        part = math.ldexp(round(mantissa * 2**size), exponent - size)
        parts.append(part)
        value -= Decimal(part)
    return parts


def reductions() -> dict[str, list]:
    """Parts of ln 2 and pi/2 for argument reduction, and the bits of 2/pi behind 32 zero bits."""
    getcontext().prec = 90
    half_pi = Decimal(pi_fraction(280)) / Decimal(2**281)
    two_over_pi = (1 << 800) // pi_fraction(479)  # 2/pi * 2**320
    words = [0] + [(two_over_pi >> (320 - 32 * k)) & 0xFFFFFFFF for k in range(1, 8)]
    return {
        "LN2": split(Decimal(2).ln(), [15, 24]),
        "LOG2E": split(1 / Decimal(2).ln(), [24, 24]),
        "HALF_PI": split(half_pi, [24, 24, 24]),
        "HALF_PI_SHORT": split(half_pi, [15, 15, 24]),  # n * part is exact without fma
        "TWO_OVER_PI_WORDS": words,
    }


def generate() -> dict[str, list]:
    """All tables by name."""
    tables: dict[str, list] = {}
    for family in (reductions, exponentials, logarithms, trigonometrics, sigmoids):
        tables |= family()
    return tables


def render(what: str, writer: str, tables: dict[str, list], limits: dict[str, float]) -> str:
    """The text of a module of coefficients."""
    head = [
        f'"""Coefficients of the {what}, lowest order first.',
        "",
        f"Written by {writer}, which says what each table is; do not edit by hand.",
        '"""',
        "",
    ]
    body = [
        "\n".join([f"{name} = (", *[f"    {number!r}," for number in numbers], ")"])
        for name, numbers in tables.items()
    ]
    ends = [f"{name} = {number!r}" for name, number in limits.items()]
    return "\n".join([*head, *body, *ends, ""])


if __name__ == "__main__":
    limits = {"TANH_LIMIT": TANH_LIMIT, "ERF_LIMIT": ERF_LIMIT}
    text = render("float32 vector math", "fit_coefficients.py", generate(), limits)
    Path(__file__).with_name("coefficients.py").write_text(text, encoding="utf-8")
