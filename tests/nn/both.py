"""Running one scenario in torch and in nncomp and comparing everything that it returns.

A scenario is a function of the namespace (``torch`` or ``nncomp``). Its result is turned into plain
Python (tensors into arrays, errors into their type and text), with package names made equal.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import nncomp

torch = pytest.importorskip("torch")


def numbers(*shape: int, start: int = 0, scale: float = 1.0) -> np.ndarray:
    """Return float32 values that look random, are the same in both libraries and avoid ties."""
    count = int(np.prod(shape))
    steps = np.arange(start + 1, start + count + 1, dtype=np.float64)
    return (np.sin(steps * 12.9898) * 1.7 * scale).astype(np.float32).reshape(shape)


def fill(t: Any, module: Any) -> Any:
    """Give all parameters of ``module`` the same values in both libraries."""
    with t.no_grad():
        for index, parameter in enumerate(module.parameters()):
            values = numbers(*parameter.shape, start=97 * index, scale=0.4)
            parameter.copy_(t.tensor(values))
    return module


def plain(value: Any) -> Any:
    """Return ``value`` made of plain Python and numpy objects."""
    if isinstance(value, (torch.Tensor, nncomp.Tensor)):
        return value.detach().double().numpy() if value.is_floating_point() else (
            value.detach().numpy()
        )
    if isinstance(value, str):
        text = value.replace("nncomp", "torch")
        return re.sub(r"torch\.nn\.(modules\.)?(_?\w+\.)*(?=[A-Z])", "torch.nn.", text)
    if isinstance(value, Mapping):
        return {plain(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if value is None or isinstance(value, (bool, int, float, np.ndarray)):
        return value
    return plain(str(value))


def outcome(scenario: Callable[[Any], Any], t: Any) -> Any:
    """Return the plain result of ``scenario``, or the type and text of its error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return plain(scenario(t))
        except Exception as error:
            return ["error", type(error).__name__, plain(str(error))]


def check_equal(ours: Any, theirs: Any, where: str = "result", tol: float = 1e-5) -> None:
    """Compare two plain values; arrays within ``tol``."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict) and list(ours) == list(theirs), f"{where}: {ours} {theirs}"
        for key in theirs:
            check_equal(ours[key], theirs[key], f"{where}[{key!r}]", tol)
    elif isinstance(theirs, list):
        same = isinstance(ours, list) and len(ours) == len(theirs)
        assert same, f"{where}:\nours:   {ours!r:.400}\ntheirs: {theirs!r:.400}"
        for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            check_equal(a, b, f"{where}[{index}]", tol)
    elif isinstance(theirs, np.ndarray):
        assert isinstance(ours, np.ndarray) and ours.shape == theirs.shape, where
        np.testing.assert_allclose(ours, theirs, rtol=tol, atol=tol, err_msg=where)
    elif isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=tol, abs=tol), where
    else:
        assert ours == theirs, f"{where}:\nours:   {ours!r}\ntheirs: {theirs!r}"


def agree(scenario: Callable[[Any], Any], *, ok: bool | None = None, tol: float = 1e-5) -> None:
    """Check that both libraries give the same outcome; ``ok`` demands (no) error."""
    theirs, ours = outcome(scenario, torch), outcome(scenario, nncomp)
    failed = isinstance(theirs, list) and len(theirs) == 3 and isinstance(theirs[0], str)
    failed = failed and theirs[0] == "error"
    if ok is not None:
        assert failed != ok, f"the scenario itself is wrong in torch: {theirs!r:.400}"
    check_equal(ours, theirs, tol=tol)


def cases(table: Mapping[str, Any]) -> Any:
    """Parametrize a test over a table of named entries."""
    return pytest.mark.parametrize("case", list(table.values()), ids=list(table))
