"""state_dict and load_state_dict: ModuleState, a part of Module.

Keys, metadata, the points that subclasses override (``_save_to_state_dict``,
``_load_from_state_dict``, ``get_extra_state``) and error texts are those of torch.nn.Module.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import nncomp

from ..tensor import Tensor
from .parameter import Parameter

EXTRA_STATE = "_extra_state"


class _IncompatibleKeys(NamedTuple):
    """What load_state_dict returns."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (
            f"_IncompatibleKeys(missing_keys={self.missing_keys!r}, "
            f"unexpected_keys={self.unexpected_keys!r})"
        )

    __str__ = __repr__


def _quoted(keys: list[str]) -> str:
    return ", ".join(f'"{key}"' for key in keys)


class ModuleState:
    """The part of Module that saves and loads."""

    T_destination = TypeVar("T_destination", bound=dict[str, Any])

    def state_dict(
        self,
        *args: Any,
        destination: Any = None,
        prefix: str = "",
        keep_vars: bool = False,
    ) -> Any:
        """Return an ordered dict of all parameters and persistent buffers by qualified name.

        The tensors are detached and share storage with the module unless ``keep_vars`` is true.
        """
        positional = dict(zip(("destination", "prefix", "keep_vars"), args, strict=False))
        destination = positional.get("destination", destination)
        prefix = positional.get("prefix", prefix)
        keep_vars = positional.get("keep_vars", keep_vars)
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        local_metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(
                    destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars
                )
        for hook in self._state_dict_hooks.values():
            replaced = hook(self, destination, prefix, local_metadata)
            destination = destination if replaced is None else replaced
        return destination

    def _persistent_state(self) -> dict[str, Tensor]:
        """Return this module's own parameters and persistent buffers that are not None."""
        members = itertools.chain(self._parameters.items(), self._buffers.items())
        skipped = self._non_persistent_buffers_set
        return {k: v for k, v in members if v is not None and k not in skipped}

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name, value in self._persistent_state().items():
            destination[prefix + name] = value if keep_vars else value.detach()
        if _overrides(self, "get_extra_state"):
            destination[prefix + EXTRA_STATE] = self.get_extra_state()

    def get_extra_state(self) -> Any:
        """Return any extra state to put in state_dict; a subclass with such state overrides it."""
        raise RuntimeError(
            "Reached a code path in Module.get_extra_state() that should never be called: "
            "override it together with set_extra_state() to save extra state."
        )

    def set_extra_state(self, state: Any) -> None:
        """Take the extra state found in a state_dict; overridden with get_extra_state."""
        raise RuntimeError(
            "Reached a code path in Module.set_extra_state() that should never be called: "
            "override it together with get_extra_state() to load extra state."
        )

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copy the tensors of ``state_dict`` into this module and all below it.

        With ``strict`` missing and unexpected keys are an error; sizes must match always. With
        ``assign`` the module takes the given tensors themselves instead of copying values.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        metadata = getattr(state_dict, "_metadata", None)
        state = OrderedDict(state_dict)
        if metadata is not None:
            state._metadata = metadata
        loading = _Loading(metadata or {}, assign)
        loading.load(self, state, "")
        errors = loading.errors
        if strict and loading.unexpected:
            errors.insert(0, f"Unexpected key(s) in state_dict: {_quoted(loading.unexpected)}. ")
        if strict and loading.missing:
            errors.insert(0, f"Missing key(s) in state_dict: {_quoted(loading.missing)}. ")
        if errors:
            lines = "\n\t".join(errors)
            name = type(self).__name__
            raise RuntimeError(f"Error(s) in loading state_dict for {name}:\n\t{lines}")
        return _IncompatibleKeys(loading.missing, loading.unexpected)

    def _load_from_state_dict(
        self,
        state_dict: dict,
        prefix: str,
        local_metadata: dict,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Take this module's own entries; children are loaded by the caller."""
        for hook in self._load_state_dict_pre_hooks.values():
            hook(
                self, state_dict, prefix, local_metadata, strict,
                missing_keys, unexpected_keys, error_msgs,
            )  # fmt: skip
        assign = local_metadata.get("assign_to_params_buffers", False)
        local_state = self._persistent_state()
        for name, current in local_state.items():
            key = prefix + name
            if key in state_dict:
                error = _load_one(self, name, key, current, state_dict[key], assign)
                error_msgs += error
            elif strict:
                missing_keys.append(key)
        self._load_extra_state(state_dict, prefix + EXTRA_STATE, strict, missing_keys,
                               unexpected_keys)  # fmt: skip
        if strict:
            own = {EXTRA_STATE, *local_state}
            unexpected_keys += _unknown_keys(state_dict, prefix, own, self._modules)

    def _load_extra_state(
        self, state_dict: dict, key: str, strict: bool, missing: list, unexpected: list
    ) -> None:
        if _overrides(self, "set_extra_state"):
            if key in state_dict:
                self.set_extra_state(state_dict[key])
            elif strict:
                missing.append(key)
        elif strict and key in state_dict:
            unexpected.append(key)


class _Loading:
    """One run of load_state_dict over the tree of modules."""

    def __init__(self, metadata: Mapping, assign: bool) -> None:
        self.metadata, self.assign = metadata, assign
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.errors: list[str] = []

    def load(self, module: Any, state_dict: dict, prefix: str) -> None:
        """Load ``module`` and then its children."""
        local_metadata = dict(self.metadata.get(prefix[:-1], {}))
        if self.assign:
            local_metadata["assign_to_params_buffers"] = True
        module._load_from_state_dict(
            state_dict, prefix, local_metadata, True, self.missing, self.unexpected, self.errors
        )
        for name, child in module._modules.items():
            if child is not None:
                below = f"{prefix}{name}."
                part = {key: v for key, v in state_dict.items() if key.startswith(below)}
                self.load(child, part, below)
        keys = _IncompatibleKeys(self.missing, self.unexpected)
        for hook in module._load_state_dict_post_hooks.values():
            if hook(module, keys) is not None:
                raise AssertionError(
                    "Hooks registered with ``register_load_state_dict_post_hook`` are not "
                    "expected to return new values, if incompatible_keys need to be modified, "
                    "it should be done inplace."
                )


def _overrides(module: Any, name: str) -> bool:
    return getattr(type(module), name) is not getattr(ModuleState, name)


def _unknown_keys(state_dict: dict, prefix: str, own: set[str], modules: dict) -> list[str]:
    """Return the keys under ``prefix`` that belong neither to a child nor to this module."""
    unknown = []
    for key in state_dict:
        if key.startswith(prefix):
            first, dot, _ = key[len(prefix) :].partition(".")
            if first not in (modules if dot else own):
                unknown.append(key)
    return unknown


def _load_one(
    module: Any, name: str, key: str, current: Tensor, value: Any, assign: bool
) -> list[str]:
    """Copy or assign one entry; return the error text in a list, which is empty if all is well."""
    if not isinstance(value, Tensor):
        return [
            f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like '
            f"object from checkpoint but received {type(value)}"
        ]
    if current.dim() == 0 and tuple(value.shape) == (1,):
        value = value[0]  # checkpoints older than 0-d tensors
    if tuple(value.shape) != tuple(current.shape):
        return [
            f"size mismatch for {key}: copying a param with shape {value.shape} from "
            f"checkpoint, the shape in current model is {current.shape}."
        ]
    try:
        if assign:
            setattr(module, name, _adopted(current, value))
        else:
            with nncomp.no_grad():
                current.copy_(value)
    except Exception as error:
        return [
            f'While copying the parameter named "{key}", whose dimensions in the model are '
            f"{current.size()} and whose dimensions in the checkpoint are {value.size()}, "
            f"an exception occurred : {error.args}."
        ]
    return []


def _adopted(current: Tensor, value: Tensor) -> Tensor:
    """Return ``value`` as the kind of tensor that ``current`` is."""
    if not isinstance(current, Parameter):
        return value
    if isinstance(value, Parameter):
        return value.requires_grad_(current.requires_grad)
    return Parameter(value, requires_grad=current.requires_grad)
