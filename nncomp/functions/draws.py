"""Random draws beyond uniform and normal ones: geometric and Cauchy; Poisson and binomial by numpy.

Poisson and binomial counts need as many draws as the values ask for. numpy draws them from a
stream whose key is the next key of the generator, so that seeds repeat them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..inplace import assign
from ..ir import types as dt
from ..random_state import next_key
from .base import no_out
from .masks import _tensor
from .promotion import stored_as
from .random import uniform
from .special_values import eager_array
from .unary import ceil, log, tan


def geometric_(self: Any, p: float, *, generator: Any = None) -> Any:
    """Fill with how many trials of probability `p` it takes to the first success."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    u = uniform(tuple(self.shape), dt.float64, generator)
    drawn = ceil(log(1 - u) / math.log1p(-p)).clamp(min=1)
    return assign(self, drawn.to(self.dtype))


def cauchy_(
    self: Any, median: float = 0, sigma: float = 1, *, generator: Any = None
) -> Any:
    """Fill with numbers of a Cauchy distribution."""
    if sigma <= 0.0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    u = uniform(tuple(self.shape), dt.float64, generator)
    return assign(self, stored_as((median + sigma * tan((u - 0.5) * math.pi)).to(self.dtype),
                                  self.dtype))  # fmt: skip


def _numpy_generator(generator: Any, name: str) -> np.random.Generator:
    key = eager_array(next_key(generator), name)
    return np.random.Generator(np.random.Philox(key=key.view(np.uint64)))


def poisson(input: Any, generator: Any = None) -> Any:
    """Poisson counts of the rates in `input`, in its dtype; no gradient."""
    rates = eager_array(input, "poisson")
    if input.dtype.kind != "f":
        raise NotImplementedError(f'"poisson" not implemented for {input.dtype.name}')
    if (rates < 0).any():
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    counts = _numpy_generator(generator, "poisson").poisson(rates.astype(np.float64))
    return _tensor(np.asarray(counts).astype(rates.dtype))


def binomial(count: Any, prob: Any, generator: Any = None, *, out: Any = None) -> Any:
    """How many of `count` trials of probability `prob` succeed, in their dtype; no gradient."""
    no_out("binomial", out)
    n, p = eager_array(count, "binomial"), eager_array(prob, "binomial")
    drawn = _numpy_generator(generator, "binomial").binomial(n.astype(np.int64), p)
    return _tensor(np.asarray(drawn).astype(p.dtype))
