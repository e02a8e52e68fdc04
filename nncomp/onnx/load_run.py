"""Running the Steps of a Body on Tensors, eagerly or while a graph is recorded.

A value is a Tensor, or a numpy array if it is known whatever the inputs hold: constants, shapes,
and what is computed from such alone. Known values are computed at once, also during a recording, so
`Reshape` to a computed shape is static.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd.modes import state
from ..functions.base import constant, is_tensor
from ..functions.creation import from_numpy
from ..ir.types import dtype_of_numpy
from ..trace_constants import evaluate
from ..trace_error import TraceError
from ..trace_function import recording
from .load_file import OnnxLoadError
from .load_functions import function_body
from .load_rules import Rule, rule_of
from .load_steps import Body, OnnxRunError, Step


class Frame:
    """The values of a Body that runs, by name; `outer` is the Frame of the graph around it."""

    def __init__(self, program: Any, outer: Frame | None = None):
        self.program, self.outer = program, outer
        self.values: dict[str, Any] = {}

    def find(self, name: str) -> Any:
        """The value called `name`, here or in the graphs around."""
        frame: Frame | None = self
        while frame is not None:
            if name in frame.values:
                return frame.values[name]
            frame = frame.outer
        raise OnnxRunError(f"value {name!r} was not computed; an If or Loop left it out")

    def run(self, body: Body, inputs: Sequence[Any], inside: bool = True) -> list[Any]:
        """The outputs of a body; with `inside` it sees the names of this Frame."""
        frame = Frame(self.program, self if inside else None)
        frame.values.update(zip(body.inputs, inputs, strict=False))
        frame.values.update(body.arrays)
        return frame.finish(body)

    def finish(self, body: Body) -> list[Any]:
        """Run the steps; values are dropped after their last use."""
        for step, done in zip(body.steps, body.done_after(), strict=True):
            results = self.perform(step)
            self.values.update((n, v) for n, v in zip(step.outputs, results, strict=False) if n)
            for name in done:
                self.values.pop(name, None)
        return [self.find(name) if name else None for name in body.outputs]

    def perform(self, step: Step) -> tuple:
        """The results of a step; errors say which step it was."""
        values = [self.find(name) if name else None for name in step.inputs]
        try:
            results = self._results(step, values)
        except (TraceError, OnnxLoadError, OnnxRunError):
            raise
        except Exception as error:
            raise step.error(f"{type(error).__name__}: {error}") from error
        results = results if isinstance(results, tuple) else (results,)
        if len(results) < len(step.outputs):
            raise step.error(f"has {len(step.outputs)} outputs, only {len(results)} are supported")
        return results

    def _results(self, step: Step, values: list[Any]) -> Any:
        rule = rule_of(step)
        if rule is None or (step.domain, step.op_type) in self.program.functions:
            body = function_body(self.program, step, values)
            given = values + [None] * (len(body.inputs) - len(values))
            return tuple(self.run(body, given, inside=False))
        if rule.control:
            return rule.function(self, step, *values)
        return apply_rule(step, rule, values)


def apply_rule(step: Step, rule: Rule, values: list[Any]) -> Any:
    """The results of a rule: arrays if all operands are arrays."""
    if rule.positions is not None:
        if len(values) > rule.positions:
            raise step.error(f"takes up to {rule.positions} operands, got {len(values)}")
        values = values + [None] * (rule.positions - len(values))
    given = [v for v in values if v is not None]
    if not given or not all(isinstance(v, np.ndarray) for v in given):
        return rule.function(step, *_operands(step, rule, values))
    with recording(None, False):
        return _known(rule.function(step, *_operands(step, rule, values)))


def _operands(step: Step, rule: Rule, values: list[Any]) -> list[Any]:
    return [
        known_value(v, step, i) if rule.is_known(i) else tensor_of(v) for i, v in enumerate(values)
    ]


def _known(results: Any) -> Any:
    """Tensors as arrays."""
    if isinstance(results, (tuple, list)):
        return type(results)(map(_known, results))
    return results.detach().numpy() if is_tensor(results) else results


def tensor_of(value: Any) -> Any:
    """An array as a Tensor; one value everywhere becomes a constant of the graph."""
    if not isinstance(value, np.ndarray):
        return value
    first = value.reshape(-1)[:1]
    if state.tracer is not None and value.size and value.tobytes() == first.tobytes() * value.size:
        return constant(first.item(), value.shape, dtype_of_numpy(value.dtype))
    return from_numpy(np.array(value, order="C"))


def known_value(value: Any, step: Step, position: int) -> np.ndarray | None:
    """The value of an operand that a rule must know; an error says why it cannot."""
    if value is None or isinstance(value, np.ndarray):
        return value
    if not is_tensor(value):
        raise step.error(f"operand {position} must be a tensor, got {type(value).__name__}")
    found = None
    if state.tracer is None:
        found = value.detach().numpy()
    elif value.is_traced:
        found = evaluate(state.tracer.node_of(value))
    if found is None:
        raise step.error(
            f"the value of operand {position} ({step.inputs[position]!r}) must be known while a "
            "graph is recorded, as it decides about shapes or the way of the computation; pass "
            "it as a number, list or numpy array instead of a Tensor"
        )
    return found


def number_of(value: Any) -> bool | int | float | None:
    """The value of a tensor with one element, None if it is not known while a graph is recorded."""
    if state.tracer is None:
        return value.detach().numpy().reshape(-1)[0].item()
    found = evaluate(state.tracer.node_of(value)) if value.is_traced else None
    return None if found is None else found.reshape(-1)[0].item()
