"""Fits the polynomials of the float64 vector math and writes coefficients_double.py.

    python -m nncomp.backends.fit_double

The fits are those of fit_coefficients.py, with targets in x86's 80-bit floats. The error function
comes from its series (M. Abramowitz and I. Stegun, 1964, 7.1.6), its complement from the continued
fraction (7.1.14).
"""

from __future__ import annotations

import math
from decimal import Decimal, getcontext
from pathlib import Path

import numpy as np

from .fit_coefficients import LONG, Array, nodes, pi_fraction, polynomial, render, split

ERFC_FROM, ERFC_TO, ERFC_MIDDLE = 0.5, 27.3, 3.0  # erfc rounds to 0 from ERFC_TO on


def _fit(target: Array, u: Array, weight: Array, degree: int) -> list:
    return polynomial(target, u, weight, degree, np.float64)


def _odd(value: Array, x: Array, degree: int) -> list:
    """P in value = x + x^3 P(x^2)."""
    return _fit((value - x) / x**3, x * x, x**3 / value, degree)


def exponentials() -> dict[str, list]:
    """e^r = 1 + r + r^2 P(r), 2^r = 1 + r P(r), sinh x = x + x^3 P(x^2) on |x| <= 1."""
    r, half, x = nodes(-0.3467, 0.3467), nodes(-0.5001, 0.5001), nodes(0, 1)
    power = np.expm1(half * np.log(LONG(2)))
    return {
        "EXP": _fit((np.expm1(r) - r) / r**2, r, r**2, 9),
        "EXP2": _fit(power / half, half, half, 11),
        "SINH": _odd(np.sinh(x), x, 6),
    }


def logarithms() -> dict[str, list]:
    """log((1+s)/(1-s)) = 2s + s^3 P(s^2); (1+s)/(1-s) between sqrt(1/2) and sqrt(2)."""
    s = nodes(0, 0.1716)
    log = np.log1p(2 * s / (1 - s))
    return {"LOG": _fit((log - 2 * s) / s**3, s * s, s**3 / log, 6)}


def trigonometrics() -> dict[str, list]:
    """sin, tan, asin, atan x = x + x^3 P(x^2); cos x = 1 - x^2/2 + x^4 P(x^2)."""
    r, half = nodes(0, math.pi / 4 + 1e-6), nodes(0, 0.5)
    eighth = nodes(0, math.tan(math.pi / 8) + 1e-6)
    return {
        "SIN": _odd(np.sin(r), r, 6),
        "COS": _fit((np.cos(r) - 1 + r * r / 2) / r**4, r * r, r**4, 5),
        "TAN": _odd(np.tan(r), r, 13),
        "ASIN": _odd(np.arcsin(half), half, 11),
        "ATAN": _odd(np.arctan(eighth), eighth, 10),
    }


def _pi() -> LONG:
    high = LONG(math.pi)
    return high + LONG((pi_fraction(180) - int(math.pi * 2**180)) / 2**180)


def error_functions() -> dict[str, list]:
    """erf x = x + x P(x^2) on [0, 1]; erfc x = e^(-x^2) P(t) / (1 + 2x), t = (x-3)/(x+3)."""
    x = nodes(0, 1)
    total = term = x
    for k in range(1, 60):
        term = term * 2 * x * x / (2 * k + 1)
        total = total + term
    erf = total * 2 / np.sqrt(_pi()) * np.exp(-x * x)
    ends = [(end - ERFC_MIDDLE) / (end + ERFC_MIDDLE) for end in (ERFC_FROM, ERFC_TO)]
    t = nodes(*ends)
    far = ERFC_MIDDLE * (1 + t) / (1 - t)
    fraction = far
    for k in range(3000, 0, -1):
        fraction = far + LONG(k) / 2 / fraction
    scaled = (1 + 2 * far) / fraction / np.sqrt(_pi())
    return {
        "ERF": _fit(erf / x - 1, x * x, x / erf, 12),
        "ERFC": _fit(scaled, t, 1 / scaled, 22),
    }


def reductions() -> dict[str, list]:
    """Parts of ln 2 and pi/2: multiples of the short ones are exact without fma, too."""
    getcontext().prec = 120
    half_pi = Decimal(pi_fraction(400)) / Decimal(2**401)
    return {
        "LN2": split(Decimal(2).ln(), [41, 53]),
        "LOG2E": split(1 / Decimal(2).ln(), [53, 53]),
        "HALF_PI": split(half_pi, [53, 53, 53]),
        "HALF_PI_SHORT": split(half_pi, [33, 33, 53]),
    }


def generate() -> dict[str, list]:
    """All tables by name."""
    tables: dict[str, list] = {}
    for family in (reductions, exponentials, logarithms, trigonometrics, error_functions):
        tables |= family()
    return tables


if __name__ == "__main__":
    limits = {"ERFC_TO": ERFC_TO, "ERFC_MIDDLE": ERFC_MIDDLE}
    text = render("float64 vector math", "fit_double.py", generate(), limits)
    Path(__file__).with_name("coefficients_double.py").write_text(text, encoding="utf-8")
