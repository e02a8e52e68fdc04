"""RULES, the export rule of each primitive, and why the others have none; graphs within graphs.

`emit_graph` runs the rules over a graph. A rule takes the Builder and the node, and returns the
name of its result, a tuple of names for several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ir.graph import Graph, Node, build_node, input_node
from ..ir.types import (
    DType,
    TensorType,
    bfloat16,
    bool_,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from . import export_contraction, export_elementwise, export_shape
from .export_builder import Builder, prune, users_of
from .export_patterns import PATTERNS, one_operator
from .protobuf import third_party, type_number

LAYOUT = "made by the compiler for one processor, after the graph that is exported"
NO_RULE = {
    "random_bits": (
        "ONNX has no generator that gives the numbers of a seed; draw outside of the model and "
        "pass the numbers in, or export a model in eval mode"
    ),
    **dict.fromkeys(
        (
            "attention", "attention_grad", "contract", "depthwise", "group_conv", "window_conv",
            "window_max", "quadrant_sums", "winograd", "winograd_line",
            "line_kernels", "line_points",
            "winograd_kernels", "winograd_points", "winograd_weight",
        ),
        LAYOUT,
    ),
}


_NARROW = dict.fromkeys((uint8, int8, int16), int32)
_EXACT = dict.fromkeys((uint8, int8, int16), float64)
_BFLOAT16: dict[DType, DType] = {bfloat16: float32}
WIDER: dict[str, dict[DType, DType]] = {  # what ONNX does not define is computed in another type
    **dict.fromkeys("argsort atan2 cos floor_divide round sin".split(), _BFLOAT16),
    **dict.fromkeys(("conv", "conv_transpose", "conv_weight"), _BFLOAT16 | _EXACT),
    "fold": _BFLOAT16 | _EXACT | {int32: float64},
    **dict.fromkeys(
        ("max_pool", "argmax_pool"), _BFLOAT16 | {int16: float32, int32: float64, bool_: float32}
    ),
    **dict.fromkeys(("sum", "cumsum", "matmul"), _NARROW),
    "prod": _NARROW | {bool_: int32},
    "amax": {int16: int32},
}
FLOATS_ONLY = frozenset("conv conv_transpose conv_weight fold max_pool argmax_pool".split())


def emit_graph(b: Builder, graph: Graph) -> list[str]:
    """Names of the outputs; `b.values` must hold the names of the graph's inputs."""
    for node in graph.nodes:
        b.node = node
        b.values[node] = _emit(b, node)
    return [b.values[x] for x in graph.outputs]


def _emit(b: Builder, node: Node) -> Any:
    if isinstance(node.type, TensorType) and node.type.size == 0:
        return b.filled(0, node.type)
    rule = RULES.get(node.name)
    if rule is None:
        reason = NO_RULE.get(node.name, "it has no counterpart in ONNX")
        raise b.error(f"cannot be written to an ONNX file: {reason}")
    if node.name in PATTERNS:
        found = one_operator(b, node)
        if found is not None:
            return found
    wider = WIDER.get(node.name, {})
    if wider and any(x.dtype in wider for x in node.inputs):
        return _widened(b, node, rule, wider)
    if node.name in FLOATS_ONLY and node.inputs[0].dtype in (bool_, int32, int64):
        raise b.error("cannot be written to an ONNX file: ONNX defines it for floats only")
    return rule(b, node)


def _widened(b: Builder, node: Node, rule: Callable, wider: dict[DType, DType]) -> str:
    """The op in another type, for what ONNX does not define in this one."""
    operands = []
    for x in node.inputs:
        if x.dtype in wider:
            wide = input_node("wide", TensorType(x.shape, wider[x.dtype]))
            b.values[wide] = b.cast(b.values[x], wide.dtype)
            x = wide
        operands.append(x)
    made = build_node(node.op, operands, node.attrs, node.loc)
    b.node = made
    y = rule(b, made)
    if made.dtype is node.dtype:
        return y
    if made.dtype.kind == "f" and node.dtype.kind in "iu":  # integers wrap around, floats do not
        y = b.cast(y, int64)
    return b.cast(y, node.dtype)


def get(b: Builder, node: Node) -> str:
    return b.values[node.inputs[0]][node.attrs["index"]]


def inlined(b: Builder, node: Node) -> tuple[str, ...]:
    """The body of a call in place."""
    body = node.attrs["body"]
    inner = {x: b.values[o] for x, o in zip(body.inputs, node.inputs, strict=True)}
    outer, b.values = b.values, inner
    users, b.users = b.users, users_of(body)
    try:
        return tuple(emit_graph(b, body))
    finally:
        b.values, b.users = outer, users


def scan(b: Builder, node: Node) -> tuple[str, ...]:
    """Scan: carries are its state, constants are read from the graph around it."""
    a = node.attrs
    body, carries, consts, length = a["body"], a["carries"], a["consts"], a["length"]
    names = [b.values[x] for x in node.inputs]
    if length == 0:
        empty = [b.filled(0, t) for t in node.type[carries:]]
        return (*names[:carries], *empty)
    slices = names[carries + consts :]
    inner = Builder(b.opset, b.names, users_of(body), b)
    params = [b.names.fresh(x.attrs["name"]) for x in body.inputs]
    params[carries : carries + consts] = names[carries : carries + consts]
    inner.values = dict(zip(body.inputs, params, strict=True))
    types = [x.type for x in body.inputs]
    moving = [i for i in range(len(params)) if not carries <= i < carries + consts]
    inputs = [value_info(params[i], types[i], b.open_sizes) for i in moving]
    if not slices:  # ONNX counts the turns by what it scans
        slices = [b.emit("Range", *(b.scalar(v, int64) for v in (0, length, 1)))]
        inputs.append(value_info(b.names.fresh("turn"), TensorType((), int64)))
    outputs = own_outputs(inner, emit_graph(inner, body), params)
    graph = third_party().helper.make_graph(
        prune(inner.nodes, outputs), b.names.fresh("body"), inputs,
        [value_info(n, x.type, b.open_sizes) for n, x in zip(outputs, body.outputs, strict=True)],
    )  # fmt: skip
    ys = len(body.outputs) - carries
    backward = int(a["reverse"])
    made = b.emit(
        "Scan", *names[:carries], *slices, count=len(body.outputs), body=graph,
        num_scan_inputs=len(slices), scan_input_directions=(backward,) * len(slices),
        scan_output_directions=(backward,) * ys,
    )  # fmt: skip
    return made if isinstance(made, tuple) else (made,)


def own_outputs(b: Builder, names: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Names of outputs that are made by nodes of this graph, each once."""
    made = {name for node in b.nodes for name in node.output}
    found: list[str] = []
    for name in names:
        plain = name in made and name not in found and name not in taken
        found.append(name if plain else b.emit("Identity", name))
    return found


def value_info(name: str, type_: TensorType, open_sizes: bool = False) -> Any:
    """The declaration of a value; without its shape if that depends on open sizes."""
    make = third_party().helper.make_tensor_value_info
    return make(name, type_number(type_.dtype), None if open_sizes else list(type_.shape))


RULES: dict[str, Callable] = {
    **export_elementwise.RULES,
    **export_contraction.RULES,
    **export_shape.RULES,
    "get": get,
    "call": inlined,
    "fused": inlined,
    "scan": scan,
}
