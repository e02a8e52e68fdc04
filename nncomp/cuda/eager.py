"""Operations on Tensors in GPU memory: one op is one PTX program, compiled once per op and types.

`apply` is what dispatch.apply does for operands on a GPU, `view` what inplace.view does. Movement
ops give copies, except reshape; `memory.py` says how writes to them are refused.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dispatch
from ..autograd import tape
from ..autograd.modes import state
from ..device import device
from ..ir import ops
from ..ir.debug import debug
from ..ir.graph import Graph, build_node, input_node
from ..ir.op import attribute_key
from ..ir.types import TensorType
from .memory import CUDA, CudaArray, any_there, is_there

LARGEST = 2048  # programs that are kept
_programs: OrderedDict[Any, Any] = OrderedDict()
_lock = threading.RLock()


def apply(op: Any, inputs: Sequence, attrs: dict[str, Any], types: list) -> Any:
    """Run `op` on the GPU; RuntimeError for operands on different devices."""
    if not any(x._data.__class__ is CudaArray for x in inputs):
        raise dispatch.leaked(op, inputs)
    any_there(inputs)
    inputs = [x if is_there(x) or x.requires_grad else moved(x, CUDA) for x in inputs]
    type_ = op.type(*types, **attrs)
    out = _program(op, types, attrs)([x._data for x in inputs])
    if isinstance(type_, TensorType):
        result = dispatch.wrap(out[0], type_)
    else:
        result = tuple(dispatch.wrap(o, t) for o, t in zip(out, type_, strict=True))
    if state.grad_enabled and any(x.requires_grad for x in inputs):
        tape.record(op, attrs, inputs, types, result)
    return result


def apply_marked(op: Any, inputs: Sequence, attrs: dict[str, Any]) -> Any:
    """dispatch.apply where tensors are on a GPU: what is made of no tensor fits every device.

    So the ramps, masks and numbers that functions make on the way can meet operands on the GPU.
    Functions of new tensors take the mark off what they give to the user.
    """
    result = dispatch.apply(op, inputs, attrs)
    if state.tracer is None and all(x._made for x in inputs):
        for y in result if isinstance(result, tuple) else (result,):
            y._made = True
    return result


def _program(op: Any, types: Sequence[TensorType], attrs: dict[str, Any]) -> Any:
    from .running import Backend

    key = op.name, attribute_key(attrs), tuple(types), debug.matmul_precision
    with _lock:
        found = _programs.get(key)
        if found is None:
            inputs = [input_node(f"x{i}", t) for i, t in enumerate(types)]
            out = build_node(op, inputs, attrs)
            outputs = list(out) if isinstance(out, tuple) else [out]
            found = Backend().compile(Graph(op.name, inputs, outputs))
            _programs[key] = found
            if len(_programs) > LARGEST:
                _programs.popitem(last=False)
        _programs.move_to_end(key)
        return found


def view(op: Any, x: Any, attrs: dict[str, Any]) -> Any:
    """The result of a movement op: on the same memory for a reshape, else a guarded copy."""
    from .. import inplace

    array = x._data
    if op is ops.reshape:
        made = CudaArray(op.type(x._type, **attrs), array.buffer)
        made.viewed = array.viewed
        result = dispatch.wrap(made, made.type)
        inplace.link(result, x, dispatch.storage_of(x), (*x._chain, (op, attrs)))
        if state.grad_enabled:
            inplace.add_history(result, x, op, attrs)
        return result
    result = apply(op, (x,), attrs, [x._type])
    result._data.stands_for_view(array.viewed or array.buffer)
    return result


def write(x: Any, value: Any) -> None:
    """Copy the elements of `value` into `x`, of which one at least is on a GPU."""
    if not is_there(x):
        raise RuntimeError(
            "a tensor on the CPU cannot be written in place with one on cuda; call .cpu() on it"
        )
    x._data.check_writable()
    if x._storage is not None:
        x._storage.writes += 1
    if is_there(value):
        x._data.take(value._data)
    else:
        x._data.fill(value._data)


def require(where: Any) -> device:
    """The device `where` if tensors can be on it; DeviceError or RuntimeError says why not."""
    found = device(where)
    if found.type != "cuda" or found.index not in (None, 0):
        raise RuntimeError(f"tensors can be on 'cpu' and 'cuda:0' here, not on '{found}'")
    from ..backends.ptx.device import get_device

    get_device()
    return CUDA


def moved(x: Any, where: Any) -> Any:
    """`x` on another device ("cpu" or CUDA), as a step that gradients flow back through."""
    to_host = device(where).type == "cpu"
    if is_there(x) is not to_host:
        return x
    if not to_host:
        require(where)
    array = x._data.host() if to_host else _up(x)
    result = dispatch.wrap(array, TensorType(*x._type))  # a new type: see TensorGuard
    if state.grad_enabled and x.requires_grad:
        result._grad_fn, result._output_nr = ToCopyBackward0(x), 0
        result._requires_grad = True
    return result


def _up(x: Any) -> CudaArray:
    dispatch.apply_through(apply_marked)  # from the first such tensor on
    array = x.numpy_array("to()")
    return CudaArray(TensorType(*x._type)).fill(np.ascontiguousarray(array))


class ToCopyBackward0(tape.TapeNode):
    """A move: the gradient goes back to where the operand is."""

    __slots__ = ("there",)

    def __init__(self, x: Any):
        super().__init__([tape.edge_of(x)])
        self.there = is_there(x)

    def run(self, grads: list, wanted: Sequence[bool]) -> Sequence:
        return [moved(grads[0], CUDA if self.there else "cpu")]


__all__ = ["apply", "moved", "require", "view", "write"]
