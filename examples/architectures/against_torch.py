"""Times parts of many architectures, compiled, against torch: calls or training steps.

    python examples/architectures/against_torch.py [--train] [name ...]

The same source runs under both with the same weights and two threads, in turns in one process.
Prints the shortest times, their ratio, and the largest difference of the (first) result relative to
its scale. A training step is forward, a sum of squares, and backward, without an optimizer.
Needs torch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import others
import torch
import vision

import nncomp

MODELS: dict[str, Callable] = {
    name: function
    for module in (vision, others)
    for name, function in vars(module).items()
    if getattr(function, "__module__", "") == module.__name__
}
ROUNDS, SECONDS = 4, 0.3  # turns of each engine, and how long one takes at least


def first(result: Any) -> Any:
    """The first tensor of a result."""
    return first(result[0]) if isinstance(result, (tuple, list)) else result


def call(library: Any, model: Any, run: Callable, inputs: tuple, train: bool) -> Callable:
    """A function that calls the model once, or makes one training step; gives the result."""

    def infer() -> Any:
        with library.no_grad():
            return first(run(*inputs))

    def step() -> Any:
        model.zero_grad()
        result = first(run(*inputs))
        result.square().sum().backward()
        return result.detach()

    return step if train else infer


def shortest(function: Callable) -> float:
    """Milliseconds of the fastest of some calls."""
    best, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        begin = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - begin)
    return best * 1e3


def compare(name: str, train: bool) -> float:
    """Prints a line for one model; returns our time over torch's."""
    torch.manual_seed(0)
    theirs, their_inputs = MODELS[name](torch)
    ours, our_inputs = MODELS[name](nncomp)
    ours.load_state_dict({k: nncomp.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    for model in (ours, theirs):
        model.train(train)
    run = call(nncomp, ours, nncomp.compile(ours), our_inputs, train)
    other = call(torch, theirs, theirs, their_inputs, train)
    a, b = run().numpy(), other().numpy()
    difference = float(np.abs(a - b).max() / np.abs(b).max())
    rounds = [(shortest(run), shortest(other)) for _ in range(ROUNDS)]
    mine, peer = (min(times) for times in zip(*rounds, strict=True))
    print(
        f"{name:24} {mine:9.3f} ms   torch {peer:9.3f} ms   ratio {mine / peer:5.2f}   "
        f"difference {difference:.0e}",
        flush=True,
    )
    return mine / peer


def main(arguments: list[str]) -> None:
    train = "--train" in arguments
    names = [x for x in arguments if not x.startswith("-")] or list(MODELS)
    unknown = [x for x in names if x not in MODELS]
    if unknown:
        raise SystemExit(f"no model '{unknown[0]}'; there are {', '.join(MODELS)}")
    torch.set_num_threads(2)
    nncomp.set_num_threads(2)
    if train:
        names = [x for x in names if list(MODELS[x](torch)[0].parameters())]
    ratios = [compare(name, train) for name in names]
    print(f"geometric mean of {len(ratios)} ratios: {np.exp(np.mean(np.log(ratios))):.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
