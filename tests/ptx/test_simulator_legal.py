"""The simulator takes no instruction that ptxas refuses, and says so where it takes fewer."""

from __future__ import annotations

import re

import numpy as np
import pytest
from instruction_forms import FIRST, FORMS, HEAD
from nncomp.backends.ptx import ptxas
from nncomp.backends.ptx.simulator import PtxError, load

SHARE = {"arithmetic": 0.3, "conversions": 0.3, "choices": 0.5, "accesses": 0.15, "warps": 1.0}
# of the legal forms, the share that the simulator does not have
NARROWER = {"arithmetic": 0.05, "conversions": 0.1, "accesses": 0.2}


def taken(line: str) -> bool:
    try:
        load(f"{HEAD}{line}\nret;\n}}\n").kernel("k")
    except PtxError:
        return False
    return True


def refused(lines: list[str]) -> set[str]:
    """The lines that ptxas complains about, or that end it."""
    bad: set[str] = set()
    while True:
        left = [line for line in lines if line not in bad]
        try:
            ptxas.assemble(HEAD + "\n".join(left) + "\nret;\n}\n", "sm_100")
            return bad
        except ptxas.PtxasError as error:
            found = re.findall(r"line (\d+); (?:error|fatal)", str(error))
            bad.update(left[int(n) - FIRST] for n in found)
            if not found and len(left) == 1:
                return bad | set(left)
            if not found:
                half = len(left) // 2
                return bad | refused(left[:half]) | refused(left[half:])


@pytest.mark.skipif(ptxas.find() is None, reason="ptxas is not installed")
@pytest.mark.parametrize("group", sorted(FORMS))
def test_nothing_is_taken_that_ptxas_refuses(group):
    lines = sorted(set(FORMS[group]()))
    chosen = np.random.default_rng(0).random(len(lines)) < SHARE[group]
    lines = [line for line, take in zip(lines, chosen, strict=True) if take]
    bad = set().union(*(refused(lines[i : i + 400]) for i in range(0, len(lines), 400)))
    ours = {line for line in lines if taken(line)}
    assert not ours & bad, sorted(ours & bad)[:20]
    legal = set(lines) - bad
    assert len(legal) > 20 and len(bad) > 20
    assert len(legal - ours) <= NARROWER.get(group, 0) * len(legal), sorted(legal - ours)
