"""The same model source under torch and nncomp: either import gives the library of this process.

In the process of torch the name `nncomp` stands for torch, and the other way round. Modules are
found under both names, at any depth, and exist once.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from types import ModuleType
from typing import Any


class AliasFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports of `alias` and `alias.x` give `target` and `target.x`."""

    def __init__(self, alias: str, target: str) -> None:
        self.alias, self.target = alias, target
        self.specs: dict[str, Any] = {}

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name == self.alias or name.startswith(f"{self.alias}."):
            return importlib.machinery.ModuleSpec(name, self)
        return None

    def create_module(self, spec: Any) -> ModuleType:
        module = importlib.import_module(self.target + spec.name[len(self.alias) :])
        self.specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """The module ran already; the import system put the alias's spec on it."""
        spec: Any = module.__spec__
        module.__spec__ = self.specs.pop(spec.name)


def install(target: str) -> None:
    """Let the other of torch and nncomp stand for `target` in this process."""
    for name in {"torch", "nncomp"} - {target}:
        sys.meta_path.insert(0, AliasFinder(name, target))
