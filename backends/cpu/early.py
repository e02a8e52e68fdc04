"""LLVM's library opened beside other work, where a first call is sure to need it.

Opening it takes 50 to 100 ms of relocations, in which Python's own loader keeps all other threads
from running. Here the system's loader is called like any C function, without Python's lock; what
llvmlite does afterwards finds the library open.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading

from ..llvm_library import library_path

RTLD_NOW = 2

_lock = threading.Lock()
_opened = False
_begun = False


def open_library() -> None:
    """Open LLVM's library, unless it is open; waits for a thread that is about it.

    What goes wrong is not said here: llvmlite says it better.
    """
    global _opened
    with _lock:
        if _opened or os.name != "posix":
            return
        _opened = True
        path = library_path()
        if path is None:
            return
        with contextlib.suppress(OSError, AttributeError):
            dlopen = ctypes.CDLL(None).dlopen
            dlopen.argtypes, dlopen.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_void_p
            dlopen(os.fsencode(path), RTLD_NOW)


def expect_compile() -> bool:
    """Begin to load LLVM if the next compilation needs it in any case: nothing is known of this
    machine yet, so that no program can be in the cache. Returns whether it does.
    """
    from . import target

    if not target.needs_llvm():
        return False
    global _begun
    with _lock:
        if _begun:
            return True
        _begun = True
    threading.Thread(target=_load, name="nncomp-load", daemon=True).start()
    return True


def _load() -> None:
    from . import jit

    with contextlib.suppress(Exception):  # who needs it meets the same error, and shows it
        jit.look_at_llvm()
