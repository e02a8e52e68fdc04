"""Views and in-place writes: memory that several tensors see, and what autograd makes of it.

Every tensor that shares memory has a `_storage`, and a `_chain` of movement ops that leads from the
whole memory to it. A differentiable view also knows its `_base`: writing the view gives the base a
new history, and every other view of it finds its own again by replaying its chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import dispatch
from .autograd import tape
from .autograd.modes import state
from .dispatch import storage_of, wrap
from .ir import ops
from .scatter import OVERLAP, scatter_chain

Step = tuple[Any, dict]
NEWEST_NODES = 24  # more than one in-place function records
LEAF = "a leaf Variable that requires grad is being used in an in-place operation."
LEAF_VIEW = "a view of a leaf Variable that requires grad is being used in an in-place operation."


def view(op: Any, x: Any, **attrs: Any) -> Any:
    """The result of a movement op that shares memory with `x`: writing one writes the other.

    A reshape that strides do not allow gives a copy instead, as torch's reshape.
    """
    if state.tracer is not None:
        return state.tracer.view(op, x, attrs)
    return _eager_view(op, x, attrs)


def _eager_view(op: Any, x: Any, attrs: dict) -> Any:
    if ("_data" not in x.__dict__ and x._released is None) or (
        x._data.__class__ is not np.ndarray
    ):
        if _is_there(x):
            return cuda_eager().view(op, x, attrs)
        raise dispatch.leaked(op, (x,))
    type_ = op.type(x._type, **attrs)
    storage = storage_of(x)
    array = x._data
    out = op.eval(array, **attrs)
    if op is ops.reshape and not _shares(out, array):
        return dispatch.apply(op, (x,), attrs)
    if op is ops.expand and array.flags.writeable:
        out.flags.writeable = True  # broadcast_to makes it read-only
    if out is array:
        out = array.view()
    result = wrap(out, type_)
    link(result, x, storage, (*x._chain, (op, attrs)))
    if state.grad_enabled:
        add_history(result, x, op, attrs)
    return result


def _is_there(x: Any) -> bool:
    return hasattr(x.__dict__.get("_data"), "cuda_device")


def cuda_eager() -> Any:
    """The operations on tensors in GPU memory, imported when there is one."""
    from .cuda import eager

    return eager


def _shares(out: np.ndarray, array: np.ndarray) -> bool:
    return out.size == 0 or np.may_share_memory(out, array)


def link(result: Any, x: Any, storage: Any, chain: tuple[Step, ...]) -> None:
    """Make `result` a tensor on the memory of `x`, with one version for both."""
    result._storage = storage
    result._chain = chain
    if x._counter is None:
        x._counter = [0]
    result._counter = x._counter


def add_history(result: Any, x: Any, op: Any, attrs: dict) -> None:
    """Make `result` a differentiable view of `x`."""
    base = x if x._base is None else x._base
    if base._requires_grad:
        tape.record(op, attrs, (x,), [x._type], result)
    result._base = base
    result._steps = x._steps + 1 if x._base is not None else 1
    result._seen = base._rebased


def alias(x: Any, share_version: bool = True) -> Any:
    """A tensor on the same memory without history: detach(), or .data with its own version."""
    if state.tracer is not None:
        return state.tracer.detach(x, share_version)
    if "_data" not in x.__dict__:
        x._data  # raises the reason  # noqa: B018
    storage = storage_of(x)  # first: borrowed memory is copied by it
    result = wrap(x._data, x._type)
    link(result, x, storage, x._chain)
    if not share_version:
        result._counter = [x._counter[0]]
    return result


def base_chain(x: Any) -> tuple[Step, ...]:
    """The movement ops from `x._base` to `x`."""
    return x._chain[-x._steps :]


def refresh_history(x: Any) -> None:
    """Give a view whose base was written the history of the base's new value."""
    base = x._base
    x._seen = base._rebased
    if not base._requires_grad:
        return
    step = base
    chain = base_chain(x)
    for op, attrs in chain[:-1]:
        made = wrap(None, op.type(step._type, **attrs))
        tape.record(op, attrs, (step,), [step._type], made)
        step = made
    op, attrs = chain[-1]
    tape.record(op, attrs, (step,), [step._type], x)


# -- writing --------------------------------------------------------------------------------------


def assign(x: Any, value: Any) -> Any:
    """Write `value`, of the same shape and dtype, into `x`; returns `x`.

    RuntimeError for a leaf that requires grad (outside no_grad) and for a tensor whose elements
    share memory. Autograd afterwards sees `value`, in `x` and in everything that shares its memory.
    """
    check_writable(x, value)
    if x._counter is None:
        x._counter = [0]
    if value._grad_fn is not None and state.grad_enabled:
        _keep_operand(x, value._grad_fn)
    if state.tracer is not None:
        state.tracer.assign(x, value)
    else:
        _write_memory(x, value)
    x._counter[0] += 1
    if state.grad_enabled:
        rebase(x, value)
    return x


