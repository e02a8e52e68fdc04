"""gradcheck and gradgradcheck: gradients against central differences.

For each differentiable input element e the column (f(x + eps e) - f(x - eps e)) / (2 eps) is
compared with the rows that the backward pass gives for each output element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .api import grad
from .modes import enable_grad, no_grad


class GradcheckError(RuntimeError):
    """A gradient differs from the numerical one."""


def gradcheck(
    func: Callable,
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    fast_mode: bool = False,
    **unused: Any,
) -> bool:
    """True if the gradients of `func(*inputs)` agree with finite differences.

    Inputs that require a gradient should be float64. GradcheckError says which element differs,
    unless `raise_exception` is False. `nondet_tol` bounds the difference of two backward passes.
    """
    inputs = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    try:
        _check(func, inputs, eps, atol, rtol, nondet_tol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable, inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6, atol: float = 1e-5,
    rtol: float = 1e-3, raise_exception: bool = True, nondet_tol: float = 0.0, **unused: Any,
) -> bool:  # fmt: skip
    """True if the second derivatives of `func(*inputs)` agree with finite differences.

    `grad_outputs` default to random tensors that require a gradient.
    """
    inputs = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    outputs = _differentiable(func(*inputs))
    if grad_outputs is None:
        rng = np.random.default_rng(0)
        grad_outputs = [_leaf(rng.standard_normal(y._type.shape), y) for y in outputs]
    grads = tuple(grad_outputs) if isinstance(grad_outputs, (tuple, list)) else (grad_outputs,)
    wanted = [i for i, x in enumerate(inputs) if _is_differentiable(x)]

    def first_gradients(*args: Any) -> tuple:
        xs, gs = args[: len(inputs)], args[len(inputs) :]
        ys = _differentiable(func(*xs))
        found = grad(ys, [xs[i] for i in wanted], gs, create_graph=True, materialize_grads=True)
        return tuple(g for g in found if g.requires_grad)

    return gradcheck(
        first_gradients, (*inputs, *grads), eps=eps, atol=atol, rtol=rtol,
        raise_exception=raise_exception, nondet_tol=nondet_tol,
    )  # fmt: skip


def _leaf(array: np.ndarray, like: Any) -> Any:
    from ..tensor import Tensor

    return Tensor._wrap(array.astype(like._type.dtype.numpy), requires_grad=True)


def _is_differentiable(x: Any) -> bool:
    return hasattr(x, "_type") and x.requires_grad


def _differentiable(outputs: Any) -> list:
    outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    return [y for y in outputs if _is_differentiable(y)]


def _check(
    func: Callable, inputs: Sequence, eps: float, atol: float, rtol: float, nondet_tol: float
) -> None:
    checked = [x for x in inputs if _is_differentiable(x)]
    if not checked:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them "
            "have requires_grad=True."
        )
    with enable_grad():
        outputs = _differentiable(func(*inputs))
    if not outputs:
        raise GradcheckError("no output of the function requires a gradient")
    analytical = [_rows(y, checked) for y in outputs]
    repeated = [_rows(y, checked) for y in outputs]
    for i, x in enumerate(checked):
        numerical = _columns(func, inputs, x, eps)
        for o, found in enumerate(numerical):
            _compare(analytical[o][i], found, (o, i), atol, rtol)
            if np.abs(analytical[o][i] - repeated[o][i]).max(initial=0) > nondet_tol:
                raise GradcheckError(
                    "Backward is not reentrant, i.e., running backward with same input and "
                    "grad_output multiple times gives different values"
                )


def _rows(y: Any, inputs: Sequence) -> list[np.ndarray]:
    """d y[k] / d x as row k, for each input."""
    size = y._type.size
    rows = [np.zeros((size, x._type.size), x._type.dtype.numpy) for x in inputs]
    for k in range(size):
        seed = np.zeros(size, y._type.dtype.numpy)
        seed[k] = 1
        g = type(y)._wrap(seed.reshape(y._type.shape))
        found = grad(y, inputs, g, retain_graph=True, allow_unused=True)
        for row, part in zip(rows, found, strict=True):
            if part is not None:
                row[k] = part.numpy(force=True).reshape(-1)
    return rows


def _columns(func: Callable, inputs: Sequence, x: Any, eps: float) -> list[np.ndarray]:
    """Central differences of all differentiable outputs with respect to one input."""
    array = x.numpy(force=True)
    columns: list[list] = []
    for where in np.ndindex(*array.shape):
        old = array[where]
        array[where] = old + eps
        high = _values(func, inputs)
        array[where] = old - eps
        low = _values(func, inputs)
        array[where] = old
        columns.append([(a - b) / (2 * eps) for a, b in zip(high, low, strict=True)])
    if not columns:
        return [np.zeros((y.size, 0)) for y in _values(func, inputs)]
    return [np.stack(column, 1) for column in zip(*columns, strict=True)]


def _values(func: Callable, inputs: Sequence) -> list[np.ndarray]:
    outputs = _differentiable(func(*inputs))
    with no_grad():
        return [y.numpy(force=True).reshape(-1).copy() for y in outputs]


def _compare(
    analytical: np.ndarray, numerical: np.ndarray, place: tuple, atol: float, rtol: float
) -> None:
    if not np.allclose(analytical, numerical, rtol, atol, equal_nan=True):
        raise GradcheckError(
            f"Jacobian mismatch for output {place[0]} with respect to input {place[1]},\n"
            f"numerical:{numerical.T}\nanalytical:{analytical.T}\n"
        )


__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]
