"""Saved values of the tape: which ones an op's gradient rule reads, and how they are kept.

A saved value remembers the version of its memory. When an in-place write came after it, reading its
elements in the backward pass raises torch's error; its shape and dtype stay readable.
"""

from __future__ import annotations

from typing import Any

from ..ir.types import TensorType
from .modes import state

# op -> (operands it reads, reads the other of two operands, reads the result).
# An op that is not listed may read everything. test_autograd checks the table against the rules.
_NOTHING = ((), False, False)
_OTHER = ((), True, False)
_RESULT = ((), False, True)
_FIRST = ((0,), False, False)
SAVES: dict[str, tuple[tuple[int, ...], bool, bool]] = {
    **dict.fromkeys(
        (
            "add", "sub", "neg", "floor", "round", "floor_divide", "cast", "detach", "reshape",
            "permute", "expand", "slice", "pad", "flip", "concat", "sum", "cumsum", "unfold",
            "fold",
        ),
        _NOTHING,
    ),
    **dict.fromkeys(("mul", "matmul", "conv", "conv_transpose", "conv_weight"), _OTHER),
    **dict.fromkeys(("exp", "expm1", "tanh", "sqrt", "sigmoid"), _RESULT),
    **dict.fromkeys(("log", "log1p", "sin", "cos", "erf", "abs", "max_pool", "where"), _FIRST),
    **dict.fromkeys(("take", "index_add", "index_put"), ((1,), False, False)),
    **dict.fromkeys(("maximum", "minimum", "atan2"), ((0, 1), False, False)),
    "div": ((1,), False, True),
}  # fmt: skip


class Saved:
    """The data of a tensor, with the version of its memory at the time."""

    __slots__ = ("_data", "counter", "version", "_borrowed", "__weakref__")

    def __init__(self, data: Any, counter: list):
        self._data = data
        self.counter = counter
        self.version = counter[0]
        self._borrowed = None

    def unpack(self, type_: TensorType, edge: Any) -> Any:
        """A Tensor with the saved data, whose gradient goes to `edge`."""
        if self.counter[0] != self.version:
            return type_only(type_, self._modified(type_, edge))
        from ..dispatch import wrap

        x = wrap(self._data, type_)
        x._counter = self.counter
        if self._borrowed is not None:
            self._borrowed.lend(x)
        if edge is not None:
            x._grad_fn, x._output_nr = edge
            x._requires_grad = True
        return x

    def keep(self) -> None:
        """Own the data from now on: the memory it was saved from is about to be written."""
        if self.counter[0] == self.version:
            from ..dispatch import copy_of

            self._data = copy_of(self._data)
            self._borrowed = None
            self.counter, self.version = [0], 0

    def _modified(self, type_: TensorType, edge: Any) -> str:
        where = "" if edge is None else f", which is output {edge[1]} of {edge[0].name()},"
        return (
            "one of the variables needed for gradient computation has been modified by an inplace "
            f"operation: [torch.{type_.dtype.name} {list(type_.shape)}]{where} is at version "
            f"{self.counter[0]}; expected version {self.version} instead. Hint: write y = x + 1 "
            "instead of x += 1, or clone() the tensor before changing it."
        )


def save(x: Any) -> Saved:
    """Save a tensor; traced tensors save the node that holds their value now."""
    counter = x._counter
    if counter is None:
        counter = x._counter = [0]
    tracer = state.tracer
    if tracer is not None:
        return TracedSaved(tracer.node_of(x), counter, tracer)
    saved = Saved(x._data, counter)
    if x._borrowed is not None:
        x._borrowed.lend(saved)
    return saved


class TracedSaved(Saved):
    """The node of a traced tensor."""

    __slots__ = ("tracer",)

    def __init__(self, node: Any, counter: list, tracer: Any):
        super().__init__(node, counter)
        self.tracer = tracer

    def keep(self) -> None:
        if self.counter[0] == self.version:
            self.counter, self.version = [0], 0

    def unpack(self, type_: TensorType, edge: Any) -> Any:
        x = super().unpack(type_, edge)
        if "_why" not in x.__dict__:
            x._tracer = self.tracer
        return x


_INTERNAL = (
    "a gradient rule read a value that its row in autograd.saved.SAVES does not list; please "
    "report the operation"
)


def type_only(type_: TensorType, why: str = _INTERNAL) -> Any:
    """A Tensor of which only the type is known; reading its elements raises `why`."""
    from ..dispatch import wrap

    x = wrap(None, type_)
    del x._data
    x._why = why
    return x
