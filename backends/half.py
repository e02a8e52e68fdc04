"""float16 on machines without instructions for it: the conversions in integer steps.

LLVM would call routines for them that are in no library of ours.
"""

from __future__ import annotations

from .llvm import Emitter, Value
from .scalar_types import from_memory, to_memory


class EmitterWithoutHalf(Emitter):
    """Writes conversions between half and float with integer arithmetic."""

    def convert(self, opcode: str, a: Value, scalar: str, hint: str = "c") -> Value:
        if opcode == "fpext" and a.scalar_type == "half":
            value = from_memory(self, a, "float16", has_half=False)
            return value if scalar == "float" else super().convert("fpext", value, scalar, hint)
        if opcode == "fptrunc" and scalar == "half" and a.scalar_type == "float":
            return to_memory(self, a, "float16", has_half=False)
        return super().convert(opcode, a, scalar, hint)
