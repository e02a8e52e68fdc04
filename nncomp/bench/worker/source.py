"""A model from a file: found by name, built, and given the weights of an .npz file.

Weights are copied one by one, so a process never holds a second set of them.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np


def load_file(path: str) -> ModuleType:
    """The module of a Python file; its folder joins sys.path, as for a script."""
    file = Path(path).resolve()
    known = sys.modules.get(file.stem)
    if known is not None and getattr(known, "__file__", None) == str(file):
        return known
    name = file.stem if known is None else f"bench_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    spec.loader.exec_module(module)
    return module


def find(path: str, name: str) -> Any:
    """What `name` stands for in a file; AttributeError says what the file has."""
    module = load_file(path)
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            names = ", ".join(n for n in vars(module) if not n.startswith("_"))
            raise AttributeError(f"{path} has no {name!r}; it has: {names}")
        value = getattr(value, part)
    return value


def build(path: str, name: str) -> Any:
    """A Module: what the class or function `name` returns, or that object itself."""
    found = find(path, name)
    is_module = hasattr(found, "state_dict") and not isinstance(found, type)
    model = found if is_module else found()
    if not hasattr(model, "state_dict"):
        raise TypeError(f"{path}:{name} gives {type(model).__name__}, expected a Module")
    return model


def save_weights(model: Any, path: str) -> None:
    """Write parameters and buffers, by name."""
    np.savez(path, **{name: to_array(value) for name, value in model.state_dict().items()})


def load_weights(model: Any, path: str, library: Any) -> None:
    """Fill parameters and buffers; ValueError if names or shapes differ."""
    state = model.state_dict()
    with np.load(path) as stored, library.no_grad():
        if set(stored.files) != set(state):
            different = ", ".join(sorted(set(stored.files) ^ set(state))[:5])
            raise ValueError(f"the model has other parameters than the stored weights: {different}")
        for name, value in state.items():
            array = stored[name]
            if tuple(array.shape) != tuple(value.shape):
                raise ValueError(f"{name} is {tuple(value.shape)}, stored {array.shape}")
            value.copy_(to_tensor(array, library))


def load_arrays(path: str) -> list[np.ndarray]:
    """The arrays of an .npz file, in order."""
    with np.load(path) as stored:
        return [stored[name] for name in stored.files]


def in_batches(values: list[Any], batches: int) -> list[list[Any]]:
    """A list cut into `batches` equal parts."""
    size = len(values) // batches
    return [values[i : i + size] for i in range(0, len(values), size)]


def save_arrays(arrays: list[np.ndarray], path: str) -> None:
    """Write arrays so that `load_arrays` gives them back in order."""
    np.savez(path, **{f"{i:06}": array for i, array in enumerate(arrays)})


def to_tensor(array: np.ndarray, library: Any) -> Any:
    """A tensor of torch or nncomp."""
    return library.from_numpy(array) if array.ndim else library.tensor(array.item())


def to_array(x: Any) -> np.ndarray:
    """The values of a tensor."""
    return x.detach().numpy()


def flatten(value: Any) -> list[Any]:
    """The tensors of a result in order: tuples, lists and dicts are opened."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in flatten(part)]
    return [] if value is None else [value]
