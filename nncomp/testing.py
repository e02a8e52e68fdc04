"""Comparing results in tests, with torch.testing's names: assert_close and make_tensor."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import nncomp

from .device import require_cpu
from .ir import DType
from .ir import types as dt
from .tensor import Tensor

# (rtol, atol) of torch by dtype; numbers are compared as float64 and int64.
_TOLERANCES = {
    dt.float16: (1e-3, 1e-5),
    dt.bfloat16: (1.6e-2, 1e-5),
    dt.float32: (1.3e-6, 1e-5),
    dt.float64: (1e-7, 1e-7),
}


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:
    """AssertionError unless |actual - expected| <= atol + rtol |expected| everywhere.

    Takes tensors, numbers, arrays, and sequences and mappings of them. The tolerances default to
    those of the dtype and must be given together. Dtypes (and strides on demand) must be equal.
    """
    if (rtol is None) != (atol is None):
        given, missing = ("rtol", "atol") if atol is None else ("atol", "rtol")
        raise ValueError(
            f"rtol and atol must both be specified or both be unspecified, but got no {missing} "
            f"and {given}={rtol if atol is None else atol}."
        )
    check = _Check(rtol, atol, equal_nan, check_dtype, check_stride, allow_subclasses)
    try:
        check.pair(actual, expected, "")
    except AssertionError as error:
        if msg is None:
            raise
        raise AssertionError(msg if isinstance(msg, str) else msg(str(error))) from None


class _Check:
    """The options of one assert_close."""

    def __init__(self, rtol, atol, equal_nan, dtype, stride, subclasses) -> None:
        self.rtol, self.atol, self.equal_nan = rtol, atol, equal_nan
        self.dtype, self.stride, self.subclasses = dtype, stride, subclasses

    def pair(self, actual: Any, expected: Any, where: str) -> None:
        """Compare two values; `where` is the path to them."""
        if _is_sequence(actual) and _is_sequence(expected):
            if len(actual) != len(expected):
                _fail(f"The length of the sequences mismatch: {len(actual)} != {len(expected)}",
                      where)  # fmt: skip
            for index, (a, b) in enumerate(zip(actual, expected, strict=True)):
                self.pair(a, b, f"{where}[{index}]")
        elif isinstance(actual, Mapping) and isinstance(expected, Mapping):
            if set(actual) != set(expected):
                lost, new = set(expected) - set(actual), set(actual) - set(expected)
                _fail(
                    "The keys of the mappings do not match:\nMissing keys in the actual mapping: "
                    f"{sorted(map(str, lost))}\nAdditional keys in the actual mapping: "
                    f"{sorted(map(str, new))}",
                    where,
                )
            for key in expected:
                self.pair(actual[key], expected[key], f"{where}[{key!r}]")
        elif actual is None and expected is None:
            return
        else:
            self.leaf(actual, expected, where)

    def leaf(self, actual: Any, expected: Any, where: str) -> None:
        """Compare two tensors, arrays or numbers."""
        a, b = _tensor(actual), _tensor(expected)
        if a is None or b is None:
            raise TypeError(
                "No comparison pair was able to handle inputs of type "
                f"{type(actual)} and {type(expected)}."
            )
        if not self.subclasses and type(actual) is not type(expected):
            raise TypeError(
                f"Except for scalars, type equality is required, but got {type(actual)} and "
                f"{type(expected)} instead."
            )
        scalars = isinstance(actual, numbers.Number) or isinstance(expected, numbers.Number)
        if a.shape != b.shape:
            _fail(
                f"The values for attribute 'shape' do not match: {a.shape} != {b.shape}.", where
            )
        if self.dtype and a.dtype is not b.dtype and not scalars:
            _fail(
                f"The values for attribute 'dtype' do not match: {a.dtype} != {b.dtype}.", where
            )
        if self.stride and a.stride() != b.stride():
            _fail(
                f"The values for attribute 'stride()' do not match: {a.stride()} != {b.stride()}.",
                where,
            )
        if isinstance(actual, bool) and isinstance(expected, bool):
            if actual is not expected:
                _fail(f"Booleans mismatch: {actual} is not {expected}", where)
            return
        self.values(a, b, where)

    def tolerances(self, a: Tensor, b: Tensor) -> tuple[float, float]:
        """(rtol, atol): the larger of what both dtypes allow."""
        if self.rtol is not None:
            return self.rtol, self.atol
        pairs = [_TOLERANCES.get(x.dtype, (0.0, 0.0)) for x in (a, b)]
        return max(p[0] for p in pairs), max(p[1] for p in pairs)

    def values(self, a: Tensor, b: Tensor, where: str) -> None:
        rtol, atol = self.tolerances(a, b)
        x, y = (_wide(t.detach()) for t in (a, b))
        with np.errstate(all="ignore"):
            away = np.abs(x - y) if x.dtype.kind == "f" else _distance(x, y)
            fine = (x == y) | (away <= atol + rtol * np.abs(y.astype(np.float64)))
            fine &= np.isfinite(y.astype(np.float64)) | (x == y)
        if self.equal_nan:
            fine |= (x != x) & (y != y)
        if not fine.all():
            _fail(_difference(x, y, away, fine, rtol, atol), where)


def _distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.where(x > y, x - y, y - x).astype(np.float64)


def _wide(x: Tensor) -> np.ndarray:
    return (x.double() if x.dtype.kind == "f" else x.long()).numpy()


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, bool):
        return nncomp.tensor(value)
    if isinstance(value, int):
        return nncomp.tensor(value)
    if isinstance(value, float):
        return nncomp.tensor(value, dtype=nncomp.float64)
    return nncomp.tensor(value) if isinstance(value, (np.ndarray, np.generic)) else None


def _difference(
    x: np.ndarray, y: np.ndarray, away: np.ndarray, fine: np.ndarray, rtol: float, atol: float
) -> str:
    """torch's report of the largest differences."""
    equal = rtol == 0 and atol == 0
    verdict = f"are not {'equal' if equal else 'close'}!"
    absolute = np.where(fine, 0, away)
    size = np.abs(y.astype(np.float64))
    with np.errstate(all="ignore"):
        relative = np.where(fine, 0.0, away / size)
    whole = x.dtype.kind != "f"
    allowed = [f" (up to {t} allowed)" if not equal else "" for t in (atol, rtol)]
    if not x.shape:
        number = (lambda v: int(v)) if whole else (lambda v: float(v))
        return (
            f"Scalars {verdict}\n\nExpected {number(y)} but got {number(x)}.\n"
            f"Absolute difference: {number(absolute)}{allowed[0]}\n"
            f"Relative difference: {float(relative)}{allowed[1]}"
        )
    bad = int((~fine).sum())
    lines = [f"Mismatched elements: {bad} / {fine.size} ({bad / fine.size:.1%})"]
    for name, values, limit in zip(("absolute", "relative"), (absolute, relative), allowed,
                                   strict=True):  # fmt: skip
        place = np.unravel_index(int(np.argmax(values)), values.shape)
        worst: Any = float(values[place])
        if whole:  # torch divides integers as float32
            worst = int(worst) if name == "absolute" else float(np.float32(worst))
        lines.append(
            f"Greatest {name} difference: {worst} at index {tuple(map(int, place))}{limit}"
        )
    return f"Tensor-likes {verdict}\n\n" + "\n".join(lines)


