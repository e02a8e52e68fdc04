"""Random programs of views, writes and operations: values, memory, gradients as in eager code."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from compile_helpers import assert_same, programs

import nncomp as torch
from nncomp.trace_error import TraceError

F64 = torch.float64
VIEWS = ("flat", "turn", "row", "half", "skip", "detach", "alias")


class Step(NamedTuple):
    """One step on a pool of tensors: which operation, on which two tensors, with which number."""

    kind: str
    a: int
    b: int
    number: float


def draw(seed: int) -> list[Step]:
    """The steps of a program."""
    rng = np.random.default_rng(seed)
    kinds = (*VIEWS, "add", "mul", "exp", "write", "fill", "accumulate", "frozen", "sum", "softmax")
    return [
        Step(str(rng.choice(kinds)), *map(int, rng.integers(100, size=2)), float(rng.normal()))
        for _ in range(int(rng.integers(3, 14)))
    ]


def view(kind: str, x: torch.Tensor) -> torch.Tensor:
    """A tensor on the memory of `x`, where it can be one."""
    if kind == "flat":
        return x.reshape(-1)
    if kind == "turn":
        return x.permute(*reversed(range(x.dim())))
    if kind == "detach":
        return x.detach()
    if kind == "alias" or not x.dim() or x.shape[0] < 2:
        return x.view_as(x)
    if kind == "row":
        return x[x.shape[0] // 2]
    return x[: x.shape[0] // 2] if kind == "half" else x[::2]


def program(steps: list[Step], buffer: torch.Tensor):
    """A function that runs the steps on its arguments and on `buffer`."""

    def run(x, w):
        pool = [x, w * 1.0, buffer]
        for kind, a, b, number in steps:
            t, u = pool[a % len(pool)], pool[b % len(pool)]
            if kind in VIEWS:
                pool.append(view(kind, t))
            elif kind in ("add", "mul"):
                pool.append(t + u.sum() if kind == "add" else t * u.mean())
            elif kind == "exp":
                pool.append(torch.tanh(t))
            elif kind == "softmax" and t.dim():
                pool.append(torch.softmax(t, -1))
            elif kind == "sum":
                pool.append(t.sum(0) if t.dim() else t * 2)
            elif kind == "write":
                t.mul_(number)
            elif kind == "fill":
                t[...] = u.sum() * number
            elif kind == "accumulate":
                t.add_(u.mean(), alpha=number)
            else:
                with torch.no_grad():
                    t.sub_(0.5 * number)
        return pool[3:], {"first": pool[1], "last": pool[-1]}, pool[0]

    return run


class World:
    """Arguments and a buffer, and everything that can be seen after a call."""

    def __init__(self, seed: int):
        rng = np.random.default_rng(seed)
        self.x = torch.tensor(rng.normal(size=(4, 3)), dtype=F64)
        self.w = torch.tensor(rng.normal(size=(3, 2)), dtype=F64, requires_grad=True)
        self.buffer = torch.tensor(rng.normal(size=(2, 4)), dtype=F64)

    def gradient(self, loss: torch.Tensor) -> torch.Tensor | None:
        """The gradient of w; None if eager code wrote a value that it needs."""
        try:
            loss.backward()
        except RuntimeError as error:
            assert "modified by an inplace operation" in str(error)
            return None
        found, self.w.grad = self.w.grad, None
        return torch.zeros(()) if found is None else found

    def call(self, function) -> list:
        """Results, what was written, gradients, and what writing each result changes."""
        results, table, x = function(self.x, self.w)
        assert x is self.x
        seen = [*results, *table.values(), self.x, self.buffer]
        facts = [t.detach().clone() for t in seen]
        facts += [torch.tensor([t.requires_grad for t in seen])]
        losses = [(t * t).sum() for t in seen if t.requires_grad]
        if losses:
            facts.append(self.gradient(sum(losses[1:], losses[0])))
        with torch.no_grad():
            for t in seen:
                t.mul_(1.25)
                facts += [s.detach().clone() for s in seen]
        return facts


def run_both(seed: int, backend: str) -> bool:
    """Compare three calls; False if the program cannot be a graph, or is wrong eagerly too."""
    steps = draw(seed)
    ours, theirs = World(seed), World(seed)
    compiled = torch.compile(program(steps, ours.buffer), backend=backend)
    eager = program(steps, theirs.buffer)
    for _ in range(3):
        try:
            expected = theirs.call(eager)
        except RuntimeError:
            with pytest.raises(RuntimeError):
                ours.call(compiled)
            return False
        try:
            found = ours.call(compiled)
        except TraceError as error:
            assert "history" in str(error), error
            return False
        pairs = list(zip(found, expected, strict=True))
        pairs = [(a, b) for a, b in pairs if a is not None and b is not None]
        assert_same([a for a, _ in pairs], [b for _, b in pairs], 1e-9)
    assert programs(compiled) == 1
    return True


@pytest.mark.parametrize("start", range(0, 120, 20))
def test_random_programs(start):
    worked = sum(run_both(seed, "numpy") for seed in range(start, start + 20))
    assert worked > 5


def test_random_programs_as_machine_code():
    assert sum(run_both(seed, "cpu") for seed in range(1000, 1012)) > 3
