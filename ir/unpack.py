"""How to get an input back from a result that only moves it: packed weights, undone.

before:
    graph f_prepare(w: f32[20,32]) {
      permute_0 = permute(w, dims=(1,0))
      pad_0 = pad(permute_0, low=(0,0), high=(0,4), interior=(0,0), value=0)
      reshape_0 = reshape(pad_0, shape=(32,1,24))
      permute_1 = permute(reshape_0, dims=(1,0,2))
      return permute_1
    }
after:
    w = result 0: permute (1,0,2), reshape (32,24), slice (0,0) (32,20), permute (1,0)

Movement copies bits, so that what comes back is the input bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .graph import Graph, Node

Steps = tuple[tuple[Any, ...], ...]


def unpack_steps(graph: Graph) -> dict[int, tuple[int, Steps]]:
    """For each input that a result holds whole: its number -> (number of the result, steps)."""
    numbers = {node: i for i, node in enumerate(graph.inputs)}
    found: dict[int, tuple[int, Steps]] = {}
    for number, result in enumerate(graph.outputs):
        for node, steps in _sources(result, ()):
            if node in numbers:
                found.setdefault(numbers[node], (number, steps))
    return found


def _sources(node: Node, steps: Steps) -> Iterator[tuple[Node, Steps]]:
    """Nodes that `node` holds whole, each with the steps that take them out of it."""
    yield node, steps
    attrs = node.attrs
    if node.name == "permute":
        back = tuple(int(i) for i in np.argsort(attrs["dims"]))
        yield from _sources(node.inputs[0], (*steps, ("permute", back)))
    elif node.name == "reshape":
        yield from _sources(node.inputs[0], (*steps, ("reshape", node.inputs[0].shape)))
    elif node.name == "flip":
        yield from _sources(node.inputs[0], (*steps, ("flip", tuple(attrs["axes"]))))
    elif node.name == "pad" and not any(attrs["interior"]):
        (x,) = node.inputs
        yield from _sources(x, (*steps, _cut(tuple(attrs["low"]), x.shape)))
    elif node.name == "concat":
        at = 0
        for x in node.inputs:
            start = tuple(at if i == attrs["axis"] else 0 for i in range(len(x.shape)))
            yield from _sources(x, (*steps, _cut(start, x.shape)))
            at += x.shape[attrs["axis"]]


def _cut(start: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Any, ...]:
    return "slice", start, tuple(a + n for a, n in zip(start, shape, strict=True))


def unpack(array: np.ndarray, steps: Sequence[Sequence[Any]]) -> np.ndarray:
    """A new array: the input that the result `array` was made from."""
    for name, *values in steps:
        if name == "permute":
            array = array.transpose(values[0])
        elif name == "reshape":
            array = array.reshape(values[0])
        elif name == "flip":
            array = np.flip(array, values[0])
        elif name == "slice":
            array = array[tuple(map(slice, *values))]
        else:
            raise ValueError(f"there is no way back called {name!r}")
    return np.array(array, order="C")


__all__ = ["Steps", "unpack", "unpack_steps"]
