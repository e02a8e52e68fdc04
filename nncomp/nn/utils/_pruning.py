"""The methods of pruning: hooks that multiply a parameter by a mask.

A pruned parameter ``weight`` becomes the parameter ``weight_orig`` and the buffer ``weight_mask``;
before each call a hook computes ``weight`` from them. Masks are made from values, in eager mode.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import nncomp

from ...functions.masks import known_values
from ...tensor import Tensor
from ..module import Module

Amount = int | float


def _check_amount(amount: Any) -> None:
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    if amount < 0 or (not isinstance(amount, int) and amount > 1.0):
        raise ValueError(
            f"amount={amount} should either be a float in the range [0, 1] or a non-negative "
            "integer"
        )


def _count(amount: Amount, size: int) -> int:
    """How many of ``size`` elements to prune."""
    if isinstance(amount, int):
        if amount > size:
            raise ValueError(
                f"amount={amount} should be smaller than the number of parameters to prune={size}"
            )
        return amount
    return round(amount * size)


def _values(x: Tensor) -> np.ndarray:
    return known_values(x.detach(), "pruning")


def _mask_of(array: np.ndarray, like: Tensor) -> Tensor:
    return nncomp.tensor(np.ascontiguousarray(array)).to(like.dtype)


def _check_matrix(t: Tensor) -> None:
    if t.dim() <= 1:
        raise ValueError(
            "Structured pruning can only be applied to multidimensional tensors. Found tensor of "
            f"shape {t.shape} with {t.dim()} dims"
        )


def _check_dim(t: Tensor, dim: int) -> None:
    if dim >= t.dim():
        raise IndexError(f"Invalid index {dim} for tensor of size {t.shape}")


class BasePruningMethod:
    """The hook of a pruned parameter; a subclass defines ``compute_mask``."""

    PRUNING_TYPE = "unstructured"
    _tensor_name: str

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask for ``t``, which keeps the zeros of ``default_mask``."""
        raise NotImplementedError(f"{type(self).__name__} does not define compute_mask")

    def apply_mask(self, module: Module) -> Tensor:
        """The original parameter times its mask."""
        name = getattr(self, "_tensor_name", None)
        if name is None:
            raise AssertionError(f"Module {module} has to be pruned")
        mask, orig = getattr(module, f"{name}_mask"), getattr(module, f"{name}_orig")
        return mask.to(orig.dtype) * orig

    @classmethod
    def apply(
        cls, module: Module, name: str, *args: Any, importance_scores: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:  # fmt: skip
        """Prune the parameter ``name``; a parameter that is pruned already is pruned further."""
        old = container_of(module, name)
        method = cls(*args, **kwargs)
        method._tensor_name = name
        if old is not None:
            number, previous = old
            del module._forward_pre_hooks[number]
            container = PruningContainer()
            container._tensor_name = name
            for each in previous if isinstance(previous, PruningContainer) else (previous,):
                container.add_pruning_method(each)
            container.add_pruning_method(method)
            method = container
        orig = getattr(module, name) if old is None else getattr(module, f"{name}_orig")
        if importance_scores is not None and importance_scores.shape != orig.shape:
            raise AssertionError(
                f"importance_scores should have the same shape as parameter {name} of {module}, "
                f"got {importance_scores.shape} vs {orig.shape}"
            )
        if old is None:
            scores = orig if importance_scores is None else importance_scores
            default = nncomp.ones_like(orig.detach())
            mask = method.compute_mask(scores, default)
            del module._parameters[name]
            module.register_parameter(f"{name}_orig", orig)
            module.register_buffer(f"{name}_mask", mask)
        else:
            scores = getattr(module, name) if importance_scores is None else importance_scores
            default = getattr(module, f"{name}_mask").detach().clone()
            module.register_buffer(f"{name}_mask", method.compute_mask(scores, default))
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def prune(
        self, t: Tensor, default_mask: Tensor | None = None,
        importance_scores: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """``t`` with the pruned elements 0; no module is changed."""
        if importance_scores is not None and importance_scores.shape != t.shape:
            raise AssertionError(
                "importance_scores should have the same shape as tensor t, got "
                f"{importance_scores.shape} vs {t.shape}"
            )
        scores = t if importance_scores is None else importance_scores
        default = nncomp.ones_like(t.detach()) if default_mask is None else default_mask
        return t * self.compute_mask(scores, default)

    def remove(self, module: Module) -> None:
        """Make the pruned value permanent: the parameter is a plain one again."""
        name = getattr(self, "_tensor_name", None)
        if name is None:
            raise AssertionError(
                f"Module {module} has to be pruned before pruning can be removed"
            )
        value = self.apply_mask(module)
        if hasattr(module, name):
            delattr(module, name)
        orig = module._parameters.pop(f"{name}_orig")
        orig.data = value.detach()
        del module._buffers[f"{name}_mask"]
        setattr(module, name, orig)


def container_of(module: Module, name: str) -> tuple[int, BasePruningMethod] | None:
    """The number and the hook of the parameter ``name``, if it is pruned."""
    for number, hook in module._forward_pre_hooks.items():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            return number, hook
    return None


class PruningContainer(BasePruningMethod):
    """Several pruning methods of one parameter; the last one prunes what the others left."""

    def __init__(self, *args: BasePruningMethod) -> None:
        self._pruning_methods: tuple[BasePruningMethod, ...] = ()
        if args:
            self._tensor_name = args[0]._tensor_name
        for method in args:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: BasePruningMethod | None) -> None:
        """Add a method for the same parameter."""
        if not isinstance(method, BasePruningMethod) and method is not None:
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if method is not None and self._tensor_name != method._tensor_name:
            raise ValueError(
                "Can only add pruning methods acting on the parameter named "
                f"'{self._tensor_name}' to PruningContainer {self}. Found "
                f"'{method._tensor_name}'"
            )
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Any:
        return iter(self._pruning_methods)

    def __getitem__(self, index: int) -> BasePruningMethod:
        return self._pruning_methods[index]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask of the last method on the part that is not pruned yet."""
        method = self._pruning_methods[-1]
        kept = _values(default_mask) != 0
        if method.PRUNING_TYPE == "unstructured":
            part: Any = np.nonzero(kept)
        elif method.PRUNING_TYPE == "structured":
            dim = method.dim % t.dim()
            others = tuple(d for d in range(t.dim()) if d != dim)
            part = tuple(
                np.flatnonzero(kept.any(axis=others)) if d == dim else slice(None)
                for d in range(t.dim())
            )
        elif method.PRUNING_TYPE == "global":
            part = (slice(None),) * t.dim()
        else:
            raise ValueError(f"Unrecognized PRUNING_TYPE {method.PRUNING_TYPE}")
        mask, values = np.array(_values(default_mask)), _values(t)
        new = method.compute_mask(_mask_of(values[part], t), _mask_of(mask[part], t))
        mask[part] = _values(new)
        return _mask_of(mask, default_mask)


class Identity(BasePruningMethod):
    """Prunes nothing, but makes the parameter a pruned one."""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask as it is."""
        return default_mask


class RandomUnstructured(BasePruningMethod):
    """Prunes ``amount`` (a number, or a share below 1) of random elements."""

    def __init__(self, amount: Amount) -> None:
        _check_amount(amount)
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """0 at random elements."""
        order = np.argsort(nncomp.rand(t.numel()).numpy(), kind="stable")
        return _without(default_mask, order[: _count(self.amount, t.numel())])


class L1Unstructured(BasePruningMethod):
    """Prunes ``amount`` of the elements that are nearest to 0."""

    def __init__(self, amount: Amount) -> None:
        _check_amount(amount)
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """0 at the smallest elements."""
        order = np.argsort(np.abs(_values(t)).reshape(-1), kind="stable")
        return _without(default_mask, order[: _count(self.amount, t.numel())])


def _without(mask: Tensor, places: np.ndarray) -> Tensor:
    """``mask`` with 0 at flat ``places``."""
    values = np.array(_values(mask))
    values.reshape(-1)[places] = 0
    return _mask_of(values, mask)


class _Structured(BasePruningMethod):
    """Prunes whole slices along ``dim``."""

    PRUNING_TYPE = "structured"
    amount: Amount
    dim: int

    def _order(self, t: Tensor) -> np.ndarray:
        """The slices, the first to be pruned in front."""
        raise NotImplementedError(f"{type(self).__name__} does not define _order")

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """0 in the pruned slices."""
        _check_matrix(t)
        _check_dim(t, self.dim)
        size = t.shape[self.dim]
        places = self._order(t)[: _count(self.amount, size)]
        values = np.array(_values(default_mask))
        np.moveaxis(values, self.dim, 0)[places] = 0
        return _mask_of(values, default_mask)


class RandomStructured(_Structured):
    """Prunes ``amount`` of random slices along ``dim``."""

    def __init__(self, amount: Amount, dim: int = -1) -> None:
        _check_amount(amount)
        self.amount, self.dim = amount, dim

    def _order(self, t: Tensor) -> np.ndarray:
        return np.argsort(nncomp.rand(t.shape[self.dim]).numpy(), kind="stable")


class LnStructured(_Structured):
    """Prunes ``amount`` of the slices along ``dim`` with the smallest n-norm."""

    def __init__(self, amount: Amount, n: Any, dim: int = -1) -> None:
        _check_amount(amount)
        self.amount, self.n, self.dim = amount, n, dim

    def _order(self, t: Tensor) -> np.ndarray:
        dims = [d for d in range(t.dim()) if d != self.dim % t.dim()]
        norms = nncomp.norm(t.detach(), self.n, dims)
        return np.argsort(_values(norms), kind="stable")


class CustomFromMask(BasePruningMethod):
    """Prunes by a given mask."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """Both masks together."""
        if default_mask.shape != self.mask.shape:
            raise AssertionError(
                f"default_mask shape {default_mask.shape} must match self.mask shape "
                f"{self.mask.shape}"
            )
        return default_mask * self.mask.to(default_mask.dtype)


__all__ = [
    "Amount", "BasePruningMethod", "CustomFromMask", "Identity", "L1Unstructured", "LnStructured",
    "PruningContainer", "RandomStructured", "RandomUnstructured", "container_of",
]  # fmt: skip
