"""Rules of RNN, GRU and LSTM.

Layers in the usual form run as the loops of nn.LSTM and its like; those with other activations,
clipping, peepholes, or a GRU that resets before its product, as a loop of functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import nncomp

from ..functions.base import constant
from ..nn import functional as F
from ..nn._recurrent_functions import Weights, input_share, run_direction
from .load_control import over_time
from .load_rules import rule
from .load_shape import ramp
from .load_steps import Step

CHUNKS = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 2, 3, 1]}  # the order of the gates in nn
USUAL = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
ACTIVATIONS: dict[str, Callable] = {
    "Relu": lambda x, a, b: F.relu(x),
    "Tanh": lambda x, a, b: nncomp.tanh(x),
    "Sigmoid": lambda x, a, b: nncomp.sigmoid(x),
    "Affine": lambda x, a, b: (1.0 if a is None else a) * x + (b or 0.0),
    "LeakyRelu": lambda x, a, b: F.leaky_relu(x, 0.01 if a is None else a),
    "ThresholdedRelu": lambda x, a, b: F.threshold(x, 1.0 if a is None else a, 0.0),
    "ScaledTanh": lambda x, a, b: (1.0 if a is None else a) * nncomp.tanh(
        (1.0 if b is None else b) * x),
    "HardSigmoid": lambda x, a, b: nncomp.clamp(
        (0.2 if a is None else a) * x + (0.5 if b is None else b), 0, 1),
    "Elu": lambda x, a, b: F.elu(x, 1.0 if a is None else a),
    "Softsign": lambda x, a, b: F.softsign(x),
    "Softplus": lambda x, a, b: F.softplus(x),
}  # fmt: skip


@rule("RNN")
def rnn(n: Step, x: Any, w: Any, r: Any, b: Any, lens: Any, h: Any) -> tuple:
    return _layer(n, x, w, r, b, lens, [h], None)


@rule("GRU")
def gru(n: Step, x: Any, w: Any, r: Any, b: Any, lens: Any, h: Any) -> tuple:
    return _layer(n, x, w, r, b, lens, [h], None)


@rule("LSTM")
def lstm(
    n: Step, x: Any, w: Any, r: Any, b: Any, lens: Any, h: Any, c: Any, peepholes: Any
) -> tuple:
    return _layer(n, x, w, r, b, lens, [h, c], peepholes)


def _layer(n: Step, x: Any, w: Any, r: Any, b: Any, lens: Any, start: list, p: Any) -> tuple:
    """All directions: Y (time, directions, batch, hidden), then the last states."""
    batch_first = bool(n.get("layout", 0))
    if batch_first:
        x = x.permute([1, 0, 2])
        start = [None if s is None else s.permute([1, 0, 2]) for s in start]
    direction = n.get("direction", "forward")
    directions = ("forward", "reverse") if direction == "bidirectional" else (direction,)
    mask = None
    if lens is not None:
        steps = ramp(x.shape[0]).reshape([-1, 1, 1])
        mask = steps < lens.to(steps.dtype).reshape([1, -1, 1])
    hidden = r.shape[-1]
    zero = constant(0.0, (x.shape[1], hidden), x.dtype)
    outputs, finals = [], []
    for d, name in enumerate(directions):
        carried = [zero if s is None else s[d] for s in start]
        parts = [None if v is None else v[d] for v in (b, p)]
        y, last = _direction(n, d, x, w[d], r[d], *parts, carried, mask, name == "reverse")
        outputs.append(y if mask is None else nncomp.where(mask, y, nncomp.zeros_like(y)))
        finals.append(last)
    y = nncomp.stack(outputs, 1)
    states = [nncomp.stack(list(column), 0) for column in zip(*finals, strict=True)]
    if batch_first:
        y = y.permute([2, 0, 1, 3])
        states = [s.permute([1, 0, 2]) for s in states]
    return y, *states


def _direction(
    n: Step, d: int, x: Any, w: Any, r: Any, b: Any, p: Any, carried: list, mask: Any, reverse: bool
) -> tuple[Any, Sequence[Any]]:
    kind, usual = n.op_type, USUAL[n.op_type]
    names = n.get("activations", usual * (d + 1))[d * len(usual) : (d + 1) * len(usual)]
    special = names != usual and names != ["Relu"] or p is not None or "clip" in n.attrs
    special = special or n.get("input_forget", 0)
    if special or (kind == "GRU" and not n.get("linear_before_reset", 0)):
        return _by_functions(n, d, names, x, w, r, b, p, carried, mask, reverse)
    mode = f"RNN_{names[0].upper()}" if kind == "RNN" else kind
    order = CHUNKS[kind]
    half = None if b is None else len(order) * r.shape[-1]
    biases = (None, None) if b is None else (b[:half], b[half:])
    weights = Weights(*(None if v is None else _ordered(v, order) for v in (w, r, *biases)))
    y, last = run_direction(mode, input_share(mode, x, weights), carried, weights, reverse, mask)
    return y, last


def _ordered(v: Any, order: list[int]) -> Any:
    """The gates of a weight or bias in another order."""
    if len(order) == 1:
        return v
    size = v.shape[0] // len(order)
    return nncomp.cat([v.narrow(0, k * size, size) for k in order], 0)


# -- layers in an unusual form --------------------------------------------------------------------


def _activations(n: Step, d: int, names: list[str]) -> list[Callable]:
    """The functions of a direction; alpha and beta are listed for those that take them."""
    functions = []
    for i, name in enumerate(names):
        if name not in ACTIVATIONS:
            raise n.error(f"activation {name!r} is not one of {', '.join(ACTIVATIONS)}")
        place = d * len(names) + i
        a, b = (_at(n.get(f"activation_{k}"), place) for k in ("alpha", "beta"))
        functions.append(lambda x, f=ACTIVATIONS[name], a=a, b=b: f(x, a, b))
    return functions


def _at(values: list | None, place: int) -> float | None:
    return None if values is None or place >= len(values) else values[place]


def _by_functions(
    n: Step, d: int, names: list[str], x: Any, w: Any, r: Any, b: Any, p: Any, carried: list,
    mask: Any, reverse: bool,
) -> tuple[Any, Sequence[Any]]:  # fmt: skip
    """One direction as a loop over `x W^T + biases` with the cell written out."""
    count, hidden = len(CHUNKS[n.op_type]), r.shape[-1]
    zeros = constant(0.0, (count * hidden,), x.dtype)
    wb, rb = (zeros, zeros) if b is None else (b[: count * hidden], b[count * hidden :])
    functions = _activations(n, d, names)
    if "clip" in n.attrs:
        limit = n.attrs["clip"]
        functions = [lambda v, f=f: f(nncomp.clamp(v, -limit, limit)) for f in functions]
    cell = {"RNN": _rnn_cell, "GRU": _gru_cell, "LSTM": _lstm_cell}[n.op_type]

    def step(*operands: Any) -> tuple:
        old, gates = operands[: len(carried)], operands[len(carried)]
        new = cell(n, functions, gates, old, r, rb, p)
        if mask is not None:
            here = operands[-1]
            new = [nncomp.where(here, a, b) for a, b in zip(new, old, strict=True)]
        return (*new, new[0])

    slices = [F.linear(x, w, wb)] + ([] if mask is None else [mask])
    last, (y,) = over_time(step, carried, slices, reverse)
    return y, last


def _rnn_cell(n: Step, f: list, gates: Any, old: Sequence, r: Any, rb: Any, p: Any) -> list:
    return [f[0](gates + F.linear(old[0], r, rb))]


def _gru_cell(n: Step, f: list, gates: Any, old: Sequence, r: Any, rb: Any, p: Any) -> list:
    (h,) = old
    size = h.shape[-1]
    zx, rx, hx = (gates.narrow(-1, i * size, size) for i in range(3))
    zr = F.linear(h, r[: 2 * size], rb[: 2 * size])
    update, reset = f[0](zx + zr[:, :size]), f[0](rx + zr[:, size:])
    if n.get("linear_before_reset", 0):
        new = f[1](hx + reset * F.linear(h, r[2 * size :], rb[2 * size :]))
    else:
        new = f[1](hx + F.linear(reset * h, r[2 * size :], rb[2 * size :]))
    return [(1 - update) * new + update * h]


def _lstm_cell(n: Step, f: list, gates: Any, old: Sequence, r: Any, rb: Any, p: Any) -> list:
    h, c = old
    size = h.shape[-1]
    gates = gates + F.linear(h, r, rb)
    i, o, forget, g = (gates.narrow(-1, k * size, size) for k in range(4))
    peep = [None] * 3 if p is None else [p[k * size : (k + 1) * size] for k in range(3)]
    i = f[0](i if p is None else i + peep[0] * c)
    if n.get("input_forget", 0):
        forget = 1 - i
    else:
        forget = f[0](forget if p is None else forget + peep[2] * c)
    cell = forget * c + i * f[1](g)
    o = f[0](o if p is None else o + peep[1] * cell)
    return [o * f[2](cell), cell]