def _fail(message: str, where: str) -> None:
    if where:
        message = f"{message}\n\nThe failure occurred for item {where}"
    raise AssertionError(message)


def make_tensor(
    *shape: Any,
    dtype: DType,
    device: Any = "cpu",
    low: float | None = None,
    high: float | None = None,
    requires_grad: bool = False,
    noncontiguous: bool = False,
    exclude_zero: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Uniform numbers in [low, high): by default [-9, 9] for numbers, both values for bools."""
    require_cpu(device)
    sizes = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
    if noncontiguous:
        sizes = (*sizes[:-1], sizes[-1] * 2) if sizes else sizes
    if dtype is dt.bool_:
        made = nncomp.randint(0, 2, sizes).to(dtype)
    elif dtype.kind == "f":
        start, end = -9.0 if low is None else low, 9.0 if high is None else high
        made = (nncomp.rand(sizes) * (end - start) + start).to(dtype)
    else:
        start = (0 if dtype.kind == "u" else -9) if low is None else int(low)
        made = nncomp.randint(start, 10 if high is None else int(high), sizes).to(dtype)
    if exclude_zero:
        made = nncomp.where(made == 0, nncomp.ones((), dtype=dtype), made)
    made = made[..., ::2] if noncontiguous and sizes else made
    return made.requires_grad_() if requires_grad else made


__all__ = ["assert_close", "make_tensor"]
