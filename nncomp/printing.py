"""The text of a tensor, as torch prints it.

All elements of a tensor are printed with one format, chosen from those that are shown: integers
bare; floats as whole numbers with a point, with 4 decimals, or with an exponent when the largest is
more than 1000 times the smallest, or the numbers are very large or small. Tensors of more than 1000
elements show 3 items at both ends of each dim.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .functions.base import get_default_dtype
from .ir import types as dt

_DEFAULTS = dict(precision=4, threshold=1000, edgeitems=3, linewidth=80, sci_mode=None)
_PROFILES = {
    "default": {},
    "short": dict(precision=2, edgeitems=2),
    "full": dict(threshold=math.inf),
}
_options: dict[str, Any] = dict(_DEFAULTS)


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors print: decimals, size from which to abbreviate, items at the ends, width.

    `profile` is "default", "short" or "full"; `sci_mode` forces (True) or forbids exponents.
    """
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(f"profile must be one of {', '.join(_PROFILES)}, got {profile!r}")
        _options.update({**_DEFAULTS, **_PROFILES[profile], "sci_mode": _options["sci_mode"]})
    given = dict(precision=precision, threshold=threshold, edgeitems=edgeitems, linewidth=linewidth)
    _options.update({k: v for k, v in given.items() if v is not None})
    _options["sci_mode"] = sci_mode


class _Format:
    """How the elements of one tensor are written: a template and the width of a column."""

    def __init__(self, shown: np.ndarray):
        precision = _options["precision"]
        self.kind, self.width = shown.dtype.kind, 1
        self.template, self.point = "{}", False
        if self.kind != "f":
            self.width = max((len(str(v)) for v in shown.ravel().tolist()), default=1)
            return
        values = shown[np.isfinite(shown) & (shown != 0)].astype(np.float64)
        whole = bool((values == np.ceil(values)).all())
        scientific = bool(values.size) and self._spread_out(np.abs(values), whole)
        if _options["sci_mode"] is not None:
            scientific = _options["sci_mode"]
        if values.size:
            self._measure(values, whole, scientific)
        if scientific:
            self.template = f"{{:.{precision}e}}"
        elif whole:
            self.template, self.point = "{:.0f}", True
        else:
            self.template = f"{{:.{precision}f}}"

    @staticmethod
    def _spread_out(sizes: np.ndarray, whole: bool) -> bool:
        high, low = sizes.max(), sizes.min()
        return bool(high / low > 1000.0 or high > 1e8 or (not whole and low < 1e-4))

    def _measure(self, values: np.ndarray, whole: bool, scientific: bool) -> None:
        precision = _options["precision"]
        if scientific:
            template = f"{{:.{precision}e}}"
        else:
            template = "{:.0f}" if whole else f"{{:.{precision}f}}"
        longest = max(len(template.format(v)) for v in values.tolist())
        self.width = max(1, longest + (whole and not scientific))

    def __call__(self, value: Any) -> str:
        text = self.template.format(value)
        if self.point and math.isfinite(value):
            text += "."
        return text.rjust(self.width)


def _row(values: list, form: _Format, indent: int, shorten: bool) -> str:
    """A vector: items separated by commas, as many per line as fit."""
    edge = _options["edgeitems"]
    per_line = max(1, (_options["linewidth"] - indent) // (form.width + 2))
    if shorten and not edge:
        items = ["..."]
    elif shorten and len(values) > 2 * edge:
        items = [*map(form, values[:edge]), " ...", *map(form, values[-edge:])]
    else:
        items = [form(v) for v in values]
    lines = [", ".join(items[i : i + per_line]) for i in range(0, len(items), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines or [""]) + "]"


def _body(array: np.ndarray, form: _Format, indent: int, shorten: bool) -> str:
    if array.ndim == 0:
        return form(array.item())
    if array.ndim == 1:
        return _row(array.tolist(), form, indent, shorten)
    edge = _options["edgeitems"]
    if shorten and len(array) > 2 * edge:
        tail = array[-edge:] if edge else array[:0]
        parts = [_body(a, form, indent + 1, shorten) for a in array[:edge]]
        parts += ["..."] + [_body(a, form, indent + 1, shorten) for a in tail]
    else:
        parts = [_body(a, form, indent + 1, shorten) for a in array]
    gap = "," + "\n" * (array.ndim - 1) + " " * (indent + 1)
    return "[" + gap.join(parts) + "]"


def _ends(array: np.ndarray) -> np.ndarray:
    """The elements that an abbreviated tensor shows."""
    edge = _options["edgeitems"]
    for axis, n in enumerate(array.shape):
        if n > 2 * edge:
            array = np.take(array, [*range(edge), *range(n - edge, n)], axis)
    return array


def _printable(array: np.ndarray) -> np.ndarray:
    """16-bit floats as float32, since Python has no format for bfloat16."""
    narrow = array.dtype.itemsize == 2 and array.dtype.kind not in "iu"
    return array.astype(np.float32) if narrow else array


def _suffixes(x: Any) -> list[str]:
    found = []
    empty, usual = x.numel() == 0, x.dtype is get_default_dtype()
    if empty and x.dim() != 1:
        found.append(f"size={tuple(x.shape)}")
    if not usual and (empty or x.dtype not in (dt.int64, dt.bool_)):
        found.append(f"dtype={x.dtype!r}")
    if x.grad_fn is not None:
        name = getattr(x.grad_fn, "name", None)
        found.append(f"grad_fn=<{name() if callable(name) else type(x.grad_fn).__name__}>")
    elif x.requires_grad:
        found.append("requires_grad=True")
    return found


def tensor_str(x: Any, prefix: str = "tensor(") -> str:
    """The text of a tensor: values, then dtype and gradient where they are not the usual ones."""
    array = _printable(x.detach().numpy_array("printing"))
    if array.size == 0:
        text = prefix + "[]"
    else:
        shorten = array.size > _options["threshold"]
        form = _Format(_ends(array) if shorten else array)
        text = prefix + _body(array, form, len(prefix), shorten)
    line = len(text) - (text.rfind("\n") + 1)
    for suffix in _suffixes(x):
        if line + 1 + len(suffix) + 2 > _options["linewidth"]:
            text += ",\n" + " " * len(prefix) + suffix
            line = len(prefix) + len(suffix)
        else:
            text += ", " + suffix
            line += len(suffix) + 2
    return text + ")"
