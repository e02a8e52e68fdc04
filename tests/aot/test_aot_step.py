"""Exported training steps: a C program and a loaded package train as Python does, bit for bit."""

from __future__ import annotations

import re

import numpy as np
import pytest
from programs import STRICT, build, got, need, put, run, same

import nncomp
from nncomp import nn, optim
from nncomp.nn import functional as F

RUNS = 6


class Reader(nn.Module):
    """Embedding, LSTM and dropout: indices, loops and random numbers."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 12, batch_first=True)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(12, 3)

    def forward(self, tokens):
        return self.head(self.drop(self.lstm(self.embedding(tokens))[0][:, -1]))


def mlp():
    """An MLP with statistics, trained by Adam."""
    nncomp.manual_seed(0)
    net = nn.Sequential(nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    step = nncomp.compile_train_step(net, F.cross_entropy, optim.Adam(net.parameters(), lr=0.01))
    return step, [nncomp.randn(8, 10) for _ in range(RUNS)]


def reader():
    """A recurrent classifier, trained by SGD with momentum, with clipped gradients."""
    nncomp.manual_seed(1)
    net = Reader()
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    step = nncomp.compile_train_step(
        net, F.cross_entropy, optimizer,
        before_update=lambda: nn.utils.clip_grad_norm_(net.parameters(), 0.5),
    )  # fmt: skip
    return step, [nncomp.randint(0, 20, (8, 5)) for _ in range(RUNS)]


def convnet():
    """A convolutional network, trained by AdamW in two groups."""
    nncomp.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                        nn.Linear(8 * 16, 3))  # fmt: skip
    groups = [{"params": net[0].parameters(), "lr": 0.02}, {"params": net[4].parameters()}]
    step = nncomp.compile_train_step(net, F.cross_entropy, optim.AdamW(groups, lr=0.01))
    return step, [nncomp.randn(8, 1, 8, 8) for _ in range(RUNS)]


def limited():
    """An MLP whose gradients are scaled, with little memory for intermediate values."""
    nncomp.manual_seed(3)
    net = nn.Sequential(nn.Linear(10, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(),
                        nn.Linear(64, 3))  # fmt: skip
    scaler = nncomp.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    step = nncomp.compile_train_step(net, F.cross_entropy, optim.SGD(net.parameters(), lr=0.1),
                                     scaler=scaler, memory_limit="28KB")  # fmt: skip
    return step, [nncomp.randn(8, 10) for _ in range(RUNS)]


def encoder():
    """A layer of a transformer with dropout in its attention, trained by Adam."""
    nncomp.manual_seed(4)
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
    net = nn.Sequential(nn.Embedding(20, 16), layer, nn.Flatten(), nn.Linear(12 * 16, 3))
    step = nncomp.compile_train_step(net, F.cross_entropy, optim.Adam(net.parameters(), lr=0.01))
    return step, [nncomp.randint(0, 20, (8, 12)) for _ in range(RUNS)]


MAKERS = {"mlp": mlp, "reader": reader, "convnet": convnet, "limited": limited, "encoder": encoder}


@pytest.mark.parametrize("name", MAKERS)
def test_c_trains_like_python(name, tmp_path):
    need("gcc")
    step, batches = MAKERS[name]()
    targets = [nncomp.randint(0, 3, (8,)) for _ in batches]
    for end in ("o", "nnc"):
        nncomp.aot.export(
            step.model, (batches[0], targets[0]), tmp_path / f"net.{end}", train_step=step
        )
    loaded = nncomp.aot.load(tmp_path / "net.nnc")
    for number, pair in enumerate(zip(batches, targets, strict=True)):
        put(tmp_path, *pair, number=number)
    run([build(tmp_path, flags=("-DSTATE",)), RUNS], tmp_path)
    for number, pair in enumerate(zip(batches, targets, strict=True)):
        loss = step(*pair)
        assert same(loaded(*pair).numpy(), loss)
        assert same(got(tmp_path, 0, loss, run=number), loss)
    parameters = dict(step.model.named_parameters())
    after = (tmp_path / "out_1.0.bin").read_bytes()
    header = (tmp_path / "net.h").read_text()
    for key, p in parameters.items():
        word = re.sub(r"\W", "_", key).upper()
        at = int(re.search(rf"NET_STATE_{word} (\d+) ", header)[1])
        expected = p.detach().numpy().tobytes()
        assert after[at : at + len(expected)] == expected
        assert loaded.state()[key].numpy().tobytes() == expected


def test_hyper_parameters_can_be_changed(tmp_path):
    step, batches = mlp()
    target = nncomp.randint(0, 3, (8,))
    nncomp.aot.export(step.model, (batches[0], target), tmp_path / "net.nnc", train_step=step)
    loaded = nncomp.aot.load(tmp_path / "net.nnc")
    for lr, x in zip((0.01, 0.003, 0.1), batches, strict=False):
        step.optimizer.param_groups[0]["lr"] = lr
        loaded.set_state(lr=lr)
        assert same(loaded(x, target).numpy(), step(x, target))


def test_outputs_and_steps_without_a_target(tmp_path):
    nncomp.manual_seed(6)
    net = nn.Sequential(nn.Linear(10, 6), nn.Tanh(), nn.Linear(6, 10))
    step = nncomp.compile_train_step(
        net, lambda y: (y * y).mean(), optim.SGD(net.parameters(), lr=0.1), outputs=True
    )
    x = nncomp.randn(8, 10)
    nncomp.aot.export(net, (x,), tmp_path / "net.nnc", train_step=step)
    loaded = nncomp.aot.load(tmp_path / "net.nnc")
    for _ in range(3):
        assert all(same(a.numpy(), b) for a, b in zip(loaded(x), step(x), strict=True))


def test_export_changes_nothing_in_python(tmp_path):
    step, batches = mlp()
    target = nncomp.randint(0, 3, (8,))
    before = {k: v.numpy().copy() for k, v in step.model.state_dict().items()}
    state = nncomp.get_rng_state().tolist()
    nncomp.aot.export(step.model, (batches[0], target), tmp_path / "net.o", train_step=step)
    assert nncomp.get_rng_state().tolist() == state
    after = step.model.state_dict()
    assert all(np.array_equal(before[k], after[k].numpy()) for k in before)


def test_a_short_c_program_trains(tmp_path):
    need("gcc")
    nncomp.manual_seed(5)
    net = nn.Linear(4, 1)
    step = nncomp.compile_train_step(net, F.mse_loss, optim.SGD(net.parameters(), lr=0.1))
    inputs = nncomp.ones(16, 4), nncomp.ones(16, 1)
    nncomp.aot.export(net, inputs, tmp_path / "fit.a", train_step=step)
    (tmp_path / "main.c").write_text(
        r"""#include <stdio.h>
