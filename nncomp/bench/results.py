"""Figures of a run: samples of each engine and what is computed from them."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

from .engines import OURS

TOLERANCE = 1e-4  # of outputs, relative to the largest value of the reference
LOSS_TOLERANCE = 1e-3  # of each recorded loss, relative


@dataclass
class EngineResult:
    """What one engine did with one row; times in ms, `samples` holds one list per round.

    `missing` says why it was not tried, `error` what went wrong. Both empty: there are samples.
    """

    engine: str
    missing: str | None = None
    error: str | None = None
    samples: list[list[float]] = field(default_factory=list)
    load_s: float | None = None
    first_cold_s: float | None = None
    first_cached_s: float | None = None
    peak_mb: float | None = None
    peak_cold_mb: float | None = None
    difference: float | None = None  # from the reference engine, relative
    losses: list[float] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether there are times."""
        return self.error is None and self.missing is None and any(self.samples)

    @property
    def median(self) -> float:
        """Median of all samples; nan without any."""
        return statistics.median(self._all()) if self.ok else math.nan

    @property
    def minimum(self) -> float:
        """Smallest sample; nan without any."""
        return min(self._all()) if self.ok else math.nan

    def _all(self) -> list[float]:
        return [sample for samples in self.samples for sample in samples]


@dataclass
class RowResult:
    """One row; `reference` is the engine that outputs were compared with.

    `meetings` are nanoseconds of an empty barrier of nncomp's threads, before each round.
    """

    key: str
    title: str
    batch: int | None
    train: bool
    reference: str | None = None
    export: str | None = None
    engines: dict[str, EngineResult] = field(default_factory=dict)
    meetings: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The key with the batch size."""
        return self.key if self.batch is None else f"{self.key}/{self.batch}"

    @property
    def tolerance(self) -> float:
        """How far results may be from the reference."""
        return LOSS_TOLERANCE if self.train else TOLERANCE

    def best_peer(self) -> EngineResult | None:
        """The quickest engine that is not nncomp; None if no other ran."""
        peers = [e for e in self.engines.values() if e.ok and e.engine != OURS]
        return min(peers, key=lambda e: e.median, default=None)

    def ratio(self, engine: str) -> float:
        """Median of an engine divided by the best peer's; nan if one of them is missing."""
        best, own = self.best_peer(), self.engines.get(engine)
        return own.median / best.median if best and own and own.ok else math.nan

    def agrees(self, engine: str) -> bool:
        """Whether an engine's results are within the tolerance; True where nothing is known."""
        difference = self.engines[engine].difference
        return difference is None or difference <= self.tolerance


@dataclass
class Report:
    """All rows of a run; `str()` is the table."""

    machine: dict[str, Any]
    settings: dict[str, Any]
    rows: list[RowResult] = field(default_factory=list)

    def geometric_mean(self) -> float:
        """Of nncomp's ratios, over the rows that have one; nan without any."""
        ratios = [r for row in self.rows if not math.isnan(r := row.ratio(OURS))]
        return statistics.geometric_mean(ratios) if ratios else math.nan

    def failed(self) -> list[str]:
        """A sentence for each row where nncomp has no figure or another result."""
        bad = []
        for row in self.rows:
            own = row.engines.get(OURS)
            if own is not None and own.error:
                bad.append(f"{row.name}: nncomp failed: {own.error}")
            elif own is not None and not row.agrees(OURS):
                bad.append(f"{row.name}: nncomp differs from {row.reference}")
        return bad

    def data(self) -> dict[str, Any]:
        """Everything as plain data: samples, and what follows from them."""
        made = asdict(self)
        for row, out in zip(self.rows, made["rows"], strict=True):
            for name, engine in row.engines.items():
                figures = {
                    "median_ms": engine.median,
                    "min_ms": engine.minimum,
                    "ratio": row.ratio(name),
                    "agrees": row.agrees(name),
                }
                out["engines"][name].update(figures)
        made["geometric_mean"] = self.geometric_mean()
        return _without_nan(made)

    def json(self) -> str:
        """`data()` as JSON; numbers that are not finite become null."""
        return json.dumps(self.data(), indent=1) + "\n"

    def svg(self) -> str:
        """A plot of the times relative to the best peer."""
        from .plot import svg

        return svg(self)

    def __str__(self) -> str:
        from .table import table

        return table(self)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
