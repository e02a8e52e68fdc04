"""nn.init: exact fills compared with torch, random ones by their statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from both import agree, cases, numbers

import nncomp
from nncomp import nn
from nncomp.nn import init

EXACT = {
    "constant_": lambda t: t.nn.init.constant_(t.empty(2, 3), 0.3),
    "ones_": lambda t: t.nn.init.ones_(t.empty(3)),
    "zeros_": lambda t: t.nn.init.zeros_(t.empty(3)),
    "eye_": lambda t: t.nn.init.eye_(t.empty(3, 4)),
    "dirac_": lambda t: t.nn.init.dirac_(t.empty(4, 3, 3)),
    "dirac_ 2d": lambda t: t.nn.init.dirac_(t.empty(2, 4, 3, 2)),
    "dirac_ groups": lambda t: t.nn.init.dirac_(t.empty(6, 2, 3, 3, 3), groups=3),
    **{
        f"gain {name}": lambda t, name=name: float(t.nn.init.calculate_gain(name))
        for name in ("linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu")
    },
    "gain slope": lambda t: t.nn.init.calculate_gain("leaky_relu", 0.3),
    "constant": lambda t: t.nn.init.constant(t.empty(2, 3), 0.3),
    "eye": lambda t: t.nn.init.eye(t.empty(3, 4)),
    "dirac": lambda t: t.nn.init.dirac(t.empty(4, 3, 3)),
    "fans": lambda t: list(t.nn.init._calculate_fan_in_and_fan_out(t.empty(4, 3, 2, 5))),
}

FAILURES = {
    "gain": lambda t: t.nn.init.calculate_gain("other"),
    "slope": lambda t: t.nn.init.calculate_gain("leaky_relu", "x"),
    "fan": lambda t: t.nn.init.xavier_uniform_(t.empty(3)),
    "mode": lambda t: t.nn.init.kaiming_normal_(t.empty(3, 3), mode="fan"),
    "eye_": lambda t: t.nn.init.eye_(t.empty(3)),
    "dirac_": lambda t: t.nn.init.dirac_(t.empty(3, 3)),
    "dirac_ groups": lambda t: t.nn.init.dirac_(t.empty(3, 3, 3), groups=2),
    "orthogonal_": lambda t: t.nn.init.orthogonal_(t.empty(3)),
    "sparse_": lambda t: t.nn.init.sparse_(t.empty(3), 0.5),
}


@cases(EXACT)
def test_exact_values_are_torchs(case):
    agree(case, ok=True)


@cases(FAILURES)
def test_errors_are_torchs(case):
    agree(case, ok=False)


def drawn(fill, *shape):
    nncomp.manual_seed(3)
    tensor = nncomp.empty(*shape)
    assert fill(tensor) is tensor
    return tensor.numpy().astype(np.float64)


UNIFORM = [
    (lambda w: init.uniform_(w, -2.0, 6.0), (100, 80), -2.0, 6.0),
    (init.xavier_uniform_, (120, 80), -math.sqrt(6 / 200), math.sqrt(6 / 200)),
    (
        lambda w: init.kaiming_uniform_(w, a=math.sqrt(5)),
        (60, 50, 2, 2),
        -math.sqrt(1 / 200),
        math.sqrt(1 / 200),
    ),
    (
        lambda w: init.kaiming_uniform_(w, mode="fan_out", nonlinearity="relu"),
        (150, 80),
        -0.2,
        0.2,
    ),
]


@pytest.mark.parametrize(("fill", "shape", "low", "high"), UNIFORM)
def test_uniform_fills(fill, shape, low, high):
    values = drawn(fill, *shape)
    width = high - low
    assert low <= values.min() < low + 0.01 * width
    assert high - 0.01 * width < values.max() <= high
    assert abs(values.mean() - (low + high) / 2) < 0.02 * width
    assert abs(values.std() - width / math.sqrt(12)) < 0.02 * width


NORMAL = [
    (lambda w: init.normal_(w, 3.0, 0.5), (100, 90), 3.0, 0.5),
    (lambda w: init.xavier_normal_(w, gain=2.0), (120, 80), 0.0, 0.2),
    (lambda w: init.kaiming_normal_(w, nonlinearity="relu"), (100, 50, 2, 2), 0.0, 0.1),
]


@pytest.mark.parametrize(("fill", "shape", "mean", "std"), NORMAL)
def test_normal_fills(fill, shape, mean, std):
    values = drawn(fill, *shape)
    assert abs(values.mean() - mean) < 0.05 * std
    assert abs(values.std() - std) < 0.03 * std
    assert 0.66 < (np.abs(values - mean) < std).mean() < 0.70


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"), [(0, 1, -2, 2), (1, 0.5, 0.9, 3), (0, 1, 3, 4), (0, 0.02, -2, 2)]
)
@pytest.mark.filterwarnings("ignore:mean is more than 2 std")
def test_trunc_normal_has_the_quantiles_of_the_cut_distribution(mean, std, a, b):
    values = np.sort(drawn(lambda w: init.trunc_normal_(w, mean, std, a, b), 20000))
    assert a <= values[0] and values[-1] <= b
    cdf = np.array([0.5 * math.erfc(-(x - mean) / std / math.sqrt(2)) for x in (a, b, *values)])
    ranks = (cdf[2:] - cdf[0]) / (cdf[1] - cdf[0])
    assert np.abs(ranks - (np.arange(20000) + 0.5) / 20000).max() < 0.02


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (8, 2, 2), (4, 2, 3, 3)])
def test_orthogonal_is_orthogonal(shape):
    values = drawn(lambda w: init.orthogonal_(w, gain=2.0), *shape).reshape(shape[0], -1)
    rows, columns = values.shape
    product = values @ values.T if rows <= columns else values.T @ values
    np.testing.assert_allclose(product, 4 * np.eye(min(rows, columns)), atol=1e-5)


def test_sparse_zeroes_its_share_of_each_column():
    values = drawn(lambda w: init.sparse_(w, 0.3, std=2.0), 25, 200)
    np.testing.assert_array_equal((values == 0).sum(axis=0), np.full(200, 8))
    assert abs(values[values != 0].std() - 2.0) < 0.1


@pytest.mark.parametrize(
    ("make", "bound"),
    [
        (lambda: nn.Linear(100, 50), 0.1),
        (lambda: nn.Conv2d(4, 60, 5), 0.1),
        (lambda: nn.Bilinear(100, 8, 40), 0.1),
    ],
    ids=["Linear", "Conv2d", "Bilinear"],
)
def test_layers_start_uniform_within_torchs_bound(make, bound):
    nncomp.manual_seed(0)
    layer = make()
    for parameter in (layer.weight, layer.bias):
        values = np.abs(parameter.detach().numpy())
        assert 0.85 * bound < values.max() <= bound * 1.0001


def test_init_records_no_gradient_and_keeps_the_leaf():
    weight = nn.Parameter(nncomp.tensor(numbers(4, 4)))
    init.xavier_normal_(init.orthogonal_(weight))
    assert weight.is_leaf and weight.grad_fn is None and weight.requires_grad


def test_equal_seeds_give_equal_layers():
    nncomp.manual_seed(7)
    first = nn.Linear(3, 3).weight.detach().numpy().copy()
    nncomp.manual_seed(7)
    np.testing.assert_array_equal(nn.Linear(3, 3).weight.detach().numpy(), first)


OLDER = {
    "constant": (0.5,), "dirac": (), "eye": (), "kaiming_normal": (), "kaiming_uniform": (),
    "normal": (), "orthogonal": (), "sparse": (0.5,), "uniform": (), "xavier_normal": (),
    "xavier_uniform": (),
}  # fmt: skip


@pytest.mark.parametrize("name", OLDER)
def test_names_without_underscore_warn_and_do_the_same(name):
    shape = (4, 3, 3) if name == "dirac" else (4, 3)
    expected = drawn(lambda x: getattr(init, name + "_")(x, *OLDER[name]), *shape)
    with pytest.warns(FutureWarning, match=f"nn.init.{name}_"):
        found = drawn(lambda x: getattr(init, name)(x, *OLDER[name]), *shape)
    np.testing.assert_array_equal(found, expected)
