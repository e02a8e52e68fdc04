"""Where new tensors go: `device=` of creation functions, and moves between devices."""

from __future__ import annotations

from typing import Any

from ..autograd.modes import state
from ..device import CPU, device
from ..trace_error import trace_error


def placed(x: Any, where: Any) -> Any:
    """`x` on the device `where` (the CPU for None); x itself if it is there.

    DeviceError (a RuntimeError) without a GPU, TraceError for a move inside of a graph.
    """
    found = CPU if where is None else device(where)
    if found.type == "cpu" and state.tracer is None:
        if not hasattr(x.__dict__.get("_data"), "cuda_device"):
            return x
    from ..cuda.eager import moved, require

    if found.type != "cpu":
        require(found)
    if state.tracer is None:
        return moved(x, found)
    if found.type != state.tracer.place.type:
        raise trace_error(
            f"a move to '{found}' cannot be part of a graph that runs on '{state.tracer.place}'; "
            "move tensors outside of the traced function"
        )
    return x


def created(x: Any, device: Any = None, requires_grad: bool = False) -> Any:
    """A new tensor on `device`, as a leaf; while tracing, where the graph runs."""
    if state.tracer is None:
        x._made = False
        x = x if device is None else placed(x, device)
    elif device is not None:
        placed(x, device)
    return x.requires_grad_(True) if requires_grad else x
