"""Function transforms with torch.func's names: gradients, functional_call, and vmap as a loop.

`grad` and its relatives differentiate in reverse mode, those of `func_forward.py` twice. `vmap`
calls the function once per slice: right, but not faster than a loop.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import nncomp

from . import autograd
from .autograd.modes import enable_grad
from .tensor import Tensor

# -- trees of tensors -----------------------------------------------------------------------------


def _flatten(value: Any, out: list) -> None:
    """The leaves of nested tuples, lists and dicts, in order."""
    if isinstance(value, dict):
        for entry in value.values():
            _flatten(entry, out)
    elif isinstance(value, (tuple, list)):
        for entry in value:
            _flatten(entry, out)
    else:
        out.append(value)


def _mapped(value: Any, function: Callable) -> Any:
    """`value` with `function` applied to its leaves."""
    if isinstance(value, dict):
        return {key: _mapped(entry, function) for key, entry in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_mapped(entry, function) for entry in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_mapped(entry, function) for entry in value)
    return function(value)


# -- gradients ------------------------------------------------------------------------------------


def grad(func: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable:
    """The function that gives the gradient of `func`, a scalar, for its arguments `argnums`.

    With `has_aux` func returns (scalar, anything), and the result is (gradient, anything).
    Arguments may be trees of tensors.
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        found, value = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return wrapped


def grad_and_value(
    func: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable:
    """Like grad(), giving (gradient, value), or (gradient, (value, anything))."""

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        numbers = argnums if isinstance(argnums, tuple) else (argnums,)
        outer = nncomp.is_grad_enabled()
        with enable_grad():
            fresh = list(args)
            leaves: list[Tensor] = []
            for number in numbers:
                fresh[number] = _mapped(args[number], lambda x: _leaf(x, leaves))
            output = func(*fresh, **kwargs)
            value, aux = output if has_aux else (output, None)
            _check_scalar(value)
            further = outer and any(x.requires_grad for x in _tensors(args, kwargs))
            gradients = autograd.grad(
                value, leaves, create_graph=further, materialize_grads=True
            ) if value.requires_grad else [nncomp.zeros_like(x) for x in leaves]
        left = iter(gradients)
        trees = tuple(_mapped(args[number], lambda x: next(left)) for number in numbers)
        found = trees if isinstance(argnums, tuple) else trees[0]
        value = value if further else value.detach()
        return found, (value, aux) if has_aux else value

    return wrapped


def _leaf(x: Any, leaves: list[Tensor]) -> Tensor:
    """A tensor to differentiate for, which still leads back to `x`."""
    made = x.view_as(x) if x.requires_grad else x.detach().requires_grad_()
    leaves.append(made)
    return made


def _tensors(*values: Any) -> list[Tensor]:
    found: list[Any] = []
    _flatten(values, found)
    return [x for x in found if isinstance(x, Tensor)]


def _check_scalar(value: Any) -> None:
    if not isinstance(value, Tensor) or value.dim() != 0:
        got = f"shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise RuntimeError(
            "grad_and_value(f)(*args): Expected f(*args) to return a scalar tensor, got "
            f"{got}"
        )


def vjp(func: Callable, *primals: Any, has_aux: bool = False) -> tuple:
    """(func(*primals), the function from a gradient of the output to those of the primals)."""
    further = nncomp.is_grad_enabled() and any(x.requires_grad for x in _tensors(primals))
    with enable_grad():
        leaves: list[Tensor] = []
        fresh = tuple(_mapped(x, lambda y: _leaf(y, leaves)) for x in primals)
        output = func(*fresh)
        output, aux = output if has_aux else (output, None)
    ys: list[Tensor] = []
    _flatten(output, ys)

    def pull(cotangents: Any) -> Any:
        vs: list[Tensor] = []
        _flatten(cotangents, vs)
        again = nncomp.is_grad_enabled() and any(v.requires_grad for v in vs)
        gradients = iter(
            autograd.grad(
                ys, leaves, vs, retain_graph=True, create_graph=further or again,
                materialize_grads=True,
            )  # fmt: skip
        )
        return tuple(_mapped(x, lambda _: next(gradients)) for x in primals)

    shown = output if further else _mapped(output, lambda y: y.detach())
    return (shown, pull, aux) if has_aux else (shown, pull)


