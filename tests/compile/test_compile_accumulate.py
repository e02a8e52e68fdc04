"""Gradient accumulation in compiled steps, with clipping, schedules and frozen parts."""

from __future__ import annotations

import numpy as np
import pytest

import nncomp

torch = pytest.importorskip("torch")

OPTIMIZERS = {
    "momentum": lambda m, groups: m.optim.SGD(groups, 0.1, momentum=0.9),
    "adamw": lambda m, groups: m.optim.AdamW(groups, 0.02, weight_decay=0.1),
}
CLIPS = {
    "none": lambda m, params: None,
    "norm": lambda m, params: m.nn.utils.clip_grad_norm_(params, 0.3),
    "value": lambda m, params: m.nn.utils.clip_grad_value_(params, 0.02),
}


def make(nn):
    first = (nn.Linear(6, 12), nn.LayerNorm(12), nn.GELU())
    return nn.Sequential(*first, nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3))


def net(m):
    torch.manual_seed(0)
    reference = make(torch.nn)
    if m is torch:
        return reference
    model = make(m.nn)
    state = {k: m.from_numpy(v.numpy().copy()) for k, v in reference.state_dict().items()}
    model.load_state_dict(state)
    return model


def batches(m, count):
    rng = np.random.default_rng(0)
    for _ in range(count):
        x = m.from_numpy(rng.normal(size=(4, 6)).astype(np.float32))
        yield x, m.from_numpy(rng.integers(0, 3, 4))


class Run:
    """Four parts per update; two groups, the middle layer frozen, a schedule, clipping."""

    def __init__(self, m, optimizer, clip, calls=4):
        self.m, self.model, self.calls = m, net(m), calls
        self.model[3].requires_grad_(False)
        last = list(self.model[5].parameters())
        first = [*self.model[0].parameters(), *self.model[1].parameters()]
        groups = [{"params": first}, {"params": last, "lr": 0.05}]
        self.optimizer = OPTIMIZERS[optimizer](m, groups)
        self.schedule = m.optim.lr_scheduler.StepLR(self.optimizer, 2, gamma=0.5)
        self.clip = lambda: CLIPS[clip](m, [*first, *last])

    def loss(self, y, target):
        return self.m.nn.functional.cross_entropy(y, target) / self.calls

    def eager(self):
        losses = []
        for number, (x, y) in enumerate(batches(self.m, 24), 1):
            loss = self.loss(self.model(x), y)
            loss.backward()
            losses.append(loss.item())
            if number % self.calls == 0:
                self.clip()
                self.optimizer.step()
                self.optimizer.zero_grad()
                self.schedule.step()
        return losses

    def compiled(self, **options):
        step = self.m.compile_train_step(
            self.model, self.loss, self.optimizer, before_update=self.clip,
            accumulate=self.calls, **options,
        )  # fmt: skip
        losses = []
        for number, (x, y) in enumerate(batches(self.m, 24), 1):
            losses.append(step(x, y).item())
            if number % self.calls == 0:
                self.schedule.step()
        assert len(step.reasons) == 2  # one program adds, the other one updates
        return losses


def same(ours, theirs):
    rows = zip(ours.model.named_parameters(), theirs.model.parameters(), strict=True)
    for (name, p), q in rows:
        expected = q.detach().numpy()
        np.testing.assert_allclose(
            p.detach().numpy(), expected, rtol=1e-3, atol=1e-4, err_msg=name
        )


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_accumulated_steps_are_torchs(optimizer, clip):
    theirs, ours = Run(torch, optimizer, clip), Run(nncomp, optimizer, clip)
    np.testing.assert_allclose(ours.compiled(), theirs.eager(), rtol=1e-3)
    same(ours, theirs)


def test_with_a_scaler_and_a_memory_limit():
    theirs, ours = Run(torch, "momentum", "norm"), Run(nncomp, "momentum", "norm")
    scaler = nncomp.amp.GradScaler("cpu", init_scale=64.0, growth_interval=2)
    losses = ours.compiled(scaler=scaler, memory_limit="1MB")
    np.testing.assert_allclose(losses, theirs.eager(), rtol=1e-3)
    assert scaler.get_scale() == 64.0 * 2**3
    same(ours, theirs)


def test_accumulation_with_a_compiled_model_and_backward():
    """The same without a compiled step: gradients add up in .grad."""
    theirs, ours = Run(torch, "momentum", "value"), Run(nncomp, "momentum", "value")
    ours.model = nncomp.compile(ours.model)
    np.testing.assert_allclose(ours.eager(), theirs.eager(), rtol=1e-3)
    same(ours, theirs)


def test_hooks_run_once_per_update_and_batches_may_differ_in_size():
    model = net(nncomp)
    optimizer = nncomp.optim.SGD(model.parameters(), 0.1)
    calls = []
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    step = nncomp.compile_train_step(
        model, nncomp.nn.functional.cross_entropy, optimizer, accumulate=2
    )
    before = model[0].weight.detach().clone()
    for number, rows in enumerate((4, 2, 2, 4), 1):
        step(nncomp.ones(rows, 6), nncomp.zeros(rows, dtype=nncomp.int64))
        assert len(calls) == number // 2
        assert (model[0].weight == before).all().item() is (number < 2)


@pytest.mark.parametrize("calls, error", [(0, ValueError), (True, TypeError), (1.5, TypeError)])
def test_wrong_counts(calls, error):
    model = net(nncomp)
    optimizer = nncomp.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(error, match="accumulate"):
        nncomp.compile_train_step(model, lambda y, t: y, optimizer, accumulate=calls)
