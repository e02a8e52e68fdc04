"""What `nncomp.aot.load` gives: a callable like the exported one, on code that exists already."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import dispatch
from ..ir.types import TensorType, dtype_of_name
from ..tensor import Tensor
from .trees import build, collect

MOST_SHORTCUTS = 16  # made in the life of an object: one per grad mode and number of threads


class Loaded:
    """An exported model or training step. Call it like the original; it gives what that gives.

    Results are bit for bit those of the compiled original on the same level of the CPU. They carry
    no gradients. The state, if there is one, belongs to this object, and one call at a time uses
    it.
    """

    def __init__(
        self,
        manifest: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray],
        runner: Any,
        level: str,
        graph: Callable[[], Any],
        make_shortcut: Callable[..., Callable | None],
    ):
        self.manifest, self.level, self.threads = dict(manifest), level, manifest["threads"]
        self.name: str = manifest["name"]
        self._runner, self._read_graph = runner, graph
        self._parameters: list[str] = manifest["parameters"]
        self._arguments, self._result = manifest["arguments"], manifest["result"]
        self._inputs = [(n, _type(t)) for n, t in manifest["inputs"]]
        self._outputs = [_type(t) for _, t in manifest["outputs"]]
        self._order = manifest["order"]  # (role, name) of each input of the program
        self._draws = manifest["draws"]
        self._state_names = [name for role, name in self._order if role == "state"]
        self._arrays = dict(arrays)
        for name in self._state_names:
            self._arrays[name] = np.array(arrays[name])  # memory of its own, to be written
        self._prepared: list[np.ndarray] | None = None
        self._lock = threading.Lock()
        self._make_shortcut = make_shortcut
        self._shortcuts: tuple[Callable, ...] = ()
        plain = all("tensor" in tree for tree in [*self._arguments, self._result])
        self._tries = MOST_SHORTCUTS if plain and not self._state_names else 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """TypeError or ValueError for arguments of other types, shapes or static values."""
        if not kwargs:
            for shortcut in self._shortcuts:
                result = shortcut(*args)
                if result is not None:
                    return result
        result = self._call(args, kwargs)
        if self._tries and not kwargs:
            self._shorten(args)
        return result

    def _shorten(self, args: tuple) -> None:
        """Make a native function for calls like this one: a microsecond instead of ten."""
        self._tries -= 1
        constants = [self._arrays[name] for role, name in self._order if role == "constant"]
        made = self._make_shortcut(
            self._runner, args, constants, self._prepared or [], self._outputs,
            self._result["tensor"], self.threads,
        )  # fmt: skip
        if made is None:
            self._tries = 0
        else:
            self._shortcuts = (made, *self._shortcuts[:1])

    def _call(self, args: tuple, kwargs: dict) -> Any:
        """The long way: bind, check, run, wrap."""
        given: dict[int, np.ndarray] = {}

        def take(number: int, value: Any, where: str) -> None:
            given[number] = self._checked(number, value, where)

        values = self._bound(args, kwargs)
        for name, tree, value in zip(self._parameters, self._arguments, values, strict=True):
            collect(tree, value, take, name)
        if self._state_names:
            with self._lock:
                results = self._run(given)
        else:
            results = self._run(given)
        pairs = zip([r for r in results if r is not None], self._outputs, strict=True)
        return build(self._result, [dispatch.wrap(a, t) for a, t in pairs])

    def _bound(self, args: tuple, kwargs: dict) -> list[Any]:
        """The arguments in the order of the parameters, whichever way they were given."""
        names = self._parameters
        values = dict(zip(names, args, strict=False))
        wrong = [n for n in kwargs if n in values or n not in names]
        missing = [n for n in names if n not in values and n not in kwargs]
        if len(args) > len(names) or wrong or missing:
            raise TypeError(
                f"{self.name} takes ({', '.join(names)}), got {len(args)} argument(s) by position "
                f"and {list(kwargs) or 'none'} by name"
            )
        return [values[n] if n in values else kwargs[n] for n in names]

    def _checked(self, number: int, value: Any, where: str) -> np.ndarray:
        expected = self._inputs[number][1]
        if not isinstance(value, Tensor):
            raise TypeError(f"{where} must be a tensor {expected}, got {type(value).__name__}")
        if value._type != expected:
            raise ValueError(
                f"{where} must be {expected}, as when the model was exported; got {value._type}"
            )
        array = value.detach().numpy_array("running an exported model")
        if not (array.flags.c_contiguous and array.flags.aligned):
            array = np.array(array, order="C")
        return array

    def _run(self, given: dict[int, np.ndarray]) -> list:
        inputs = iter(range(len(self._inputs)))
        arrays = [
            given[next(inputs)] if role == "input" else self._arrays[name]
            for role, name in self._order
        ]
        if self._prepared is None:
            self._prepared = self._runner.prepare(arrays)
        results = self._runner(arrays, self._prepared, self.threads)
        if self._draws:
            self._arrays[self._order[-1][1]][1] += self._draws
        return results

    def state(self) -> dict[str, Tensor]:
        """The state by name, as copies: parameters, buffers and the rest that calls change."""
        return {name: Tensor._wrap(self._arrays[name].copy()) for name in self._state_names}

    def set_state(self, **values: Any) -> None:
        """Give tensors of the state new values: `step.set_state(lr=0.05)`.

        KeyError for an unknown name, ValueError for another shape.
        """
        for name, value in values.items():
            if name not in self._state_names:
                known = ", ".join(self._state_names) or "nothing"
                raise KeyError(f"the state has no {name!r}; it has {known}")
            array = value.numpy_array("setting") if isinstance(value, Tensor) else np.asarray(value)
            mine = self._arrays[name]
            if array.shape != mine.shape:
                raise ValueError(f"{name!r} has the shape {mine.shape}, got {array.shape}")
            mine[...] = array

    @property
    def graph(self) -> Any:
        """The exported Graph, read from its text."""
        return self._read_graph()

    def __repr__(self) -> str:
        inputs = ", ".join(f"{n}: {t}" for n, t in self._inputs)
        return f"<exported {self.name}({inputs}), {self.level} code>"


def _type(words: list) -> TensorType:
    return TensorType(tuple(map(int, words[1:])), dtype_of_name(words[0]))


def type_words(type: TensorType) -> list:
    """A tensor type as a JSON value."""
    return [type.dtype.name, *type.shape]
