"""The combined and periodic schedulers and swa_utils compared with torch."""

from __future__ import annotations

import pytest
from both import agree, cases, numbers
from test_lr_scheduler import adam, resumed, sequence, sgd

import nncomp

SEQUENCES = {
    "ConstantLR": sequence("ConstantLR", tensor_lr=True),
    "ConstantLR options": sequence("ConstantLR", 0.5, 3),
    "MultiplicativeLR": sequence("MultiplicativeLR", lambda epoch: 0.9),
    "MultiplicativeLR list": sequence("MultiplicativeLR", [lambda epoch: 1 / (1 + epoch)]),
    "PolynomialLR": sequence("PolynomialLR"),
    "PolynomialLR power": sequence("PolynomialLR", 12, 2.0),
    "restarts": sequence("CosineAnnealingWarmRestarts", 5),
    "restarts growing": sequence("CosineAnnealingWarmRestarts", 3, 2, 0.01),
    "restarts tensor": sequence("CosineAnnealingWarmRestarts", 3, tensor_lr=True),
    "cyclic": sequence("CyclicLR", 0.01, 0.1, 3),
    "cyclic down": sequence("CyclicLR", 0.01, 0.1, 3, 5, mode="triangular2"),
    "cyclic exp": sequence("CyclicLR", 0.01, 0.1, 4, mode="exp_range", gamma=0.9),
    "cyclic scale": sequence(
        "CyclicLR", 0.01, 0.1, 4, scale_fn=lambda x: 1 / (1 + x), scale_mode="iterations"
    ),
    "cyclic adam": sequence("CyclicLR", 0.01, 0.1, 3, optimizer=adam),
    "cyclic fixed momentum": sequence("CyclicLR", 0.01, 0.1, 3, cycle_momentum=False),
}


@cases(SEQUENCES)
def test_sequence_is_torchs(case):
    agree(case, ok=True, tol=1e-6)


def swalr(t, **options):
    optimizer = sgd(t)
    before = t.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    swa = t.optim.swa_utils.SWALR(optimizer, 0.05, **options)
    rates = []
    for step in range(16):
        optimizer.step()
        (before if step < 3 else swa).step()
        rates.append(optimizer.param_groups[0]["lr"])
    return [rates, swa.get_last_lr()]


def combined(name, first, second, *args, steps=14):
    def scenario(t):
        s = t.optim.lr_scheduler
        optimizer = sgd(t)
        parts = [getattr(s, kind)(optimizer, *rest) for kind, *rest in (first, second)]
        if name == "SequentialLR":
            made = s.SequentialLR(optimizer, parts, *args)
        else:
            made = s.ChainedScheduler(parts)
        rates = []
        for _ in range(steps):
            rates.append([optimizer.param_groups[0]["lr"], made.get_last_lr()])
            optimizer.step()
            made.step()
        state = made.state_dict()
        made.load_state_dict(state)
        return [rates, [len(part) > 3 for part in state["_schedulers"]], made.last_epoch
                if name == "SequentialLR" else 0]  # fmt: skip

    return scenario


def nested(t, kind):
    s = t.optim.lr_scheduler
    optimizer = sgd(t)
    parts = [s.ConstantLR(optimizer, 0.1, 2), s.ExponentialLR(optimizer, 0.9)]
    inner = s.SequentialLR(optimizer, parts, [3]) if kind else s.ChainedScheduler(parts[:1])
    made = s.SequentialLR(optimizer, [inner, s.ConstantLR(optimizer, 0.5, 2)], [6])
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made.step()
    return rates


def fractions(t):
    optimizer = sgd(t)
    made = t.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 3, 2)
    rates = []
    for epoch in (0, 0.5, 2.75, 3, 8.5, 9, 20.25, 1):
        made.step(epoch)
        rates.append([optimizer.param_groups[0]["lr"], made.T_cur, made.T_i, made.last_epoch])
    return rates


