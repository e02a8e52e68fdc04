"""Which LLVM generates the code: part of the names of what is kept on disk."""

from __future__ import annotations

import os


def llvm_library() -> tuple[str, int, int] | None:
    """llvmlite's version, and size and date of the library in it; None where it is elsewhere.

    LLVM itself is not loaded for that.
    """
    import llvmlite

    path = library_path()
    try:
        stat = None if path is None else os.stat(path)
    except OSError:
        return None
    return None if stat is None else (llvmlite.__version__, stat.st_size, stat.st_mtime_ns)


def library_path() -> str | None:
    """The file of llvmlite's library, None where it is elsewhere."""
    import llvmlite

    folder = os.path.join(os.path.dirname(llvmlite.__file__), "binding")
    try:
        with os.scandir(folder) as entries:
            return next((e.path for e in entries if e.name.startswith("libllvmlite.")), None)
    except OSError:
        return None
