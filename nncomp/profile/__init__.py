"""Where the time of a compiled program goes: time, work and roofline of each kernel.

`compiled.profile(*inputs)` and `nncomp profile` make a `Report`: `build.py` has the arithmetic,
`reuse.py` says from which cache data come, `table.py` and `page.py` show it.
"""

from __future__ import annotations

from .report import Ceiling, KernelProfile, Level, Machine, Report

__all__ = ["Ceiling", "KernelProfile", "Level", "Machine", "Report"]
