"""Checks gradients against central differences along random directions, in float64."""

from __future__ import annotations

import numpy as np
from nncomp.ir.grad import vjp_graph
from nncomp.ir.graph import Graph
from nncomp.ir.interpret import interpret

STEP = 1e-5


def check_gradients(graph: Graph, arrays, rng, order: int = 2, tol: float = 1e-6):
    """Compares `vjp_graph` with finite differences; order 2 checks the gradient graph as well."""
    outputs = interpret(graph, *arrays)
    cotangents = [random_like(rng, a) for a in outputs]
    backward = vjp_graph(graph)
    gradients = interpret(backward, *cotangents, *arrays)
    direction = [random_like(rng, a) for a in arrays]
    plus = interpret(graph, *(move(a, d, STEP) for a, d in zip(arrays, direction, strict=True)))
    minus = interpret(graph, *(move(a, d, -STEP) for a, d in zip(arrays, direction, strict=True)))
    numeric = inner(cotangents, plus) - inner(cotangents, minus)
    exact = inner(gradients, direction)
    scale = 1 + sum(np.abs(g).sum() for g in gradients)
    assert abs(numeric / (2 * STEP) - exact) <= tol * scale, (numeric / (2 * STEP), exact)
    if order > 1:
        check_gradients(backward, [*cotangents, *arrays], rng, order - 1, tol * 10)


def random_like(rng, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f":
        return np.zeros_like(array)
    return rng.uniform(-1, 1, array.shape).astype(array.dtype)


def move(array, direction, step):
    return array + direction * step if array.dtype.kind == "f" else array


def inner(a, b) -> float:
    return sum(float((x * y).sum()) for x, y in zip(a, b, strict=True) if x.dtype.kind == "f")
