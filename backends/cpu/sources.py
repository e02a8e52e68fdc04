"""Which compiler this is: a digest of the source files that decide what machine code comes out.

The version number will not do: in a checkout the code changes under one number. Files are read, not
only dated, so that two checkouts at one commit share what they keep on disk. A file that was saved
after this process began may differ from the code that was loaded; then nothing is known, and
programs are neither stored nor taken from the disk.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Iterable, Iterator

import nncomp.backends as backends
import nncomp.ir as ir
from nncomp.ir.digest import blake2b

MARGIN = 3.0  # seconds between a file's time and the start that are too few to tell which was first
OTHERS = ("numpy", "ptx")  # backends that have no part in this one's code


@functools.cache
def source_digest() -> str | None:
    """Digest of the compiler's source files, None if it may not be that of the code that runs."""
    return digest_of([ir.__path__[0], backends.__path__[0]], backends.IMPORTED_AT, OTHERS)


def digest_of(
    folders: Iterable[str], started: float, without: Collection[str] = ()
) -> str | None:
    """Digest of the Python files below `folders`, but for those of folders named in `without`
    directly below one; None if a file is newer than `started`."""
    total = blake2b(digest_size=32)
    try:
        for number, folder in enumerate(folders):
            paths = sorted(_python_files(folder, {"__pycache__", *without}))
            if not paths:
                return None
            for path in paths:
                content, date = _read(path)
                if date > started - MARGIN:
                    return None
                name = f"{number} {path[len(folder) + 1 :]} {len(content)}\n"
                total.update(name.encode())
                total.update(content)
    except OSError:
        return None
    return total.hexdigest()


def _read(path: str) -> tuple[bytes, float]:
    """Contents and date of a file, without the calls that a file object adds."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        stat = os.fstat(handle)
        content = os.read(handle, stat.st_size)
        while len(content) < stat.st_size and (more := os.read(handle, stat.st_size)):
            content += more
        return content, stat.st_mtime
    finally:
        os.close(handle)


def _python_files(folder: str, without: Collection[str]) -> Iterator[str]:
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in without:
                yield from _python_files(entry.path, ("__pycache__",))
        elif entry.name.endswith(".py"):
            yield entry.path
