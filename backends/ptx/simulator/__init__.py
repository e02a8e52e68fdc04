"""A simulator of PTX: runs kernels in numpy, checks them, and counts what they do to memory.

    from nncomp.backends.ptx.simulator import Memory, load

`load(text)` parses, `Module.launch` runs; see module.py. Parts, in the order data flows:
parse.py (text to syntax.py), flatten.py (names, calls), blocks.py (decode.py and ops_*.py make
functions of instructions), execute.py (lanes, masks, barriers), spaces.py and memory.py, and
watch.py (race.py, counters.py).
"""

from __future__ import annotations

from .memory import Memory
from .module import Module, Report, SimulationError, load
from .syntax import PtxError

__all__ = ["Memory", "Module", "PtxError", "Report", "SimulationError", "load"]
