"""Right operands that lie in panels anyway, as the results of attention do, are not copied."""

from __future__ import annotations

import numpy as np
import pytest

import nncomp
from nncomp import nn
from nncomp.nn import functional as F

BATCH, LENGTH, WIDTH = 3, 24, 64


class Attention(nn.Module):
    """Attention over heads of a width, and a product behind it."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads, self.inlet = heads, nn.Linear(WIDTH, 3 * WIDTH)
        self.outlet = nn.Linear(WIDTH, 40)

    def forward(self, x):
        b, s, width = x.shape
        parts = self.inlet(x).split(width, dim=2)
        q, k, v = (p.view(b, s, self.heads, -1).transpose(1, 2) for p in parts)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.outlet(y.transpose(1, 2).reshape(b, s, width))


def made(heads: int) -> tuple[Attention, nncomp.Tensor, nncomp.Tensor]:
    nncomp.manual_seed(1)
    net = Attention(heads)
    return net, nncomp.randn(BATCH, LENGTH, WIDTH), nncomp.randn(BATCH, LENGTH, 40)


def readers_of_attention(step) -> list[str]:
    fused = [n for n in step.fused_graph.nodes if n.name == "fused"]
    return [n.attrs["kind"] for n in fused if any(x.name == "attention" for x in n.inputs)]


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_gradient_of_the_weight_behind_attention(heads):
    net, x, y = made(heads)
    step = nncomp.compile_train_step(net, nn.MSELoss(), nncomp.optim.SGD(net.parameters(), lr=0.5))
    twin, _, _ = made(heads)
    optimizer, loss_of = nncomp.optim.SGD(twin.parameters(), lr=0.5), nn.MSELoss()
    for _ in range(3):
        got = float(step(x, y))
        optimizer.zero_grad()
        loss = loss_of(twin(x), y)
        loss.backward()
        optimizer.step()
        assert got == pytest.approx(float(loss), rel=1e-5)
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-4, atol=1e-6)
    in_place = WIDTH // heads % 32 == 0
    assert ("map" in readers_of_attention(step)) == (not in_place)
