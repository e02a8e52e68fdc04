"""The result of a layer norm goes right into the panels that a weight's gradient reads."""

from __future__ import annotations

import numpy as np
import pytest

import nncomp
from nncomp import nn

WIDTH, ROWS = 256, 1024


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
@pytest.mark.parametrize("shape", [(ROWS,), (4, ROWS // 4)], ids=["rows", "batches"])
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
    one, *others = (trained((4, ROWS // 4), "layer", n) for n in (1, 2, 3))
    for net, losses, _ in others:
        assert losses == one[1]
        for a, b in zip(net.parameters(), one[0].parameters(), strict=True):
            assert a.detach().numpy().tobytes() == b.detach().numpy().tobytes()


def panels_of_norms(step) -> int:
    """How many kernels store a norm's panels, and with them what its gradient needs."""
    kernels = [n for n in step.fused_graph.nodes if n.name == "fused" and n.attrs["kind"] == "map"]
    return sum(n.type[0].shape == (WIDTH // 32, ROWS, 32) and len(n.type) > 1 for n in kernels)


@pytest.mark.parametrize("shape", [(ROWS,), (4, ROWS // 4)], ids=["rows", "batches"])
def test_the_norm_is_stored_in_panels_alone(shape):
    _, _, step = trained(shape, "layer")
    assert panels_of_norms(step) == 1


def test_a_deep_net_writes_every_norm_in_panels():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.up = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 1024)
            self.down = nn.Linear(1024, WIDTH)

        def forward(self, x):
            return x + self.down(self.up(self.norm(x)).tanh())

    nncomp.manual_seed(3)
    net = nn.Sequential(*(Block() for _ in range(5)))
    step = nncomp.compile_train_step(net, nn.MSELoss(), nncomp.optim.SGD(net.parameters(), lr=0.1))
    step(nncomp.randn(ROWS, WIDTH), nncomp.randn(ROWS, WIDTH))
    assert panels_of_norms(step) == 5
