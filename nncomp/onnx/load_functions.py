"""Operators that are functions of others: those in the file, and those that ONNX defines so.

The package onnx knows the bodies of the latter; some depend on the types of the operands, so they
are read when these are known, once for each combination.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir.types import dtype_of_numpy
from .load_steps import Body, Reader, Step
from .protobuf import third_party, type_number


def is_function(program: Any, step: Step) -> bool:
    """True if the operator has a body."""
    if (step.domain, step.op_type) in program.functions:
        return True
    schema = schema_of(step)
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)


def schema_of(step: Step) -> Any:
    """What ONNX says about the operator at this opset; None if it does not know it."""
    defs = third_party().defs
    if not defs.has(step.op_type, step.domain):
        return None
    try:
        return defs.get_schema(step.op_type, step.opset, step.domain)
    except defs.SchemaError:
        return None


def function_body(program: Any, step: Step, values: Sequence[Any]) -> Body:
    """The Body of a call with operands like these."""
    local = program.functions.get((step.domain, step.op_type))
    key = None if local is not None else tuple(map(_type_key, values))
    body = step.prepared.get(key)
    if body is None:
        proto = local if local is not None else _standard_body(step, values)
        reader = Reader(program.tensors, {})
        attrs = step.attrs if local is not None else {**_defaults(step), **step.attrs}
        body = step.prepared[key] = reader.function(proto, attrs)
        body.outputs = [
            name if wanted else "" for name, wanted in zip(body.outputs, step.outputs, strict=False)
        ]
    return body


def _defaults(step: Step) -> dict[str, Any]:
    """Values of the attributes that the node leaves out."""
    found = {}
    for name, attribute in schema_of(step).attributes.items():
        if attribute.default_value.type:
            found[name] = third_party().helper.get_attribute_value(attribute.default_value)
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}


def _resolved(onnx: Any, step: Step) -> Any:
    """The NodeProto with values in place of references to attributes of a function around."""
    whole, node = (onnx.NodeProto.FromString(step.data) for _ in range(2))
    del node.attribute[:]
    for attribute in whole.attribute:
        if not attribute.ref_attr_name:
            node.attribute.append(attribute)
        elif attribute.name in step.attrs:
            value = step.attrs[attribute.name]
            node.attribute.append(onnx.helper.make_attribute(attribute.name, value))
    return node


def _type_key(value: Any) -> Any:
    if value is None or isinstance(value, list):
        return None if value is None else "list"
    return str(value.dtype), tuple(value.shape)


def _standard_body(step: Step, values: Sequence[Any]) -> Any:
    """The FunctionProto that ONNX defines for the operator."""
    onnx = third_party()
    schema = schema_of(step)
    if schema.has_function:
        data = schema.get_function_with_opset_version(step.opset)
    else:
        types = [_type_proto(onnx, v).SerializeToString() for v in values]
        data = schema.get_context_dependent_function_with_opset_version(
            _newest(schema.context_dependent_function_opset_versions, step.opset),
            _resolved(onnx, step).SerializeToString(), types,
        )  # fmt: skip
    proto = data if hasattr(data, "opset_import") else onnx.FunctionProto.FromString(data)
    if not proto.node:
        raise step.error("is not supported here with operands of these types")
    if not any(o.domain in ("", "ai.onnx") for o in proto.opset_import):
        proto.opset_import.add(domain="", version=step.opset)
    return proto


def _newest(versions: Sequence[int], opset: int) -> int:
    """The newest version of a function that an opset has."""
    return max((v for v in versions if v <= opset), default=opset)


def _type_proto(onnx: Any, value: Any) -> Any:
    """The TypeProto of an operand."""
    if value is None:
        return onnx.TypeProto()
    if isinstance(value, list):
        return onnx.helper.make_sequence_type_proto(_type_proto(onnx, value[0]))
    dtype = dtype_of_numpy(value.dtype) if isinstance(value, np.ndarray) else value.dtype
    return onnx.helper.make_tensor_type_proto(type_number(dtype), list(value.shape))
