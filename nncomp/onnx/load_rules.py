"""What each operator means here: RULES, filled by the modules load_*.py when they are imported.

A rule gets the Step and its operands as Tensors, those at the positions `known` as numpy arrays;
an operand that is left out is None. It returns a Tensor, an array for a result that is known
without running anything, or a tuple. All rules are compositions of differentiable functions, so a
loaded model runs eagerly, compiles, and passes gradients.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """A function for an operator, and which operands' values it needs.

    `positions` counts the operands it takes, None for any number. With `control` it gets the
    running Frame and the operands as they are.
    """

    function: Callable
    known: tuple[int, ...] = ()
    positions: int | None = None
    control: bool = False

    def is_known(self, position: int) -> bool:
        """True if the operand at `position` must have a value; -1 in `known` means all."""
        return position in self.known or -1 in self.known


RULES: dict[str, Rule] = {}  # by operator, `domain.Operator` for those of other domains


def rule_of(step: Any) -> Rule | None:
    """The rule of a step's operator."""
    return RULES.get(f"{step.domain}.{step.op_type}" if step.domain else step.op_type)


def rule(
    *op_types: str, known: tuple[int, ...] = (), control: bool = False, domain: str = ""
) -> Callable:
    """Registers a function as the rule of operators."""

    def register(function: Callable) -> Callable:
        parameters = list(inspect.signature(function).parameters.values())
        any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        positions = None if any_number else len(parameters) - 1
        for op_type in op_types:
            name = f"{domain}.{op_type}" if domain else op_type
            if name in RULES:
                raise ValueError(f"operator {name} has two rules")
            RULES[name] = Rule(function, known, positions, control)
        return function

    return register


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of a Tensor or an array."""
    return tuple(x.shape)
