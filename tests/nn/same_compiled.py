"""Running a layer or function eagerly and compiled, and comparing outputs and all gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import nncomp


def tensors_in(value: Any) -> list[Any]:
    """All tensors of nested tuples, lists and dicts, in order."""
    if isinstance(value, nncomp.Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    if isinstance(value, (list, tuple)) or not isinstance(value, (str, int, float, type(None))):
        return [found for part in value for found in tensors_in(part)]
    return []


def outputs_and_gradients(function: Callable, inputs: list, parameters: list) -> list[np.ndarray]:
    """Call with a fixed seed; all results, then the gradients of inputs and parameters."""
    for tensor in (*inputs, *parameters):
        tensor.grad = None
    nncomp.manual_seed(3)
    found = tensors_in(function(*inputs))
    scores = [
        (y * nncomp.arange(1, y.numel() + 1).reshape(y.shape).sin()).sum()
        for y in found
        if y.is_floating_point() and y.requires_grad
    ]
    if scores:
        sum(scores[1:], scores[0]).backward()
    shown = [y.detach().double().numpy() for y in found]
    grads = [t.grad for t in (*inputs, *parameters)]
    return shown + [np.zeros(0) if g is None else g.double().numpy() for g in grads]


def same_compiled(function: Callable, *inputs: Any, tol: float = 1e-4) -> Any:
    """Check that ``nncomp.compile(function)`` gives what ``function`` gives; return it."""
    parameters = list(function.parameters()) if isinstance(function, nncomp.nn.Module) else []
    tensors = list(inputs)
    for tensor in tensors:
        if tensor.is_floating_point():
            tensor.requires_grad_()
    expected = outputs_and_gradients(function, tensors, parameters)
    compiled = nncomp.compile(function)
    found = outputs_and_gradients(compiled, tensors, parameters)
    assert len(found) == len(expected)
    for number, (a, b) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol, err_msg=f"value {number}")
    return compiled
