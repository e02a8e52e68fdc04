"""Recurrent layers as one `scan` over time: the loop bodies, and a layer in one direction.

The product of all time steps with ``weight_ih`` is one matmul before the loop; the loop adds what
depends on the hidden state. Its body is a graph of a few nodes, built once per sizes and dtype, so
neither compile time nor graph size depends on the length of the sequence.

    RNN   h' = act(x + h U)                      x: the input's share, with all biases that add up
    LSTM  i, f, g, o = x + h U;   c' = sig(f) c + sig(i) tanh(g);   h' = sig(o) tanh(c') (P)
    GRU   r, z, n of x and of k = h U + b;   h' = n + z (h - n),   n = tanh(x_n + sig(r) k_n)
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import nncomp

from ..autograd import modes
from ..functions.autocasting import lowered
from ..ir import Graph, Node, input_node, ops
from ..ir.types import DType, TensorType, bool_
from ..tensor import Tensor

CHUNKS = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}


class Weights(NamedTuple):
    """The parameters of one layer in one direction; those that it lacks are None."""

    ih: Tensor
    hh: Tensor
    bias_ih: Tensor | None = None
    bias_hh: Tensor | None = None
    hr: Tensor | None = None


class _Sizes(NamedTuple):
    """What a loop body depends on: its kind, its sizes, and which optional operands it has."""

    mode: str
    batch: int
    hidden: int
    output: int  # the width of h, which a projection makes smaller than ``hidden``
    dtype: DType
    bias: bool
    masked: bool


class _Operands(NamedTuple):
    """The nodes of a loop body."""

    state: tuple[Node, ...]
    turned: Node  # weight_hh transposed
    bias: Node | None
    projection: Node | None
    x: Node
    mask: Node | None


def _chunk(x: Node, number: int, size: int) -> Node:
    rows = x.shape[0]
    low, high = number * size, (number + 1) * size
    return ops.slice(x, start=(0, low), stop=(rows, high), step=(1, 1))


def _rows(vector: Node, batch: int) -> Node:
    width = vector.shape[0]
    row = ops.reshape(vector, shape=(1, width))
    return ops.expand(row, shape=(batch, width))


def _rnn(s: _Sizes, at: _Operands) -> tuple[Node, ...]:
    y = at.x + ops.matmul(at.state[0], at.turned)
    if s.mode == "RNN_TANH":
        return (ops.tanh(y),)
    return (ops.where(y <= 0.0, ops.zeros_like(y), y),)


def _lstm(s: _Sizes, at: _Operands) -> tuple[Node, ...]:
    gates = at.x + ops.matmul(at.state[0], at.turned)
    i, f, g, o = (_chunk(gates, number, s.hidden) for number in range(4))
    cell = ops.sigmoid(f) * at.state[1] + ops.sigmoid(i) * ops.tanh(g)
    h = ops.sigmoid(o) * ops.tanh(cell)
    return (h if at.projection is None else ops.matmul(h, at.projection)), cell


def _gru(s: _Sizes, at: _Operands) -> tuple[Node, ...]:
    h = at.state[0]
    k = ops.matmul(h, at.turned)
    if at.bias is not None:
        k = k + _rows(at.bias, s.batch)
    r, z = (
        ops.sigmoid(_chunk(at.x, number, s.hidden) + _chunk(k, number, s.hidden))
        for number in range(2)
    )
    n = ops.tanh(_chunk(at.x, 2, s.hidden) + r * _chunk(k, 2, s.hidden))
    return (n + z * (h - n),)


_STEPS = {"RNN_TANH": _rnn, "RNN_RELU": _rnn, "LSTM": _lstm, "GRU": _gru}


@functools.lru_cache(maxsize=512)
def body_of(s: _Sizes) -> Graph:
    """The loop body: (h[, c], weights..., x[, mask]) -> (h'[, c'], h').

    Where ``mask`` is False the state stays as it is: a sequence of the batch has ended there.
    """
    gates = CHUNKS[s.mode] * s.hidden

    def make(name: str, *shape: int, dtype: DType = s.dtype) -> Node:
        return input_node(name, TensorType(shape, dtype))

    state = [make("h", s.batch, s.output)]
    if s.mode == "LSTM":
        state.append(make("c", s.batch, s.hidden))
    at = _Operands(
        tuple(state),
        make("weight_hh", s.output, gates),
        make("bias_hh", gates) if s.bias else None,
        make("weight_hr", s.hidden, s.output) if s.output != s.hidden else None,
        make("x", s.batch, gates),
        make("mask", s.batch, 1, dtype=bool_) if s.masked else None,
    )
    new = _STEPS[s.mode](s, at)
    if at.mask is not None:
        new = tuple(
            ops.where(ops.expand(at.mask, shape=a.shape), a, b)
            for a, b in zip(new, at.state, strict=True)
        )
    rest = (at.turned, at.bias, at.projection, at.x, at.mask)
    inputs = (*at.state, *(node for node in rest if node is not None))
    return Graph(s.mode.lower(), inputs, (*new, new[0]))


def input_share(mode: str, x: Tensor, weights: Weights) -> Tensor:
    """x weight_ih^T and the biases that can be added before the loop; x (*, input_size)."""
    bias = weights.bias_ih
    if bias is not None and mode != "GRU":
        bias = bias + weights.bias_hh
    return nncomp.nn.functional.linear(x, weights.ih, bias)


def _cast_together(
    mode: str, gates: Tensor, state: Sequence[Tensor], weights: Weights
) -> tuple[Tensor, Sequence[Tensor], Weights]:
    """The operands of a loop in one dtype, as autocast has it."""
    if mode != "GRU":
        return lowered(gates)[0], lowered(*state), Weights(*lowered(*weights))
    dtype = state[0].dtype
    return gates.to(dtype), state, Weights(*(w if w is None else w.to(dtype) for w in weights))


def run_direction(
    mode: str, gates: Tensor, state: Sequence[Tensor], weights: Weights, reverse: bool,
    mask: Tensor | None = None,
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """Run the loop over ``gates`` (time, batch, chunks * hidden) from the ``state`` (h[, c]).

    Returns all h (time, batch, output) and the final state. ``mask`` (time, batch, 1) is False
    where a sequence has ended. Under autocast a GRU computes in the dtype of its state, as its new
    state is a mean of the old one and another; the others in that of matrix products.
    """
    if modes.state.autocast is not None:
        gates, state, weights = _cast_together(mode, gates, state, weights)
    length, batch, width = gates.shape
    sizes = _Sizes(
        mode, batch, width // CHUNKS[mode], weights.hh.shape[1], gates.dtype,
        mode == "GRU" and weights.bias_hh is not None, mask is not None,
    )  # fmt: skip
    consts = [weights.hh.t()]
    if sizes.bias:
        consts.append(weights.bias_hh)
    if weights.hr is not None:
        consts.append(weights.hr.t())
    slices = [gates] if mask is None else [gates, mask]
    results: Any = ops.scan(
        *state, *consts, *slices, body=body_of(sizes), carries=len(state), consts=len(consts),
        length=length, reverse=reverse,
    )  # fmt: skip
    *final, outputs = results
    return outputs, final

