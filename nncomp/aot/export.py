"""`export(module, inputs, path)`: which files an export consists of, and writing them.

All files are made in memory first and written beside their places; each takes its name only when
all of them are whole and on the disk.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..file_replacement import replacing

FORMATS = ("nnc", "o", "a", "so", "wasm")


@dataclass(frozen=True)
class Exported:
    """The files of an export: the one asked for first, then those beside it."""

    path: str
    files: tuple[str, ...]
    sizes: Mapping[str, int] = field(compare=False)  # bytes: code, constants, workspace, state


def export(
    module: Any,
    inputs: Any,
    path: Any,
    *,
    target: str = "host",
    cpu: str | Sequence[str] | None = None,
    weights: str = "embed",
    prepare: str = "export",
    threads: int | None = None,
    train_step: Any = None,
    format: str | None = None,
    name: str | None = None,
) -> Exported:
    """Write `module`, as it runs on tensors like `inputs`, into a file that needs no Python.

    `inputs` is a tensor, a tuple of arguments or a dict of keyword arguments; their shapes and
    dtypes, numbers and flags become part of the file. The suffix of `path` chooses the format, or
    `format` does: "nnc" (a package for `load`), "o" (an object file), "a" (a static library) or
    "so" (a shared library), which come with a C header and a C example; or "wasm" (a WebAssembly
    module with its JavaScript). `target` names a
    platform ("host", "aarch64-linux", ...) or, for a package, a GPU
    ("sm_80", "sm_90", ...), `cpu` one or more levels of x86-64 ("baseline",
    "avx2", "avx512"; all of them by default: the highest that the CPU has is taken at run time).
    `weights="file"` puts the constants into a file of their own, which programs map into memory.
    They are packed for each level at the export, or with `prepare="start"` when the program starts,
    which keeps one copy of them in the file; a package does so always.
    `threads` is how many threads a run may use: by default one from C, and in a package as many as
    the process computes with. With
    `train_step=compile_train_step(...)` a whole training step is exported, and `inputs` are those
    of the step. `name` is what every C name begins with, by default that of the file.

    Raises ValueError for arguments that do not fit, TraceError for code that depends on tensor
    values, OSError where a file cannot be written, LinkError (a RuntimeError) where no linker is
    found for a shared library. After an error the files are as they were.
    """
    path, kind = _place(path, format)
    name = _name(path, name)
    _check(weights, prepare, threads, kind)
    args, kwargs = _arguments(inputs)
    from ..compiled_export import export_call, export_step
    from ..compiled_files import make_files

    if train_step is None:
        recorded = export_call(module, args, kwargs, name)
    else:
        _check_step(module, train_step, kwargs)
        recorded = export_step(train_step, args, name)
    choices = weights == "embed", threads, prepare == "export"
    files, sizes = make_files(recorded, path, kind, target, cpu, *choices)
    write(files)
    return Exported(path, tuple(files), sizes)


def write(files: Mapping[str, bytes | Callable[[str], None]]) -> None:
    """Replace files by new content: all of them or, after an error while writing, none.

    The content is bytes, or a function that writes the file of the given name.
    """
    with contextlib.ExitStack() as stack:
        for path, content in files.items():
            temporary = stack.enter_context(replacing(path))
            if callable(content):
                content(temporary)
                continue
            with open(temporary, "wb") as file:
                file.write(content)


def _place(path: Any, format: str | None) -> tuple[str, str]:
    """The path of the file and its format."""
    path = os.fsdecode(path)
    suffix = os.path.splitext(path)[1][1:].lower()
    kind = suffix if format is None else format
    if kind not in FORMATS:
        raise ValueError(
            f"cannot tell the format of {path!r}: expected the suffix {', '.join(FORMATS)} of one, "
            f"or format=; got {kind!r}"
        )
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"the folder of {path!r} does not exist")
    return path, kind


def _name(path: str, name: str | None) -> str:
    """What C names begin with."""
    import keyword
    import re

    given = name is not None
    if name is None:
        name = re.sub(r"\W", "_", os.path.splitext(os.path.basename(path))[0], flags=re.ASCII)
        name = name.removeprefix("lib").lstrip("_") or "model"
    fine = name.isascii() and name.isidentifier() and not keyword.iskeyword(name)
    if not fine and not given:
        return f"model_{name}"
    if not fine:
        raise ValueError(f"name={name!r}: expected a C identifier, such as 'net'")
    return name


def _check(weights: str, prepare: str, threads: int | None, kind: str) -> None:
    if weights not in ("embed", "file"):
        raise ValueError(f"weights={weights!r}: expected 'embed' or 'file'")
    if prepare not in ("export", "start"):
        raise ValueError(f"prepare={prepare!r}: expected 'export' or 'start'")
    if weights == "file" and kind in ("nnc", "wasm"):
        raise ValueError(f"weights='file' is for o, a and so: a file .{kind} holds its constants")
    whole = isinstance(threads, int) and not isinstance(threads, bool) and threads >= 1
    if threads is not None and not whole:
        raise ValueError(f"threads={threads!r}: expected a positive integer, or None")


def _check_step(module: Any, step: Any, kwargs: dict) -> None:
    if kwargs:
        raise ValueError("with train_step=, `inputs` is a tuple: the model's inputs, the target")
    if module is not None and getattr(step, "model", module) is not module:
        raise ValueError("train_step= is a step of another Module than the one to export")


def _arguments(inputs: Any) -> tuple[tuple, dict]:
    if isinstance(inputs, dict):
        return (), inputs
    return (tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)), {}
