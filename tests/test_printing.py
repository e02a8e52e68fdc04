"""The text of tensors is torch's, character by character."""

from __future__ import annotations

import numpy as np
import pytest

import nncomp

torch = pytest.importorskip("torch")

ROWS = """
m.tensor(3)|m.tensor(2.5)|m.tensor(True)|m.tensor(-1.0)|m.tensor(float('nan'))|m.tensor(1e10)
m.tensor([1, 2, 3])|m.tensor([1, -20, 300])|m.tensor([True, False])|m.tensor([1.0, 2.0, 3.0])
m.tensor([1.0, 2.5, -3.25])|m.tensor([0.1, 1234.5])|m.tensor([1e-5, 1.0])|m.tensor([1e-5])
m.tensor([1e9, 1.0])|m.tensor([1e9])|m.tensor([0.0, 0.0])|m.tensor([0.0, 1e-8])
m.tensor([123456.0])|m.tensor([float('inf'), 1.0, float('nan')])
m.tensor([float('inf'), 1.5, -float('inf')])|m.tensor([float('nan'), float('nan')])
m.tensor([1.0, 1001.0])|m.tensor([1.5, 1501.0])|m.tensor([])|m.zeros(0, 3)|m.zeros(2, 0, 1)
m.zeros(0, dtype=m.int64)|m.zeros(0, 2, dtype=m.float64)|m.tensor([[1, 2], [3, 4]])
m.tensor([[1.5, 2], [3, 40]])|m.zeros(2, 2, 3)|m.zeros(2, 1, 2, 2)|m.zeros(1, 1)|m.arange(30)
m.arange(100)|m.arange(40.0) / 7|m.arange(1000)|m.arange(1001)|m.arange(1200.0).reshape(30, 40)
m.arange(2000).reshape(2, 1000)|m.arange(4096.0).reshape(16, 16, 16) / 3
m.arange(1500).reshape(1500, 1)|m.arange(2000).reshape(1000, 2)
m.arange(1024).reshape(4, 4, 8, 8) * 7|m.ones(2, dtype=m.float64)|m.ones(2, dtype=m.float16)
m.tensor([1.5, 2.25], dtype=m.bfloat16)|m.ones(2, dtype=m.int32)|m.ones(2, dtype=m.uint8)
m.ones(2, 3, dtype=m.int8)|m.tensor([[True], [False]])|m.ones(2, requires_grad=True)
m.ones(2, 2, dtype=m.float64, requires_grad=True)|m.ones(25, requires_grad=True)
m.ones(24, dtype=m.float64)|m.ones(22, dtype=m.float64, requires_grad=True)
m.ones(3, requires_grad=True) * 2|(m.ones(2, requires_grad=True) * 2).sum()
m.ones(2, requires_grad=True).detach()|m.linspace(-1, 1, 50)|m.linspace(-1, 1, 50).reshape(5, 10)
m.tensor([3.14159265, 2.71828])|m.tensor([1e-10, 1e10])|m.tensor([[1e-10, 1.0], [2.0, 3.0]])
m.tensor([65504.0], dtype=m.float16)|m.tensor(1e-7)|m.tensor(123456789.0)|m.tensor(123456789)
m.tensor([-0.0, 0.5])|m.tensor([-0.0])|m.tensor([2 ** 62, -1])|m.nn.Parameter(m.ones(2))
m.Size([2, 3])|m.float32|m.device('cpu')|m.ones(0, requires_grad=True)
"""
TEXTS = [row for line in ROWS.strip().splitlines() for row in line.split("|")]


@pytest.mark.parametrize("row", TEXTS)
def test_repr(row):
    assert repr(eval(row, {"m": nncomp})) == repr(eval(row, {"m": torch}))


SETTINGS = [
    dict(precision=2), dict(edgeitems=1, threshold=5), dict(linewidth=40), dict(sci_mode=True),
    dict(sci_mode=False), dict(profile="short"), dict(profile="full"), dict(threshold=3),
    dict(precision=8, linewidth=120), dict(edgeitems=2, threshold=10, linewidth=30),
]  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_set_printoptions(settings):
    values = np.random.default_rng(3).standard_normal((7, 9)).astype(np.float32)
    try:
        nncomp.set_printoptions(**settings)
        torch.set_printoptions(**settings)
        for ours, theirs in (
            (nncomp.from_numpy(values), torch.from_numpy(values)),
            (nncomp.arange(12), torch.arange(12)),
            (nncomp.arange(24.0).reshape(2, 3, 4), torch.arange(24.0).reshape(2, 3, 4)),
            (nncomp.tensor([0.0, 1e-6, 7.0]), torch.tensor([0.0, 1e-6, 7.0])),
            (nncomp.arange(1500.0), torch.arange(1500.0)),
        ):
            assert repr(ours) == repr(theirs)
    finally:
        nncomp.set_printoptions(profile="default")
        torch.set_printoptions(profile="default")
    assert repr(nncomp.from_numpy(values)) == repr(torch.from_numpy(values))


def test_random_values_print_alike():
    rng = np.random.default_rng(11)
    compared = 0
    for scale in (1e-6, 1e-3, 1.0, 50.0, 1e4, 1e9):
        for shape in ((5,), (3, 4), (2, 2, 3), (40,)):
            values = (rng.standard_normal(shape) * scale).astype(np.float32)
            values[values > scale] = np.round(values[values > scale])
            assert repr(nncomp.from_numpy(values)) == repr(torch.from_numpy(values))
            compared += 1
    assert compared == 24


def test_format_and_str():
    assert f"{nncomp.tensor(1.23456):.2f}" == f"{torch.tensor(1.23456):.2f}" == "1.23"
    assert f"{nncomp.tensor(7):>4d}" == "   7"
    assert str(nncomp.ones(2)) == "tensor([1., 1.])"
    with pytest.raises(ValueError, match="profile"):
        nncomp.set_printoptions(profile="wide")
