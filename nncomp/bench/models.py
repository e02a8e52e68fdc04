"""What is benched: rows of the zoo's catalogue, or a Module of the user's own file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .inputs import Input, parse

ZOO = Path(__file__).parents[2] / "examples" / "zoo"
CATALOGUE = "catalogue.json"


@dataclass(frozen=True)
class Training:
    """How a model is trained: loss and optimizer by name, the target's type."""

    target: Input
    loss: str
    optimizer: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One model at one batch size: `model` names a class, function or object of `file`."""

    key: str
    title: str
    file: Path
    model: str
    inputs: list[Input]
    batch: int | None
    training: Training | None = None
    twin: tuple[str, str] | None = None  # file and function of a version for JAX
    calibrate: bool = False  # give BatchNorm the statistics of the input

    @property
    def name(self) -> str:
        """The key with the batch size."""
        return self.key if self.batch is None else f"{self.key}/{self.batch}"


def catalogue(zoo: Path = ZOO) -> dict[str, dict[str, Any]]:
    """The entries of a zoo by key, in the order of the table; FileNotFoundError without one."""
    path = zoo / CATALOGUE
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist: the zoo comes with nncomp's source, not with the installed "
            "package. Name its folder with --zoo, or bench a file of your own: model.py:Net"
        )
    return json.loads(path.read_text())


def zoo_rows(key: str, batch: int | None, train: bool, zoo: Path = ZOO) -> list[Row]:
    """The rows of one entry: each of its batch sizes, or `batch` alone.

    Empty if the entry has no such rows (inference or training); ValueError for an unknown key.
    """
    entries = catalogue(zoo)
    if key not in entries:
        raise ValueError(
            f"unknown model {key!r}; the zoo has {', '.join(entries)}. "
            "A model of your own is named by its file: path/to/model.py:Net"
        )
    entry = entries[key]
    training = entry.get("train")
    batches = entry.get("batches", [])
    if train:
        batches = [training["batch"]] if training else []
    if batches and batch is not None:
        batches = [batch]
    return [_zoo_row(key, entry, size, train, zoo) for size in batches]


def _zoo_row(key: str, entry: dict[str, Any], batch: int, train: bool, zoo: Path) -> Row:
    file, name = split_name(entry["model"])
    training, twin = None, None
    if train:
        spec = entry["train"]
        training = Training(
            parse(spec["target"]), spec["loss"], spec["optimizer"], spec["options"]
        )
    if "jax" in entry:
        twin_file, twin_name = split_name(entry["jax"])
        twin = str(zoo / twin_file), twin_name
    inputs = [parse(text) for text in entry["inputs"]]
    return Row(key, entry["title"], zoo / file, name, inputs, batch, training, twin, True)


def own_row(
    text: str, inputs: list[str], batch: int | None, training: Training | None = None
) -> Row:
    """The row of `path/to/model.py:Net`; ValueError for a file or inputs that are not there."""
    path, name = split_name(text)
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"there is no file {path!r}")
    if not inputs:
        raise ValueError(f"{text}: say what it takes, for example --input f32[1,3,224,224]")
    parsed = [parse(entry) for entry in inputs]
    if any(entry.has_batch for entry in parsed) != (batch is not None):
        raise ValueError(
            f"{text}: --batch N needs a B in --input (f32[B,3,224,224]), and a B needs --batch N"
        )
    return Row(file.stem, f"{file.name}:{name}", file, name, parsed, batch, training)


def split_name(text: str) -> tuple[str, str]:
    """`path.py:Name` in two; the last colon counts, for the sake of drive letters."""
    path, _, name = text.rpartition(":")
    if not path or not name:
        raise ValueError(f"got {text!r}, expected path/to/model.py:Name")
    return path, name


def is_own(text: str) -> bool:
    """Whether a command-line word names a file rather than an entry of the zoo."""
    return ":" in text or text.endswith(".py")
