"""autograd.backward and autograd.grad: the public entries to the backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir import ops
from . import engine
from .modes import state
from .tape import edge_of, zeros_of

_UNUSED = (
    "The differentiated Tensor at index {} appears to not have been used in the graph. Set "
    "allow_unused=True if this is the desired behavior."
)


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """Add the gradients of `tensors` to the .grad of the leaves (only of `inputs`, if given).

    `grad_tensors` are the gradients of `tensors` themselves, optional for scalars.
    """
    if grad_variables is not None:
        grad_tensors = grad_variables
    tensors = _sequence(tensors)
    roots = _roots(tensors, _sequence(grad_tensors, len(tensors)))
    keep = create_graph if retain_graph is None else retain_graph
    if inputs is None:
        engine.run(roots, keep, create_graph)
        return
    inputs = _sequence(inputs)
    if not inputs:
        raise RuntimeError("`inputs` argument to `backward` cannot be empty.")
    targets = [_target(x) for x in inputs]
    found = engine.run(roots, keep, create_graph, targets)
    before = state.grad_enabled
    state.grad_enabled = create_graph
    try:
        for x, target in zip(inputs, targets, strict=True):
            if target in found:
                engine.accumulate(x, found[target])
    finally:
        state.grad_enabled = before


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple:
    """The gradients of the sum of `outputs` with respect to each of `inputs`, as a tuple.

    With `create_graph` they can be differentiated again. An input that does not take part is an
    error, None with `allow_unused`, zeros with `materialize_grads`.
    """
    if is_grads_batched:
        raise NotImplementedError(
            "autograd.grad(is_grads_batched=True) is not supported; call grad once per row"
        )
    if materialize_grads and allow_unused is False:
        raise ValueError("Expected allow_unused to be True or not passed when materialize_grads")
    outputs, inputs = _sequence(outputs), _sequence(inputs)
    roots = _roots(outputs, _sequence(grad_outputs, len(outputs)))
    targets = [_target(x) for x in inputs]
    keep = create_graph if retain_graph is None else retain_graph
    found = engine.run(roots, keep, create_graph, targets)
    given = {id(g) for _, g in roots}
    if not (allow_unused or materialize_grads):
        for index, target in enumerate(targets):
            if target not in found:
                raise RuntimeError(_UNUSED.format(index))
    return tuple(
        _answer(found.get(target), x, given, materialize_grads)
        for x, target in zip(inputs, targets, strict=True)
    )


def _answer(found: Any, x: Any, given: set[int], materialize: bool) -> Any:
    """One gradient for the caller; each one an object of its own."""
    if found is None:
        return engine.beside(zeros_of(x._type), x) if materialize else None
    if id(found) in given:
        found = engine.separate(found)
    given.add(id(found))
    return found


def _sequence(value: Any, length: int | None = None) -> tuple:
    """A tuple from a tensor, a sequence of tensors, or None (repeated `length` times)."""
    if value is None and length is not None:
        return (None,) * length
    if hasattr(value, "_type") or value is None:
        return (value,)
    value = tuple(value)
    if length is not None and len(value) != length:
        raise RuntimeError(f"got {length} tensors and {len(value)} gradients")
    return value


def _target(x: Any) -> Any:
    if not x.requires_grad:
        raise RuntimeError("One of the differentiated Tensors does not require grad")
    return edge_of(x)


def _roots(tensors: Sequence, grads: Sequence) -> list:
    """(edge, gradient) pairs to begin with."""
    roots = []
    for number, (y, g) in enumerate(zip(tensors, grads, strict=True)):
        if not hasattr(y, "_type"):
            raise TypeError(f"expected Tensors to differentiate, got {type(y).__name__}")
        if not y.requires_grad:
            raise RuntimeError(
                f"element {number} of tensors does not require grad and does not have a grad_fn"
            )
        roots.append((edge_of(y), _first_gradient(number, y, g)))
    return roots


def _first_gradient(number: int, y: Any, g: Any) -> Any:
    if g is None:
        if y._type.size != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        return _one(y)
    if not hasattr(g, "_type"):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
    if g._type.shape != y._type.shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[{number}] has a shape of {g.shape} and "
            f"output[{number}] has a shape of {y.shape}."
        )
    return g if g._type == y._type else ops.cast(g, dtype=y._type.dtype)


def _one(y: Any) -> Any:
    from .. import dispatch

    attrs = dict(value=1.0, shape=y._type.shape, dtype=y._type.dtype)
    return engine.beside(dispatch.apply(ops.full, (), attrs), y)


__all__ = ["backward", "grad"]
