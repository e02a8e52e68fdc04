"""Containers of modules: Sequential, ModuleList and ModuleDict (torch.nn.modules.container).

Those of parameters are in ``_parameter_containers.py`` and are exported here too.
"""

from __future__ import annotations

import operator
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ._parameter_containers import ParameterDict, ParameterList
from .module import Module, _addindent


class _Indexed(Module):
    """Children named "0", "1", ...: what Sequential and ModuleList share."""

    def _key(self, index: Any) -> str:
        """Return the name of the child at ``index``, which may be negative."""
        position, size = operator.index(index), len(self)
        if not -size <= position < size:
            raise IndexError(f"index {position} is out of range")
        return list(self._modules)[position % size]

    def _replace_all(self, modules: Iterable[Module]) -> None:
        """Make ``modules`` the children, numbered from 0."""
        fresh = {str(number): module for number, module in enumerate(modules)}
        self._modules.clear()
        self._modules.update(fresh)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._key(index), module)

    def __delitem__(self, index: int | slice) -> None:
        keys = list(self._modules)[index] if isinstance(index, slice) else [self._key(index)]
        for key in keys:
            delattr(self, key)
        self._replace_all(list(self._modules.values()))

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def append(self, module: Module) -> Any:
        """Add ``module`` at the end and return the container."""
        self.add_module(str(len(self)), module)
        return self

    def pop(self, index: int) -> Module:
        """Remove and return the child at ``index``."""
        module = self[index]
        del self[index]
        return module


class Sequential(_Indexed):
    """Runs its children one after the other; takes modules or one ordered dict of them."""

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], OrderedDict):
            named = args[0].items()
        else:
            named = ((str(number), module) for number, module in enumerate(args))
        for name, module in named:
            self.add_module(name, module)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(OrderedDict(list(self._modules.items())[index]))
        return self._modules[self._key(index)]

    def __add__(self, other: Any) -> Sequential:
        _expect_sequential("add", other)
        return Sequential(*self, *other)

    def __iadd__(self, other: Any) -> Sequential:
        _expect_sequential("add", other)
        return self.extend(list(other))

    def __mul__(self, other: int) -> Sequential:
        _expect_count(other)
        return Sequential(*(module for _ in range(other) for module in self))

    def __rmul__(self, other: int) -> Sequential:
        return self * other

    def __imul__(self, other: int) -> Sequential:
        _expect_count(other)
        return self.extend(list(self) * (other - 1))

    def forward(self, input: Any) -> Any:
        """Feed ``input`` through all children."""
        for module in self:
            input = module(input)
        return input

    def insert(self, index: int, module: Module) -> Sequential:
        """Put ``module`` before position ``index`` and return the container."""
        if not isinstance(module, Module):
            raise AssertionError(f"module should be of type: {Module}")
        size = len(self)
        if not -size <= index <= size:
            raise IndexError(f"Index out of range: {index}")
        children = list(self)
        children.insert(index, module)
        self._replace_all(children)
        return self

    def extend(self, sequential: Iterable[Module]) -> Sequential:
        """Add all modules of ``sequential`` at the end and return the container."""
        for module in sequential:
            self.append(module)
        return self


def _expect_sequential(what: str, other: Any) -> None:
    if not isinstance(other, Sequential):
        raise ValueError(
            f"{what} operator supports only objects of Sequential class, but {type(other)} "
            "is given."
        )


def _expect_count(count: Any) -> None:
    if not isinstance(count, int):
        raise TypeError(f"unsupported operand type(s) for *: {Sequential} and {type(count)}")
    if count <= 0:
        raise ValueError(f"Non-positive multiplication factor {count} for {Sequential}")


class ModuleList(_Indexed):
    """A list of modules that registers them; it has no forward()."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self._modules.values())[index])
        return self._modules[self._key(index)]

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __iadd__(self, other: Iterable[Module]) -> ModuleList:
        return self.extend(other)

    def insert(self, index: int, module: Module) -> None:
        """Put ``module`` before position ``index``, as list.insert does."""
        children = list(self)
        children.insert(index, module)
        self._replace_all(children)

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Add all of ``modules`` at the end and return the container."""
        if not isinstance(modules, Iterable):
            raise TypeError(
                f"ModuleList.extend should be called with an iterable, but got "
                f"{type(modules).__name__}"
            )
        for module in list(modules):
            self.append(module)
        return self

    def __repr__(self) -> str:
        """Show equal neighbours as one line such as "(0-3): 4 x Linear(...)"."""
        runs: list[list] = []  # [first, last, text]
        for number, module in enumerate(self):
            text = repr(module)
            if runs and runs[-1][2] == text:
                runs[-1][1] = number
            else:
                runs.append([number, number, text])
        if not runs:
            return f"{self._get_name()}()"
        lines = []
        for first, last, text in runs:
            label = f"({first}): " if first == last else f"({first}-{last}): {last - first + 1} x "
            lines.append(label + _addindent(text, 2))
        return f"{self._get_name()}(\n  " + "\n  ".join(lines) + "\n)"


class ModuleDict(Module):
    """A dict of modules, in order of insertion; it has no forward()."""

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Module:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: str) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Remove all items."""
        self._modules.clear()

    def pop(self, key: str) -> Module:
        """Remove and return the module at ``key``."""
        return self._modules.pop(key)

    def keys(self) -> Any:
        """Return the keys."""
        return self._modules.keys()

    def items(self) -> Any:
        """Return the (key, module) pairs."""
        return self._modules.items()

    def values(self) -> Any:
        """Return the modules."""
        return self._modules.values()

    def update(self, modules: Any) -> None:
        """Take the items of a mapping, or of an iterable of (key, module) pairs."""
        for key, module in _pairs(modules, "ModuleDict"):
            self[key] = module


def _pairs(modules: Any, owner: str) -> list[tuple[str, Any]]:
    """Return the items of a mapping or of an iterable of pairs, checked."""
    if isinstance(modules, (Mapping, ModuleDict)):
        return list(modules.items())
    if not isinstance(modules, Iterable):
        raise TypeError(
            f"{owner}.update should be called with an iterable of key/value pairs, "
            f"but got {type(modules).__name__}"
        )
    pairs = []
    for number, pair in enumerate(modules):
        if not isinstance(pair, Iterable):
            raise TypeError(
                f"{owner} update sequence element #{number} should be Iterable; "
                f"is {type(pair).__name__}"
            )
        pair = tuple(pair)
        if len(pair) != 2:
            raise ValueError(
                f"{owner} update sequence element #{number} has length {len(pair)}; 2 is required"
            )
        pairs.append(pair)
    return pairs


class Container(Module):
    """An old base class that takes its children as keywords; use Module."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        warnings.warn(
            "nn.Container is deprecated. All of it's functionality is now implemented in "
            "nn.Module. Subclass that instead.",
            stacklevel=2,
        )
        for name, module in kwargs.items():
            self.add_module(name, module)


__all__ = [
    "Container", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential",
]  # fmt: skip
