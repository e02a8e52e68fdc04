"""GradScaler("cpu"): scales, skipped steps, states and errors as torch's; in compiled steps too."""

from __future__ import annotations

import io

import numpy as np
import pytest

import nncomp

torch = pytest.importorskip("torch")

OPTIONS = dict(init_scale=1024.0, growth_interval=3, growth_factor=4.0, backoff_factor=0.5)
OPTIMIZERS = {
    "momentum": lambda m, p: m.optim.SGD(p, 0.05, momentum=0.9),
    "adam": lambda m, p: m.optim.Adam(p, 0.01),
}
BAD = {4: np.inf, 9: np.nan}  # the batches whose loss is not finite


def net(m):
    torch.manual_seed(0)
    reference = torch.nn.Sequential(
        torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)
    )
    if m is torch:
        return reference
    model = m.nn.Sequential(m.nn.Linear(5, 8), m.nn.Tanh(), m.nn.Linear(8, 1))
    state = {k: m.from_numpy(v.numpy().copy()) for k, v in reference.state_dict().items()}
    model.load_state_dict(state)
    return model


def batches():
    rng = np.random.default_rng(0)
    for number in range(14):
        x = rng.normal(size=(6, 5)).astype(np.float32)
        y = x.sum(1, keepdims=True)
        if number in BAD:
            y[2] = BAD[number]
        yield x, y


def run(m, kind, clip=False, compiled=False):
    """(scales after each step, parameters, the optimizer's states)"""
    model = net(m)
    optimizer = OPTIMIZERS[kind](m, model.parameters())
    scaler = m.amp.GradScaler("cpu", **OPTIONS)
    loss_fn = m.nn.functional.mse_loss

    def clipped():
        m.nn.utils.clip_grad_norm_(model.parameters(), 0.5)

    def step(x, y):
        optimizer.zero_grad()
        scaler.scale(loss_fn(model(x), y)).backward()
        if clip:
            scaler.unscale_(optimizer)
            clipped()
        scaler.step(optimizer)
        scaler.update()

    if compiled:
        step = m.compile_train_step(
            model, loss_fn, optimizer, scaler=scaler, before_update=clipped if clip else None
        )
    scales = []
    for x, y in batches():
        step(m.from_numpy(x), m.from_numpy(y))
        scales.append((scaler.get_scale(), scaler.state_dict()["_growth_tracker"]))
    if compiled:
        assert len(step.reasons) == 1
    states = [
        np.array(v.numpy() if hasattr(v, "numpy") else v, np.float32)
        for p in model.parameters()
        for _, v in sorted(optimizer.state[p].items())
        if v is not None
    ]
    return scales, [p.detach().numpy() for p in model.parameters()], states


@pytest.mark.parametrize("clip", [False, True], ids=["plain", "clipped"])
@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_steps_are_torchs(kind, clip, compiled):
    ours, theirs = run(nncomp, kind, clip, compiled), run(torch, kind, clip)
    assert ours[0] == theirs[0]
    assert len({scale for scale, _ in ours[0]}) > 3  # it went down and up
    for a, b in zip([*ours[1], *ours[2]], [*theirs[1], *theirs[2]], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_a_setting_that_changes_is_followed_by_a_compiled_step():
    model = net(nncomp)
    optimizer = nncomp.optim.SGD(model.parameters(), 0.01)
    scaler = nncomp.amp.GradScaler("cpu", init_scale=8.0, growth_interval=1)
    step = nncomp.compile_train_step(
        model, nncomp.nn.functional.mse_loss, optimizer, scaler=scaler
    )
    x, y = nncomp.ones(2, 5), nncomp.ones(2, 1)
    step(x, y)
    assert scaler.get_scale() == 16.0
    scaler.set_growth_factor(10.0)
    step(x, y)
    assert scaler.get_scale() == 160.0
    scaler.load_state_dict({**scaler.state_dict(), "scale": 2.0})
    step(x, y)
    assert scaler.get_scale() == 20.0 and len(step.reasons) == 2


def test_float16_autocast_with_a_scaler():
    model = net(nncomp)
    optimizer = nncomp.optim.SGD(model.parameters(), 0.05)
    scaler = nncomp.amp.GradScaler("cpu", init_scale=256.0)
    losses = []
    for _ in range(20):
        for x, y in batches():
            if not np.isfinite(y).all():
                continue
            optimizer.zero_grad()
            with nncomp.autocast("cpu", dtype=nncomp.float16):
                output = model(nncomp.from_numpy(x))
                loss = nncomp.nn.functional.mse_loss(output, nncomp.from_numpy(y))
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0] and scaler.get_scale() >= 256.0


def test_scale_takes_nested_outputs_and_states_move_to_torch_and_back():
    scaler = nncomp.amp.GradScaler("cpu", init_scale=4.0)
    a, (b, c) = scaler.scale([nncomp.ones(2), (nncomp.ones(1), nncomp.ones(()))])
    assert a.tolist() == [4, 4] and b.tolist() == [4] and c.item() == 4
    theirs = torch.amp.GradScaler("cpu")
    theirs.load_state_dict(scaler.state_dict())
    assert theirs.state_dict() == scaler.state_dict()
    scaler.load_state_dict({**theirs.state_dict(), "scale": 32.0, "_growth_tracker": 7})
    assert scaler.get_scale() == 32.0 and scaler.state_dict()["_growth_tracker"] == 7
    file = io.BytesIO()
    nncomp.save(scaler.state_dict(), file)
    file.seek(0)
    assert nncomp.load(file) == scaler.state_dict()
    scaler.update(new_scale=nncomp.tensor(2.0))
    assert scaler.get_scale() == 2.0


def errors(m):
    """What each wrong use raises: (type, message)."""

    def fresh():
        w = m.ones(2, requires_grad=True)
        scaler = m.amp.GradScaler("cpu")
        optimizer = m.optim.SGD([w], 0.1)
        scaler.scale(w.sum()).backward()
        return w, scaler, optimizer

    def twice():
        _, s, o = fresh()
        s.unscale_(o)
        s.unscale_(o)

    def late():
        _, s, o = fresh()
        s.step(o)
        s.unscale_(o)

    def steps():
        _, s, o = fresh()
        s.step(o)
        s.step(o)

    def early():
        fresh()[1].update()

    def closure():
        _, s, o = fresh()
        s.step(o, closure=lambda: 0)

    def empty():
        _, s, _ = fresh()
        s.load_state_dict({})

    def half():
        w, s, o = fresh()
        w = m.ones(2, dtype=m.float16, requires_grad=True)
        w.grad = m.ones(2, dtype=m.float16)
        s.step(m.optim.SGD([w], 0.1))

    found = []
    for case in (twice, late, steps, early, closure, empty, half):
        with pytest.raises(Exception) as caught:
            case()
        found.append((caught.type.__name__, str(caught.value).splitlines()[0]))
    return found


def test_errors_are_torchs():
    assert errors(nncomp) == errors(torch)


def test_a_disabled_scaler_does_nothing():
    model = nncomp.nn.Linear(2, 1, bias=False)
    before = model.weight.detach().clone()
    scaler = nncomp.amp.GradScaler("cpu", enabled=False)
    optimizer = nncomp.optim.SGD(model.parameters(), 1.0)
    step = nncomp.compile_train_step(model, lambda y, _: y.sum(), optimizer, scaler=scaler)
    step(nncomp.ones(1, 2), nncomp.ones(1))
    assert model.weight.tolist() == (before - 1).tolist()
    assert scaler.state_dict() == {} and scaler.get_scale() == 1.0
