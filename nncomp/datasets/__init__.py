"""Data sets: the digits that come with the package, and MNIST's IDX files from a folder.

Nothing is downloaded. `digits` needs no file at all, so that examples run on a machine without
a network; `MNIST` and `FashionMNIST` read files that are already there.
"""

from __future__ import annotations

from ._digits import digits
from ._idx import read_idx
from ._mnist import MNIST, FashionMNIST

__all__ = ["MNIST", "FashionMNIST", "digits", "read_idx"]
