"""Derivatives along a direction, by two reverse passes: jvp, jacfwd, linearize of nncomp.func.

The gradient J^T u is linear in u, so its own gradient for u, with weights v, is J v. The value of u
does not matter; nothing else is needed for forward mode, in eager code or in a graph.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import nncomp

from . import autograd
from .autograd.modes import enable_grad
from .func import _flatten, _leaf, _mapped, _tensors
from .tensor import Tensor


class _Forward:
    """One call of a function, ready for derivatives of its results along directions."""

    def __init__(self, func: Callable, primals: Sequence[Any], has_aux: bool = False):
        self.outer = nncomp.is_grad_enabled()
        self.primals = primals
        self.leaves: list[Tensor] = []
        with enable_grad():
            fresh = [_mapped(x, lambda y: _leaf(y, self.leaves)) for x in primals]
            output = func(*fresh)
            self.output, self.aux = output if has_aux else (output, None)
            self.results = _tensors(self.output)
            self.reached = [y for y in self.results if y.requires_grad]
            self.weights = [nncomp.zeros_like(y).requires_grad_() for y in self.reached]
            self.gradients = autograd.grad(
                self.reached, self.leaves, self.weights, create_graph=True, materialize_grads=True
            ) if self.reached else ()

    def further(self, *values: Any) -> bool:
        """Whether the result must be differentiable again."""
        found = _tensors(self.primals, values)
        return self.outer and any(x.requires_grad for x in found)

    def along(self, tangents: Any) -> list[Tensor]:
        """J v for each result; RuntimeError if `tangents` are not shaped as the primals."""
        vs: list[Tensor] = []
        _flatten(tangents, vs)
        if len(vs) != len(self.leaves):
            raise RuntimeError(
                f"jvp: expected as many tangents as primals, got {len(vs)} and {len(self.leaves)}"
            )
        for x, v in zip(self.leaves, vs, strict=True):
            if x._type != v._type:
                raise RuntimeError(
                    f"jvp: expected each tangent to be like its primal, got {v._type} for {x._type}"
                )
        found = iter(self._products(vs, self.further(vs)))
        return [next(found) if y.requires_grad else nncomp.zeros_like(y) for y in self.results]

    def _products(self, vs: list[Tensor], further: bool) -> Sequence[Tensor]:
        pairs = [(g, v) for g, v in zip(self.gradients, vs, strict=False) if g.requires_grad]
        if not pairs:
            return [nncomp.zeros_like(y) for y in self.reached]
        gradients, weights = zip(*pairs, strict=True)
        with enable_grad():
            return autograd.grad(
                gradients, self.weights, weights, retain_graph=True, create_graph=further,
                materialize_grads=True,
            )  # fmt: skip

    def shown(self, value: Any, *inputs: Any) -> Any:
        """What func gave, without a history unless one of the inputs has one."""
        return value if self.further(*inputs) else _mapped(value, _detached)

    def shaped(self, products: Sequence[Tensor]) -> Any:
        """One tensor per result, arranged as func's output."""
        left = iter(products)
        return _mapped(self.output, lambda y: next(left) if isinstance(y, Tensor) else y)


def _detached(x: Any) -> Any:
    return x.detach() if isinstance(x, Tensor) else x


def jvp(
    func: Callable, primals: tuple, tangents: tuple, *, strict: bool = False, has_aux: bool = False
) -> tuple:
    """(func(*primals), its derivative along `tangents`), and with `has_aux` what func adds.

    `tangents` has the shapes and dtypes of `primals`, both tuples of tensors or trees of them.
    TypeError for anything but tuples, RuntimeError for other shapes. `strict` has no effect.
    """
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple):
        raise TypeError("jvp: Expected primals and tangents to be tuples")
    call = _Forward(func, primals, has_aux)
    products = call.shaped(call.along(tangents))
    shown = call.shown(call.output, tangents)
    return (shown, products, call.aux) if has_aux else (shown, products)


def linearize(func: Callable, *primals: Any) -> tuple[Any, Callable]:
    """(func(*primals), the function from tangents to the derivative along them)."""
    call = _Forward(func, primals)

    def along(*tangents: Any) -> Any:
        return call.shaped(call.along(tangents))

    return call.shown(call.output), along


def jacfwd(
    func: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False, *,
    randomness: str = "error",
) -> Callable:  # fmt: skip
    """The function that gives the Jacobian of `func` for arguments, column by column.

    Each block has the shape [*output, *argument]; a tuple of blocks if `argnums` is a tuple. That
    is one pass per element of the arguments, and jacrev one per element of the output.
    """

    @functools.wraps(func)
    def wrapped(*args: Any) -> Any:
        numbers = argnums if isinstance(argnums, tuple) else (argnums,)

        def of_some(*values: Any) -> Any:
            fresh = list(args)
            for number, value in zip(numbers, values, strict=True):
                fresh[number] = value
            return func(*fresh)

        call = _Forward(of_some, [args[n] for n in numbers], has_aux)
        blocks = [_block(call, number) for number in range(len(numbers))]
        rows = [tuple(block[i] for block in blocks) for i in range(len(call.results))]
        found = call.shaped([row if isinstance(argnums, tuple) else row[0] for row in rows])
        return (found, call.aux) if has_aux else found

    return wrapped


def _block(call: _Forward, number: int) -> list[Tensor]:
    """The derivatives of all results for all elements of one argument."""
    x = call.leaves[number]
    zeros = [nncomp.zeros_like(leaf) for leaf in call.leaves]
    columns = []
    for i in range(x._type.size):
        basis = nncomp.eye(x._type.size, dtype=x.dtype)[i].reshape(x.shape)
        columns.append(call.along([*zeros[:number], basis, *zeros[number + 1 :]]))
    if not columns:
        return [nncomp.zeros(*y.shape, *x.shape, dtype=y.dtype) for y in call.results]
    return [
        nncomp.stack([column[i] for column in columns], -1).reshape([*y.shape, *x.shape])
        for i, y in enumerate(call.results)
    ]


__all__ = ["jacfwd", "jvp", "linearize"]
