"""nncomp.onnx.export: trace a model, and write its graph as an ONNX file.

The traced graph is simplified but not laid out for a processor; each of its nodes becomes one or a
few ONNX nodes by the rules of export_rules. Parameters and buffers are initializers under their
state_dict names.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from ..autograd.modes import no_grad
from ..file_replacement import replacing
from ..ir.graph import Graph, Node
from ..ir.passes import canonicalize, cse, fold_constants, inline_calls, simplify
from ..trace_result import Traced
from ..trace_values import map_leaves
from ..tracing import trace_call
from .export_builder import Builder, Names, OnnxExportError, prune, users_of
from .export_rules import emit_graph, own_outputs, value_info
from .protobuf import tensor_proto, third_party

OPSETS = range(17, 24)
FILE_LIMIT = 2**31 - 2**20  # protobuf's limit for one message, less what is not weights
SIDE = ".data"
LARGE = 1 << 16  # bytes; smaller tensors without a name become constants
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
    external_data: bool | None = None,
) -> None:
    """Write `model(*args, **kwargs)`, a Module (in eval mode) or a function, as the ONNX file `f`.

    The file is made for the shapes and dtypes of these arguments: it has one input per tensor
    among them, named as forward's parameters or by `input_names`, and one output per tensor of the
    result (`output_names`). `args` may be one tensor. Weights are initializers named as in the
    state_dict; those of more than 2 GB, or all if `external_data` is True, are stored in
    `f + ".data"`. `opset_version` is 17 to 23. A failure leaves the file that was there.

    Raises OnnxExportError, with the user's line, for what ONNX cannot express; ValueError for
    names or options that do not fit; TraceError as `compile` does; ImportError without onnx.
    """
    onnx = third_party()
    _check_opset(onnx, opset_version)
    args = args if isinstance(args, tuple) else (args,)
    model = _plain(model)
    input_names = input_names or getattr(type(model), "file_names", _none)(model, "input")
    output_names = output_names or getattr(type(model), "file_names", _none)(model, "output")
    with _eval_mode(model), no_grad():
        traced = trace_call(model, args, dict(kwargs or {}))
    program = _model(onnx, traced, input_names, output_names, opset_version, _state_kinds(model))
    _write(onnx, program, os.fspath(f), external_data)


def _none(model: Any, kind: str) -> None:
    return None


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


# -- the ONNX graph -------------------------------------------------------------------------------


def _model(onnx: Any, traced: Traced, input_names: Any, output_names: Any, opset: int,
           state: Mapping[str, str]) -> Any:  # fmt: skip
    """The ModelProto of a recorded call."""
    graph = _without_writes(traced)
    for run in PASSES:
        graph = run(graph)
    renamed = _renamed(traced.arguments, input_names, "input", set(graph.input_names))
    results = _results(traced, graph)
    tensors = dict(zip(graph.inputs, traced.captures, strict=False))
    stored = {x: (t._data, state.get(x.attrs["name"], "")) for x, t in tensors.items()}
    return model_of_graph(graph, opset, stored, renamed, results, output_names)


def model_of_graph(
    graph: Graph,
    opset: int,
    stored: Mapping[Node, tuple[np.ndarray, str]] = MappingProxyType({}),
    renamed: Mapping[str, str] = MappingProxyType({}),
    results: Sequence[int] | None = None,
    output_names: Sequence[str] | None = None,
) -> Any:
    """The ModelProto of `graph`, an input or initializer per input and an output per result.

    `stored` gives the value of inputs that are weights, and what they are in the Module: parameter,
    buffer or nothing; `renamed` gives names of the others, `results` the numbers of the outputs
    that are wanted, all by default.
    """
    onnx = third_party()
    results = range(len(graph.outputs)) if results is None else results
    taken = {renamed.get(n, n) for n in graph.input_names} | set(output_names or ())
    b = Builder(opset, Names(taken), users_of(graph))
    inputs, initializers = [], []
    for x in graph.inputs:
        name = renamed.get(x.attrs["name"], x.attrs["name"])
        b.values[x] = name
        if x not in stored:
            inputs.append(value_info(name, x.type))
            continue
        array, kind = stored[x]
        if kind or x.type.nbytes > LARGE:
            proto = tensor_proto(np.asarray(array), x.dtype, name)
            proto.doc_string = kind
            initializers.append(proto)
        else:
            b.values[x] = b.constant(array, x.dtype)
    names = emit_graph(b, graph)
    names = own_outputs(b, [names[i] for i in results], ())
    names = _rename_outputs(b, names, output_names)
    nodes = prune([*b.constants, *b.nodes], names)
    outputs = [value_info(n, graph.outputs[i].type) for n, i in zip(names, results, strict=True)]
    made = onnx.helper.make_graph(nodes, graph.name, inputs, outputs, initializers)
    imports = [onnx.helper.make_opsetid("", opset)]
    program = onnx.helper.make_model(made, opset_imports=imports, producer_name="nncomp")
    program.ir_version = onnx.helper.find_min_ir_version_for(imports)
    return program


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
        from .export_rules import NO_RULE

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


def _renamed(arguments: Sequence[str], names: Any, what: str, taken: set[str]) -> dict[str, str]:
    """The user's name for each of the tensors among the arguments."""
    if names is None:
        return {}
    names = _checked_names(names, len(arguments), what)
    clash = sorted(set(names) & (taken - set(arguments)))
    if clash:
        raise ValueError(f"{what}_names: {', '.join(clash)} is the name of a weight already")
    return dict(zip(arguments, names, strict=True))


