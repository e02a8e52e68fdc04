"""options= of compile(): what is known, how long it lasts, and what Winograd's method costs."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from nncomp.ir.debug import debug

import nncomp as torch
from nncomp import nn

ALLOWED = 1e-4  # of the output's scale, for whole models with Winograd's method
DIRECT = 2e-5  # the same without


class Block(nn.Module):
    """Two 3x3 convolutions with norms around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x):
        return torch.relu(x + self.second(torch.relu(self.norm(self.first(x)))))


def make_net() -> nn.Module:
    torch.manual_seed(0)
    stem = nn.Conv2d(3, 32, 3, padding=1)
    return nn.Sequential(
        stem, *(Block(32) for _ in range(6)), nn.Flatten(), nn.Linear(32 * 144, 10)
    )


def kernels(compiled) -> set[str]:
    nodes = compiled.fused_graph.nodes
    return {n.attrs["kind"] for n in nodes if n.name == "fused"}


def reference(net: nn.Module, x) -> np.ndarray:
    with torch.no_grad():
        return copy.deepcopy(net).double()(x.double()).numpy()


def scaled_error(y, expected: np.ndarray) -> float:
    return float(np.abs(y.numpy() - expected).max() / np.abs(expected).max())


def test_a_deep_net_stays_within_the_documented_tolerance():
    net, x = make_net().eval().requires_grad_(False), torch.randn(2, 3, 12, 12)
    expected = reference(net, x)
    fast, plain = torch.compile(net), torch.compile(net, options={"winograd": False})
    assert scaled_error(fast(x), expected) < ALLOWED and "winograd" in kernels(fast)
    assert scaled_error(plain(x), expected) < DIRECT and "winograd" not in kernels(plain)


def test_the_environment_decides_for_all(monkeypatch):
    monkeypatch.setenv("NNCOMP_WINOGRAD", "0")
    net, x = make_net().eval().requires_grad_(False), torch.randn(1, 3, 12, 12)
    all, one = torch.compile(net), torch.compile(net, options={"winograd": True})
    all(x), one(x)
    assert "winograd" not in kernels(all) and "winograd" in kernels(one)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_options_go_with_copies(copied):
    net = nn.Conv2d(32, 32, 3, padding=1).requires_grad_(False)
    twin = copied(torch.compile(net, options={"winograd": False}))
    twin(torch.randn(1, 32, 12, 12))
    assert "winograd" not in kernels(twin)


def test_options_of_a_decorated_function():
    w = torch.randn(32, 32, 3, 3)

    @torch.compile(options={"winograd": False})
    def layer(x):
        return torch.nn.functional.conv2d(x, w, padding=1)

    layer(torch.randn(1, 32, 12, 12))
    assert "winograd" not in kernels(layer)


def test_wrong_options_say_what_there_is():
    net = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="'winogard'; there are: winograd"):
        torch.compile(net, options={"winogard": False})
    with pytest.raises(TypeError, match="'winograd' of compile.. is True or False, got 'no'"):
        torch.compile(net, options={"winograd": "no"})


@pytest.mark.parametrize("options", [None, {"winograd": False}])
def test_gradients(options):
    net = make_net()
    net.train()
    compiled = torch.compile(copy.deepcopy(net), options=options)
    x = torch.randn(4, 3, 12, 12)
    gradients = []
    for model in (net, compiled):
        y = model(x)
        (y * y).sum().backward()
        gradients.append([p.grad.numpy() for p in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        assert np.abs(a - b).max() <= 3e-4 * max(np.abs(a).max(), 1e-2)


def test_the_forward_of_training_uses_it_where_the_image_is_large():
    net = nn.Conv2d(16, 16, 3, padding=1)
    compiled = torch.compile(net)
    x = torch.randn(2, 16, 40, 40)
    y = compiled(x)
    assert "winograd" in kernels(compiled)
    assert scaled_error(y.detach(), net(x).detach().numpy()) < ALLOWED


def test_the_checker_of_passes_accepts_it():
    net = nn.Conv2d(32, 32, 3, padding=1).requires_grad_(False)
    with debug(check=True):
        compiled = torch.compile(net)
        compiled(torch.randn(1, 32, 16, 16))
    assert "winograd" in kernels(compiled)
