"""A pad around what a kernel computes: the kernel writes straight into the padded tensor.

What is inside is computed over its own loops and stored further in; the frame around it is filled
by small kernels of its own, one per padded axis, which write other elements of the same result.

    y = pad(relu(x), low=(1, 1), high=(1, 1))   ->   y[i + 1, j + 1] = relu(x[i, j])
                                                     y[0, :] = y[-1, :] = 0
                                                     y[1:-1, 0] = y[1:-1, -1] = 0
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .graph import Graph, Node
from .index import linear
from .kernel_builder import KernelBuilder
from .loops import Buffer, Kernel, Store
from .lower import LOWERINGS, domain_of
from .types import TensorType

FRAMED = ("map", "contract", "window")  # kinds of kernels that can write into a frame


def is_frame(node: Node) -> bool:
    """Whether the node surrounds its operand with a constant, and leaves no gaps inside."""
    if node.name != "pad" or not node.inputs[0].type.size or any(node.attrs["interior"]):
        return False
    return any((*node.attrs["low"], *node.attrs["high"]))


def lower_framed(body: Graph, kind: str, name: str) -> Kernel:
    """The kernel of a group whose first result is a frame, without what fills the frame."""
    frame, *others = body.outputs
    (inner,) = frame.inputs
    kernel = LOWERINGS[kind](Graph(body.name, body.inputs, [inner, *others]), name)
    first, *rest = kernel.stores
    out = replace(first.buffer, type=frame.type)
    _, idx = domain_of(inner.type.shape)
    there = tuple(i + low for i, low in zip(idx, frame.attrs["low"], strict=True))
    store = Store(out, linear(there, frame.type.shape), first.value)
    buffers = tuple(out if b is first.buffer else b for b in kernel.buffers)
    return replace(kernel, buffers=buffers, stores=(store, *rest))


def borders(frame: Node) -> Iterator[tuple]:
    """What `lower_border` needs for each padded axis: (type, axis, low, high, value)."""
    low, high = frame.attrs["low"], frame.attrs["high"]
    shape = frame.type.shape
    for axis in range(len(shape)):
        if low[axis] or high[axis]:
            yield frame.type, axis, tuple(low), tuple(high), frame.attrs["value"]


def lower_border(type: TensorType, axis: int, low, high, value, name: str) -> Kernel:
    """The kernel that fills both ends of one axis; of the axes before, only what is inside."""
    shape, out = type.shape, Buffer("y0", 0, type)
    inside = [n - a - b for n, a, b in zip(shape, low, high, strict=True)]
    loops, stores = [], []
    for width, start in ((low[axis], 0), (high[axis], shape[axis] - high[axis])):
        if width:
            domain, idx = domain_of((*inside[:axis], width, *shape[axis + 1 :]))
            moved = (*low[:axis], start)
            there = tuple(i + n for i, n in zip(idx, moved, strict=False)) + idx[axis + 1 :]
            constant = KernelBuilder(domain).const(value, type.dtype)
            stores.append(Store(out, linear(there, shape), constant))
            loops += [v for v in domain if v not in loops]
    return Kernel(name, "map", (out,), 1, tuple(loops), tuple(stores))
