"""Writing a ModelProto: checked, whole or not at all, large weights in a file beside it."""

from __future__ import annotations

import os
from typing import Any

from ..file_replacement import replacing

FILE_LIMIT = 2**31 - 2**20  # protobuf's limit for one message, less what is not weights
SIDE = ".data"


def write(onnx: Any, program: Any, path: str, external: bool | None) -> None:
    """Check the model and write it, its weights beside it if they are large."""
    onnx.checker.check_model(_outline(onnx, program), full_check=True)
    if external is None:
        external = program.ByteSize() > FILE_LIMIT
    if not external:
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


def _outline(onnx: Any, program: Any) -> Any:
    """The model with inputs in place of its weights, which the checker would copy twice."""
    outline = onnx.ModelProto(ir_version=program.ir_version)
    outline.opset_import.extend(program.opset_import)
    graph = outline.graph
    graph.name = program.graph.name
    graph.node.extend(program.graph.node)
    graph.input.extend(program.graph.input)
    graph.output.extend(program.graph.output)
    for t in program.graph.initializer:
        make = onnx.helper.make_tensor_value_info
        graph.input.append(make(t.name, t.data_type, list(t.dims)))
    return outline


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