def _checked_names(names: Any, count: int, what: str) -> list[str]:
    names = list(names)
    if len(names) != count or len(set(names)) != count or not all(_is_name(n) for n in names):
        raise ValueError(
            f"{what}_names must be {count} different names, one per {what} tensor, got {names}"
        )
    return names


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and bool(name)


def _rename_outputs(b: Builder, names: list[str], wanted: Any) -> list[str]:
    """Outputs under the user's names, by renaming what makes and reads them."""
    if wanted is None:
        return names
    wanted = _checked_names(wanted, len(names), "output")
    if set(wanted) & {v for x, v in b.values.items() if x.op is None}:
        raise ValueError(f"output_names: {wanted} holds the name of an input or a weight")
    new = dict(zip(names, wanted, strict=True))
    for node in b.nodes:
        for field in (node.input, node.output):
            for i, name in enumerate(field):
                field[i] = new.get(name, name)
        _rename_in_bodies(node, new)
    return wanted


def _rename_in_bodies(node: Any, new: dict[str, str]) -> None:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                for i, name in enumerate(inner.input):
                    inner.input[i] = new.get(name, name)
                _rename_in_bodies(inner, new)


# -- the file -------------------------------------------------------------------------------------


def _write(onnx: Any, program: Any, path: str, external: bool | None) -> None:
    """Check the model and write it, its weights beside it if they are large."""
    size = sum(len(t.raw_data) for t in program.graph.initializer)
    if external is None:
        external = size > FILE_LIMIT
    if not external:
        onnx.checker.check_model(program, full_check=True)
        with replacing(path) as temporary, open(temporary, "wb") as file:
            file.write(program.SerializeToString())
        return
    side = path + SIDE
    with replacing(side) as weights, replacing(path) as temporary:
        with open(weights, "wb") as file:
            for tensor in program.graph.initializer:
                _move_out(onnx, tensor, file, os.path.basename(side))
        with open(temporary, "wb") as file:
            file.write(program.SerializeToString())
    onnx.checker.check_model(path)


def _move_out(onnx: Any, tensor: Any, file: Any, location: str) -> None:
    """The bytes of an initializer to the end of `file`, at a multiple of 64."""
    file.write(b"\0" * (-file.tell() % 64))
    data = tensor.raw_data
    entries = dict(location=location, offset=str(file.tell()), length=str(len(data)))
    file.write(data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
