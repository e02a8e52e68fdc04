"""apply(op, inputs, attrs): the one place through which every operation on Tensors goes.

While a graph is recorded the tracer gets the call. Otherwise the op's type rule checks the
operands, its numpy meaning computes the result, and the tape remembers the call if a gradient may
be asked for. Results are contiguous and never share memory that someone can see: big results of
movement ops borrow the operand's memory until that is written or handed out.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from .autograd import tape
from .autograd.modes import state
from .ir.op import Op, OpError
from .ir.types import TensorType

_new = object.__new__
_ndarray = np.ndarray
_errstate = np.errstate
_Tensor: Any = None  # set by tensor.py, which imports this module

BORROWABLE = frozenset({"reshape", "permute", "expand", "slice", "flip", "unfold"})
BORROW_BYTES = 4096  # below this a copy is cheaper than the bookkeeping


class Storage:
    """Identity of a piece of memory that several tensors see, and who else borrows it."""

    __slots__ = ("exposed", "pinned", "borrowers", "writes", "__weakref__")

    def __init__(self) -> None:
        self.exposed = False  # a numpy array of the user sees it, so writes go unnoticed
        self.pinned = False  # its address was asked for
        self.writes = 0  # also those through .data, which versions do not count
        self.borrowers: list[weakref.ref] = []

    def settle(self) -> None:
        """Give every borrower its own copy, before the memory is written or handed out."""
        borrowers, self.borrowers = self.borrowers, []
        for reference in borrowers:
            borrower = reference()
            if borrower is not None:
                own_memory(borrower)

    def lend(self, borrower: Any) -> None:
        """Remember that `borrower._data` is this memory."""
        if len(self.borrowers) > 16:
            self.borrowers = [r for r in self.borrowers if r() is not None]
        borrower._borrowed = self
        self.borrowers.append(weakref.ref(borrower))


def own_memory(x: Any) -> None:
    """Copy the data of a borrower, so that nothing else sees its memory."""
    if x._borrowed is not None:
        x._data = np.array(x._data, order="C")
        x._borrowed = None


def storage_of(x: Any) -> Storage:
    """The storage of a tensor, made at the first question; borrowed memory is copied first."""
    if x._borrowed is not None:
        own_memory(x)
    storage = x._storage
    if storage is None:
        storage = x._storage = Storage()
    return storage


def bind(tensor_class: type) -> None:
    """Tell this module the class of its results."""
    global _Tensor
    _Tensor = tensor_class


def apply_through(function: Any) -> None:
    """Let operations on Tensors go through `function`, which calls `apply`."""
    _Tensor.apply_op = staticmethod(function)


def wrap(data: Any, type_: TensorType) -> Any:
    """A new Tensor of known type on an array (or, when tracing, on a Node)."""
    result = _new(_Tensor)
    result._data = data
    result._type = type_
    return result


def apply(op: Op, inputs: Sequence, attrs: dict[str, Any]) -> Any:
    """Run `op` on Tensors: a Tensor, or a tuple of them for an op with several results.

    OpError if the operands do not fit; the result is recorded if an operand requires a gradient.
    """
    tracer = state.tracer
    if tracer is not None:
        return tracer.apply(op, inputs, attrs)
    try:
        types = [x._type for x in inputs]
        arrays = [x._data for x in inputs]
    except AttributeError:
        raise operand_error(op, inputs) from None
    for array in arrays:
        if array.__class__ is not _ndarray:
            return _elsewhere(op, inputs, attrs, types)
    type_ = op.type(*types, **attrs)
    with _errstate(all="ignore"):
        out = op.eval(*arrays, **attrs)
    if type_.__class__ is TensorType:
        result = _result(op, out, type_, inputs, arrays)
    else:
        result = tuple(
            _result(op, o, t, inputs, arrays) for o, t in zip(out, type_, strict=True)
        )
    if state.grad_enabled:
        for x in inputs:
            if x._requires_grad or (x._base is not None and x._base._requires_grad):
                tape.record(op, attrs, inputs, types, result)
                break
    return result


def _elsewhere(op: Op, inputs: Sequence, attrs: dict[str, Any], types: list) -> Any:
    """`apply` for operands in GPU memory; TraceError if they are in none."""
    from .cuda.eager import apply as apply_there

    return apply_there(op, inputs, attrs, types)


def copy_of(array: Any) -> Any:
    """A row-major copy, on the same device."""
    return np.array(array, order="C") if array.__class__ is _ndarray else array.copy()


def shares(a: Any, b: Any) -> bool:
    """Whether two arrays, in host or GPU memory, have elements in common."""
    if a.__class__ is b.__class__ is _ndarray:
        return np.shares_memory(a, b, max_work=10000)
    return getattr(a, "buffer", a) is getattr(b, "buffer", b)


def _result(op: Op, out: Any, type_: TensorType, inputs: Sequence, arrays: list) -> Any:
    """The Tensor for one computed value: right dtype, own memory (or borrowed, see above)."""
    if out.__class__ is not _ndarray:
        out = np.asarray(out)
    if out.dtype is not type_.dtype.numpy and out.dtype != type_.dtype.numpy:
        out = out.astype(type_.dtype.numpy)
    if out.base is None:
        for array in arrays:
            if array is out:
                out = out.copy()
        if not out.flags.c_contiguous:  # so that the tracer knows which reshapes are views
            out = np.array(out, order="C")
        return wrap(out, type_)
    if out.nbytes > BORROW_BYTES and op.name in BORROWABLE and _may_borrow(op, out):
        x = inputs[0]
        storage = x._borrowed or storage_of(x)
        if not storage.exposed:
            result = wrap(out, type_)
            storage.lend(result)
            return result
    return wrap(np.array(out, order="C"), type_)


def _may_borrow(op: Op, out: Any) -> bool:
    """A reshape promises row-major elements (clone() and contiguous() rely on it)."""
    return op.name != "reshape" or out.flags.c_contiguous


def operand_error(op: Op, inputs: Sequence) -> Exception:
    """The error for an operand that is no Tensor."""
    got = ", ".join(type(x).__name__ for x in inputs)
    return OpError(f"{op.name}: all operands must be Tensors, got ({got})")


def leaked(op: Op | None, inputs: Sequence) -> Exception:
    """The error for a tensor that was recorded in a graph and is used outside of it."""
    from .trace_error import TraceError

    name = op.name if op else "a compiled program"
    return TraceError(
        f"{name} got a tensor that belongs to a graph that was recorded earlier; it has no value. "
        "Return it from the traced function instead of storing it elsewhere."
    )
