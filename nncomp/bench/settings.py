"""How a run measures; all of it is written into the report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Numbers of a run; times in seconds. ValueError for those that cannot be."""

    threads: int = 2
    rounds: int = 10
    burst: float = 0.25  # of timed calls per engine and round
    warm_up: float = 0.5  # before the first round
    pause: float = 0.05  # between engines: idle threads of the last one stop spinning
    limit: float = 900.0  # for one request to an engine
    seed: int = 0
    losses: int = 20  # training steps whose losses are compared
    batches: int = 4  # different batches that training goes through
    device: str = "cpu"  # or cuda
    precision: str = "strict"  # of float32 products on cuda: strict or tf32

    def __post_init__(self) -> None:
        for name in ("threads", "rounds", "losses", "batches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in ("burst", "warm_up", "pause"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or more seconds")
        for name, known in (("device", ("cpu", "cuda")), ("precision", ("strict", "tf32"))):
            if getattr(self, name) not in known:
                got = getattr(self, name)
                raise ValueError(f"{name} is {got!r}; expected one of {', '.join(known)}")
        if not self.limit > 0:
            raise ValueError(f"limit is {self.limit}; expected a positive number of seconds")


SAMPLE_NS = 100_000  # a sample is as many calls as fit in this time, at least one
WARM_SHARE = 0.2  # of a burst: calls that do not count, after the pause
MOST_SAMPLES = 1000  # per burst


def plan_burst(estimate_ns: float, burst: float) -> tuple[int, int, int]:
    """(calls to warm up, samples, calls per sample) for calls of about `estimate_ns`."""
    call = max(estimate_ns, 1.0)
    inner = max(1, round(SAMPLE_NS / call))
    count = min(MOST_SAMPLES, max(1, round(burst * 1e9 / (call * inner))))
    warm = 0 if call > burst * 1e9 else round(WARM_SHARE * count * inner) + 1
    return warm, count, inner
