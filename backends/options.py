"""What a user may choose about how a graph is compiled, by name and with a default for the process.

    nncomp.compile(model, options={"winograd": False})     one model
    NNCOMP_WINOGRAD=0 python serve.py                       all of them
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nncomp.ir.debug import add_switch, debug

# By name: the values an option may have
OPTIONS: dict[str, tuple] = {
    "winograd": (True, False),
    "strassen": (True, False, None),
    "matmul_precision": ("strict", "tf32", "tf32x3"),
    "memory_limit": (),  # a number of bytes
}
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20}
UNITS["GIB"] = 2**30

add_switch(
    "winograd",
    bool,
    True,
    "convolutions with 3x3 kernels, or kernels along one axis, by Winograd's method where that is "
    "faster; 0: by the direct sum, which rounds less",
)
add_switch(
    "strassen",
    bool,
    None,
    "large products with constant weights by one level of Strassen's method, which takes an eighth "
    "fewer multiplications, twice the memory and rounds more; None: between rows of one sample "
    "behind a normalization, 1: wherever it is faster, 0: nowhere",
)
add_switch(
    "matmul_precision",
    str,
    "strict",
    "GPU code multiplies float32 in float32 (strict), rounded to tf32, or in three parts (tf32x3)",
)
add_switch(
    "memory_limit",
    int,
    0,
    "bytes that intermediate values of a program may take: what does not fit is computed again "
    "instead of kept; 0: no limit",
)


def check(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The options as a dict; ValueError for a name that is none, TypeError for a wrong value."""
    checked = dict(options or {})
    for name, value in checked.items():
        if name not in OPTIONS:
            known = ", ".join(OPTIONS)
            raise ValueError(f"compile() got the unknown option {name!r}; there are: {known}")
        if name == "memory_limit":
            checked[name] = parse_bytes(value)
            continue
        allowed = OPTIONS[name]
        if value is None and None in allowed:
            continue
        if not isinstance(value, type(allowed[0])):
            raise TypeError(f"option {name!r} of compile() is {_listed(allowed)}, got {value!r}")
        if value not in allowed:
            raise ValueError(f"option {name!r} of compile() is {_listed(allowed)}, got {value!r}")
    return checked


def _listed(values: tuple) -> str:
    return " or ".join(map(repr if isinstance(values[0], str) else str, values))


def parse_bytes(value: Any) -> int:
    """A number of bytes from an int or a text such as "512MB" or "1.5GiB"; None means 0, no limit.

    TypeError for other types, ValueError for other texts and for less than one byte.
    """
    if value is None:
        return 0
    if isinstance(value, str):
        found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", value)
        if found is None or found[2].upper() not in UNITS:
            raise ValueError(f"memory_limit is a number of bytes or like '512MB', got {value!r}")
        value = int(float(found[1]) * UNITS[found[2].upper()])
    elif isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"memory_limit is a number of bytes or like '512MB', got {value!r}")
    if value < 1:
        raise ValueError(f"memory_limit must be at least one byte, got {value}")
    return value


class Configured:
    """A backend whose `compile` follows options instead of the defaults."""

    def __init__(self, backend: Any, options: Mapping[str, Any]):
        self._backend, self._options = backend, check(options)

    def compile(self, *args: Any, **kwargs: Any) -> Any:
        """What the backend compiles, under the options."""
        with debug(**self._options):
            return self._backend.compile(*args, **kwargs)

    def before_split(self, graph: Any) -> Any:
        """What the backend does to forward and backward together, if anything."""
        change = getattr(self._backend, "before_split", None)
        with debug(**self._options):
            return graph if change is None else change(graph)
