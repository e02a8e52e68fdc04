"""Nested arguments and results as JSON values, with numbers in place of tensors.

    (x, {"mask": m}, 3)  ->  {"tuple": [{"tensor": 0}, {"dict": {"mask": {"tensor": 1}}},
                                         {"value": 3}]}
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Number = Callable[[Any], "int | None"]


def encode(value: Any, number: Number) -> Any:
    """The tree of a value; `number(leaf)` numbers tensors, None for what is none.

    TypeError for values that JSON cannot hold.
    """
    found = number(value)
    if found is not None:
        return {"tensor": found}
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return {"tuple": [encode(v, number) for v in value]}
    if type(value) is list:
        return {"list": [encode(v, number) for v in value]}
    if type(value) is dict and all(isinstance(k, str) for k in value):
        return {"dict": {k: encode(v, number) for k, v in value.items()}}
    if value is None or type(value) in (bool, int, str):
        return {"value": value}
    if type(value) is float:
        return {"float": value.hex()}
    raise TypeError(
        f"a package keeps tensors, numbers, strings, tuples, lists and dicts with string keys, "
        f"got {type(value).__name__}"
    )


def leaf_of(tree: Any) -> Any:
    """The Python value of a leaf that is no tensor."""
    return float.fromhex(tree["float"]) if "float" in tree else tree["value"]


def collect(tree: Any, value: Any, take: Callable[[int, Any, str], None], where: str) -> None:
    """Give each tensor of `value` to `take(number, tensor, where)`.

    TypeError or ValueError, naming the place, for a value of another structure than the tree's.
    """
    if "tensor" in tree:
        take(tree["tensor"], value, where)
    elif "tuple" in tree or "list" in tree:
        items = tree["tuple"] if "tuple" in tree else tree["list"]
        if not isinstance(value, (tuple, list)) or len(value) != len(items):
            raise TypeError(f"{where} must be {_words(tree)}, got {_got(value)}")
        for i, (inner, v) in enumerate(zip(items, value, strict=True)):
            collect(inner, v, take, f"{where}[{i}]")
    elif "dict" in tree:
        items = tree["dict"]
        if not isinstance(value, dict) or set(value) != set(items):
            raise TypeError(f"{where} must be {_words(tree)}, got {_got(value)}")
        for key, inner in items.items():
            collect(inner, value[key], take, f"{where}[{key!r}]")
    else:
        expected = leaf_of(tree)
        same = type(value) is type(expected) and (value == expected or value != value)
        if not same:
            raise ValueError(
                f"{where} was {expected!r} when the model was exported and is part of it; "
                f"got {value!r}"
            )


def build(tree: Any, tensors: Any) -> Any:
    """The value of a tree with `tensors[number]` in the places of tensors."""
    if "tensor" in tree:
        return tensors[tree["tensor"]]
    if "tuple" in tree:
        return tuple(build(t, tensors) for t in tree["tuple"])
    if "list" in tree:
        return [build(t, tensors) for t in tree["list"]]
    if "dict" in tree:
        return {k: build(t, tensors) for k, t in tree["dict"].items()}
    return leaf_of(tree)


def _words(tree: Any) -> str:
    if "dict" in tree:
        return f"a dict with the keys {', '.join(map(repr, tree['dict']))}"
    kind = "tuple" if "tuple" in tree else "list"
    return f"a {kind} of {len(tree[kind])}"


def _got(value: Any) -> str:
    if isinstance(value, dict):
        return f"a dict with the keys {', '.join(map(repr, value))}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return type(value).__name__
