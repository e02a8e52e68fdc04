"""What the tests of compiled code share: comparing with eager code, small models."""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np

import nncomp as torch
from nncomp import nn

TOLERANCE = {
    torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2,
}  # fmt: skip


def programs(compiled: Any) -> int:
    """How many programs a compiled callable has made."""
    return int(re.search(r": (\d+) program", compiled.explain())[1])


def last_reason(compiled: Any) -> str:
    """Why the newest program was compiled."""
    return re.findall(r"^  \d+: (.*)$", compiled.explain(), re.MULTILINE)[-1]


def assert_same(got: Any, wanted: Any, rtol: float | None = None) -> None:
    """Equal structure, dtypes and shapes, and values up to rounding."""
    if isinstance(wanted, torch.Tensor):
        assert isinstance(got, torch.Tensor)
        assert got.dtype == wanted.dtype and got.shape == wanted.shape
        a, b = (np.asarray(x.detach().double().numpy()) for x in (got, wanted))
        tolerance = TOLERANCE.get(wanted.dtype, 0.0) if rtol is None else rtol
        scale = np.abs(b[np.isfinite(b)]).max(initial=1.0)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)
    elif isinstance(wanted, (tuple, list)):
        assert type(got) is type(wanted) and len(got) == len(wanted)
        for a, b in zip(got, wanted, strict=True):
            assert_same(a, b, rtol)
    elif isinstance(wanted, dict):
        assert list(got) == list(wanted)
        for key in wanted:
            assert_same(got[key], wanted[key], rtol)
    else:
        assert got == wanted and type(got) is type(wanted)


def assert_gradients_same(got: nn.Module, wanted: nn.Module, rtol: float = 1e-4) -> None:
    """Equal .grad of all parameters; None where the other has None."""
    for (name, p), q in zip(got.named_parameters(), wanted.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), name
        if p.grad is not None:
            assert_same(p.grad, q.grad, rtol)


def twins(model: nn.Module, **options: Any) -> tuple[nn.Module, nn.Module]:
    """(compiled, eager) copies of a model."""
    return torch.compile(copy.deepcopy(model), **options), copy.deepcopy(model)


class MLP(nn.Module):
    """Two layers and a scale that forward reads from an attribute."""

    def __init__(self, n: int = 5, hidden: int = 7, out: int = 3):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(n, hidden), nn.Linear(hidden, out)
        self.scale = 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(torch.relu(self.fc1(x))) * self.scale


class Conv(nn.Module):
    """A little of everything that image models have."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.drop, self.fc = nn.Dropout(0.4), nn.Linear(4 * 9, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        x = nn.functional.max_pool2d(x, 2)
        return self.fc(self.drop(x.flatten(1)))
