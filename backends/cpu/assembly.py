"""LLVM text as assembly, for people to read: what the objects of `jit.py` hold, in words."""

from __future__ import annotations

from .jit import CodegenError
from .target import Target, binding, layout_line, machine


def assembly_of(text: str, target: Target) -> str:
    """The assembly of one module for a target; CodegenError for text that LLVM refuses."""
    if "\0" in text:
        raise CodegenError("the IR text holds a NUL character, where LLVM would stop reading")
    llvm, worker = binding(), machine(target)
    context = llvm.create_context()
    try:
        module = llvm.parse_assembly(layout_line(target) + text, context)
        try:
            module.verify()
            return worker.emit_assembly(module)
        finally:
            module.close()
    except RuntimeError as error:
        raise CodegenError(f"LLVM refuses this module: {error}") from None
    finally:
        context.close()
