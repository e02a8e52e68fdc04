"""Export of compiled models into files that run without Python, and loading them again.

    nncomp.aot.export(model, (x,), "net.o")     object, C header, C example
    nncomp.aot.export(model, (x,), "net.nnc")   package
    model = nncomp.aot.load("net.nnc")          runs without tracing or compiling
"""

from __future__ import annotations

from .archive import PackageError
from .export import Exported, export
from .load import load
from .loaded import Loaded

__all__ = ["Exported", "Loaded", "PackageError", "export", "load"]
