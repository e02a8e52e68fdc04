"""Which LLVM generates the code: part of the names of what is kept on disk."""

from __future__ import annotations

import os


def llvm_library() -> tuple[str, int, int] | None:
    """llvmlite's version, and size and date of the library in it; None where it is elsewhere.

    LLVM itself is not loaded for that.
    """
    import llvmlite

    folder = os.path.join(os.path.dirname(llvmlite.__file__), "binding")
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("libllvmlite."):
                    stat = entry.stat()
                    return llvmlite.__version__, stat.st_size, stat.st_mtime_ns
    except OSError:
        pass
    return None
