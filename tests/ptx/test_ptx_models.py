"""Whole models on the PTX interpreter: forward and training steps equal the CPU backend's."""

from __future__ import annotations

import numpy as np
import pytest

import nncomp
from nncomp import nn

F = nn.functional


class ConvNet(nn.Module):
    """Two convolutions with batch norm, pooling and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.out = nn.Linear(8 * 16, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.conv1(x))), 2)
        return self.out(F.relu(self.conv2(x)).flatten(1))


class Block(nn.Module):
    """A residual block that may halve the image."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
        self.down = nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x):
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.down(x))


class ResNet(nn.Module):
    """Two residual blocks and an average over the image."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(3, 8, 1), Block(8, 12, 2))
        self.out = nn.Linear(12, 5)

    def forward(self, x):
        return self.out(self.blocks(x).mean((2, 3)))


class Recurrent(nn.Module):
    """A two-layer LSTM whose last state is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(5, 7, 2, batch_first=True), nn.Linear(7, 4)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


class Transformer(nn.Module):
    """Embedding, one encoder layer, the mean over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.out = nn.Linear(16, 4)

    def forward(self, x):
        return self.out(self.layer(self.table(x)).mean(1))


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def whole(high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(high).integers(0, high, shape)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 10))


MODELS = {
    "mlp": (mlp, normal(8, 20), whole(10, 8)),
    "convnet": (ConvNet, normal(3, 1, 16, 16), whole(10, 3)),
    "resnet": (ResNet, normal(2, 3, 8, 8), whole(5, 2)),
    "lstm": (Recurrent, normal(2, 6, 5), whole(4, 2)),
    "transformer": (Transformer, whole(11, 2, 9), whole(4, 2)),
}


def run(make, x: np.ndarray, target: np.ndarray, backend: str):
    """Outputs before training, losses and parameters after two steps of SGD with momentum."""
    nncomp.manual_seed(0)
    model = make()
    with nncomp.no_grad():
        before = nncomp.compile(model, backend=backend)(nncomp.tensor(x)).numpy()
    optimizer = nncomp.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    step = nncomp.compile_train_step(model, F.cross_entropy, optimizer, backend=backend)
    losses = [float(step(nncomp.tensor(x), nncomp.tensor(target))) for _ in range(2)]
    return before, np.array(losses), model.state_dict()


@pytest.mark.parametrize("name", sorted(MODELS))
def test_forward_and_training_are_those_of_the_cpu(name):
    make, x, target = MODELS[name]
    cpu, gpu = (run(make, x, target, backend) for backend in ("cpu", "ptx"))
    np.testing.assert_allclose(gpu[0], cpu[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gpu[1], cpu[1], rtol=1e-5)
    for key, value in cpu[2].items():
        np.testing.assert_allclose(gpu[2][key].numpy(), value.numpy(), rtol=1e-3, atol=1e-5)


def test_adam_steps_a_parameter_as_on_the_cpu():
    results = []
    for backend in ("cpu", "ptx"):
        nncomp.manual_seed(0)
        model = mlp()
        optimizer = nncomp.optim.AdamW(model.parameters(), lr=0.01)
        step = nncomp.compile_train_step(model, F.cross_entropy, optimizer, backend=backend)
        for _ in range(3):
            step(nncomp.tensor(MODELS["mlp"][1]), nncomp.tensor(MODELS["mlp"][2]))
        results.append([p.detach().numpy() for p in model.parameters()])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_gradients_of_a_compiled_module():
    results = []
    for backend in ("cpu", "ptx"):
        nncomp.manual_seed(0)
        model = mlp()
        compiled = nncomp.compile(model, backend=backend)
        y = compiled(nncomp.tensor(normal(8, 20)))
        F.cross_entropy(y, nncomp.tensor(whole(10, 8))).backward()
        results.append([p.grad.numpy() for p in model.parameters()])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_dropout_draws_what_the_cpu_draws():
    x = nncomp.ones(500)
    drawn = []
    for backend in ("cpu", "ptx"):
        nncomp.manual_seed(3)
        drop = nncomp.compile(lambda x: F.dropout(x, 0.5), backend=backend)
        drawn.append([drop(x).numpy() for _ in range(2)])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0][0] != drawn[0][1]).any()


def test_an_index_out_of_bounds_is_an_error_before_anything_runs():
    table = nncomp.compile(lambda x, i: x[i], backend="ptx")
    with pytest.raises(IndexError, match="index 9 is out of bounds for an axis of length 4"):
        table(nncomp.ones(4, 3), nncomp.tensor([0, 9]))


def test_constants_follow_their_updates():
    model = mlp().requires_grad_(False)
    compiled = nncomp.compile(model, backend="ptx")
    x = nncomp.tensor(MODELS["mlp"][1])
    first = compiled(x).numpy()
    np.testing.assert_array_equal(compiled(x).numpy(), first)
    for p in model.parameters():
        p.mul_(2.0)
    np.testing.assert_allclose(compiled(x).numpy(), model(x).numpy(), rtol=1e-5, atol=1e-5)


def test_the_text_of_a_model_needs_no_device(monkeypatch):
    monkeypatch.setenv("NNCOMP_PTX_DEVICE", "cuda")
    text = nncomp.cuda.ptx(mlp(), nncomp.zeros(2, 20))
    assert text.count(".visible .entry") == text.count(".version") >= 2
    assert ".target sm_80" in text
    compiled = nncomp.compile(mlp(), backend="cpu")
    compiled(nncomp.zeros(2, 20))
    with pytest.raises(RuntimeError, match='compile it with backend="ptx"'):
        _ = compiled.ptx


def steps_of_training(resident: bool, batches: list) -> tuple[list[float], dict]:
    nncomp.manual_seed(0)
    model = nn.Sequential(mlp(), nn.Dropout(0.2))
    optimizer = nncomp.optim.Adam(model.parameters(), lr=0.01)
    step = nncomp.compile_train_step(model, F.cross_entropy, optimizer, backend="ptx")
    if not resident:
        return [float(step(*map(nncomp.tensor, b))) for b in batches], model.state_dict()
    with step.on_device():
        losses = [float(step(*map(nncomp.tensor, b))) for b in batches]
    return losses, model.state_dict()


def test_training_with_everything_on_the_device():
    rows = [8, 8, 5, 8]  # another batch size is another program: values move through the host
    batches = [(normal(n, 20), whole(10, n)) for n in rows]
    expected, got = (steps_of_training(resident, batches) for resident in (False, True))
    assert got[0] == expected[0]
    for key, value in expected[1].items():
        np.testing.assert_array_equal(got[1][key].numpy(), value.numpy())


def test_writing_what_the_device_has_is_an_error():
    model = mlp()
    optimizer = nncomp.optim.SGD(model.parameters(), lr=0.1)
    step = nncomp.compile_train_step(model, F.cross_entropy, optimizer, backend="ptx")
    batch = [nncomp.tensor(v) for v in MODELS["mlp"][1:]]
    before = model[0].weight.detach().numpy().copy()
    with step.on_device():
        step(*batch)
        np.testing.assert_array_equal(model[0].weight.detach().numpy(), before)
        with nncomp.no_grad():
            model[0].bias.mul_(2.0)
        with pytest.raises(RuntimeError, match="leave the block first"):
            step(*batch)
        with pytest.raises(RuntimeError, match="inside of an on_device"):
            step.on_device().__enter__()
    assert (model[0].weight.detach().numpy() != before).any()
    step(*batch)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_a_turn_of_a_recurrent_cell_is_one_launch(cell):
    nncomp.manual_seed(0)
    model = getattr(nn, cell)(8, 40, batch_first=True).requires_grad_(False)
    x = nncomp.tensor(normal(1, 9, 8))
    compiled = nncomp.compile(model, backend="ptx")
    got, expected = compiled(x)[0].numpy(), model(x)[0].numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    program = compiled._compiled_forward.last.runner.device_program()
    names = [call.launch.function for call in program.calls()]
    assert sorted(names.count(n) for n in set(names))[-1] == 9


def test_training_a_recurrent_cell_with_one_row():
    cpu, gpu = (run(Recurrent, normal(1, 6, 5), whole(4, 1), b) for b in ("cpu", "ptx"))
    np.testing.assert_allclose(gpu[1], cpu[1], rtol=1e-5)
    for key, value in cpu[2].items():
        np.testing.assert_allclose(gpu[2][key].numpy(), value.numpy(), rtol=1e-3, atol=1e-5)
