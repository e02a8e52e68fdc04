"""The passes between tracing and code generation. PIPELINE is their table of contents.

Each is a function Graph -> Graph in the file of its name; each file begins with one printed
before -> after, which is also its test.
"""

from __future__ import annotations

from .canonicalize import canonicalize
from .cse import cse
from .fold_batchnorm import fold_batchnorm
from .fold_constants import fold_constants
from .hoist import split_prepare
from .inline_calls import inline_calls
from .run import PassError, Record, run_pipeline
from .share_sums import share_sums
from .simplify import simplify

PIPELINE = [
    inline_calls,
    canonicalize,
    fold_constants,
    fold_batchnorm,
    simplify,
    cse,
    share_sums,
]

__all__ = [
    "PIPELINE",
    "PassError",
    "Record",
    "canonicalize",
    "cse",
    "fold_batchnorm",
    "fold_constants",
    "inline_calls",
    "run_pipeline",
    "share_sums",
    "simplify",
    "split_prepare",
]
