"""A simulator of PTX: runs kernels in numpy, checks them, and counts what they do to memory.

    from nncomp.backends.ptx.simulator import Memory, load

`load(text)` parses, `Module.launch` runs; see module.py. Parts, in the order data flows:
lex.py and parse.py (text to syntax.py), flatten.py (names and calls: flat.py), blocks.py with
decode.py, legal.py and ops_*.py (instructions to functions), execute.py (lanes, masks, barriers),
spaces.py and memory.py (accesses), watch.py (race.py with releases.py, counters.py).
"""

from __future__ import annotations

from .memory import Memory
from .module import Module, Report, SimulationError, load
from .syntax import PtxError

__all__ = ["Memory", "Module", "PtxError", "Report", "SimulationError", "load"]
