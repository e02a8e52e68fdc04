"""`load(path)`: a package becomes a callable, by linking its native code."""

from __future__ import annotations

import os
from typing import Any

from .archive import PackageError, unpack
from .loaded import Loaded


def load(path: Any) -> Loaded:
    """The model or training step of a package that `export` wrote; a few milliseconds.

    Nothing is traced or compiled. A package holds native code: load it only from trusted sources.
    Raises OSError for a file that cannot be read, PackageError (a RuntimeError) for one that is
    damaged, no package or of another format version, NoCodeForCpu (a RuntimeError) where it has no
    code for this machine, DeviceError (a RuntimeError) where a package for a GPU finds no device or
    an older one.
    """
    with open(path, "rb") as file:
        data = file.read()
    where = repr(os.fsdecode(path))
    manifest, parts = unpack(data, where)
    from ..compiled_package import make_shortcut, program_of, tensors_of

    try:
        program = program_of(manifest, parts)
        return Loaded(manifest, tensors_of(manifest, parts), *program, make_shortcut)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if str(error).startswith("NNCOMP_"):
            raise
        raise PackageError(f"{where} is damaged: {error!r}") from error
