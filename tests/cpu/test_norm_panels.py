"""The result of a layer norm goes right into the panels that a weight's gradient reads."""

from __future__ import annotations

import numpy as np
import pytest

import nncomp
from nncomp import nn

WIDTH = 96


def made(shape: tuple[int, ...], norm: str):
    nncomp.manual_seed(2)
    first = {"layer": nn.LayerNorm(WIDTH), "rms": nn.RMSNorm(WIDTH)}[norm]
    net = nn.Sequential(nn.Linear(WIDTH, WIDTH), first, nn.Linear(WIDTH, 1024), nn.ReLU())
    return net, nncomp.randn(*shape, WIDTH), nncomp.randn(*shape, 1024)


def trained(shape, norm, threads=2):
    net, x, y = made(shape, norm)
    nncomp.set_num_threads(threads)
    step = nncomp.compile_train_step(net, nn.MSELoss(), nncomp.optim.SGD(net.parameters(), lr=0.5))
    return net, [float(step(x, y)) for _ in range(3)], step


@pytest.fixture(autouse=True)
def keep_threads():
    before = nncomp.get_num_threads()
    yield
    nncomp.set_num_threads(before)


@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize("shape", [(128,), (4, 40)], ids=["rows", "batches"])
def test_steps_are_those_of_the_tape(shape, norm):
    net, losses, step = trained(shape, norm)
    twin, x, y = made(shape, norm)
    optimizer, loss_of = nncomp.optim.SGD(twin.parameters(), lr=0.5), nn.MSELoss()
    for got in losses:
        optimizer.zero_grad()
        loss = loss_of(twin(x), y)
        loss.backward()
        optimizer.step()
        assert got == pytest.approx(float(loss), rel=1e-5)
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_any_number_of_threads_gives_the_same_bits():
    one, *others = (trained((4, 40), "layer", n) for n in (1, 2, 3))
    for net, losses, _ in others:
        assert losses == one[1]
        for a, b in zip(net.parameters(), one[0].parameters(), strict=True):
            assert a.detach().numpy().tobytes() == b.detach().numpy().tobytes()


def test_a_deep_net_writes_every_norm_in_panels():
    nncomp.manual_seed(3)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.up = nn.LayerNorm(512), nn.Linear(512, 512)

        def forward(self, x):
            return x + self.up(self.norm(x)).tanh()

    depth = 6
    net = nn.Sequential(*(Block() for _ in range(depth)))
    step = nncomp.compile_train_step(net, nn.MSELoss(), nncomp.optim.SGD(net.parameters(), lr=0.1))
    step(nncomp.randn(1024, 512), nncomp.randn(1024, 512))
    written = [
        n.type[0].shape
        for n in step.fused_graph.nodes
        if n.name == "fused" and n.attrs["kind"] == "map" and len(n.type) > 1
    ]
    assert written.count((16, 1024, 32)) == depth
