"""Whether engines agree: outputs against a reference engine, or losses step by step."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from .results import EngineResult, RowResult

REFERENCES = (
    "torch", "torch-compile", "torch-reduce-overhead", "torch-max-autotune", "onnxruntime",
    "openvino", "jax", "nncomp",
)  # fmt: skip


def compare(result: RowResult, folder: Path) -> None:
    """Fill in `reference` and each engine's `difference` from it."""
    done = [name for name in REFERENCES if name in result.engines and result.engines[name].ok]
    if not done:
        return
    result.reference = done[0]
    expected = result.engines[done[0]]
    for name in done[1:]:
        engine = result.engines[name]
        if result.train:
            engine.difference = loss_difference(engine.losses, expected.losses)
        else:
            engine.difference = output_difference(load(folder, engine), load(folder, expected))


def load(folder: Path, engine: EngineResult) -> list[np.ndarray]:
    """The outputs that an engine saved."""
    with np.load(folder / f"{engine.engine}.npz") as stored:
        return [stored[name] for name in stored.files]


def output_difference(got: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Largest absolute difference, relative to the largest absolute value of that output.

    inf for another number of outputs, another shape, or anything where zeros are expected; nan if
    a value is.
    """
    if [a.shape for a in got] != [b.shape for b in expected]:
        return math.inf
    worst = 0.0
    for a, b in zip(got, expected, strict=True):
        if b.size:
            wide = b.astype(np.float64)
            error = float(np.abs(a.astype(np.float64) - wide).max())
            scale = float(np.abs(wide).max())
            worst = max(error / scale if scale else math.inf if error else 0.0, worst, key=_rank)
    return worst


def loss_difference(got: list[float], expected: list[float]) -> float:
    """Largest relative difference of two loss curves."""
    pairs = zip(got, expected, strict=True)
    return max((abs(a - b) / max(abs(b), 1e-30) for a, b in pairs), key=_rank, default=0.0)


def _rank(x: float) -> float:
    """nan is the worst of all."""
    return math.inf if math.isnan(x) else float(x)
