"""TraceError, and where the user's code stands: the first stack frame outside this package."""

from __future__ import annotations

import dis
import inspect
import os
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_ROOT = os.path.dirname(_PACKAGE)
_OWN = tuple(os.path.join(_ROOT, name) + os.sep for name in ("nncomp", "ir", "backends"))
_STORES = ("STORE_ATTR", "STORE_GLOBAL", "STORE_DEREF")
_LOADS = ("LOAD_ATTR", "LOAD_GLOBAL", "LOAD_DEREF")
_inside: dict[str, bool] = {os.path.join(_PACKAGE, "demo.py"): False}  # written as a user would


class TraceError(RuntimeError):
    """Something that has no meaning while a graph is recorded, or that it would freeze."""


def is_own_file(filename: str) -> bool:
    """True for the source files of this package."""
    known = _inside.get(filename)
    if known is None:
        path = os.path.abspath(filename)
        known = _inside[filename] = path.startswith(_OWN) or filename.startswith("<frozen")
    return known


def user_line() -> str:
    """`model.py:14`: the innermost line of the user's code; "" if there is none."""
    frame = sys._getframe(1)
    known = _inside.get
    while frame is not None:
        filename = frame.f_code.co_filename
        if not known(filename) and not is_own_file(filename):
            return f"{os.path.basename(filename)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def trace_error(message: str) -> TraceError:
    """A TraceError that begins with the user's file and line."""
    line = user_line()
    return TraceError(f"{line}: {message}" if line else message)


def codes_of(function: Callable) -> list[types.CodeType]:
    """The code of a Python function; nothing for what has none."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return [] if code is None else [code]


def line_that_names(codes: Iterable[types.CodeType], name: str) -> str:
    """`model.py:14`: where one of the functions stores an attribute or variable of that name.

    Else where one reads it, else where the first begins; "" if there is none.
    """
    reads, begins = "", ""
    for code in codes:
        file = os.path.basename(code.co_filename)
        begins = begins or f"{file}:{code.co_firstlineno}"
        starts, line = dict(dis.findlinestarts(code)), code.co_firstlineno
        for step in dis.get_instructions(code):
            line = starts.get(step.offset) or line
            if step.argval == name and step.opname in _STORES:
                return f"{file}:{line}"
            if step.argval == name and step.opname in _LOADS:
                reads = reads or f"{file}:{line}"
    return reads or begins


def state_message(codes: Iterable[types.CodeType], entry: Any) -> str:
    """What to say of Python state that a traced function changed (an Entry of a guard)."""
    line = line_that_names(codes, entry.name)
    return (
        f"{line}{': ' if line else ''}forward changes Python state that a graph cannot keep: "
        f"{entry}. Keep numbers in a buffer and update it in place, keep tensors in a dict or an "
        "attribute, or change such state outside of forward."
    )
