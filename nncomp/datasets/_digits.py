"""The 8x8 handwritten digits of the UCI repository; digits.txt says where they come from.

The split is fixed: the order is numpy's RandomState(0).permutation(1797), a stream that numpy keeps
for good, and the last `test_size` images of that order are the test set.
"""

from __future__ import annotations

import functools
from importlib.resources import files

import numpy as np

import nncomp

from ..tensor import Tensor

SPLITS = ("train", "test")


def digits(split: str = "train", test_size: int = 360) -> tuple[Tensor, Tensor]:
    """Images float32 [N, 8, 8] in 0..1 and labels int64 [N] of one part of the digits.

    The 1,797 images are shuffled once and for all; the last `test_size` of them are "test", the
    others "train" (1,437 and 360 by default). Each call gives tensors of its own. ValueError for
    another split, or if a part would be empty. Source: E. Alpaydin and C. Kaynak, 1998.
    """
    if split not in SPLITS:
        raise ValueError(f"digits() got split={split!r}, expected 'train' or 'test'")
    images, labels = _shuffled()
    if not isinstance(test_size, int) or not 0 < test_size < len(labels):
        raise ValueError(
            f"digits() got test_size={test_size!r}, expected a whole number from 1 to "
            f"{len(labels) - 1}: there are {len(labels)} images"
        )
    border = len(labels) - test_size
    part = slice(border, None) if split == "test" else slice(None, border)
    return nncomp.tensor(images[part]), nncomp.tensor(labels[part])


@functools.cache
def _shuffled() -> tuple[np.ndarray, np.ndarray]:
    """All images in 0..1 and all labels, in the order of the split."""
    with (files(__package__) / "digits.npz").open("rb") as file, np.load(file) as data:
        images, labels = data["images"], data["labels"]
    order = np.random.RandomState(0).permutation(len(labels))
    return images[order].astype(np.float32) / np.float32(16), labels[order].astype(np.int64)
