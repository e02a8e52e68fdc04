"""An array, a list or None in place of a Tensor: the error names function, argument and way out."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import nncomp as torch
import nncomp.nn.functional as F
from nncomp import nn

ARRAY = np.ones((2, 4), np.float32)
CALLS = {
    "relu": F.relu,
    "softmax": lambda x: F.softmax(x, -1),
    "layer_norm": lambda x: F.layer_norm(x, (4,)),
    "dropout": F.dropout,
    "linear": lambda x: F.linear(x, torch.ones(3, 4)),
    "max_pool1d": lambda x: F.max_pool1d(x, 2),
    "cross_entropy": lambda x: F.cross_entropy(x, torch.tensor([0, 1])),
    "matmul": lambda x: torch.matmul(x, torch.ones(4, 4)),
    "sum": torch.sum,
}
LAYERS = {
    "Linear": nn.Linear(4, 3),
    "LSTM": nn.LSTM(4, 3),
    "BatchNorm1d": nn.BatchNorm1d(4),
    "Flatten": nn.Flatten(),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("value", [ARRAY, [1.0, 2.0], None], ids=["ndarray", "list", "NoneType"])
def test_functions_name_the_argument(name, value):
    expected = rf"{name}\(\): argument 'input' must be Tensor, not {type(value).__name__}"
    with pytest.raises(TypeError, match=expected):
        CALLS[name](value)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_layers_name_it(name, compiled):
    layer = torch.compile(LAYERS[name]) if compiled else LAYERS[name]
    with pytest.raises(TypeError, match=rf"{name}\(\).* must be Tensor, not ndarray; torch.from_n"):
        layer(ARRAY)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes"):
        F.linear(torch.ones(2, 5), torch.ones(3, 4))
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        F.linear(torch.ones(2, 5))

    class Broken(nn.Module):
        def forward(self, values):
            return values.missing

    for module in (Broken(), nn.Sequential(Broken())):
        with pytest.raises(AttributeError, match="'list' object has no attribute 'missing'"):
            module([1])


def test_functions_can_be_pickled():
    for function in (F.gelu, F.linear, torch.relu, torch.matmul):
        assert pickle.loads(pickle.dumps(function)) is function
