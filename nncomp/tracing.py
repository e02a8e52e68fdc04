"""trace: run a module or function once, on tensors without values, and record it as a Graph.

    graph = trace(model, x)

Parameters and buffers become graph inputs under their state_dict names, arguments under the names
of forward's parameters. In-place writes to them become outputs that say what to overwrite. Whatever
a graph cannot express is refused with a TraceError that names the user's line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .autograd.modes import state
from .ir import Graph
from .trace_error import TraceError, trace_error
from .trace_guards import Guard, StateGuard
from .trace_recorder import Recorder
from .trace_result import Traced


def trace(function: Callable, *args: Any, **kwargs: Any) -> Graph:
    """The graph of `function(*args, **kwargs)`; a function or a Module.

    TraceError for what a graph cannot express. Values, gradients and Python state are not changed.
    """
    return trace_call(function, args, kwargs).graph


def trace_call(
    function: Callable,
    args: tuple = (),
    kwargs: dict | None = None,
    root: Any = None,
    for_calls: bool = False,
    watched: Sequence[StateGuard] = (),
) -> Traced:
    """Record `function(*args, **kwargs)`.

    `root` is the module whose parameters give the captured tensors their names; by default the
    function itself, the object whose method it is, or the modules that the function refers to.
    With `for_calls`, results that share memory come from one output, as views of it, and tensors
    that forward leaves behind, in Modules or in what `watched` watches, get slots; without it,
    state that forward replaces is overwritten in place.
    """
    if state.tracer is not None:
        raise trace_error("a graph is being recorded already; call the function itself")
    recorder = Recorder(function, args, kwargs or {}, root, for_calls, watched)
    try:
        return recorder.run()
    finally:
        recorder.restore()


__all__ = ["Guard", "TraceError", "Traced", "trace", "trace_call"]
