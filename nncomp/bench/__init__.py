"""`nncomp bench`: how fast nncomp is beside other libraries, each in a process of its own.

`run(...)` measures and returns a `Report`; `str(report)` is the table, `report.json()` everything
that was measured, `report.svg()` a plot. docs/benchmarking.md says what is measured and how.
"""

from __future__ import annotations

from .api import run
from .results import Report

__all__ = ["Report", "run"]
