"""What `compile_train_step` was given: errors for arguments of a wrong kind or in another order."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from .tensor import Tensor


def check_step_arguments(model: Any, loss_fn: Any, optimizer: Any, before_update: Any) -> None:
    """TypeError unless these are a Module, a function or Module, an Optimizer, and a function."""
    from .nn.module import Module
    from .optim import Optimizer

    if not isinstance(model, Module):
        raise TypeError(
            f"compile_train_step() takes a Module as its model, got {_words(model)}; "
            + _advice(model, "put what it computes into the forward of a Module")
        )
    if loss_fn is not None and (not callable(loss_fn) or isinstance(loss_fn, type)):
        raise TypeError(
            f"compile_train_step() takes a function or Module as loss_fn, which it calls with the "
            f"model's output and the target, got {_words(loss_fn)}; "
            + _advice(loss_fn, "the order is model, loss_fn, optimizer")
        )
    if not isinstance(optimizer, Optimizer):
        given = getattr(optimizer, "optimizer", None)  # what a scheduler holds
        scheduler = "pass the optimizer that it drives, and call the scheduler between steps"
        order = "the order is model, loss_fn, optimizer"
        raise TypeError(
            f"compile_train_step() takes an Optimizer of nncomp.optim, got {_words(optimizer)}; "
            + _advice(optimizer, scheduler if isinstance(given, Optimizer) else order)
        )
    if before_update is not None and (
        not callable(before_update) or isinstance(before_update, type)
    ):
        raise TypeError(
            "before_update must be a function without arguments, such as lambda: "
            f"nn.utils.clip_grad_norm_(model.parameters(), 1.0), got {_words(before_update)}"
        )


def count_targets(loss_fn: Callable | None) -> int:
    """How many arguments a loss takes beside the output: 1, or 0 if it cannot take a target."""
    if loss_fn is None:
        return 0
    try:
        signature = inspect.signature(getattr(loss_fn, "forward", loss_fn))
        signature.bind(None)
    except (TypeError, ValueError):  # it needs a target, or nobody knows
        return 1
    try:
        signature.bind(None, None)
    except TypeError:
        return 0
    return 1


def check_gradients(params: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
    """ValueError if the loss depends on no parameter of the optimizer: nothing would be trained."""
    if any(g is not None for g in gradients):
        return
    shapes = ", ".join(str(list(p.shape)) for p in params[:4]) + (", ..." if params[4:] else "")
    raise ValueError(
        f"the loss depends on none of the optimizer's {len(params)} parameters (shapes {shapes}), "
        "so the step would train nothing; make the optimizer from model.parameters() of the model "
        "that is compiled, and call nothing on the way to the loss that cuts gradients (detach, "
        "no_grad)"
    )


def _words(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = getattr(value, "__name__", None)
    return f"the function {name}" if callable(value) and name else _typename(value)


def _typename(value: Any) -> str:
    """`Linear` for our own objects and builtins, `torch.nn.modules.linear.Linear` for others'."""
    cls = type(value)
    ours = cls.__module__.split(".")[0] in ("builtins", "nncomp")
    return cls.__qualname__ if ours else f"{cls.__module__}.{cls.__qualname__}"


def _advice(value: Any, otherwise: str) -> str:
    return "make an instance first" if isinstance(value, type) else otherwise
