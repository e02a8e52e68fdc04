"""Random user programs in float64: values and gradients, eager and compiled, as torch's.

`python tests/programs/test_random_programs.py START COUNT` tries other programs.
"""

from __future__ import annotations

import sys
from random import Random

import numpy as np
import pytest
from random_ops import LARGEST, OPS

import nncomp

SIZES = (1, 2, 3, 4, 5, 7, 8, 16, 17, 24, 33)


def draw_shape(r: Random) -> tuple[int, ...]:
    shape = [r.choice(SIZES) for _ in range(r.randint(1, 4))]
    while np.prod(shape) > LARGEST:
        shape[shape.index(max(shape))] //= 2
    return tuple(shape)


def program(T, x, y, seed: int):
    """The last two values of a chain of operations, and the operations' names."""
    r = Random(seed)
    pool, names = [x, y], []
    for _ in range(r.randint(3, 12)):
        v = r.choice(pool[-3:])
        partner = r.choice([p for p in pool if p.shape == v.shape])
        name = r.choice(sorted(OPS))
        made = OPS[name](T, v, partner, Random(r.randrange(1 << 30)))
        if made is not None and 0 < made.numel() <= LARGEST:
            pool.append(made)
            names.append(f"{name}{tuple(made.shape)}")
    return pool[2:][-2:], names


def run(T, arrays, function) -> list[np.ndarray]:
    """Values and gradients; a gradient that does not exist is zero."""
    leaves = [T.tensor(a, dtype=T.float64, requires_grad=True) for a in arrays]
    results = function(*leaves)
    used = [(y * y.cos()).sum() for y in results if y.requires_grad]
    if used:
        sum(used).backward()
    grads = [np.zeros(x.shape) if x.grad is None else x.grad.numpy() for x in leaves]
    return [*[y.detach().numpy() for y in results], *grads]


def check(seed: int) -> list[str]:
    """Compare one program; returns its operations."""
    torch = pytest.importorskip("torch")
    r = Random(seed)
    shape, generator = draw_shape(r), np.random.default_rng(seed)
    arrays = [generator.normal(size=shape) for _ in range(2)]
    names = program(torch, *[torch.tensor(a) for a in arrays], seed)[1]
    expected = run(torch, arrays, lambda x, y: program(torch, x, y, seed)[0])

    def eager(x, y):
        return program(nncomp, x, y, seed)[0]

    for kind, function in (("eager", eager), ("compiled", nncomp.compile(eager))):
        for want, found in zip(expected, run(nncomp, arrays, function), strict=True):
            scale = max(1e-3, np.abs(want).max(initial=0))
            assert want.shape == found.shape, (kind, names)
            assert np.allclose(found / scale, want / scale, rtol=0, atol=1e-8), (kind, names)
    return names


@pytest.mark.parametrize("start", range(0, 60, 10))
def test_random_programs(start):
    assert sum(len(check(seed)) for seed in range(start, start + 10)) > 20


if __name__ == "__main__":
    first, count = map(int, sys.argv[1:])
    for number in range(first, first + count):
        try:
            check(number)
        except Exception as error:
            print(f"program {number}: {type(error).__name__}: {error}", flush=True)
