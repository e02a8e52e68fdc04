"""Inputs of the models here, the same for torch and nncomp."""

from __future__ import annotations

from typing import Any

import numpy as np


def normal(torch: Any, *shape: int) -> Any:
    """Normal numbers, float32."""
    return torch.tensor(np.random.RandomState(0).randn(*shape).astype(np.float32))


def integers(torch: Any, high: int, *shape: int) -> Any:
    """Integers below `high`, int64."""
    return torch.tensor(np.random.RandomState(0).randint(0, high, shape))
