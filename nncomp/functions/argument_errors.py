"""A sentence for the commonest mistake: a NumPy array, a list or None where a Tensor belongs.

Functions do not check the types of their arguments, because each check would cost every call of
eager mode. When one fails, the arguments are looked at, and the error names the wrong one.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .base import is_tensor

# Parameters that take tensors, and perhaps numbers, but never arrays, lists or text
TENSORS = frozenset(
    "input other target weight bias query key mat mat1 mat2 vec vec1 vec2 batch1 batch2 x1 x2 "
    "input1 input2 anchor positive negative self".split()
)
_WRONG = (np.ndarray, list, tuple, dict, set, str, type(None))


@functools.cache
def explained(function: Callable) -> Callable:
    """`function`, raising a TypeError that names the argument where it fails for want of a Tensor.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            message = _wrong_argument(function, args, kwargs)
            if message is None:
                raise
            raise TypeError(message) from error

    here = function.__module__.startswith("nncomp.functions.")
    call.__module__ = "nncomp" if here else "nncomp.nn.functional"  # where pickle finds it
    return call


def explain_all(namespace: dict[str, Any], names: Iterable[str]) -> None:
    """Do so for those of the `names` in a module's namespace that are functions of tensors."""
    for name in names:
        value = namespace[name]
        if inspect.isfunction(value):
            code = inspect.unwrap(value).__code__
            if not TENSORS.isdisjoint(code.co_varnames[: code.co_argcount]):
                namespace[name] = explained(value)


def _wrong_argument(function: Callable, args: tuple, kwargs: dict[str, Any]) -> str | None:
    try:
        given = inspect.signature(function).bind(*args, **kwargs)
    except TypeError:  # the call itself is wrong, and its own error says how
        return None
    for name, value in given.arguments.items():
        default = given.signature.parameters[name].default
        if name in TENSORS and isinstance(value, _WRONG) and value is not default:
            return (
                f"{function.__name__}(): argument '{name}' must be Tensor, not "
                f"{type(value).__name__}{_way_out(value)}"
            )
    return None


def _way_out(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return "; torch.from_numpy(array) makes a Tensor that shares its memory"
    if isinstance(value, (list, tuple)) and not any(map(is_tensor, value)):
        return "; torch.tensor(values) makes one"
    return ""


def layer_error(layer: Any, args: tuple) -> TypeError | None:
    """The error for a layer of this package that was called with something else than a Tensor.

    Containers are never at fault: what they hold may take anything.
    """
    wrong = [x for x in args[:1] if isinstance(x, _WRONG)]
    if not wrong or layer._modules or not type(layer).__module__.startswith("nncomp.nn."):
        return None
    got = f"{type(wrong[0]).__name__}{_way_out(wrong[0])}"
    return TypeError(f"{type(layer).__name__}(): argument 'input' must be Tensor, not {got}")
