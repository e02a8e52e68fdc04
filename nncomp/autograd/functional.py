"""autograd.functional: derivatives of functions of tensors, made of rows of `grad`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .api import grad
from .modes import enable_grad


def vjp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False) -> tuple[Any, Any]:
    """The outputs of `func(*inputs)`, and `v` times its Jacobian: one tensor per input."""
    with enable_grad():
        xs = _leaves(inputs, create_graph)
        outputs = func(*xs)
        ys = _tuple(outputs)
        vs = (None,) * len(ys) if v is None else _tuple(v)
        found = _rows_of(ys, xs, vs, create_graph)
    if not create_graph:
        outputs = tuple(y.detach() for y in ys) if isinstance(outputs, tuple) else ys[0].detach()
    return outputs, found if isinstance(inputs, (tuple, list)) else found[0]


def jacobian(func: Callable, inputs: Any, create_graph: bool = False) -> Any:
    """d output / d input, of shape [*output, *input]; tuples where func has tuples."""
    with enable_grad():
        xs = _leaves(inputs, create_graph)
        outputs = func(*xs)
        blocks = tuple(_blocks(y, xs, create_graph) for y in _tuple(outputs))
    if not isinstance(inputs, (tuple, list)):
        blocks = tuple(row[0] for row in blocks)
    return blocks if isinstance(outputs, tuple) else blocks[0]


def hessian(func: Callable, inputs: Any, create_graph: bool = False) -> Any:
    """Second derivatives of a scalar function: [*input, *input], or a tuple of tuples of them."""

    def gradient(*xs: Any) -> Any:
        y = func(*xs)
        if y._type.size != 1:
            raise RuntimeError(
                f"The function given to hessian should return a scalar, got shape {list(y.shape)}"
            )
        found = _rows_of((y,), xs, (None,), True)
        return found if isinstance(inputs, (tuple, list)) else found[0]

    return jacobian(gradient, inputs, create_graph)


def jvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False) -> tuple[Any, Any]:
    """The outputs of `func(*inputs)`, and its Jacobian times `v`: one tensor per output.

    `v` has the shapes of the inputs; it may be left out for a single input of one element.
    """
    with enable_grad():
        xs = _leaves(inputs, create_graph)
        outputs = func(*xs)
        ys = _tuple(outputs)
        us = tuple((y.detach() * 0).requires_grad_() for y in ys)
        found = _rows_of(_rows_of(ys, xs, us, True), us, _directions(xs, v), create_graph)
    single = not isinstance(outputs, (tuple, list))
    if not create_graph:
        ys = tuple(y.detach() for y in ys)
    return (ys[0], found[0]) if single else (ys, found)


def hvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False) -> tuple[Any, Any]:
    """The output of the scalar `func(*inputs)`, and its Hessian times `v`: one tensor per input."""
    with enable_grad():
        xs = _leaves(inputs, create_graph)
        y = func(*xs)
        if y._type.size != 1:
            raise RuntimeError(
                f"The function given to hvp should return a scalar, got shape {list(y.shape)}"
            )
        gradients = _rows_of((y,), xs, (None,), True)
        found = _rows_of(gradients, xs, _directions(xs, v), create_graph)
    y = y if create_graph else y.detach()
    return y, found if isinstance(inputs, (tuple, list)) else found[0]


vhp = hvp  # the Hessian is symmetric


def _directions(xs: Sequence, v: Any) -> tuple:
    """`v` as one tensor per input; RuntimeError if it is left out or does not fit."""
    if v is None:
        if len(xs) != 1 or xs[0]._type.size != 1:
            raise RuntimeError(
                "The vector v can only be None if the input to the user-provided function is a "
                "single Tensor with a single element."
            )
        return (xs[0].detach() * 0 + 1,)
    vs = _tuple(v)
    if [x._type.shape for x in xs] != [y._type.shape for y in vs]:
        raise RuntimeError(
            f"v has shapes {[list(y.shape) for y in vs]}, but the inputs have "
            f"{[list(x.shape) for x in xs]}"
        )
    return vs


def _tuple(value: Any) -> tuple:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _leaves(inputs: Any, create_graph: bool) -> tuple:
    """Fresh tensors to differentiate for; with create_graph they keep the history of the inputs."""
    if create_graph:
        return tuple(x.view_as(x) if x.requires_grad else _leaf(x) for x in _tuple(inputs))
    return tuple(_leaf(x) for x in _tuple(inputs))


def _leaf(x: Any) -> Any:
    return x.detach().requires_grad_()


def _rows_of(ys: Sequence, xs: Sequence, vs: Sequence, create_graph: bool) -> tuple:
    kept = [(y, v) for y, v in zip(ys, vs, strict=True) if y.requires_grad]
    if not kept:
        return tuple(x.detach() * 0 for x in xs)
    some, weights = zip(*kept, strict=True)
    return grad(
        some, xs, weights, retain_graph=True, create_graph=create_graph, materialize_grads=True
    )


def _blocks(y: Any, xs: Sequence, create_graph: bool) -> tuple:
    """The Jacobian of one output, per input."""
    from .. import functions

    flat = y.reshape(-1)
    rows = [_rows_of((flat[i],), xs, (None,), create_graph) for i in range(y._type.size)]
    shape = y._type.shape
    return tuple(
        functions.stack([row[i] for row in rows]).reshape(*shape, *x._type.shape)
        if rows
        else functions.zeros(*shape, *x._type.shape, dtype=x.dtype)
        for i, x in enumerate(xs)
    )


__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]
