"""TraceError, and where the user's code stands: the first stack frame outside this package."""

from __future__ import annotations

import dis
import inspect
import os
import sys
from collections.abc import Callable

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_ROOT = os.path.dirname(_PACKAGE)
_OWN = tuple(os.path.join(_ROOT, name) + os.sep for name in ("nncomp", "ir", "backends"))
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


def line_that_names(function: Callable, attribute: str) -> str:
    """`model.py:14`: where a function stores an attribute of that name, else where it reads it,
    else where it begins; "" for what has no Python code.
    """
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return ""
    starts, lines = dict(dis.findlinestarts(code)), dict[str, int]()
    line = code.co_firstlineno
    for step in dis.get_instructions(code):
        line = starts.get(step.offset) or line
        if step.argval == attribute and step.opname in ("STORE_ATTR", "LOAD_ATTR"):
            lines.setdefault(step.opname, line)
    line = lines.get("STORE_ATTR") or lines.get("LOAD_ATTR") or code.co_firstlineno
    return f"{os.path.basename(code.co_filename)}:{line}"
