"""compile_train_step: saving and loading, what it leaves alone, what it refuses."""

from __future__ import annotations

import copy
import math

import pytest
from compile_helpers import MLP, assert_same, programs
from train_helpers import LOSS, OPTIMIZERS, Run, X, Y, assert_runs_same, pair, train

import nncomp as torch
from nncomp import nn, optim
from nncomp.trace_error import TraceError

# -- saving and loading ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["momentum", "amsgrad", "dampening"])
def test_state_dicts_are_true_and_load(name):
    def make(m):
        return OPTIMIZERS[name](m.parameters())

    runs = pair(MLP(), make)
    train(runs, 3, X, Y)
    fresh = Run(MLP(), make, True)
    fresh.model.load_state_dict(runs[0].model.state_dict())
    fresh.optimizer.load_state_dict(runs[0].optimizer.state_dict())
    train((fresh, runs[1]), 3, X, Y)
    assert_runs_same(fresh, runs[1])


@pytest.mark.parametrize("name", ["momentum", "amsgrad"])
def test_loading_between_steps_is_followed_without_recompiling(name):
    runs = pair(MLP(), lambda m: OPTIMIZERS[name](m.parameters()))
    train(runs, 2, X, Y)
    saved = [
        (copy.deepcopy(r.model.state_dict()), copy.deepcopy(r.optimizer.state_dict())) for r in runs
    ]
    train(runs, 2, X, Y)
    for run, (model, optimizer) in zip(runs, saved, strict=True):
        run.model.load_state_dict(model)
        run.optimizer.load_state_dict(optimizer)
    train(runs, 3, X, Y)
    assert_runs_same(*runs)
    assert programs(runs[0].compiled) == 1


def test_cleared_state_starts_anew():
    runs = pair(MLP(), lambda m: optim.Adam(m.parameters(), lr=0.01))
    train(runs, 2, X, Y)
    for run in runs:
        run.optimizer.state.clear()
    train(runs, 3, X, Y)
    assert_runs_same(*runs)
    assert programs(runs[0].compiled) == 1


def test_replaced_parameters_recompile():
    runs = pair(MLP(), lambda m: optim.SGD(m.parameters(), lr=0.1))
    train(runs, 2, X, Y)
    for run in runs:
        run.model.fc2 = nn.Linear(7, 3)
        run.model.fc2.load_state_dict(runs[0].model.fc2.state_dict())
        run.optimizer.param_groups[0]["params"] = list(run.model.parameters())
    train(runs, 2, X, Y)
    assert_runs_same(*runs)


# -- what the step leaves alone -------------------------------------------------------------------


def test_gradients_and_grad_mode_are_left_alone():
    model = MLP()
    model.fc1.weight.grad = torch.ones(7, 5)
    step = torch.compile_train_step(model, LOSS, optim.SGD(model.parameters(), lr=0.1))
    with torch.no_grad():
        loss = step(X, Y)
    assert loss.shape == () and not loss.requires_grad
    assert_same(model.fc1.weight.grad, torch.ones(7, 5))
    assert model.fc2.weight.grad is None and torch.is_grad_enabled()
    assert model.fc1.weight.is_leaf and model.fc1.weight.requires_grad


def test_versions_are_counted():
    model = MLP()
    step = torch.compile_train_step(model, LOSS, optim.SGD(model.parameters(), lr=0.1))
    y = torch.compile(model)(X.clone().requires_grad_()).sum()
    step(X, Y)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_hooks_on_parameters_are_part_of_the_step():
    runs = pair(MLP(), lambda m: optim.SGD(m.parameters(), lr=0.1))
    train(runs, 1, X, Y)
    handles = [run.model.fc1.weight.register_hook(lambda g: g * 0) for run in runs]
    before = runs[0].model.fc1.weight.clone()
    train(runs, 2, X, Y)
    assert_same(runs[0].model.fc1.weight.detach(), before.detach())
    for handle in handles:
        handle.remove()
    train(runs, 2, X, Y)
    assert_runs_same(*runs)


def test_optimizer_hooks():
    model, calls = MLP(), []
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    step = torch.compile_train_step(model, LOSS, optimizer)
    optimizer.register_step_post_hook(lambda *args: calls.append(1))
    for _ in range(3):
        step(X, Y)
    assert len(calls) == 3
    optimizer.register_step_pre_hook(lambda *args: None)
    with pytest.raises(RuntimeError, match="pre-hook"):
        step(X, Y)


def test_clipping_inside_of_the_loss_function_is_eager_code_too():
    def loss_fn(scores, target):
        return LOSS(torch.clamp(scores, -1, 1), target)

    runs = pair(MLP(), lambda m: optim.SGD(m.parameters(), lr=0.5), loss_fn=loss_fn)
    train(runs, 4, X, Y)
    assert_runs_same(*runs)


