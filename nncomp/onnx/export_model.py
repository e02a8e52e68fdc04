"""The ModelProto of a graph: inputs, weights, nodes by the rules, and outputs, with their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from ..ir.graph import Graph, Node
from .export_builder import Builder, Names, OnnxExportError, prune, users_of
from .export_rules import emit_graph, own_outputs, value_info
from .protobuf import fill_tensor, third_party

TENSOR_LIMIT = 2**31 - 2**12  # protobuf's limit for one field
CAPTURED = "constant"  # the doc_string of a tensor that belongs to no state
LARGE = 1 << 16  # bytes; smaller tensors without a name become constants


def model_of_graph(
    graph: Graph,
    opset: int,
    stored: Mapping[Node, tuple[np.ndarray, str]] = MappingProxyType({}),
    renamed: Mapping[str, str] = MappingProxyType({}),
    results: Sequence[int] | None = None,
    output_names: Sequence[str] | None = None,
    open_sizes: bool = False,
) -> Any:
    """The ModelProto of `graph`, an input or initializer per input and an output per result.

    `stored` gives the value of inputs that are weights, and what they are in the Module: parameter,
    buffer or nothing; `renamed` gives names of the others, `results` the numbers of the outputs
    that are wanted, all by default.
    """
    onnx = third_party()
    results = range(len(graph.outputs)) if results is None else results
    taken = {renamed.get(n, n) for n in graph.input_names} | set(output_names or ())
    b = Builder(opset, Names(taken), users_of(graph), open_sizes=open_sizes)
    program = onnx.ModelProto(producer_name="nncomp")
    program.graph.name = graph.name
    for x in graph.inputs:
        name = renamed.get(x.attrs["name"], x.attrs["name"])
        b.values[x] = name
        if x not in stored:
            program.graph.input.append(value_info(name, x.type))
            continue
        array, kind = stored[x]
        if x.type.nbytes > TENSOR_LIMIT:
            raise OnnxExportError(
                f"{name} : {x.type} has {x.type.nbytes} bytes; ONNX stores up to {TENSOR_LIMIT} in "
                "one tensor, split it"
            )
        if kind or x.type.nbytes > LARGE:
            proto = program.graph.initializer.add()
            fill_tensor(proto, np.asarray(array), x.dtype, name)
            proto.doc_string = kind or CAPTURED
        else:
            b.values[x] = b.constant(array, x.dtype)
    names = emit_graph(b, graph)
    names = own_outputs(b, [names[i] for i in results], ())
    names = rename_outputs(b, names, output_names)
    program.graph.node.extend(prune([*b.constants, *b.nodes], names))
    for name, i in zip(names, results, strict=True):
        program.graph.output.append(value_info(name, graph.outputs[i].type))
    imports = [onnx.helper.make_opsetid("", opset)]
    program.opset_import.extend(imports)
    program.ir_version = onnx.helper.find_min_ir_version_for(imports)
    return program


def renamed_inputs(arguments: Sequence[str], names: Any, taken: set[str]) -> dict[str, str]:
    """The user's name for each of the tensors among the arguments."""
    if names is None:
        return {}
    names = _checked_names(names, len(arguments), "input")
    clash = sorted(set(names) & (taken - set(arguments)))
    if clash:
        raise ValueError(f"input_names: {', '.join(clash)} is the name of a weight already")
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


def rename_outputs(b: Builder, names: list[str], wanted: Any) -> list[str]:
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
