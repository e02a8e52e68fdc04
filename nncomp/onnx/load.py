"""nncomp.onnx.load: an ONNX file as a Module that runs, compiles, trains and exports like others.

Weights become parameters under their names: `fc1.weight` is `weight` of a submodule `fc1`, so the
state_dict is that of the model that was exported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..functions.creation import from_numpy
from ..nn.module import Module
from ..nn.parameter import Parameter
from . import load_operators  # noqa: F401  (fills RULES)
from .load_file import OnnxLoadError, Tensors, read_model
from .load_functions import is_function
from .load_inputs import checked, input_of
from .load_rules import rule_of
from .load_run import Frame
from .load_steps import Body, Reader, Step

SMALL = 1024  # elements; constants up to this size are no buffers
CONVERT = ("Cast", "DequantizeLinear")
MOVE = ("Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze",
        "Tile", "Transpose", "Unsqueeze")  # fmt: skip
NO_BUFFER = (None, "parameter")  # what the file says about a tensor that becomes a Parameter
ONLY_SHAPE = ("Shape", "Size")


class Program:
    """What a Module made of a file runs: its Body, its functions, and the values that it reads."""

    def __init__(self, model: Any, tensors: Tensors):
        self.tensors = tensors
        self.functions = {
            ("" if f.domain == "ai.onnx" else f.domain, f.name): _copy(f) for f in model.functions
        }
        opsets = {o.domain: o.version for o in model.opset_import}
        stored = {t.name for t in model.graph.initializer}
        self.inputs = [input_of(x) for x in model.graph.input if x.name not in stored]
        self.body = Reader(tensors, opsets).graph(model.graph)
        self.kinds = {t.name: "buffer" for t in model.graph.initializer if not t.dims}
        for step in self.body.steps:
            if step.op_type in ("BatchNormalization", "Constant"):
                names = step.inputs[3:] if step.inputs else step.outputs
                self.kinds.update(dict.fromkeys(names, "buffer"))
        self.kinds.update((t.name, t.doc_string) for t in model.graph.initializer if t.doc_string)
        bodies = [Reader(tensors, {}).function(f, {}) for f in model.functions]
        _check_operators(self, [self.body, *bodies])
        _check_widened(self.body, dict(tensors.widened))


def _copy(message: Any) -> Any:
    """A protobuf message of its own: a part keeps the whole file in memory."""
    made = type(message)()
    made.CopyFrom(message)
    return made


def load(f: str | os.PathLike | Any) -> OnnxModule:
    """The ONNX model in the file `f` (or an onnx.ModelProto) as a Module in eval mode.

    Float initializers are Parameters, but for statistics of normalizations and what was a buffer
    when nncomp exported it; these, constants and other types are buffers. Weights in further files
    are found in the folder of `f` only. Shapes that the graph computes are static while a graph is
    recorded. Raises OnnxLoadError for a damaged file, and for operators without a rule, all of them
    by name; OnnxRunError at a call for operands that an operator cannot take; ImportError without
    onnx.
    """
    if hasattr(f, "graph"):
        model, folder = f, None
    else:
        path = os.fspath(f)
        model, folder = read_model(path), os.path.dirname(os.path.abspath(path))
    try:
        return OnnxModule(Program(model, Tensors(folder)))
    except (OnnxLoadError, ImportError, MemoryError):
        raise
    except Exception as error:  # names that are no text, numbers out of range, and the like
        raise OnnxLoadError(f"the model is damaged: {type(error).__name__}: {error}") from error


class OnnxModule(Module):
    """A Module whose forward runs the operators of an ONNX file; made by `load`.

    It takes the inputs in order or by name: Tensors, or numbers, lists and arrays for values that
    decide about shapes. It returns a Tensor, a tuple if there are several outputs.
    """

    def __init__(self, program: Program):
        super().__init__()
        self._program = program
        self.input_names = tuple(x.name for x in program.inputs)
        self.output_names = tuple(program.body.outputs)
        self._places: dict[str, tuple[str, str]] = {}
        for name, array in _stored(program.body):
            self._keep(name, array)
        self.eval()

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """The outputs for these inputs."""
        program = self._program
        frame = Frame(program)
        frame.values.update(program.body.arrays)
        frame.values.update(self._tensors())
        frame.values.update(self._inputs(inputs, named))
        results = tuple(map(_as_result, frame.finish(program.body)))
        return results[0] if len(results) == 1 else results

    def file_names(self, kind: str) -> tuple[str, ...]:
        """What the file calls its inputs ("input") or outputs ("output"); export keeps that."""
        return self.input_names if kind == "input" else self.output_names

    def _tensors(self) -> Iterator[tuple[str, Any]]:
        """The parameters and buffers by their names in the file."""
        for name, (path, key) in self._places.items():
            yield name, getattr(self.get_submodule(path), key)

    def _inputs(self, inputs: tuple, named: dict[str, Any]) -> dict[str, Any]:
        """The values of the inputs, in the form that steps take."""
        if len(inputs) > len(self.input_names):
            raise TypeError(
                f"forward() takes {len(self.input_names)} inputs ({', '.join(self.input_names)}), "
                f"got {len(inputs)}"
            )
        given = dict(zip(self.input_names, inputs, strict=False))
        twice = [name for name in named if name in given or name not in self.input_names]
        missing = [n for n in self.input_names if n not in given and n not in named]
        if twice or missing:
            raise TypeError(
                f"forward() takes each of {', '.join(self.input_names)} once; "
                f"missing: {', '.join(missing) or 'none'}, unknown or twice: "
                f"{', '.join(twice) or 'none'}"
            )
        given.update(named)
        return {x.name: checked(x, given[x.name]) for x in self._program.inputs}

    # -- weights ----------------------------------------------------------------------------------

    def _keep(self, name: str, array: np.ndarray) -> None:
        """Make `array` a parameter or buffer under `name`, as far as that may be an attribute."""
        path, _, key = name.rpartition(".")
        try:
            if (path, key) in self._places.values():
                raise KeyError(name)
            owner = self._submodule(path)
            self._register(owner, key, array, name)
        except (AttributeError, KeyError, TypeError):  # a name that is taken, or no name at all
            path, key = "", self._free_name(name.replace(".", "_") or "value")
            self._register(self, key, array, name)
        self._places[name] = (path, key)

    def _register(self, owner: Module, key: str, array: np.ndarray, name: str) -> None:
        tensor = from_numpy(array)
        if tensor.dtype.is_floating_point and self._program.kinds.get(name) in NO_BUFFER:
            owner.register_parameter(key, Parameter(tensor))
        else:
            owner.register_buffer(key, tensor)

    def _submodule(self, path: str) -> Module:
        owner: Module = self
        for part in path.split(".") if path else ():
            if part not in owner._modules:
                owner.add_module(part, Module())
            owner = owner._modules[part]
        return owner

    def _free_name(self, name: str) -> str:
        number, found = 0, name
        while hasattr(self, found):
            number += 1
            found = f"{name}_{number}"
        return found


def _as_result(value: Any) -> Any:
    """A known value as a Tensor; sequences as lists of Tensors."""
    from .load_run import tensor_of

    return [tensor_of(v) for v in value] if isinstance(value, list) else tensor_of(value)


# -- which values are weights ---------------------------------------------------------------------


def _needed(body: Body) -> tuple[set[str], set[str]]:
    """Names whose values decide about shapes or ways, and those that might (in functions)."""
    needed: set[str] = set()
    perhaps: set[str] = set()
    for step in reversed(list(body.all_steps())):
        rule = rule_of(step)
        if step.op_type in ONLY_SHAPE:
            continue
        for found in (needed, perhaps):
            if any(name in found for name in step.outputs):
                found.update(n for n in step.inputs if n)
        if rule is None:
            perhaps.update(n for n in step.inputs if n)
        else:
            needed.update(n for i, n in enumerate(step.inputs) if n and rule.is_known(i))
    return needed, perhaps


def _stored(body: Body) -> Iterator[tuple[str, np.ndarray]]:
    """(name, value) of the weights, which leave the body; constants stay."""
    needed, perhaps = _needed(body)
    for name, array in list(body.arrays.items()):
        if name not in needed and not (name in perhaps and array.dtype.kind in "iub"):
            yield name, body.arrays.pop(name)
    for step in list(body.steps):
        value = step.get("value")
        large = isinstance(value, np.ndarray) and value.size > SMALL
        if step.op_type == "Constant" and large and step.outputs[0] not in needed:
            body.steps.remove(step)
            yield step.outputs[0], value


def _check_operators(program: Program, bodies: list[Body]) -> None:
    """OnnxLoadError that names every operator that cannot be run."""
    unknown: dict[tuple, Step] = {}
    for step in (step for body in bodies for step in body.all_steps()):
        if rule_of(step) is None and not is_function(program, step):
            unknown.setdefault((step.domain, step.op_type), step)
    if unknown:
        raise OnnxLoadError(
            "operators that are not supported here: "
            + "; ".join(step.where() for step in unknown.values())
        )


def _check_widened(body: Body, small: dict[str, str]) -> None:
    """OnnxLoadError where numbers in a small type do more than to be moved and converted."""
    for step in body.all_steps():
        found = next((name for name in step.inputs if name in small), None)
        if found is None or step.op_type in CONVERT:
            continue
        if step.op_type not in MOVE:
            raise OnnxLoadError(
                f"{step.where()} reads {found!r} of type {small[found]}; values of this type can "
                f"only be moved ({', '.join(MOVE)}) and converted ({', '.join(CONVERT)})"
            )
        small.update(dict.fromkeys(step.outputs, small[found]))
