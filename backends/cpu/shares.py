"""Which thread does which units of each kernel, as text for people.

The rule is that of run_function.py; units of kernels that threads share by rows are numbered by
rows, so the line also says which rows of the result a thread writes.
"""

from __future__ import annotations

from collections.abc import Mapping

from nncomp.ir.program import Program, Step, steps_of

from .run_function import Code


def shares_text(program: Program, codes: Mapping[str, Code], threads: int) -> str:
    """One line per step: the units of each thread in the order in which it does them."""
    lines = [f"units of {threads} threads, in the order of each:"]
    for number, step in enumerate(steps_of(program.steps)):
        lines.append(f"kernel {number:3} {step.kernel.kind:8} {_shares(step, codes, threads)}")
    return "\n".join(lines)


def _shares(step: Step, codes: Mapping[str, Code], threads: int) -> str:
    code = codes[step.kernel.name]
    if not code.is_shared:
        return f"all {code.units} on thread 0"
    parts = [(code.units * t // threads, code.units * (t + 1) // threads) for t in range(threads)]
    ways = [_walk(*part, _is_down(step, code, t, threads)) for t, part in enumerate(parts)]
    return ", ".join(ways) + ("; rows from the middle" if code.from_middle else "")


def _is_down(step: Step, code: Code, thread: int, threads: int) -> bool:
    return step.backwards or (code.from_middle and thread < threads // 2)


def _walk(begin: int, end: int, down: bool) -> str:
    """The units begin..end-1 in the order of the walk."""
    if begin >= end:
        return "none"
    return f"{end - 1}..{begin}" if down else f"{begin}..{end - 1}"
