"""LLVM text -> PTX text, through llvmlite's NVPTX target; PTX that was made before is on disk.

The text is checked against what that target can translate (guard.py) and verified first: LLVM ends
the process at what it has no code for.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from ..cache import default_cache
from ..llvm_library import llvm_library
from .guard import UnsupportedOnGpu, check_text
from .target import TRIPLE, Target, binding, machine

LEVEL = 2  # of LLVM's optimization


@lru_cache(maxsize=1024)
def ptx_text(text: str, target: Target) -> str:
    """PTX of a module; UnsupportedOnGpu if it needs what there is no PTX code for."""
    cache = default_cache()
    if cache is None:
        return _translated(text, target)
    library = llvm_library() or binding().llvm_version_info
    words = f"ptx 2 {LEVEL} {target!r} {library!r}\n{text}"
    key = hashlib.sha256(words.encode()).hexdigest()
    found = cache.get(key)
    if found is None:
        found = _translated(text, target).encode()
        cache.put(key, found)
    return found.decode()


def _translated(text: str, target: Target) -> str:
    check_text(text)
    llvm, tm = binding(), machine(target)
    try:
        module = llvm.parse_assembly(text)
        module.triple, module.data_layout = TRIPLE, str(tm.target_data)
        module.verify()
    except RuntimeError as error:
        raise UnsupportedOnGpu(f"LLVM refuses the code of a kernel: {error}") from error
    options = llvm.create_pipeline_tuning_options(speed_level=LEVEL)
    builder = llvm.create_pass_builder(tm, options)
    builder.getModulePassManager().run(module, builder)
    check_text(str(module))  # passes may have found other intrinsics
    return tm.emit_assembly(module)
