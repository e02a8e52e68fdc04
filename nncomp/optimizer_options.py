"""The options of an optimizer as a compiled step sees them: numbers that are inputs, and the rest.

Floats (learning rates, betas, weight decay) are inputs of the program. Everything else, such as
flags and the list of parameters, is frozen into it and compared before each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .hyper_number import Condition, HyperNumber
from .signature import Identity
from .tensor import Tensor

FIXED = ("params", "param_names")  # no options
Place = tuple[int, str, int | None]  # group, option, position in a tuple


class Options:
    """What an optimizer's groups hold at one moment."""

    def __init__(self, optimizer: Any):
        self.numbers: list[float] = []
        self.places: list[Place] = []
        self.frozen: list[tuple[Place, Any]] = []
        for g, group in enumerate(optimizer.param_groups):
            self.frozen.append(((g, "params", None), tuple(map(id, group["params"]))))
            for name, value in group.items():
                if name in FIXED:
                    continue
                if isinstance(value, (tuple, list)):
                    for i, v in enumerate(value):
                        self._add((g, name, i), v)
                else:
                    self._add((g, name, None), value)

    def _add(self, place: Place, value: Any) -> None:
        if place[1] == "lr" and isinstance(value, Tensor):
            value = value.item()
        is_float = isinstance(value, (float, np.floating))
        if is_float or (place[1] == "lr" and isinstance(value, int)):
            self.numbers.append(float(value))
            self.places.append(place)
        elif value is None or isinstance(value, (bool, int, str)):
            self.frozen.append((place, value))
        else:
            self.frozen.append((place, Identity(value)))

    def difference(self, new: Options, conditions: Sequence[Condition]) -> str | None:
        """Why a program for these options does not fit new ones; None if it does."""
        if self.frozen != new.frozen or self.places != new.places:
            return self._frozen_difference(new)
        for condition in conditions:
            if not condition.holds(new.numbers):
                return condition.words
        return None

    def _frozen_difference(self, new: Options) -> str:
        before, after = self._table(), new._table()
        for place in dict.fromkeys((*before, *after)):
            a, b = before.get(place, "nothing"), after.get(place, "nothing")
            if a != b and place[1] == "params":
                return f"the parameters of group {place[0]} changed"
            if a != b:
                return f"{place_name(place)} changed from {a} to {b}"
        return "the options of the optimizer changed"

    def _table(self) -> dict[Place, Any]:
        return dict(self.frozen) | dict(zip(self.places, self.numbers, strict=True))

    def put_symbols(self, optimizer: Any, tensors: Sequence[Any], conditions: list) -> None:
        """Put symbolic numbers where the optimizer finds its options."""
        rows = zip(self.places, self.numbers, tensors, strict=True)
        for number, ((g, name, position), value, x) in enumerate(rows):
            read = _item(number)
            made = HyperNumber(value, place_name((g, name, position)), x, read, conditions)
            group = optimizer.param_groups[g]
            if position is None:
                group[name] = made
            else:
                items = list(group[name])
                items[position] = made
                group[name] = type(group[name])(items)


def _item(number: int) -> Any:
    return lambda values: values[number]


def place_name(place: Place) -> str:
    """`lr`, `betas[0]`, or `lr of group 1`."""
    group, name, position = place
    text = name if position is None else f"{name}[{position}]"
    return f"{text} of group {group}" if group else text
