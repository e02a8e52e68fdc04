"""Ops that hold graphs or shape the graph itself: call, scan, fused, get, detach, again."""

from __future__ import annotations

import numpy as np

from ..op import Elementwise, Op, OpError, op, require
from ..types import TensorType


def _check_body(name, body, types):
    got = tuple(types)
    expected = tuple(n.type for n in body.inputs)
    if got != expected:
        show = ", ".join
        raise OpError(
            f"{name}: body takes ({show(map(str, expected))}), got ({show(map(str, got))})"
        )


@op
class get(Op):
    """Result number `index` of an operation with several results."""

    def type(x, *, index):
        require(isinstance(x, tuple) and 0 <= index < len(x), f"get: no result {index} in {x}")
        return x[index]

    def eval(x, *, index):
        return x[index]

    def vjp(g, y, x, *, index):
        """The cotangent of several results is a tuple; None marks those without one."""
        return (tuple(g if i == index else None for i in range(len(x.type))),)


@op
class detach(Elementwise):
    """x itself, cut off from differentiation."""

    def eval(x):
        return x

    def vjp(g, y, x):
        return (None,)

    def scalar(k, x):
        return x


@op
class again(Op):
    """x itself, for computing something a second time: what reads it is not merged with the first.

    `number` tells the computations apart. In memory it is x.
    """

    def type(x, *, number):
        return x

    def eval(x, *, number):
        return x

    def vjp(g, y, x, *, number):
        return (lambda: g,)


@op
class call(Op):
    """The results of graph `body` on the operands, with a gradient of its own.

    `vjp_body` (a Graph or None for the derivative of `body`) takes the cotangents of all results,
    then all results, then all operands, and returns one gradient per operand. autograd.Function and
    tensor hooks become such nodes; they are inlined once gradients have been taken.
    """

    def type(*types, body, vjp_body, name):
        _check_body("call", body, types)
        return tuple(n.type for n in body.outputs)

    def eval(*arrays, body, vjp_body, name):
        from ..interpret import interpret

        return tuple(interpret(body, *arrays))

    def vjp(g, y, *xs, body, vjp_body, name):
        from ..grad import vjp_graph

        rule = vjp_body or vjp_graph(body, with_results=True)
        return call(*g, *y, *xs, body=rule, vjp_body=None, name=f"{name}_backward")


@op
class scan(Op):
    """A loop over the leading axis: carries go from turn to turn, outputs are stacked.

    `body` takes (carries..., consts..., one slice of each xs) and returns (new carries..., one
    slice of each ys); operands are (initial carries..., consts..., xs...). `reverse` runs from the
    last slice to the first. Results: the final carries, then the stacked ys.
    """

    def type(*types, body, carries, consts, length, reverse):
        n = carries + consts
        for x in types[n:]:
            require(
                x.shape[:1] == (length,), f"scan: xs must have leading length {length}, got {x}"
            )
        slices = tuple(TensorType(x.shape[1:], x.dtype) for x in types[n:])
        _check_body("scan", body, (*types[:n], *slices))
        results = tuple(o.type for o in body.outputs)
        require(
            results[:carries] == tuple(types[:carries]), "scan: the carry types must not change"
        )
        stacked = (TensorType((length, *t.shape), t.dtype) for t in results[carries:])
        return (*results[:carries], *stacked)

    def eval(*arrays, body, carries, consts, length, reverse):
        from ..interpret import interpret

        n = carries + consts
        state, fixed, xs = arrays[:carries], arrays[carries:n], arrays[n:]
        ys = [np.empty((length, *o.type.shape), o.type.dtype.numpy) for o in body.outputs[carries:]]
        for t in range(length)[:: -1 if reverse else 1]:
            results = interpret(body, *state, *fixed, *(x[t] for x in xs))
            state = tuple(results[:carries])
            for y, value in zip(ys, results[carries:], strict=True):
                y[t] = value
        return (*state, *ys)

    def vjp(g, y, *xs, body, carries, consts, length, reverse):
        from ..scan_grad import scan_vjp

        return scan_vjp(g, y, xs, body, carries, consts, length, reverse)


@op
class fused(Op):
    """One kernel: the results of graph `body` on the operands, computed without intermediates.

    Made by the fusion pass after gradients were taken, so it has none. `kind` says what the kernel
    is built around: map, reduce, rows, matmul, conv ...
    """

    differentiable = False

    def type(*types, body, kind):
        _check_body("fused", body, types)
        return tuple(n.type for n in body.outputs)

    def eval(*arrays, body, kind):
        from ..interpret import interpret

        return tuple(interpret(body, *arrays))