#include "fit.h"
static float x[16][4], y[16][1];
static double state[FIT_STATE_BYTES / 8 + 1], workspace[FIT_WORKSPACE_BYTES / 8 + 1];
int main(void) {
    float loss = 0;
    const void *inputs[] = {x, y};
    void *outputs[] = {&loss};
    unsigned seed = 1;
    if (fit_init(state) != FIT_OK)
        return 1;
    for (int step = 0; step < 1000; step++) {
        for (int i = 0; i < 16; i++) {
            y[i][0] = 0.5f;
            for (int j = 0; j < 4; j++) {
                seed = seed * 1664525u + 1013904223u;
                x[i][j] = (float)(seed >> 8) / 16777216.0f - 0.5f;
                y[i][0] += (float)(j + 1) * x[i][j];
            }
        }
        if (fit_run(inputs, outputs, state, workspace) != FIT_OK)
            return 2;
    }
    const float *w = (const float *)(state + FIT_STATE_WEIGHT / 8);
    printf("%.2f %.2f %.2f %.2f %.2f\n", w[0], w[1], w[2], w[3], loss);
    return 0;
}
"""
    )
    run(["gcc", *STRICT, "main.c", "fit.a", "-o", "main", "-lm"], tmp_path)
    assert run([tmp_path / "main"], tmp_path).stdout == "1.00 2.00 3.00 4.00 0.00\n"


def test_wrong_steps_are_refused(tmp_path):
    step, batches = mlp()
    target = nncomp.randint(0, 3, (8,))
    path = tmp_path / "net.o"
    with pytest.raises(TypeError, match="compile_train_step gives, got function"):
        nncomp.aot.export(None, (batches[0], target), path, train_step=lambda x, y: x)
    with pytest.raises(ValueError, match="another Module"):
        nncomp.aot.export(nn.Linear(2, 2), (batches[0], target), path, train_step=step)
    with pytest.raises(ValueError, match="then the target"):
        nncomp.aot.export(step.model, batches[0], path, train_step=step)
    with pytest.raises(ValueError, match="is a tuple"):
        nncomp.aot.export(step.model, {"input": batches[0]}, path, train_step=step)
    twice = nncomp.compile_train_step(
        step.model, F.cross_entropy, step.optimizer, accumulate=2
    )  # fmt: skip
    with pytest.raises(ValueError, match="accumulates gradients over 2 calls"):
        nncomp.aot.export(step.model, (batches[0], target), path, train_step=twice)
    assert not list(tmp_path.iterdir())
