"""The optimizers beyond SGD and Adam: torch's numbers and state dicts, compiled steps, LBFGS."""

from __future__ import annotations

import io

import numpy as np
import pytest
from both import agree, cases, check_equal, numbers, plain
from test_optim import loss_of, parameters, run, trained

import nncomp
from nncomp import nn, optim

torch = pytest.importorskip("torch")

SETTINGS = {
    "ASGD": {"name": "ASGD", "lr": 0.1},
    "ASGD average": {"name": "ASGD", "lr": 0.1, "t0": 2, "lambd": 0.01, "weight_decay": 0.1},
    "Adadelta": {"name": "Adadelta"},
    "Adadelta options": {"name": "Adadelta", "lr": 0.5, "rho": 0.8, "eps": 1e-3, "maximize": True},
    "Adadelta decay": {"name": "Adadelta", "weight_decay": 0.2},
    "Adafactor": {"name": "Adafactor"},
    "Adafactor options": {
        "name": "Adafactor", "lr": 0.3, "beta2_decay": -0.5, "eps": (1e-4, 0.1), "d": 1.5,
        "weight_decay": 0.1, "maximize": True,
    },
    "Adagrad": {"name": "Adagrad", "lr": 0.1},
    "Adagrad options": {
        "name": "Adagrad", "lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.2,
        "initial_accumulator_value": 0.5, "eps": 1e-3,
    },
    "Adamax": {"name": "Adamax", "lr": 0.1},
    "Adamax options": {
        "name": "Adamax", "lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.2,
        "maximize": True,
    },
    "NAdam": {"name": "NAdam", "lr": 0.1},
    "NAdam options": {
        "name": "NAdam", "lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.2,
        "momentum_decay": 0.1,
    },
    "NAdam decoupled": {
        "name": "NAdam", "weight_decay": 0.2, "decoupled_weight_decay": True, "lr": 0.1,
    },
    "RAdam": {"name": "RAdam", "lr": 0.1},
    "RAdam options": {
        "name": "RAdam", "lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.2,
    },
    "RAdam decoupled": {
        "name": "RAdam", "weight_decay": 0.2, "decoupled_weight_decay": True, "lr": 0.1,
    },
    "RMSprop": {"name": "RMSprop", "lr": 0.1},
    "RMSprop options": {
        "name": "RMSprop", "lr": 0.01, "alpha": 0.9, "momentum": 0.9, "centered": True,
        "weight_decay": 0.1, "maximize": True,
    },
    "RMSprop tensor lr": {"name": "RMSprop", "tensor_lr": True, "momentum": 0.5},
    "Rprop": {"name": "Rprop", "lr": 0.1},
    "Rprop options": {
        "name": "Rprop", "lr": 0.1, "etas": (0.3, 2.0), "step_sizes": (0.05, 0.3),
        "maximize": True,
    },
}  # fmt: skip
MAKERS = {name: {k: v for k, v in s.items() if k not in ("name", "tensor_lr")}
          for name, s in SETTINGS.items()}  # fmt: skip


@cases(SETTINGS)
def test_trajectory_and_state_are_torchs(case):
    agree(run(**case), ok=True, tol=2e-5)


@cases(SETTINGS)
def test_step_keeps_the_state_tensors_of_init_state(case):
    options = {k: v for k, v in case.items() if k not in ("name", "tensor_lr")}
    params = parameters(nncomp)
    optimizer = getattr(optim, case["name"])(params, **options)
    optimizer.init_state()
    before = {p: dict(state) for p, state in optimizer.state.items()}
    trained(nncomp, optimizer, params, steps=2)
    for param, state in optimizer.state.items():
        assert all(state[name] is before[param][name] for name in state)


def through_file(state, source, target):
    """A state dict of one library as the other one loads it from a file."""
    file = io.BytesIO()
    source.save(state, file)
    file.seek(0)
    return target.load(file)


@pytest.mark.parametrize("name", list(SETTINGS))
@pytest.mark.parametrize("source", [torch, nncomp], ids=["from torch", "to torch"])
def test_a_state_dict_of_the_other_library_goes_on(name, source):
    target = nncomp if source is torch else torch
    case = SETTINGS[name]
    made = [parameters(t) for t in (source, target)]
    first, second = (
        getattr(t.optim, case["name"])(p, **MAKERS[name])
        for t, p in zip((source, target), made, strict=True)
    )
    trained(source, first, made[0], 4)
    second.load_state_dict(through_file(first.state_dict(), source, target))
    with nncomp.no_grad(), torch.no_grad():
        for old, new in zip(*made, strict=True):
            new.copy_(target.tensor(old.detach().numpy()))
    one, two = trained(source, first, made[0], 4), trained(target, second, made[1], 4)
    np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=2e-5, atol=2e-5)


def network():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2, bias=False))
    with nncomp.no_grad():
        for index, p in enumerate(model.parameters()):
            p.copy_(nncomp.tensor(numbers(*p.shape, start=31 * index)))
    return model


@pytest.mark.parametrize("name", [*SETTINGS, "Muon"])
def test_compiled_steps_give_the_losses_of_eager_ones(name):
    x, y = nncomp.tensor(numbers(6, 3, start=5)), nncomp.tensor(numbers(6, 2, start=90))
    kind = SETTINGS.get(name, {"name": name})["name"]
    options = dict(MAKERS.get(name, {}))
    losses = []
    for compiled in (False, True):
        model = network()
        params = [p for p in model.parameters() if p.dim() == 2 or kind != "Muon"]
        optimizer = getattr(optim, kind)(params, **options)
        step = nncomp.compile_train_step(model, nn.functional.mse_loss, optimizer)
        path = []
        for _ in range(10):
            if compiled:
                path.append(step(x, y).item())
                continue
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            path.append(loss.item())
        losses.append(path)
    assert len(set(losses[0])) == 10
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-4)


