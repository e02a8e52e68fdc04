"""memory_limit of compile_train_step: smaller arenas, the same numbers bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.ir import Graph, TensorType, build_node, input_node, ops
from nncomp.ir.interpret import interpret
from nncomp.ir.passes.fuse import fuse
from nncomp.ir.passes.plan import plan_program
from nncomp.ir.passes.recompute import MemoryLimitError, fit_memory
from nncomp.ir.types import float32

import nncomp
from nncomp import nn
from nncomp.utils.checkpoint import checkpoint

F = nn.functional


def mlp():
    layers = [layer for _ in range(5) for layer in (nn.Linear(64, 64), nn.GELU(), nn.Dropout(0.1))]
    return nn.Sequential(*layers, nn.Linear(64, 10)), (96, 64)


def convolutional():
    layers = []
    for _ in range(4):
        layers += [nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 64, 10)), (8, 8, 8, 8)


class Transformer(nn.Module):
    """Two blocks and a mean over positions."""

    def __init__(self):
        super().__init__()
        options = dict(dim_feedforward=64, batch_first=True, norm_first=True, dropout=0.1)
        self.blocks = nn.ModuleList(
            [nn.TransformerEncoderLayer(32, 4, **options) for _ in range(3)]
        )
        self.out = nn.Linear(32, 10)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.out(x.mean(1))


def transformer():
    return Transformer(), (8, 16, 32)


NETS = {f.__name__: f for f in (mlp, convolutional, transformer)}
OPTIMIZERS = {
    "momentum": lambda p: nncomp.optim.SGD(p, 0.05, momentum=0.9),
    "adam": lambda p: nncomp.optim.Adam(p, 0.003),
}


def train(name, limit, optimizer="momentum", steps=3, **options):
    """(losses, parameters and buffers, arena)"""
    nncomp.manual_seed(0)
    model, shape = NETS[name]()
    rng = np.random.default_rng(1)
    made = OPTIMIZERS[optimizer](model.parameters())
    step = nncomp.compile_train_step(model, F.cross_entropy, made, memory_limit=limit, **options)
    losses = []
    for _ in range(steps):
        x = nncomp.from_numpy(rng.normal(size=shape).astype(np.float32))
        y = nncomp.from_numpy(rng.integers(0, 10, shape[0]))
        losses.append(step(x, y).item())
    state = [v.numpy().copy() for v in model.state_dict().values()]
    arena = step.last.runner.program.arena
    return losses, state, arena


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NETS)
def test_the_same_bits_in_less_memory(name, optimizer):
    losses, state, arena = train(name, None, optimizer)
    for share in (0.85, 0.7):
        limit = int(share * arena)
        again, others, smaller = train(name, limit, optimizer)
        assert smaller <= limit
        assert again == losses
        for a, b in zip(state, others, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_smallest_size_is_named_and_can_be_had():
    _, _, arena = train("mlp", None, steps=1)
    with pytest.raises(MemoryLimitError, match="memory_limit is 1000 bytes") as caught:
        train("mlp", 1000, steps=1)
    smallest = int(str(caught.value).split(" has ")[1].split()[0])
    assert f"({arena} without" in str(caught.value) and smallest < 0.6 * arena
    assert train("mlp", smallest, steps=1)[2] <= smallest


def test_a_limit_above_the_need_changes_nothing():
    assert train("mlp", "1GB", steps=1)[1:] is not None
    assert train("mlp", "1GB", steps=1)[2] == train("mlp", None, steps=1)[2]


def test_threads_do_not_matter():
    limit = int(0.7 * train("convolutional", None, steps=1)[2])
    one, two = (train("convolutional", limit, steps=2, threads=n) for n in (1, 2))
    assert one[0] == two[0]


@pytest.mark.parametrize(
    "limit, error, match",
    [
        ("lots", ValueError, "'512MB'"),
        ("12 apples", ValueError, "'512MB'"),
        (0, ValueError, "at least one byte"),
        (-5, ValueError, "at least one byte"),
        (1.5, TypeError, "number of bytes"),
        (True, TypeError, "number of bytes"),
    ],
)
def test_wrong_limits(limit, error, match):
    model, _ = mlp()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    with pytest.raises(error, match=match):
        nncomp.compile_train_step(model, F.cross_entropy, optimizer, memory_limit=limit)


def test_units():
    from nncomp.backends.options import parse_bytes

    texts = ("1000", "2KB", "1.5 MB", "1KiB", "2gib", 77, None)
    assert [parse_bytes(t) for t in texts] == [1000, 2000, 1_500_000, 1024, 2**31, 77, 0]


def chain():
    """A value of the beginning that the end reads again, with a large sum of products between."""
    x = input_node("x", TensorType((256, 256), float32))
    w = input_node("w", TensorType((256, 256), float32))
    attrs = dict(shape=x.shape, dtype=float32)
    factors = [build_node(ops.full, (), dict(attrs, value=k / 7)) for k in range(1, 5)]
    early = [ops.exp(ops.mul(x, factor)) for factor in factors]
    y = x
    for value in early:
        y = ops.tanh(ops.add(ops.matmul(y, w), value))
    for value in reversed(early):
        y = ops.tanh(ops.mul(ops.matmul(y, w), value))
    return Graph("chain", (x, w), (y,))


def test_the_pass_keeps_the_meaning():
    graph = chain()

    def arena_of(g):
        return plan_program(fuse(g)).arena

    before = arena_of(graph)
    made = fit_memory(graph, before // 2, arena_of)
    assert arena_of(made) <= before // 2
    names = [n.name for n in made.nodes]
    assert names.count("exp") > [n.name for n in graph.nodes].count("exp")
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, n.type.shape).astype(np.float32) for n in graph.inputs]
    np.testing.assert_array_equal(interpret(graph, *arrays)[0], interpret(made, *arrays)[0])


def test_updates_follow_their_gradients():
    nncomp.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(128, 128) for _ in range(12)])
    optimizer = nncomp.optim.SGD(model.parameters(), 0.1)
    step = nncomp.compile_train_step(model, F.mse_loss, optimizer)
    step(nncomp.zeros(128, 128), nncomp.zeros(128, 128))
    # Activations of all layers are there at once, their gradients are not: those would be as many.
    assert step.last.runner.program.arena < 1.4 * 12 * 128 * 128 * 4


class Checkpointed(nn.Module):
    """Blocks that may be computed again in the backward part."""

    def __init__(self, again):
        super().__init__()
        self.again = again
        self.blocks = nn.ModuleList(
            [nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Dropout(0.2), nn.Linear(256, 64))
             for _ in range(6)]
        )  # fmt: skip

    def forward(self, x):
        for block in self.blocks:
            x = x + (checkpoint(block, x, use_reentrant=False) if self.again else block(x))
        return x


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_checkpoints_are_honoured_in_a_compiled_step(optimizer):
    def run(again):
        nncomp.manual_seed(0)
        model = Checkpointed(again)
        step = nncomp.compile_train_step(
            model, F.mse_loss, OPTIMIZERS[optimizer](model.parameters())
        )
        x = nncomp.randn(128, 64)
        losses = [step(x, x * 0.5).item() for _ in range(3)]
        state = [p.detach().numpy().copy() for p in model.parameters()]
        return losses, state, step.last.runner.program.arena, nncomp.rand(1).item()

    plain, again = run(False), run(True)
    assert again[0] == plain[0] and again[3] == plain[3]
    for a, b in zip(plain[1], again[1], strict=True):
        np.testing.assert_array_equal(a, b)
    assert again[2] < 0.5 * plain[2]


def test_checkpoints_with_gradients_inside_of_a_compiled_function():
    model = Checkpointed(True).eval()
    x = nncomp.randn(4, 64)

    def gradients(x):
        return nncomp.autograd.grad(model(x).square().mean(), list(model.parameters()))

    for a, b in zip(nncomp.compile(gradients)(x), gradients(x), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-6)
