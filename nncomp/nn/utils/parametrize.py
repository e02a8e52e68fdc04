"""Parametrizations: a parameter that is computed from others (torch.nn.utils.parametrize).

Registering one gives the module a class of its own, in which the parameter is a property; what it
is computed from lies in ``module.parametrizations.<name>``. Being plain tensor functions,
parametrized modules can be compiled.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any

import nncomp

from ...tensor import Tensor
from ..container import ModuleDict, ModuleList
from ..module import Module
from ..parameter import Parameter

_cache: dict[tuple[int, str], Tensor] = {}
_cache_enabled = 0


@contextlib.contextmanager
def cached() -> Iterator[None]:
    """Compute each parametrized tensor once within the ``with`` block."""
    global _cache_enabled
    _cache_enabled += 1
    try:
        yield
    finally:
        _cache_enabled -= 1
        if not _cache_enabled:
            _cache.clear()


def _register(module: Module, name: str, value: Tensor) -> None:
    if isinstance(value, Parameter):
        module.register_parameter(name, value)
    else:
        module.register_buffer(name, value)


def _keep_kind(value: Tensor, original: Tensor) -> Tensor:
    """``value`` as a Parameter, if ``original`` is one."""
    if isinstance(original, Parameter) and not isinstance(value, Parameter):
        return Parameter(value, requires_grad=original.requires_grad)
    return value


def _not_a_sequence(new: Any) -> ValueError:
    return ValueError(
        "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got "
        f"{type(new).__name__}"
    )


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, in order, and the tensors they start from.

    These are ``original``, or ``original0``, ``original1``, ... if the last right_inverse returns
    several. ``unsafe`` skips the checks that dtype and shape stay.
    """

    original: Tensor
    unsafe: bool

    def __init__(
        self, modules: Sequence[Module], original: Tensor, unsafe: bool = False
    ) -> None:
        if len(modules) == 0:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = tuple(original.shape), original.dtype
        with nncomp.no_grad():
            new: Any = original
            for module in reversed(self):
                if hasattr(module, "right_inverse"):
                    with contextlib.suppress(NotImplementedError):
                        new = module.right_inverse(new)
        if not isinstance(new, (Tensor, list, tuple)):
            raise _not_a_sequence(new)
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if self.is_tensor else len(new)
        if self.is_tensor:
            self._add_original(original, new)
        else:
            for number, value in enumerate(new):
                if not isinstance(value, Tensor):
                    raise _not_a_sequence(value)
                _register(self, f"original{number}", _keep_kind(value, original))
        if not unsafe:
            self._check_result(shape, dtype)

    def _add_original(self, original: Tensor, new: Tensor) -> None:
        if original.dtype != new.dtype:
            raise ValueError(
                "When `right_inverse` outputs one tensor, it may not change the dtype.\n"
                f"original.dtype: {original.dtype}\n"
                f"right_inverse(original).dtype: {new.dtype}"
            )
        if new is not original:
            with nncomp.no_grad():
                original.data = new.detach().clone()  # the tensor that optimizers know
        _register(self, "original", original)

    def _check_result(self, shape: tuple[int, ...], dtype: Any) -> None:
        result = self()
        if not isinstance(result, Tensor):
            raise ValueError(
                f"A parametrization must return a tensor. Got {type(result).__name__}."
            )
        if result.dtype != dtype:
            raise ValueError(
                "Registering a parametrization may not change the dtype of the tensor, unless "
                f"`unsafe` flag is enabled.\nunparametrized dtype: {dtype}\n"
                f"parametrized dtype: {result.dtype}"
            )
        if tuple(result.shape) != shape:
            raise ValueError(
                "Registering a parametrization may not change the shape of the tensor, unless "
                f"`unsafe` flag is enabled.\nunparametrized shape: {nncomp.Size(shape)}\n"
                f"parametrized shape: {result.shape}"
            )

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the parametrized tensor becomes ``value``."""
        with nncomp.no_grad():
            for module in reversed(self):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(
                        f"parametrization {type(module).__name__} does not implement "
                        "right_inverse."
                    )
                value = module.right_inverse(value)
            if self.is_tensor:
                self._assign("original", value, "`right_inverse` should return a tensor. Got ")
                return
            if not isinstance(value, (list, tuple)):
                raise ValueError(
                    f"'right_inverse' must return a sequence of tensors. Got "
                    f"{type(value).__name__}."
                )
            if len(value) != self.ntensors:
                raise ValueError(
                    "'right_inverse' must return a sequence of tensors of length "
                    f"{self.ntensors}. Got a sequence of length {len(value)}."
                )
            for number, part in enumerate(value):
                self._assign(f"original{number}", part, "'right_inverse' must return tensors. Got ")

    def _assign(self, name: str, value: Any, problem: str) -> None:
        original = getattr(self, name)
        if not isinstance(value, Tensor):
            raise ValueError(f"{problem}{type(value).__name__}")
        if value.dtype != original.dtype:
            raise ValueError(
                f"The tensor returned by `right_inverse` has dtype {value.dtype} while "
                f"`{name}` has dtype {original.dtype}"
            )
        original.data = value.detach().clone()

    def forward(self) -> Tensor:
        """The parametrized tensor."""
        if self.is_tensor:
            value = self[0](self.original)
        else:
            value = self[0](*(getattr(self, f"original{i}") for i in range(self.ntensors)))
        for module in list(self)[1:]:
            value = module(value)
        return value


# -- the class of a parametrized module -----------------------------------------------------------


def _refuse_pickling(self: Module) -> dict:
    raise RuntimeError(
        "Serialization of parametrized modules is only supported through state_dict(). See:\n"
        "https://pytorch.org/tutorials/beginner/saving_loading_models.html"
        "#saving-loading-a-general-checkpoint-for-inference-and-or-resuming-training"
    )


def _deepcopy(self: Module, memo: dict) -> Module:
    if id(self) in memo:
        return memo[id(self)]
    made = object.__new__(type(self))
    memo[id(self)] = made
    made.__dict__.update(copy.deepcopy(Module.__getstate__(self), memo))
    return made


def _class_for(base: type, names: tuple[str, ...]) -> type:
    """A subclass of ``base`` in which ``names`` are properties."""
    members: dict[str, Any] = {
        "__getstate__": _refuse_pickling, "__deepcopy__": _deepcopy, "_base_class": base,
        "_parametrized_names": names, "__module__": base.__module__,
        **{name: _property(name) for name in names},
    }  # fmt: skip
    return type(f"Parametrized{base.__name__}", (base,), members)


def _property(name: str) -> property:
    def get(self: Module) -> Tensor:
        if not _cache_enabled:
            return self.parametrizations[name]()
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = self.parametrizations[name]()
        return _cache[key]

    def put(self: Module, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(get, put)


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the module, or one of its tensors, is parametrized."""
    lists = getattr(module, "parametrizations", None)
    if lists is None or not isinstance(lists, ModuleDict):
        return False
    return len(lists) > 0 if tensor_name is None else tensor_name in lists