def check_writable(x: Any, value: Any) -> None:
    """RuntimeError unless `x` may be overwritten with `value`."""
    if x._type != value._type:
        raise RuntimeError(
            f"an in-place operation computed {value._type} for a tensor that is {x._type}; shape "
            "and dtype must stay the same"
        )
    if not state.grad_enabled:
        return
    if x._base is None:
        if x._requires_grad and x._grad_fn is None:
            raise RuntimeError(LEAF)
    elif x._base._requires_grad and x._base._grad_fn is None:
        raise RuntimeError(LEAF_VIEW)


def _write_memory(x: Any, value: Any) -> None:
    """Copy the elements; borrowers of the memory keep the old ones."""
    dispatch.own_memory(x)
    array, source = x._data, value._data
    if array.__class__ is not np.ndarray or source.__class__ is not np.ndarray:
        if _is_there(x) or _is_there(value):
            cuda_eager().write(x, value)
            return
    if (0 in array.strides and _overlaps(array)) or (x._chain and _through_windows(x)):
        raise RuntimeError(OVERLAP)
    if source.__class__ is not np.ndarray:
        raise dispatch.leaked(ops.detach, (value,))
    if not array.flags.writeable:
        raise RuntimeError(
            "the tensor shares memory with a read-only numpy array; clone() it before writing"
        )
    if x._storage is not None:
        x._storage.settle()
        x._storage.writes += 1
    array[...] = source


def overwrite(x: Any, array: np.ndarray) -> None:
    """Store what compiled code computed for a tensor: an in-place write without history."""
    dispatch.own_memory(x)
    if x._storage is not None:
        x._storage.settle()
    if x._data is not array:
        x._data[...] = array
    if x._counter is None:
        x._counter = [0]
    x._counter[0] += 1


def _keep_operand(x: Any, node: tape.TapeNode) -> None:
    """Copy what the gradient of `value` saved of the memory of `x`, which is about to be written.

    `x.mul_(w)` is `assign(x, x * w)`, and the gradient of w reads the old x. The nodes of such a
    value are the newest ones; a value saved by an older operation stays an error in backward.
    """
    oldest = node.sequence - NEWEST_NODES
    stop, stack, seen = x._grad_fn, [node], set()
    while stack:
        node = stack.pop()
        if node is stop or node in seen or node.sequence < oldest:
            continue
        seen.add(node)
        if isinstance(node, tape.OpNode) and node.saved is not tape.FREED:
            for saved in (*node.saved, *node.saved_results):
                if saved is not None and saved.counter is x._counter:
                    saved.keep()
        stack.extend(edge[0] for edge in node.edges if edge is not None)


def _overlaps(array: np.ndarray) -> bool:
    pairs = zip(array.strides, array.shape, strict=True)
    return array.size > 0 and any(s == 0 and n > 1 for s, n in pairs)


def _through_windows(x: Any) -> bool:
    return any(op is ops.unfold for op, _ in x._chain)


def rebase(x: Any, value: Any) -> None:
    """Give `x`, or the base it is a view of, the history of `value`, which was written into it."""
    base = x._base
    if base is None:
        if value._requires_grad or _needs_grad(value):
            _take_history(x, value)
        elif x._requires_grad:
            node = CopySlices((tape.edge_of(x), None), x._type, ())
            x._grad_fn, x._output_nr = node, 0
        else:
            return
        x._requires_grad = True
        x._rebased = x._rebased + 1
        return
    if not (_needs_grad(value) or base._requires_grad):
        return
    node = CopySlices((tape.edge_of(base), tape.edge_of(value)), base._type, base_chain(x))
    base._grad_fn, base._output_nr, base._requires_grad = node, 0, True
    base._rebased = base._rebased + 1


def _needs_grad(x: Any) -> bool:
    return x._requires_grad or (x._base is not None and x._base._requires_grad)


def _take_history(x: Any, value: Any) -> None:
    edge = tape.edge_of(value)
    if isinstance(edge[0], tape.AccumulateGrad) or value._base is not None:
        edge = CopySlices((None, edge), x._type, ()), 0
    x._grad_fn, x._output_nr = edge


class CopySlices(tape.TapeNode):
    """A write: the new value of the base has the written one at the place that `chain` leads to."""

    __slots__ = ("type", "chain")

    def __init__(self, edges: Sequence, type_: Any, chain: tuple[Step, ...]):
        super().__init__(edges)
        self.type, self.chain = type_, chain

    def name(self) -> str:
        return "CopySlices" if self.chain else "CopyBackwards"

    def run(self, grads: list, wanted: Sequence[bool]) -> Sequence:
        (g,) = grads
        part = g
        for op, attrs in self.chain:
            part = op(part, **attrs)
        rest = None
        if wanted[0]:
            rest = scatter_chain(g, self.chain, tape.zeros_of(part._type))
        return rest, part if wanted[1] else None


__all__ = [
    "alias", "assign", "check_writable", "link", "overwrite", "rebase", "refresh_history", "view",
]  # fmt: skip