def jacrev(func: Callable, argnums: int = 0) -> Callable:
    """The function that gives the Jacobian of `func` for one argument, row by row."""

    @functools.wraps(func)
    def wrapped(*args: Any) -> Any:
        def of_one(x: Any) -> Any:
            return func(*args[:argnums], x, *args[argnums + 1 :])

        further = nncomp.is_grad_enabled() and args[argnums].requires_grad
        return autograd.functional.jacobian(of_one, args[argnums], create_graph=further)

    return wrapped


def hessian(func: Callable, argnums: int = 0) -> Callable:
    """The function that gives the second derivatives of `func`, a scalar, for one argument."""

    @functools.wraps(func)
    def wrapped(*args: Any) -> Any:
        def of_one(x: Any) -> Any:
            return func(*args[:argnums], x, *args[argnums + 1 :])

        return autograd.functional.hessian(of_one, args[argnums])

    return wrapped


# -- vmap -----------------------------------------------------------------------------------------


def vmap(
    func: Callable, in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error",
    *, chunk_size: int | None = None,
) -> Callable:  # fmt: skip
    """`func` over the slices of its arguments along `in_dims` (None: the whole argument).

    The slices' results are stacked along `out_dims`. The calls are made one after the other.
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(
            "Only allowed values for randomness are 'error', 'different', or 'same'. Got "
            f"{randomness}"
        )

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        dims = in_dims if isinstance(in_dims, (tuple, list)) else (in_dims,) * len(args)
        if len(dims) != len(args):
            raise ValueError(
                f"vmap: in_dims has {len(dims)} entries but the function got {len(args)} arguments"
            )
        trees = [_spread(d, x) for d, x in zip(dims, args, strict=True)]
        size = _batch_size(trees, args)
        key = nncomp.get_rng_state() if randomness == "same" else None
        results = []
        for index in range(size):
            if key is not None:
                nncomp.set_rng_state(key)
            part = [_slice(x, d, index) for x, d in zip(args, trees, strict=True)]
            results.append(func(*part, **kwargs))
        return _stacked(results, out_dims)

    return wrapped


def _spread(dim: Any, value: Any) -> Any:
    """`dim` for each leaf of `value`."""
    if isinstance(dim, (tuple, list)):
        return type(dim)(_spread(d, x) for d, x in zip(dim, value, strict=True))
    if isinstance(dim, dict):
        return {key: _spread(dim[key], x) for key, x in value.items()}
    return _mapped(value, lambda x: dim if isinstance(x, Tensor) else None)


def _batch_size(trees: list, args: tuple) -> int:
    dims: list[Any] = []
    leaves: list[Any] = []
    _flatten(trees, dims)
    _flatten(args, leaves)
    sizes = {x.shape[d] for x, d in zip(leaves, dims, strict=True) if d is not None}
    if len(sizes) != 1:
        raise ValueError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
            f"{sorted(sizes)} for the mapped dimension"
        )
    return sizes.pop()


def _slice(value: Any, dims: Any, index: int) -> Any:
    found: list[Any] = []
    _flatten(dims, found)
    left = iter(found)

    def one(x: Any) -> Any:
        dim = next(left)
        return x if dim is None else x.select(dim, index)

    return _mapped(value, one)


def _stacked(results: Sequence[Any], out_dims: Any) -> Any:
    first = results[0]
    if isinstance(first, (tuple, list)):
        dims = out_dims if isinstance(out_dims, (tuple, list)) else (out_dims,) * len(first)
        return tuple(
            _stacked([row[i] for row in results], d) for i, d in enumerate(dims)
        )
    if isinstance(first, dict):
        return {key: _stacked([row[key] for row in results], out_dims) for key in first}
    if not isinstance(first, Tensor):
        raise ValueError(
            f"vmap: the function must only return Tensors, got type {type(first).__name__}"
        )
    return first if out_dims is None else nncomp.stack(list(results), out_dims)


# -- modules --------------------------------------------------------------------------------------


def functional_call(
    module: Any, parameter_and_buffer_dicts: Any, args: Any = None, kwargs: Any = None, *,
    tie_weights: bool = True, strict: bool = False,
) -> Any:  # fmt: skip
    """`module(*args, **kwargs)` with the tensors of a dict (or several) in the place of its own."""
    dicts = parameter_and_buffer_dicts
    tensors: dict[str, Tensor] = {}
    for each in dicts if isinstance(dicts, (tuple, list)) else (dicts,):
        tensors.update(each)
    places = _places(module, tensors, tie_weights, strict)
    arguments = () if args is None else args if isinstance(args, tuple) else (args,)
    saved = [(store, name, store[name]) for store, name, _ in places]
    try:
        for store, name, value in places:
            store[name] = value
        return module(*arguments, **(kwargs or {}))
    finally:
        for store, name, value in saved:
            store[name] = value


def _places(module: Any, tensors: dict, tie: bool, strict: bool) -> list[tuple]:
    """(dict of a submodule, name in it, new tensor) of all tensors to replace."""
    own: dict[str, tuple[dict, str]] = {}
    for prefix, part in module.named_modules(remove_duplicate=False):
        for store in (part._parameters, part._buffers):
            for name, value in store.items():
                if value is not None:
                    own[f"{prefix}.{name}" if prefix else name] = (store, name)
    unknown = [name for name in tensors if name not in own]
    missing = [name for name in own if name not in tensors]
    if unknown or (strict and missing):
        parts = [f"Unexpected key(s): {', '.join(unknown)}."] * bool(unknown)
        parts += [f"Missing key(s): {', '.join(missing)}."] * bool(strict and missing)
        raise RuntimeError(
            f"Error(s) in functional_call for {type(module).__name__}: {' '.join(parts)}"
        )
    found = {key: value for key, value in tensors.items()}
    if tie:
        by_id = {id(own[k][0][own[k][1]]): v for k, v in tensors.items()}
        for key, (store, name) in own.items():
            if id(store[name]) in by_id:
                found.setdefault(key, by_id[id(store[name])])
    return [(*own[key], value) for key, value in found.items()]


def stack_module_state(models: Sequence[Any]) -> tuple[dict, dict]:
    """(parameters, buffers) of several modules of one kind, stacked along a new first dim."""
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    parameters = [dict(m.named_parameters()) for m in models]
    buffers = [dict(m.named_buffers()) for m in models]

    def stacked(rows: list[dict]) -> dict:
        return {
            name: nncomp.stack([row[name].detach() for row in rows]).requires_grad_(
                rows[0][name].requires_grad
            )
            for name in rows[0]
        }

    return stacked(parameters), stacked(buffers)


REASONS = {
    "functionalize": "the compiler of this package needs no such transform",
    "debug_unwrap": "there are no wrapped tensors here",
    "replace_all_batch_norm_modules_": "vmap is a loop here, so that batch norm needs no change",
}


def __getattr__(name: str) -> Any:
    """jvp, jacfwd and linearize; or why a name is left out."""
    if name in ("jacfwd", "jvp", "linearize"):
        return getattr(import_module(".func_forward", __package__), name)
    reason = REASONS.get(name)
    why = "" if reason is None else f": {reason}"
    raise AttributeError(f"module 'nncomp.func' has no attribute '{name}'{why}")


__all__ = [
    "functional_call", "grad", "grad_and_value", "hessian", "jacrev", "stack_module_state", "vjp",
    "vmap",
]  # fmt: skip
