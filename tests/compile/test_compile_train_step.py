"""compile_train_step: many compiled steps are as many eager steps."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from compile_helpers import MLP, Conv, assert_same, last_reason, programs

import nncomp as torch
from nncomp import nn, optim
from nncomp.optim import lr_scheduler
from nncomp.trace_error import TraceError

X = torch.randn(16, 5)
Y = torch.arange(16) % 3
LOSS = nn.CrossEntropyLoss()


def eager_step(model, loss_fn, optimizer, *args):
    *inputs, target = args
    loss = loss_fn(model(*inputs), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


class Run:
    """A model with its optimizer, stepping eagerly or compiled."""

    def __init__(self, model, make, compiled, loss_fn=LOSS, backend="cpu"):
        self.model = copy.deepcopy(model)
        self.optimizer = make(self.model)
        self.loss_fn = loss_fn
        options = dict(backend=backend)
        made = torch.compile_train_step(self.model, loss_fn, self.optimizer, **options)
        self.compiled = made if compiled else None

    def __call__(self, *args):
        if self.compiled is not None:
            return self.compiled(*args)
        return eager_step(self.model, self.loss_fn, self.optimizer, *args)


def pair(model, make, **options):
    """(compiled run, eager run) from the same start."""
    return Run(model, make, True, **options), Run(model, make, False, **options)


def assert_runs_same(compiled, eager, rtol=1e-4):
    """The same parameters, buffers and optimizer state."""
    assert_same(dict(compiled.model.state_dict()), dict(eager.model.state_dict()), rtol)
    a, b = compiled.optimizer.state_dict(), eager.optimizer.state_dict()
    extra = "first"  # of SGD with dampening: has the first gradient been seen?
    states = [
        {p: {k: v for k, v in entries.items() if k != extra} for p, entries in d["state"].items()}
        for d in (a, b)
    ]
    assert_same(states[0], states[1], rtol)
    assert_same(a["param_groups"], b["param_groups"])


def train(runs, steps, *args, between=None, rtol=2e-5):
    """Step both runs and compare each loss."""
    for number in range(steps):
        losses = [float(run(*args)) for run in runs]
        assert losses[0] == pytest.approx(losses[1], rel=rtol, abs=1e-6), number
        if between is not None:
            for run in runs:
                between(run, number)


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "decay": lambda p: optim.SGD(p, lr=0.1, weight_decay=0.01),
    "dampening": lambda p: optim.SGD(p, lr=0.1, momentum=0.8, dampening=0.3, weight_decay=0.01),
    "maximize": lambda p: optim.SGD(p, lr=0.001, momentum=0.5, maximize=True),
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=0.01),
    "adamw": lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "adamw maximize": lambda p: optim.AdamW(p, lr=0.0001, maximize=True),
}  # fmt: skip


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
        import math

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
