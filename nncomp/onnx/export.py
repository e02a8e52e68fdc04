"""nncomp.onnx.export: trace a model, and write its graph as an ONNX file.

The traced graph is simplified but not laid out for a processor; each of its nodes becomes one or a
few ONNX nodes by the rules of export_rules. Parameters and buffers are initializers under their
state_dict names.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..autograd.modes import no_grad
from ..functions.base import constant
from ..ir.graph import Graph
from ..ir.passes import canonicalize, cse, fold_constants, inline_calls, simplify
from ..trace_result import Traced
from ..trace_values import map_leaves
from ..tracing import trace_call
from .export_builder import Builder, Names, OnnxExportError
from .export_dynamic import Open, open_sizes, with_open_sizes
from .export_file import write
from .export_model import CAPTURED, model_of_graph, renamed_inputs
from .export_rules import NO_RULE
from .protobuf import third_party

OPSETS = range(17, 24)
PASSES = (inline_calls, canonicalize, fold_constants, simplify, cse)


def export(
    model: Any,
    args: Any = (),
    f: str | os.PathLike = "model.onnx",
    *,
    kwargs: Mapping[str, Any] | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    opset_version: int = 18,
    dynamic_axes: Mapping[str, Any] | None = None,
    external_data: bool | None = None,
) -> None:
    """Write `model(*args, **kwargs)`, a Module (in eval mode) or a function, as the ONNX file `f`.

    The file is made for the shapes and dtypes of these arguments: it has one input per tensor
    among them, named as forward's parameters or by `input_names`, and one output per tensor of the
    result (`output_names`). `args` may be one tensor. `dynamic_axes={"x": {0: "batch"}}` leaves
    sizes open, by name; forward is recorded for a few values of each. Weights are initializers
    named as in the state_dict; those of more than 2 GB, or all if `external_data` is True, are
    stored in `f + ".data"`. `opset_version` is 17 to 23. A failure leaves the file that was there.

    Raises OnnxExportError, with the user's line, for what ONNX cannot express; ValueError for
    names or options that do not fit; TraceError as `compile` does; ImportError without onnx.
    """
    onnx = third_party()
    _check_opset(onnx, opset_version)
    args = args if isinstance(args, tuple) else (args,)
    model = _plain(model)
    input_names = input_names or _names_in_file(model, "input_names")
    output_names = output_names or _names_in_file(model, "output_names")
    call = _Call(model, args, dict(kwargs or {}), input_names, output_names, opset_version)
    with _eval_mode(model), no_grad():
        program = call.program()
        if dynamic_axes:
            weights = program.graph.initializer
            program = with_open_sizes(call.resized, call.open_sizes(dynamic_axes, program))
            program.graph.initializer.extend(t for t in weights if t.doc_string != CAPTURED)
    write(onnx, program, os.fspath(f), external_data)


def _names_in_file(model: Any, which: str) -> Sequence[str] | None:
    """The names that a model has in the file that it was loaded from."""
    from .load import OnnxModule

    return getattr(model, which) if isinstance(model, OnnxModule) else None


class _Call:
    """What is exported: a model, its arguments, and the names of inputs and outputs."""

    def __init__(self, model: Any, args: tuple, kwargs: dict, input_names: Any, output_names: Any,
                 opset: int):  # fmt: skip
        self.model, self.args, self.kwargs = model, args, kwargs
        self.input_names, self.output_names, self.opset = input_names, output_names, opset
        self.open: Open | None = None

    def program(self, args: tuple | None = None, kwargs: dict | None = None) -> Any:
        """The ModelProto for these arguments."""
        given = (self.args, self.kwargs) if args is None else (args, kwargs)
        traced = trace_call(self.model, *given)
        graph = _without_writes(traced)
        for run in PASSES:
            graph = run(graph)
        renamed = renamed_inputs(traced.arguments, self.input_names, set(graph.input_names))
        state = _state_kinds(self.model)
        tensors = dict(zip(graph.inputs, traced.captures, strict=False))
        stored = {x: (t._data, state.get(x.attrs["name"], "")) for x, t in tensors.items()}
        results = _results(traced, graph)
        return model_of_graph(
            graph, self.opset, stored, renamed, results, self.output_names, self.open is not None
        )

    def open_sizes(self, axes: Mapping[str, Any], program: Any) -> Open:
        """The open sizes of the inputs; from now on programs are made to be merged."""
        inputs = [x.name for x in program.graph.input]
        outputs = [x.name for x in program.graph.output]
        shapes = [tuple(x.shape) for x in self._tensors()]
        self.open = open_sizes(axes, inputs, shapes, outputs)
        self.inputs = inputs
        return self.open

    def resized(self, sizes: Mapping[str, int]) -> Any:
        """The ModelProto for other sizes, without the weights of the state.

        The values of arguments do not matter, as nothing may depend on them.
        """
        names = iter(self.inputs)

        def other(x: Any, path: str) -> Any:
            if not hasattr(x, "_type"):
                return x
            labels = self.open.axes.get(next(names), {})
            shape = [sizes[labels[i]] if i in labels else n for i, n in enumerate(x.shape)]
            return constant(0, shape, x.dtype)

        args = map_leaves(self.args, other)
        program = self.program(args, map_leaves(self.kwargs, other))
        rest = [t for t in program.graph.initializer if t.doc_string == CAPTURED]
        del program.graph.initializer[:]
        program.graph.initializer.extend(rest)
        return program

    def _tensors(self) -> list[Any]:
        """The tensors among the arguments, in order."""
        found: list[Any] = []
        note: Callable = lambda x, path: found.append(x) if hasattr(x, "_type") else None  # noqa: E731
        map_leaves((self.args, self.kwargs), note)
        return found


def _check_opset(onnx: Any, opset: int) -> None:
    newest = min(OPSETS[-1], onnx.defs.onnx_opset_version())
    if isinstance(opset, bool) or not isinstance(opset, int) or not OPSETS[0] <= opset <= newest:
        raise ValueError(
            f"opset_version must be an integer from {OPSETS[0]} to {newest} "
            f"(onnx {onnx.__version__}), got {opset!r}"
        )


def _plain(model: Any) -> Any:
    """The Module or function behind a compiled one."""
    from ..compiled_module import original
    from ..compiler import CompiledFunction

    if isinstance(model, CompiledFunction):
        return model.fn
    is_compiled = isinstance(getattr(type(model), "_original_class", None), type)
    return original(model) if is_compiled else model


@contextlib.contextmanager
def _eval_mode(model: Any) -> Iterator[None]:
    """Every module in eval mode, then each in its own again."""
    modules = list(model.modules()) if hasattr(model, "named_modules") else []
    before = [m.training for m in modules]
    if modules:
        model.eval()
    try:
        yield
    finally:
        for module, training in zip(modules, before, strict=True):
            module.training = training


def _state_kinds(model: Any) -> dict[str, str]:
    """ "parameter" or "buffer" by the names of the state."""
    if not hasattr(model, "named_modules"):
        return {}
    kinds = {name: "buffer" for name, _ in model.named_buffers()}
    return kinds | {name: "parameter" for name, _ in model.named_parameters()}


def _without_writes(traced: Traced) -> Graph:
    """The traced graph; OnnxExportError if it overwrites its inputs."""
    graph = traced.graph
    written = sorted({name for name in graph.output_names if name})
    if written:
        raise OnnxExportError(
            f"forward overwrites {', '.join(written)}, which an ONNX graph cannot; pass the "
            "tensor in as an argument and return its new value"
        )
    if traced.draws:
        node = next(n for n in graph.nodes if n.name == "random_bits")
        b = Builder(OPSETS[0], Names(), {})
        b.node = node
        raise b.error(f"cannot be written to an ONNX file: {NO_RULE['random_bits']}")
    return graph


def _results(traced: Traced, graph: Graph) -> list[int]:
    """Numbers of the graph's outputs in the order of the tensors in the result."""
    found: list[int] = []

    def meet(leaf: Any, path: str) -> Any:
        if isinstance(leaf, _Result):
            found.append(leaf.number)
        elif hasattr(leaf, "_type"):
            raise OnnxExportError(
                f"the result holds a tensor {leaf._type} that forward did not compute from its "
                "arguments; return `x.clone()` of it"
            )
        return leaf

    map_leaves(traced.rebuild([_Result(i) for i in range(traced.n_results)]), meet)
    if not found:
        raise OnnxExportError("the model returns no tensor, so an ONNX file would have no output")
    return found


class _Result:
    """Stands for one output of the graph."""

    def __init__(self, number: int):
        self.number = number