COMBINED = {
    "chained": combined("ChainedScheduler", ("ConstantLR", 0.1, 2), ("ExponentialLR", 0.9)),
    "sequential": combined("SequentialLR", ("ConstantLR", 0.1, 2), ("ExponentialLR", 0.9), [5]),
    "sequential warm": combined(
        "SequentialLR", ("LinearLR", 0.1, 1.0, 4), ("CosineAnnealingLR", 10), [4]
    ),
    "sequential restarts": combined(
        "SequentialLR", ("LinearLR", 0.1, 1.0, 3), ("CosineAnnealingWarmRestarts", 4), [3]
    ),
    "nested": lambda t: nested(t, True),
    "nested chain": lambda t: nested(t, False),

    "fractions": fractions,
    "swalr": swalr,
    "swalr linear": lambda t: swalr(t, anneal_strategy="linear", anneal_epochs=4),
    "swalr at once": lambda t: swalr(t, anneal_epochs=0),
    "resumed poly": lambda t: resumed(t, "PolynomialLR", 12, 2.0),
    "resumed cyclic": lambda t: resumed(t, "CyclicLR", 0.01, 0.2, 3, 4, "triangular2", 1.0, None,
                                        "cycle", False),
}  # fmt: skip


@cases(COMBINED)
def test_combined_schedulers_are_torchs(case):
    agree(case, ok=True, tol=1e-6)


def scheduler(name, *args, **options):
    return lambda t: getattr(t.optim.lr_scheduler, name)(sgd(t), *args, **options)


FAILURES = {
    "T_0": scheduler("CosineAnnealingWarmRestarts", 0),
    "T_mult": scheduler("CosineAnnealingWarmRestarts", 3, 0),
    "mode": scheduler("CyclicLR", 0.1, 0.2, mode="x"),
    "factor": scheduler("ConstantLR", 2.0),
    "lambdas": scheduler("MultiplicativeLR", [abs, abs]),
    "not callable": scheduler("MultiplicativeLR", [1]),
    "none": lambda t: t.optim.lr_scheduler.ChainedScheduler([]),
    "milestones": lambda t: t.optim.lr_scheduler.SequentialLR(
        o := sgd(t), [t.optim.lr_scheduler.StepLR(o, 1)], [2]
    ),
    "decay": lambda t: t.optim.swa_utils.get_ema_avg_fn(1.5),
    "strategy": lambda t: t.optim.swa_utils.SWALR(sgd(t), 0.1, anneal_strategy="x"),
    "epochs": lambda t: t.optim.swa_utils.SWALR(sgd(t), 0.1, anneal_epochs=-1),
}


@cases(FAILURES)
def test_scheduler_errors_are_torchs(case):
    agree(case, ok=False)


def test_other_optimizers_and_plateau_are_refused():
    s = nncomp.optim.lr_scheduler
    one, two = sgd(nncomp), sgd(nncomp)
    with pytest.raises(ValueError, match="same optimizer"):
        s.ChainedScheduler([s.StepLR(one, 1), s.StepLR(two, 1)])
    with pytest.raises(ValueError, match="ReduceLROnPlateau"):
        s.ChainedScheduler([s.ReduceLROnPlateau(one)])
    later = s.ChainedScheduler([s.StepLR(one, 1)])
    with pytest.raises(NotImplementedError, match="ChainedScheduler can only be the first"):
        s.SequentialLR(one, [s.StepLR(one, 1), later], [2])


# ---- averaged models ----


def averaged(t, **options):
    model = t.nn.Sequential(t.nn.Linear(3, 2), t.nn.BatchNorm1d(2))
    with t.no_grad():
        for index, p in enumerate(model.parameters()):
            p.copy_(t.tensor(numbers(*p.shape, start=7 * index)))
    if "decay" in options:
        options["avg_fn"] = t.optim.swa_utils.get_ema_avg_fn(options.pop("decay"))
    if "multi" in options:
        options["multi_avg_fn"] = t.optim.swa_utils.get_ema_multi_avg_fn(options.pop("multi"))
    swa = t.optim.swa_utils.AveragedModel(model, **options)
    for number in range(3):
        model(t.tensor(numbers(5, 3, start=40 * number)))
        with t.no_grad():
            model[0].weight.mul_(0.7)
            model[0].bias.add_(1)
        swa.update_parameters(model)
    before = dict(swa.state_dict())
    loader = [(t.tensor(numbers(4, 3, start=11 * i)), 0) for i in range(3)]
    t.optim.swa_utils.update_bn(loader, swa)
    out = swa.eval()(t.tensor(numbers(2, 3)))
    return [before, dict(swa.state_dict()), out, [m.training for m in swa.modules()]]


AVERAGES = {
    "swa": {}, "ema": {"decay": 0.8}, "multi": {"multi": 0.9},
    "buffers": {"decay": 0.5, "use_buffers": True},
}  # fmt: skip


@pytest.mark.parametrize("name", list(AVERAGES))
def test_averaged_models_are_torchs(name):
    agree(lambda t: averaged(t, **AVERAGES[name]), ok=True)
