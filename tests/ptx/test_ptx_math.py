"""float64 functions in GPU code: a few units in the last place, and C's edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from nncomp.backends.llvm import Value
from nncomp.backends.ptx.assemble import ptx_text
from nncomp.backends.ptx.double_math import double_math
from nncomp.backends.ptx.emitter import PtxEmitter
from nncomp.backends.ptx.simulator import Memory, load
from nncomp.backends.ptx.target import default_target

THREADS = 256
EDGES = [
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, math.inf, -math.inf, math.nan, 1e-320, -1e-320, 1e300, 709.7,
    709.8, -745.0, -746.0, 2.0, 3.0, -2.0, -3.0, 1e-17, -1e-17, 5.9, 22.0, -0.9999999,
]  # fmt: skip
ERROR_FUNCTION = np.vectorize(math.erf, otypes=[np.float64])
ONE = {  # reference, range, units in the last place, edges that apply
    "exp": (np.exp, -750, 712, 2, EDGES),
    "expm1": (np.expm1, -40, 712, 3, EDGES),
    "log": (np.log, 0, 9, 2, EDGES),
    "log1p": (np.log1p, -0.99, 3, 2, EDGES),
    "sin": (np.sin, -1e5, 1e5, 3, [x for x in EDGES if abs(x) != 1e300]),
    "cos": (np.cos, -1e5, 1e5, 3, [x for x in EDGES if abs(x) != 1e300]),
    "tanh": (np.tanh, -25, 25, 4, EDGES),
    "erf": (ERROR_FUNCTION, -6.5, 6.5, 3, EDGES),
    "erfc": (np.vectorize(math.erfc, otypes=[np.float64]), -6.5, 26, 5, EDGES),
    "tan": (np.tan, -1e5, 1e5, 4, [x for x in EDGES if abs(x) != 1e300]),
    "exp2": (np.exp2, -1060, 1025, 2, EDGES),
    "log2": (np.log2, 0, 9, 2, EDGES),
    "sinh": (np.sinh, -712, 712, 3, EDGES),
    "cosh": (np.cosh, -712, 712, 3, EDGES),
    "asin": (np.arcsin, -1, 1, 3, EDGES),
    "acos": (np.arccos, -1, 1, 3, EDGES),
    "atan": (np.arctan, -9, 9, 3, EDGES),
}
TWO = {
    "pow": (np.power, 4),
    "atan2": (np.arctan2, 4),
    "fmod": (np.fmod, 0),
    "remainder": (np.remainder, 0),
    "floor_divide": (np.floor_divide, 2),
}


def apply(name: str, *arrays: np.ndarray) -> np.ndarray:
    """The function at every element, by a kernel with a thread each."""
    e = PtxEmitter()
    pointers = [Value(f"%b{k}", "ptr") for k in range(len(arrays) + 1)]
    block = e.mul(e.special("ctaid.x"), THREADS)
    at = e.add(block, e.special("tid.x"))
    args = [e.load("double", e.element("double", p, at)) for p in pointers[:-1]]
    e.store(double_math(e, name, args), e.element("double", pointers[-1], at))
    text = e.kernel("apply", [str(p) for p in pointers], THREADS)
    size = -(-arrays[0].size // THREADS) * THREADS
    memory = Memory()
    places = [memory.put(np.resize(a, size)) for a in arrays]
    places.append(memory.alloc(8 * size))
    module = load(ptx_text(text, default_target()))
    module.launch("apply", size // THREADS, THREADS, places, memory=memory)
    return memory.get(places[-1], np.float64, size)[: arrays[0].size]


def assert_within(got: np.ndarray, expected: np.ndarray, ulps: float) -> None:
    assert (np.isnan(got) == np.isnan(expected)).all()
    infinite = np.isinf(expected)
    assert (got[infinite] == expected[infinite]).all()
    finite = np.isfinite(expected)
    gap = np.spacing(np.maximum(np.abs(expected[finite]), 2.3e-308))
    error = np.abs(got[finite] - expected[finite]) / gap
    assert error.max(initial=0.0) <= ulps


@pytest.mark.parametrize("name", sorted(ONE))
def test_functions_of_one_number(name):
    reference, low, high, ulps, edges = ONE[name]
    x = np.random.default_rng(0).uniform(low, high, 1000)
    x = np.concatenate([x, np.array(edges)])
    with np.errstate(all="ignore"):
        assert_within(apply(name, x), reference(x), ulps)


@pytest.mark.parametrize("name", sorted(TWO))
def test_functions_of_two_numbers(name):
    reference, ulps = TWO[name]
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 10, 800), rng.uniform(-100, 100, 800)
    if name in ("fmod", "remainder", "floor_divide"):  # quotients of up to 2**600
        x, y = (v * np.exp2(rng.integers(-300, 300, v.size)) for v in (x - 5, y))
    a, b = (v.ravel() for v in np.meshgrid(np.array(EDGES), np.array(EDGES)))
    x, y = np.concatenate([x, a]), np.concatenate([y, b])
    with np.errstate(all="ignore"):
        assert_within(apply(name, x, y), reference(x, y), ulps)


def test_sigmoid_of_large_and_small_numbers():
    x = np.concatenate([np.linspace(-700, 40, 500), [math.inf, -math.inf]])
    expected = np.where(x < 0, np.exp(np.minimum(x, 0)), 1.0) / (1.0 + np.exp(-np.abs(x)))
    assert_within(apply("sigmoid", x), expected, 4)


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_angles_far_away(name):
    x = np.random.default_rng(2).uniform(-(2.0**48), 2.0**48, 500)
    assert_within(apply(name, x), getattr(np, name)(x), 3)
    assert np.isnan(apply(name, np.array([2.0**48, -1e300, 1e308]))).all()
