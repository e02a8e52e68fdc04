"""Learning rate schedulers compared with torch: sequences, state dicts, errors."""

from __future__ import annotations

import numpy as np
import pytest
from both import agree, cases

import nncomp
from nncomp.optim import SGD
from nncomp.optim.lr_scheduler import StepLR


def sgd(t, lr=0.1, **options):
    return t.optim.SGD([t.nn.Parameter(t.ones(2))], lr=lr, **options)


def sequence(name, *args, optimizer=None, steps=20, tensor_lr=False, **options):
    """Return rates, momenta and last rates of ``steps`` epochs."""

    def scenario(t):
        lr = t.tensor(0.1) if tensor_lr else 0.1
        made = optimizer(t) if optimizer else sgd(t, lr, momentum=0.9)
        scheduler = getattr(t.optim.lr_scheduler, name)(made, *args, **options)
        shown = []
        for _ in range(steps):
            group = made.param_groups[0]
            momentum = group.get("momentum", group.get("betas"))
            shown.append([float(group["lr"]), momentum, float(scheduler.get_last_lr()[0])])
            made.step()
            scheduler.step()
        return [shown, sorted(made.param_groups[0])]

    return scenario


def adam(t):
    return t.optim.Adam([t.nn.Parameter(t.ones(2))])


SEQUENCES = {
    "StepLR": sequence("StepLR", 3),
    "StepLR gamma": sequence("StepLR", 4, gamma=0.5, tensor_lr=True),
    "MultiStepLR": sequence("MultiStepLR", [2, 5, 5, 11], gamma=0.5),
    "ExponentialLR": sequence("ExponentialLR", 0.9),
    "CosineAnnealingLR": sequence("CosineAnnealingLR", 20),
    "CosineAnnealingLR cycles": sequence("CosineAnnealingLR", 3, eta_min=0.01),
    "CosineAnnealingLR tensor": sequence("CosineAnnealingLR", 7, tensor_lr=True),
    "LambdaLR": sequence("LambdaLR", lambda epoch: 1 / (1 + epoch)),
    "LambdaLR list": sequence("LambdaLR", [lambda epoch: 0.8**epoch]),
    "LinearLR": sequence("LinearLR"),
    "LinearLR options": sequence("LinearLR", 0.1, 0.5, 7),
    "OneCycleLR": sequence("OneCycleLR", 0.5, total_steps=20),
    "OneCycleLR linear": sequence(
        "OneCycleLR", 0.5, epochs=5, steps_per_epoch=4, anneal_strategy="linear", pct_start=0.4
    ),
    "OneCycleLR three": sequence("OneCycleLR", 0.5, 20, three_phase=True, div_factor=10.0),
    "OneCycleLR adam": sequence("OneCycleLR", 0.5, 20, optimizer=adam),
    "OneCycleLR no momentum": sequence("OneCycleLR", 0.5, 20, cycle_momentum=False),
}


@cases(SEQUENCES)
def test_sequence_is_torchs(case):
    agree(case, ok=True, tol=1e-6)


def plateau(metrics, **options):
    def scenario(t):
        optimizer = sgd(t, 1.0)
        scheduler = t.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
        rates = []
        for metric in metrics:
            scheduler.step(metric)
            rates.append([optimizer.param_groups[0]["lr"], scheduler.get_last_lr()])
        return [rates, scheduler.state_dict()]

    return scenario


FALLING = [5, 4, 4.5, 4.2, 3.99999, 4, 4, 3, 3, 3, 3, 3, 3]
PLATEAUS = {
    "min": plateau(FALLING, patience=1),
    "cooldown": plateau(FALLING, patience=0, cooldown=2, factor=0.5),
    "max": plateau([-v for v in FALLING], mode="max", patience=1),
    "abs": plateau(FALLING, patience=1, threshold=0.3, threshold_mode="abs"),
    "max abs": plateau(FALLING, mode="max", patience=1, threshold=0.3, threshold_mode="abs"),
    "min_lr": plateau(FALLING, patience=0, min_lr=0.03),
}


@cases(PLATEAUS)
def test_plateau_is_torchs(case):
    agree(case, ok=True)


def two_schedulers(t):
    optimizer = sgd(t)
    both = [
        t.optim.lr_scheduler.LinearLR(optimizer, total_iters=4),
        t.optim.lr_scheduler.ExponentialLR(optimizer, 0.9),
    ]
    rates = []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in both:
            scheduler.step()
    return rates


def resumed(t, name, *args):
    make = getattr(t.optim.lr_scheduler, name)
    optimizer = sgd(t)
    scheduler = make(optimizer, *args)
    for _ in range(5):
        optimizer.step()
        scheduler.step()
    saved = scheduler.state_dict()
    fresh = sgd(t)
    fresh.load_state_dict(optimizer.state_dict())
    again = make(fresh, *args)
    again.load_state_dict(saved)
    rates = []
    for _ in range(5):
        fresh.step()
        again.step()
        rates.append(fresh.param_groups[0]["lr"])
    return rates


def from_epoch(t, name, *args):
    optimizer = sgd(t)
    optimizer.param_groups[0]["initial_lr"] = 0.1
    scheduler = getattr(t.optim.lr_scheduler, name)(optimizer, *args, last_epoch=3)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(3):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def to_epoch(t, name, *args):
    optimizer = sgd(t)
    scheduler = getattr(t.optim.lr_scheduler, name)(optimizer, *args)
    optimizer.step()
    rates = []
    for epoch in (7, 2, 3):
        scheduler.step(epoch)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


ARGUMENTS = {
    "StepLR": (3,),
    "MultiStepLR": ([2, 4, 7],),
    "ExponentialLR": (0.8,),
    "CosineAnnealingLR": (6, 0.01),
    "LinearLR": (0.2, 1.0, 6),
}


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("use", [resumed, from_epoch, to_epoch])
def test_resuming_is_torchs(name, use):
    agree(lambda t: use(t, name, *ARGUMENTS[name]), ok=True)


def test_two_schedulers_on_one_optimizer():
    agree(two_schedulers, ok=True)


FAILURES = {
    "lambdas": lambda t: t.optim.lr_scheduler.LambdaLR(sgd(t), [lambda e: 1.0] * 2),
    "start_factor": lambda t: t.optim.lr_scheduler.LinearLR(sgd(t), start_factor=0.0),
    "end_factor": lambda t: t.optim.lr_scheduler.LinearLR(sgd(t), end_factor=2.0),
    "plateau factor": lambda t: t.optim.lr_scheduler.ReduceLROnPlateau(sgd(t), factor=1.0),
    "plateau mode": lambda t: t.optim.lr_scheduler.ReduceLROnPlateau(sgd(t), mode="x"),
    "cycle steps": lambda t: t.optim.lr_scheduler.OneCycleLR(sgd(t), 1.0),
    "cycle end": sequence("OneCycleLR", 0.5, 3, steps=6),
}


@cases(FAILURES)
def test_errors_are_torchs(case):
    agree(case, ok=False)


def test_wrong_order_warns():
    scheduler = StepLR(sgd(nncomp), 2)
    with pytest.warns(UserWarning, match=r"lr_scheduler.step\(\)` before"):
        scheduler.step()


def test_tensor_rate_is_filled_in_place():
    rate = nncomp.tensor(0.5)
    optimizer = SGD([nncomp.nn.Parameter(nncomp.ones(1))], lr=rate)
    scheduler = StepLR(optimizer, 1)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] is rate
    np.testing.assert_allclose(float(rate), 0.05, rtol=1e-6)
