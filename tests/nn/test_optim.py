"""Optimizers compared with torch: trajectories, state dicts, repr, errors, hooks."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from both import agree, cases, numbers

import nncomp
from nncomp import nn, optim


def parameters(t):
    return [
        t.nn.Parameter(t.tensor(numbers(3, 4))),
        t.nn.Parameter(t.tensor(numbers(5, start=20))),
        t.nn.Parameter(t.ones(2)),  # never gets a gradient
    ]


def loss_of(t, params):
    return sum((p * p * 0.3 + t.sin(3 * p)).sum() for p in params[:2])


def trained(t, optimizer, params, steps=6):
    path = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(t, params).backward()
        optimizer.step()
        path.append(t.cat([p.detach().reshape(-1) for p in params]))
    return t.stack(path)


def run(name, *, tensor_lr=False, init_state=False, **options):
    def scenario(t):
        params = parameters(t)
        if tensor_lr:
            options["lr"] = t.tensor(0.1)
        optimizer = getattr(t.optim, name)(params, **options)
        if init_state and hasattr(optimizer, "init_state"):
            optimizer.init_state()
        path = trained(t, optimizer, params)
        if init_state:  # torch makes state lazily, so that the unused parameter has none
            return path
        return [path, optimizer.state_dict(), repr(optimizer)]

    return scenario


SETTINGS = {
    "SGD": {"name": "SGD", "lr": 0.1},
    "SGD momentum": {"name": "SGD", "lr": 0.1, "momentum": 0.9},
    "SGD dampening": {"name": "SGD", "lr": 0.1, "momentum": 0.9, "dampening": 0.3},
    "SGD nesterov": {"name": "SGD", "lr": 0.1, "momentum": 0.8, "nesterov": True},
    "SGD decay": {"name": "SGD", "lr": 0.1, "momentum": 0.5, "weight_decay": 0.2},
    "SGD maximize": {"name": "SGD", "lr": 0.01, "maximize": True, "weight_decay": 0.1},
    "SGD tensor lr": {"name": "SGD", "tensor_lr": True, "momentum": 0.9},
    "Adam": {"name": "Adam", "lr": 0.1},
    "Adam defaults": {"name": "Adam"},
    "Adam options": {"name": "Adam", "lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3},
    "Adam decay": {"name": "Adam", "lr": 0.1, "weight_decay": 0.2},
    "Adam amsgrad": {"name": "Adam", "lr": 0.1, "amsgrad": True, "maximize": True},
    "Adam tensor lr": {"name": "Adam", "tensor_lr": True},
    "Adam decoupled": {"name": "Adam", "weight_decay": 0.3, "decoupled_weight_decay": True},
    "AdamW": {"name": "AdamW", "lr": 0.1},
    "AdamW options": {"name": "AdamW", "lr": 0.1, "weight_decay": 0.4, "amsgrad": True},
}


@cases(SETTINGS)
def test_trajectory_and_state_are_torchs(case):
    agree(run(**case), ok=True)


@cases(SETTINGS)
def test_state_made_up_front_gives_the_same_trajectory(case):
    agree(run(**case, init_state=True), ok=True)


@cases(SETTINGS)
def test_step_keeps_the_state_tensors_of_init_state(case):
    options = {k: v for k, v in case.items() if k not in ("name", "tensor_lr")}
    params = parameters(nncomp)
    optimizer = getattr(optim, case["name"])(params, **options)
    optimizer.init_state()
    before = {p: dict(state) for p, state in optimizer.state.items()}
    trained(nncomp, optimizer, params, steps=2)
    assert set(before) == set(optimizer.state)
    for param, state in optimizer.state.items():
        assert all(state[name] is before[param][name] for name in state)


def groups(t):
    params = parameters(t)
    optimizer = t.optim.SGD(
        [{"params": params[:1], "lr": 0.2}, {"params": params[1]}], lr=0.1, momentum=0.9
    )
    path = trained(t, optimizer, params)
    return [path, optimizer.state_dict(), repr(optimizer)]


def named(t):
    layer = t.nn.Linear(2, 1)
    return repr(t.optim.SGD(layer.named_parameters())), t.optim.SGD(
        layer.named_parameters()
    ).state_dict()


def resumed(t):
    """Stop after 3 steps, load into a fresh optimizer and go on."""
    params = parameters(t)
    first = t.optim.AdamW(params, lr=0.1)
    trained(t, first, params, 3)
    second = t.optim.AdamW(params, lr=0.7)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    return [trained(t, second, params, 3), second.state_dict()]


def with_closure(t):
    params = parameters(t)
    optimizer = t.optim.SGD(params, lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(t, params)
        loss.backward()
        return loss

    return [optimizer.step(closure) for _ in range(2)]


def zeroed(t, set_to_none):
    params = parameters(t)
    optimizer = t.optim.SGD(params)
    loss_of(t, params).backward()
    optimizer.zero_grad(set_to_none=set_to_none)
    return [p.grad for p in params]


def step_hooks(t):
    params, log = parameters(t), []
    optimizer = t.optim.SGD(params)
    optimizer.register_step_pre_hook(lambda o, args, kwargs: log.append("pre"))
    handle = optimizer.register_step_post_hook(lambda o, args, kwargs: log.append("post"))
    optimizer.step()
    handle.remove()
    optimizer.step()
    return log


SCENARIOS = {
    "groups": groups,
    "named parameters": named,
    "resumed": resumed,
    "closure": with_closure,
    "zero_grad": lambda t: zeroed(t, True),
    "zero_grad zeros": lambda t: zeroed(t, False),
    "step hooks": step_hooks,
}


@cases(SCENARIOS)
def test_optimizer_use_is_torchs(case):
    agree(case, ok=True)


def sgd(t, **options):
    return t.optim.SGD(parameters(t), **options)


FAILURES = {
    "empty": lambda t: t.optim.SGD([]),
    "tensor": lambda t: t.optim.SGD(t.ones(1)),
    "not a tensor": lambda t: t.optim.SGD([3]),
    "not a leaf": lambda t: t.optim.SGD([t.nn.Parameter(t.ones(1)) * 2]),
    "set": lambda t: t.optim.SGD([{"params": set(parameters(t))}]),
    "twice": lambda t: t.optim.SGD([{"params": p} for p in parameters(t)[:1] * 2]),
    "group": lambda t: sgd(t).add_param_group(3),
    "some names": lambda t: t.optim.SGD([("a", t.ones(1)), t.ones(1)]),
    "lr": lambda t: sgd(t, lr=-1.0),
    "momentum": lambda t: sgd(t, momentum=-1.0),
    "decay": lambda t: sgd(t, weight_decay=-1.0),
    "nesterov": lambda t: sgd(t, nesterov=True),
    "beta": lambda t: t.optim.Adam(parameters(t), betas=(0.9, 1.0)),
    "eps": lambda t: t.optim.Adam(parameters(t), eps=-1.0),
    "load groups": lambda t: sgd(t).load_state_dict({"state": {}, "param_groups": []}),
    "load sizes": lambda t: sgd(t).load_state_dict(
        {"state": {}, "param_groups": [{"params": [0]}]}
    ),
}


@cases(FAILURES)
def test_optimizer_errors_are_torchs(case):
    agree(case, ok=False)


def test_differentiable_is_refused():
    with pytest.raises(NotImplementedError, match="differentiable"):
        optim.SGD(parameters(nncomp), differentiable=True)


def test_pickled_optimizer_goes_on():
    params = parameters(nncomp)
    optimizer = optim.Adam(params, lr=0.1)
    trained(nncomp, optimizer, params, 2)
    twin = pickle.loads(pickle.dumps(optimizer))
    ours = trained(nncomp, optimizer, params, 2)
    theirs = trained(nncomp, twin, twin.param_groups[0]["params"], 2)
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_model_learns():
    nncomp.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    x = nncomp.tensor(numbers(32, 2))
    y = x[:, :1] * x[:, 1:]
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.2 * losses[0]
