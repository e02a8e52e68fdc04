"""Inputs described as text: `f32[B,3,224,224]`, `i64[B,128]<30522`; B is the batch size.

Floats are standard normal, integers run from 0 to below the bound.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

DTYPES = {
    "f32": np.float32, "f64": np.float64, "i64": np.int64, "i32": np.int32, "bool": np.bool_,
}  # fmt: skip
_FORM = re.compile(r"(\w+)\[([\w\s,]*)\](?:<(\d+))?")


@dataclass(frozen=True)
class Input:
    """One array that a model takes: `shape` holds numbers and "B"; `below` bounds integers."""

    dtype: str
    shape: tuple[int | str, ...]
    below: int | None = None

    @property
    def has_batch(self) -> bool:
        """Whether the batch size is a part of the shape."""
        return "B" in self.shape

    def make(self, batch: int | None, rng: np.random.Generator) -> np.ndarray:
        """An array of that type; ValueError if B has no value."""
        if self.has_batch and batch is None:
            raise ValueError(f"{self} has a batch size B, but none was given; add --batch N")
        shape = [batch if size == "B" else size for size in self.shape]
        if self.dtype in ("i64", "i32"):
            return rng.integers(0, self.below, shape).astype(DTYPES[self.dtype])
        if self.dtype == "bool":
            return rng.random(shape) < 0.5
        return rng.standard_normal(shape).astype(DTYPES[self.dtype])

    def __str__(self) -> str:
        bound = "" if self.below is None else f"<{self.below}"
        return f"{self.dtype}[{','.join(map(str, self.shape))}]{bound}"


def parse(text: str) -> Input:
    """The Input that a text describes; ValueError says what is wrong with it."""
    example = "expected something like f32[B,3,224,224] or i64[B,128]<30522"
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"got the input {text!r}, {example}")
    dtype, sizes, bound = match.groups()
    if dtype not in DTYPES:
        raise ValueError(f"got the dtype {dtype!r} in {text!r}; there are {', '.join(DTYPES)}")
    if (dtype in ("i64", "i32")) != (bound is not None):
        raise ValueError(f"{text!r}: integers need a bound, others have none; {example}")
    shape: list[int | str] = []
    for size in filter(None, (part.strip() for part in sizes.split(","))):
        if size != "B" and not size.isdigit():
            raise ValueError(f"got the size {size!r} in {text!r}; expected a number or B")
        shape.append("B" if size == "B" else int(size))
    return Input(dtype, tuple(shape), None if bound is None else int(bound))


def make_all(
    inputs: list[Input], batch: int | None, seed: int, repeats: int = 1
) -> list[np.ndarray]:
    """Arrays for all inputs, `repeats` different sets one after the other."""
    rng = np.random.default_rng(seed)
    return [entry.make(batch, rng) for _ in range(repeats) for entry in inputs]