def _check_addition(
    module: Module, name: str, parametrization: Module
) -> None:
    """Raise torch's errors for a parametrization that does not fit those that are there."""
    current = getattr(module, name)
    result = parametrization(current)
    if not isinstance(result, Tensor):
        raise ValueError(
            f"A parametrization must return a tensor. Got {type(result).__name__}."
        )
    for what in ("dtype", "shape"):
        mine, new = getattr(current, what), getattr(result, what)
        if mine != new:
            raise ValueError(
                f"Registering a parametrization may not change the {what} of the tensor, unless "
                f"the `unsafe` flag is enabled.\nmodule.{name}.{what}: {mine}\n"
                f"parametrization(module.{name}).{what}: {new}"
            )


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Compute ``module.<tensor_name>`` by ``parametrization`` from now on; returns the module.

    The parametrization's ``right_inverse``, if it has one, gives the tensors to start from and
    makes the parameter assignable.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            _check_addition(module, tensor_name, parametrization)
        parts = module.parametrizations[tensor_name]
        if hasattr(parametrization, "right_inverse"):
            value = getattr(module, tensor_name)
            parts.append(parametrization)
            with contextlib.suppress(NotImplementedError):
                parts.right_inverse(value)
        else:
            parts.append(parametrization)
        parts.unsafe |= unsafe
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        original = getattr(module, tensor_name)
        parts = ParametrizationList([parametrization], original, unsafe=unsafe)
        delattr(module, tensor_name)
        names: tuple[str, ...] = ()
        if is_parametrized(module):
            names = module._parametrized_names
        else:
            module.parametrizations = ModuleDict()
        base = getattr(module, "_base_class", type(module))
        module.__class__ = _class_for(base, (*names, tensor_name))
        module.parametrizations[tensor_name] = parts
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element "
            f"with name '{tensor_name}'"
        )
    return module


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make the tensor a plain parameter or buffer again; returns the module.

    Its value is the parametrized one, or the original one if ``leave_parametrized`` is False.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    parts = module.parametrizations[tensor_name]
    if not parts.is_tensor and not leave_parametrized:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is "
            "parametrized in terms of a sequence of tensors."
        )
    original = parts.original if parts.is_tensor else parts.original0
    if leave_parametrized:
        with nncomp.no_grad():
            value = getattr(module, tensor_name).detach().clone()
            if not parts.is_tensor:
                original = _keep_kind(value, original)
            else:
                original.data = value
    names = tuple(name for name in module._parametrized_names if name != tensor_name)
    base = module._base_class
    del module.parametrizations[tensor_name]
    if names:
        module.__class__ = _class_for(base, names)
    else:
        module.__class__ = base
        del module.parametrizations
    _register(module, tensor_name, original)
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class that the module had before it was parametrized."""
    return module._base_class if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Parametrize ``to_module`` as ``from_module`` is, with copies of its tensors."""
    if not is_parametrized(from_module):
        return to_module
    names = from_module.parametrizations.keys() if tensor_name is None else [tensor_name]
    for name in list(names):
        if not is_parametrized(from_module, name):
            continue
        parts = copy.deepcopy(from_module.parametrizations[name])
        if not hasattr(to_module, name):
            _register(to_module, name, copy.deepcopy(_original(from_module, name)))
        for part in parts:
            register_parametrization(to_module, name, part, unsafe=True)
        target = to_module.parametrizations[name]
        for field in ("original",) if parts.is_tensor else [
            f"original{i}" for i in range(parts.ntensors)
        ]:
            setattr(target, field, getattr(parts, field))
    return to_module


def _original(module: Module, name: str) -> Tensor:
    parts = module.parametrizations[name]
    return parts.original if parts.is_tensor else parts.original0


__all__ = [
    "ParametrizationList", "cached", "is_parametrized", "register_parametrization",
    "remove_parametrizations", "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]  # fmt: skip
