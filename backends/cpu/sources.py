"""Which compiler this is: a digest of the source files that decide what machine code comes out.

The version number will not do: in a checkout the code changes under one number. Files are read, not
only dated, so that two checkouts at one commit share what they keep on disk. A file that was saved
after this process began may differ from the code that was loaded; then nothing is known, and
programs are neither stored nor taken from the disk.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator

import nncomp.backends as backends
import nncomp.ir as ir
from nncomp.ir.digest import blake2b

MARGIN = 3.0  # seconds between a file's time and the start that are too few to tell which was first


@functools.cache
def source_digest() -> str | None:
    """Digest of the compiler's source files, None if it may not be that of the code that runs."""
    return digest_of([ir.__path__[0], backends.__path__[0]], backends.IMPORTED_AT)


def digest_of(folders: Iterable[str], started: float) -> str | None:
    """Digest of the Python files below `folders`; None if one is newer than `started`."""
    total = blake2b(digest_size=32)
    try:
        for number, folder in enumerate(folders):
            paths = sorted(_python_files(folder))
            if not paths:
                return None
            for path in paths:
                if os.stat(path).st_mtime > started - MARGIN:
                    return None
                with open(path, "rb", buffering=0) as file:
                    content = file.read()
                name = f"{number} {os.path.relpath(path, folder)} {len(content)}\n"
                total.update(name.encode())
                total.update(content)
    except OSError:
        return None
    return total.hexdigest()


def _python_files(folder: str) -> Iterator[str]:
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            if entry.name != "__pycache__":
                yield from _python_files(entry.path)
        elif entry.name.endswith(".py"):
            yield entry.path
