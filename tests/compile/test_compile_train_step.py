"""compile_train_step: many compiled steps are as many eager steps."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from compile_helpers import MLP, Conv, assert_same, last_reason, programs
from train_helpers import (
    LOSS,
    OPTIMIZERS,
    Run,
    X,
    Y,
    assert_runs_same,
    eager_step,
    pair,
    train,
)

import nncomp as torch
from nncomp import nn, optim
from nncomp.optim import lr_scheduler


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fifty_steps(name):
    runs = pair(MLP(), lambda m: OPTIMIZERS[name](m.parameters()))
    train(runs, 50, X, Y)
    assert_runs_same(*runs)
    assert programs(runs[0].compiled) == 1


@pytest.mark.parametrize("name", ["dampening", "amsgrad"])
def test_the_interpreter_agrees(name):
    make = OPTIMIZERS[name]
    runs = pair(MLP().double(), lambda m: make(m.parameters()), backend="numpy")
    train(runs, 5, X.double(), Y, rtol=1e-10)
    assert_runs_same(*runs, rtol=1e-9)


SCHEDULERS = {
    "step": lambda o: lr_scheduler.StepLR(o, 3, gamma=0.5),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 8),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.2, total_steps=20),
    "plateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1, factor=0.5),
}  # fmt: skip


@pytest.mark.parametrize("optimizer", ["momentum", "adamw"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_never_recompile(name, optimizer):
    runs = pair(MLP(), lambda m: OPTIMIZERS[optimizer](m.parameters()))
    schedulers = {id(run): SCHEDULERS[name](run.optimizer) for run in runs}

    def between(run, number):
        scheduler = schedulers[id(run)]
        scheduler.step(*([1.0] if name == "plateau" else []))

    train(runs, 14, X, Y, between=between)
    rates = [run.optimizer.param_groups[0]["lr"] for run in runs]
    assert rates[0] == rates[1] != runs[0].optimizer.defaults["lr"]
    assert_runs_same(*runs)
    assert programs(runs[0].compiled) == 1


def test_a_rate_that_is_a_tensor():
    runs = pair(MLP(), lambda m: optim.SGD(m.parameters(), lr=torch.tensor(0.1), momentum=0.5))

    def between(run, number):
        run.optimizer.param_groups[0]["lr"].fill_(0.1 / (number + 2))

    train(runs, 4, X, Y, between=between)
    assert_runs_same(*runs)
    assert programs(runs[0].compiled) == 1


def test_options_that_flip_a_branch_recompile():
    runs = pair(MLP(), lambda m: optim.SGD(m.parameters(), lr=0.1))
    train(runs, 2, X, Y)

    def options(**changes):
        for run in runs:
            run.optimizer.param_groups[0].update(changes)
        train(runs, 2, X, Y)

    options(weight_decay=0.1)
    assert "weight_decay changed from 0 to 0.1" in last_reason(runs[0].compiled)
    options(weight_decay=0.2)
    assert programs(runs[0].compiled) == 2
    options(weight_decay=0.0)
    assert "weight_decay != 0 is False now" in last_reason(runs[0].compiled)
    options(momentum=0.9)
    assert programs(runs[0].compiled) == 4
    options(nesterov=True)
    assert "nesterov changed from False to True" in last_reason(runs[0].compiled)
    options(weight_decay=0.3)
    options(momentum=0.8, lr=1e-3)
    assert programs(runs[0].compiled) == 6
    options(weight_decay=0.05)
    assert programs(runs[0].compiled) == 6
    assert_runs_same(*runs)


def test_numpy_numbers_as_options_are_followed():
    runs = pair(MLP(), lambda m: optim.SGD(m.parameters(), lr=0.1, momentum=0.9))
    for value in (0.9, 0.5, 0.7):
        for run in runs:
            run.optimizer.param_groups[0].update(momentum=np.float64(value), lr=np.float32(value))
        train(runs, 2, X, Y)
    assert_runs_same(*runs)
    assert programs(runs[0].compiled) == 1


def test_parameter_groups_with_their_own_options():
    def make(model):
        return optim.Adam(
            [
                {"params": model.fc1.parameters(), "lr": 0.02, "weight_decay": 0.1},
                {"params": [model.fc2.weight], "betas": (0.5, 0.9)},
                {"params": [model.fc2.bias], "amsgrad": True},
            ],
            lr=0.01,
        )

    runs = pair(MLP(), make)
    train(runs, 5, X, Y)
    for run in runs:
        run.optimizer.param_groups[1]["lr"] = 0.1
        run.optimizer.param_groups[1]["betas"] = (0.6, 0.99)
    train(runs, 5, X, Y)
    assert_runs_same(*runs)
    assert programs(runs[0].compiled) == 1


def test_a_group_that_is_added_later():
    def make(model):
        return optim.SGD(model.fc1.parameters(), lr=0.1, momentum=0.9)

    runs = pair(MLP(), make)
    train(runs, 2, X, Y)
    for run in runs:
        run.optimizer.add_param_group({"params": run.model.fc2.parameters(), "lr": 0.01})
    train(runs, 3, X, Y)
    assert_runs_same(*runs)
    assert "group 1" in last_reason(runs[0].compiled)


def test_frozen_and_unused_parameters():
    class Net(MLP):
        def __init__(self):
            super().__init__()
            self.unused = nn.Linear(2, 2)

    runs = pair(Net(), lambda m: optim.Adam(m.parameters(), lr=0.01, weight_decay=0.1))
    for run in runs:
        run.model.fc1.requires_grad_(False)
    before = runs[0].model.fc1.weight.clone()
    unused = runs[0].model.unused.weight.clone()
    train(runs, 3, X, Y)
    assert_same(runs[0].model.fc1.weight.detach(), before.detach())
    assert_same(runs[0].model.unused.weight.detach(), unused.detach())
    for run in runs:
        run.model.fc1.requires_grad_(True)
    train(runs, 3, X, Y)
    assert_same(dict(runs[0].model.state_dict()), dict(runs[1].model.state_dict()), 1e-4)
    assert programs(runs[0].compiled) == 2


def test_tied_parameters():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(5, 5), nn.Linear(5, 5, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(torch.tanh(self.a(x)))

    runs = pair(Tied(), lambda m: optim.Adam(m.parameters(), lr=0.01))
    train(runs, 10, X, Y)
    assert_runs_same(*runs)
    assert runs[0].model.b.weight is runs[0].model.a.weight


def test_batch_norm_and_dropout():
    runs = pair(Conv(), lambda m: optim.SGD(m.parameters(), lr=0.1, momentum=0.9))
    images, labels = torch.randn(8, 2, 6, 6), torch.arange(8) % 3
    seeds = {id(run): 0 for run in runs}
    for step in range(6):
        losses = []
        for run in runs:
            torch.manual_seed(step)
            losses.append(float(run(images, labels)))
            seeds[id(run)] = torch.get_rng_state().tolist()
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert len(set(map(tuple, seeds.values()))) == 1
    assert_runs_same(*runs, rtol=1e-3)
    assert int(runs[0].model.norm.num_batches_tracked) == 6


def test_several_inputs_and_structured_outputs():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(5, 3)

        def forward(self, x, extra, scale):
            h = self.fc(x) * scale
            return {"scores": h, "pair": (h.mean(), extra["shift"])}

    def loss_fn(out, target):
        return LOSS(out["scores"] + out["pair"][1], target["y"]) + out["pair"][0] ** 2

    runs = pair(Net(), lambda m: optim.SGD(m.parameters(), lr=0.1), loss_fn=loss_fn)
    train(runs, 5, X, {"shift": torch.randn(3)}, 2.0, {"y": Y})
    assert_runs_same(*runs)


def test_a_smaller_last_batch():
    runs = pair(MLP(), lambda m: optim.Adam(m.parameters(), lr=0.01))
    for _ in range(2):
        train(runs, 2, X, Y)
        train(runs, 1, X[:7], Y[:7])
    assert_runs_same(*runs)
    assert programs(runs[0].compiled) == 2
    assert "f32[16,5] to f32[7,5]" in last_reason(runs[0].compiled)


def test_loss_as_module_or_function_with_state():
    weights = torch.tensor([1.0, 2.0, 0.5])
    weighted = nn.CrossEntropyLoss(weight=weights)
    for loss_fn in (
        weighted,
        lambda scores, y: nn.functional.cross_entropy(scores, y, weight=weights),
        nn.functional.cross_entropy,
    ):
        runs = pair(MLP(), lambda m: optim.SGD(m.parameters(), lr=0.1), loss_fn=loss_fn)
        train(runs, 3, X, Y)
    step = torch.compile_train_step(MLP(), weighted, optim.SGD(MLP().parameters(), lr=0.1))
    with pytest.raises(RuntimeError):
        step(X, Y.float()[:3])


def test_options_of_the_loss_are_watched():
    loss = nn.CrossEntropyLoss()
    runs = pair(MLP(), lambda m: optim.SGD(m.parameters(), lr=0.1), loss_fn=loss)
    train(runs, 2, X, Y)
    loss.label_smoothing = 0.3
    train(runs, 2, X, Y)
    assert "label_smoothing" in last_reason(runs[0].compiled)


def test_eager_and_compiled_steps_may_alternate():
    for name in ("dampening", "amsgrad", "nesterov"):
        runs = pair(MLP(), lambda m: OPTIMIZERS[name](m.parameters()))  # noqa: B023
        for kind in ("eager", "compiled", "eager", "compiled", "compiled"):
            mixed, eager = runs
            if kind == "compiled":
                got = mixed(X, Y)
            else:
                got = eager_step(mixed.model, LOSS, mixed.optimizer, X, Y)
            assert float(got) == pytest.approx(float(eager(X, Y)), rel=2e-5)
        assert_same(dict(mixed.model.state_dict()), dict(eager.model.state_dict()), 1e-4)


def test_evaluation_between_steps_sees_the_new_parameters():
    model = MLP()
    compiled = torch.compile(model)
    step = torch.compile_train_step(model, LOSS, optim.SGD(model.parameters(), lr=0.5))
    with torch.no_grad():
        for _ in range(3):
            assert_same(compiled(X), model(X))
            step(X, Y)
    assert programs(compiled) == 1


def test_a_compiled_model_can_be_trained():
    model = torch.compile(MLP())
    eager = Run(copy.deepcopy(model), lambda m: optim.Adam(m.parameters()), False)
    step = torch.compile_train_step(model, LOSS, optim.Adam(model.parameters()))
    for _ in range(3):
        assert float(step(X, Y)) == pytest.approx(float(eager(X, Y)), rel=2e-5)