# ---- Muon: bfloat16 inside, so that only three digits are shared ----


@pytest.mark.parametrize("options", [
    {}, {"nesterov": False, "lr": 0.1}, {"adjust_lr_fn": "match_rms_adamw", "momentum": 0.5},
])  # fmt: skip
def test_muon_goes_where_torch_goes(options):
    def scenario(t):
        params = [t.nn.Parameter(t.tensor(numbers(*shape))) for shape in ((5, 3), (2, 4))]
        optimizer = t.optim.Muon(params, **options)
        path = trained(t, optimizer, params, 4)
        return [path, optimizer.state_dict()["param_groups"], list(optimizer.state[params[0]])]

    agree(scenario, ok=True, tol=5e-3)


# ---- LBFGS ----


def rosenbrock(t, steps, dtype="float64", **options):
    p = t.nn.Parameter(t.tensor([-1.2, 1.0, 0.5], dtype=getattr(t, dtype)))
    optimizer = t.optim.LBFGS([p], **options)

    def closure():
        optimizer.zero_grad()
        loss = (100 * (p[1:] - p[:-1] ** 2) ** 2 + (1 - p[:-1]) ** 2).sum()
        loss.backward()
        return loss

    path = []
    for _ in range(steps):
        path.append([optimizer.step(closure).detach(), p.detach().clone()])
    return path, optimizer


LBFGS = {
    "plain": {"lr": 0.01},
    "wolfe": {"line_search_fn": "strong_wolfe"},
    "short memory": {"line_search_fn": "strong_wolfe", "history_size": 2, "max_iter": 7},
    "evaluations": {"line_search_fn": "strong_wolfe", "max_eval": 5, "lr": 0.5},
    "tolerance": {"line_search_fn": "strong_wolfe", "tolerance_change": 1e-2},
}


@cases(LBFGS)
def test_lbfgs_path_and_state_are_torchs(case):
    (ours, mine), (theirs, yours) = (rosenbrock(t, 4, **case) for t in (nncomp, torch))
    check_equal(plain(ours), plain(theirs), tol=1e-6)
    states = [plain(next(iter(o.state_dict()["state"].values()))) for o in (mine, yours)]
    assert set(states[0]) == set(states[1])
    for name in ("func_evals", "n_iter", "d", "old_dirs", "old_stps", "prev_flat_grad"):
        check_equal(states[0][name], states[1][name], name, tol=1e-5)
    agree(lambda t: t.optim.LBFGS([t.nn.Parameter(t.ones(1))], **case).state_dict(), ok=True)


def test_lbfgs_finds_the_minimum_and_resumes():
    path, optimizer = rosenbrock(nncomp, 3, line_search_fn="strong_wolfe")
    assert (path[-1][1] - 1).abs().max() < 1e-4
    again = optim.LBFGS([nn.Parameter(nncomp.ones(3, dtype=nncomp.float64))])
    again.load_state_dict(through_file(optimizer.state_dict(), nncomp, nncomp))
    (old,), (new,) = optimizer.state.values(), again.state.values()
    assert old["n_iter"] == new["n_iter"] and len(new["old_dirs"]) == len(old["old_dirs"])


def test_lbfgs_cannot_be_compiled():
    model = network()
    step = nncomp.compile_train_step(model, nn.functional.mse_loss, optim.LBFGS(model.parameters()))
    with pytest.raises(NotImplementedError, match="LBFGS.*closure.*eager"):
        step(nncomp.ones(2, 3), nncomp.ones(2, 2))


def test_lbfgs_refuses_an_unknown_line_search_and_a_missing_closure():
    with pytest.raises(RuntimeError, match="strong_wolfe"):
        optim.LBFGS([nn.Parameter(nncomp.ones(1))], line_search_fn="x")
    with pytest.raises(TypeError, match="closure"):
        optim.LBFGS([nn.Parameter(nncomp.ones(1))]).step()


# ---- errors ----


def made(name, **options):
    return lambda t: getattr(t.optim, name)(parameters(t), **options)


def sparse_step(t):
    params = parameters(t)
    optimizer = t.optim.SparseAdam(params)
    loss_of(t, params).backward()
    optimizer.step()


FAILURES = {
    "rho": made("Adadelta", rho=1.5),
    "eps": made("Adadelta", eps=-1.0),
    "decay": made("Adagrad", weight_decay=-1.0),
    "lr decay": made("Adagrad", lr_decay=-1.0),
    "accumulator": made("Adagrad", initial_accumulator_value=-1.0),
    "beta": made("Adamax", betas=(1.0, 0.9)),
    "momentum decay": made("NAdam", momentum_decay=-1.0),
    "alpha": made("RMSprop", alpha=-1.0),
    "momentum": made("RMSprop", momentum=-1.0),
    "etas": made("Rprop", etas=(1.5, 2.0)),
    "lr": made("RAdam", lr=-1.0),
    "d": made("Adafactor", d=0.5),
    "beta2_decay": made("Adafactor", beta2_decay=0.5),
    "eps1": made("Adafactor", eps=(-1.0, 0.1)),
    "sparse lr": made("SparseAdam", lr=0.0),
    "sparse step": sparse_step,
    "muon dims": made("Muon"),
    "muon adjust": lambda t: t.optim.Muon([t.nn.Parameter(t.ones(1, 1))], adjust_lr_fn="x"),
    "groups": lambda t: t.optim.LBFGS([{"params": p} for p in parameters(t)]),
    "tensor lr": made("ASGD", lr=-0.1),
}


@cases(FAILURES)
def test_optimizer_errors_are_torchs(case):
    agree(case, ok=False)
