"""nncomp.bench.run: the bench as a function."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import engines as kinds
from . import machine
from .inputs import parse
from .measure import Measurement
from .models import ZOO, Row, Training, catalogue, is_own, own_row, zoo_rows
from .results import Report
from .settings import Settings


def run(
    models: Sequence[str] = (),
    *,
    engines: Sequence[str] = (),
    batch: int | None = None,
    inputs: Sequence[str] = (),
    train: bool = False,
    training: dict[str, Any] | None = None,
    zoo: str | Path = ZOO,
    log: Callable[[str], None] = lambda line: None,
    on_row: Callable[[Report], None] = lambda report: None,
    **settings: Any,
) -> Report:
    """Measure `models` (keys of the zoo, or "path/to/model.py:Net" with `inputs`); all by default.

    `engines` are all that the device has by default, `batch` replaces the batch sizes of the zoo.
    With `train`, training steps are measured; a file of your own then needs `training`: target,
    loss, optimizer, options. `log` gets a line for each thing begun, `on_row` the report after each
    row. `settings` are those of `Settings`: device, threads, rounds, burst, ... Raises ValueError
    for models, engines or inputs that do not exist, and without a GPU that is asked for; a failing
    engine does not raise, its error stands in the report.
    """
    chosen = Settings(**settings)
    names = list(engines) or kinds.names_for(chosen.device)
    kinds.check_names(names, chosen.device)
    rows = find_rows(models, batch, inputs, train, training, Path(zoo))
    described = machine.describe()
    if chosen.device == "cuda":
        described["gpu"] = gpu_name()
    report = Report(described, {**asdict(chosen), "engines": names, "train": train})
    for row in rows:
        with tempfile.TemporaryDirectory(prefix="nncomp-bench-") as folder:
            measurement = Measurement(row, names, chosen, Path(folder), log)
            report.rows.append(measurement.run())
        on_row(report)
    return report


def gpu_name() -> str:
    """The GPU that compiled code runs on; ValueError says what is missing."""
    from ..cuda import driver

    try:
        return driver()
    except RuntimeError as error:
        raise ValueError(f"--device cuda: {error}") from error


def find_rows(
    models: Sequence[str],
    batch: int | None,
    inputs: Sequence[str],
    train: bool,
    training: dict[str, Any] | None,
    zoo: Path,
) -> list[Row]:
    """The rows that a call of `run` measures; ValueError if there is nothing to measure."""
    rows: list[Row] = []
    for name in models or catalogue(zoo):
        if is_own(name):
            spec = own_training(name, training) if train else None
            rows.append(own_row(name, list(inputs), batch, spec))
            continue
        found = zoo_rows(name, batch, train, zoo)
        if not found and models:
            kind = "training" if train else "inference"
            raise ValueError(f"the zoo's {name!r} has no row for {kind}")
        rows += found
    return rows


def own_training(name: str, training: dict[str, Any] | None) -> Training:
    """How a model of the user's is trained; ValueError without a target."""
    if not training or "target" not in training:
        raise ValueError(f"{name}: training needs the target's type, for example i64[B]<10")
    return Training(
        parse(training["target"]),
        training.get("loss", "CrossEntropyLoss"),
        training.get("optimizer", "SGD"),
        training.get("options", {"lr": 0.01}),
    )