# -- refusals -------------------------------------------------------------------------------------


def test_wrong_calls():
    model = MLP()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = torch.compile_train_step(model, LOSS, optimizer)
    with pytest.raises(TypeError, match="inputs and a target, got 1"):
        step(X)
    with pytest.raises(RuntimeError, match="not called yet"):
        step.graph  # noqa: B018
    with pytest.raises(ValueError, match="threads must be"):
        torch.compile_train_step(model, LOSS, optimizer, threads=0)
    with pytest.raises(ValueError, match="unknown backend"):
        torch.compile_train_step(model, LOSS, optimizer, backend="tpu")
    plain = torch.compile_train_step(model, lambda y, t: 1.0, optimizer)
    with pytest.raises(TypeError, match="loss_fn must return a Tensor, got float"):
        plain(X, Y)
    vector = torch.compile_train_step(model, lambda y, t: y.sum(0), optimizer)
    with pytest.raises(RuntimeError, match="scalar outputs"):
        vector(X, Y)


def test_a_failing_compile_leaves_everything_and_can_be_retried():
    model, broken = MLP(), [True]
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    def loss_fn(y, t):
        loss = LOSS(y, t)
        if broken[0] and loss > 0:
            return loss * 2
        return loss

    step = torch.compile_train_step(model, loss_fn, optimizer)
    state = copy.deepcopy(model.state_dict())
    with pytest.raises(TraceError):
        step(X, Y)
    assert not optimizer.state and optimizer.param_groups[0]["lr"] == 0.01
    assert_same(dict(model.state_dict()), dict(state))
    assert all(p.grad is None for p in model.parameters())
    broken[0] = False
    assert float(step(X, Y)) == pytest.approx(float(LOSS(MLP.forward(model, X), Y)), rel=0.5)
    assert programs(step) == 1


class Lazy(optim.Optimizer):
    """Creates its state in step() and counts in Python, as a program cannot."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.1})

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["count"] = self.state[p].get("count", 0) + 1
                with torch.no_grad():
                    p.sub_(p.grad * group["lr"])


class Sqrt(optim.Optimizer):
    """Reads options as plain numbers, which the program then depends on."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr, "power": 0.5, "names": ["a"]})

    def step(self, closure=None):
        for group in self.param_groups:
            rate = math.sqrt(group["lr"]) if group["lr"] < 0.5 else group["lr"] * 2
            for p in group["params"]:
                with torch.no_grad():
                    p.add_(p.grad.abs() ** group["power"] * torch.sign(p.grad), alpha=-rate)
                    p.mul_(max(0.5, 1 - group["lr"] / 100))


def test_state_made_inside_of_step_is_refused():
    model = MLP()
    optimizer = Lazy(model.parameters())
    step = torch.compile_train_step(model, LOSS, optimizer)
    with pytest.raises(TraceError, match="new 'count' into its state"):
        step(X, Y)
    assert not optimizer.state


def test_numbers_that_are_read_in_python_recompile():
    runs = pair(MLP(), lambda m: Sqrt(m.parameters(), 0.01))
    counts = []
    for rate, power in ((0.01, 0.5), (0.04, 0.5), (0.04, 0.7), (0.6, 0.7), (0.7, 0.7)):
        for run in runs:
            run.optimizer.param_groups[0].update(lr=rate, power=power)
        train(runs, 2, X, Y)
        counts.append(programs(runs[0].compiled))
    assert counts == [1, 2, 3, 4, 4]
    assert "lr < 0.5 is False now" in runs[0].compiled.explain()
    assert_runs_same(*runs)


def test_against_torch():
    theirs = pytest.importorskip("torch")
    ours = MLP()
    other = theirs.nn.Sequential(
        theirs.nn.Linear(5, 7), theirs.nn.ReLU(), theirs.nn.Linear(7, 3)
    )  # fmt: skip
    pairs = zip(other.parameters(), ours.parameters(), strict=True)
    with theirs.no_grad():
        for p, q in pairs:
            p.copy_(theirs.from_numpy(q.detach().numpy().copy()))
    options = dict(lr=0.01, weight_decay=0.05, amsgrad=True)
    step = torch.compile_train_step(ours, LOSS, optim.AdamW(ours.parameters(), **options))
    optimizer = theirs.optim.AdamW(other.parameters(), **options)
    x, y = theirs.from_numpy(X.numpy().copy()), theirs.from_numpy(Y.numpy().copy())
    for _ in range(20):
        loss = theirs.nn.functional.cross_entropy(other(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert float(step(X, Y)) == pytest.approx(loss.item(), rel=1e-4)
