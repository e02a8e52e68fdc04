"""One check of an index tensor before a program runs (passes/index_checks.py finds them).

Apart from the passes, because a program from the disk has checks but went through no pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .graph import Loc

INDEXED = {"take": 1, "index_add": 1, "index_put": 1, "index_reduce": 1}


class Check(NamedTuple):
    """Two outputs of the check graph (lowest, highest index) must be in [0, length)."""

    length: int
    loc: Loc

    def error(self, low: int, high: int) -> IndexError | None:
        if 0 <= low and high < self.length:
            return None
        bad = low if low < 0 else high
        where = f" in {self.loc.scope}" if self.loc.scope else ""
        line = f" ({self.loc.line})" if self.loc.line else ""
        return IndexError(
            f"index {bad} is out of bounds for an axis of length {self.length}{where}{line}; "
            f"the indices of this call go from {low} to {high}"
        )


def raise_wrong(checks: Sequence[Check], ends: Sequence[Any]) -> None:
    """IndexError for the first check that fails; `ends` are the results of the check graph."""
    for check, low, high in zip(checks, ends[::2], ends[1::2], strict=True):
        error = check.error(int(low), int(high))
        if error is not None:
            raise error
