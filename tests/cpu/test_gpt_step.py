"""The training step of a transformer: torch's losses, the same bits for any number of threads."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import nncomp
from nncomp import optim

ZOO = Path(__file__).parents[2] / "examples" / "zoo"
TOKENS, LENGTH, WIDTH, DEPTH, HEADS, BATCH = 31, 48, 48, 2, 3, 4
LR, STEPS = 1e-3, 100


@pytest.fixture(scope="module")
def gpt():
    sys.path.insert(0, str(ZOO))
    try:
        import gpt

        yield gpt
    finally:
        sys.path.remove(str(ZOO))


def made(gpt):
    nncomp.manual_seed(0)
    return gpt.GPT(TOKENS, LENGTH, WIDTH, DEPTH, HEADS)


def batches(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, TOKENS, (count, BATCH, LENGTH + 1))
    tokens[:, :, 1::2] = (tokens[:, :, 0:-1:2] * 3 + 1) % TOKENS  # every second one can be learned
    return [(x[:, :-1], x[:, 1:]) for x in tokens]


def trained(gpt, steps: int, threads: int | None = None):
    """The model, its losses and its compiled step."""
    model = made(gpt)
    optimizer = optim.AdamW(model.parameters(), lr=LR)
    step = nncomp.compile_train_step(model, gpt.loss, optimizer, threads=threads)
    losses = [step(nncomp.tensor(x), nncomp.tensor(y)).item() for x, y in batches(steps)]
    return model, losses, step


def torch_losses(gpt, steps: int) -> list[float]:
    """The same net by torch's own operations, on one thread: two would mostly wait for each other
    (a hundred times as long, beside other tests)."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _torch_losses(torch, gpt, steps)
    finally:
        torch.set_num_threads(before)


def _torch_losses(torch, gpt, steps: int) -> list[float]:
    F = torch.nn.functional
    state = {k: v.numpy().copy() for k, v in made(gpt).state_dict().items()}
    del state["head.weight"]
    p = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in state.items()}
    optimizer = torch.optim.AdamW(p.values(), lr=LR)

    def linear(x, name):
        return F.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])

    def norm(x, name):
        return F.layer_norm(x, (WIDTH,), p[f"{name}.weight"], p[f"{name}.bias"])

    def scores_of(x):
        x = p["tokens.weight"][x] + p["positions.weight"][: x.shape[1]]
        for i in range(DEPTH):
            block = f"blocks.{i}"
            parts = linear(norm(x, f"{block}.attention_norm"), f"{block}.attention.inlet")
            q, k, v = (
                part.view(BATCH, LENGTH, HEADS, -1).transpose(1, 2)
                for part in parts.split(WIDTH, dim=2)
            )
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            y = y.transpose(1, 2).reshape(BATCH, LENGTH, WIDTH)
            x = x + linear(y, f"{block}.attention.outlet")
            y = F.gelu(linear(norm(x, f"{block}.norm"), f"{block}.up"), approximate="tanh")
            x = x + linear(y, f"{block}.down")
        return norm(x, "norm") @ p["tokens.weight"].T

    losses = []
    for x, y in batches(steps):
        scores = scores_of(torch.tensor(x))
        loss = F.cross_entropy(scores.flatten(0, 1), torch.tensor(y).flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_losses_are_torchs(gpt):
    want = torch_losses(gpt, STEPS)
    _, got, _ = trained(gpt, STEPS)
    np.testing.assert_allclose(got, want, rtol=1e-3)
    assert got[-1] < 0.8 * got[0]


def test_threads_do_not_change_a_bit(gpt):
    runs = [trained(gpt, 4, threads) for threads in (1, 2, 3)]
    (model, losses, _), *others = runs
    for other, more, _ in others:
        assert losses == more
        for a, b in zip(model.parameters(), other.parameters(), strict=True):
            assert np.array_equal(a.detach().numpy(), b.detach().numpy())


def test_step_keeps_neither_scores_nor_what_gelu_can_compute_again(gpt):
    _, _, step = trained(gpt, 1)
    ((program,),) = step.programs.values()
    text = str(program.fused_graph)
    assert text.count(" attention(") == text.count(" attention_grad(") == DEPTH
    assert f"[{BATCH},{HEADS},{LENGTH},{LENGTH}]" not in text
    hidden = f"f32[{BATCH},{LENGTH},{4 * WIDTH}]"
    results = [n.type for n in program.fused_graph.nodes if n.name == "fused"]
    assert max(sum(str(t) == hidden for t in types) for types in results) == 2


def test_a_compiled_module_and_backward_keep_little(gpt, monkeypatch):
    from nncomp.ir import split_backward as module

    splits, split = [], module.split_backward

    def seen(*args):
        splits.append(split(*args))
        return splits[-1]

    monkeypatch.setattr(module, "split_backward", seen)
    model = made(gpt)
    compiled = nncomp.compile(model)
    x, y = (nncomp.tensor(a) for a in batches(1)[0])
    gpt.loss(compiled(x), y).backward()
    got = [p.grad.numpy().copy() for p in model.parameters()]
    model.zero_grad()
    gpt.loss(model(x), y).backward()
    for grad, p in zip(got, model.parameters(), strict=True):
        np.testing.assert_allclose(grad, p.grad.numpy(), rtol=1e-3, atol=1e-5)
    ((forward, backward, primal, *_),) = splits
    assert str(forward).count(" attention(") == str(backward).count(" attention_grad(") == DEPTH
    hidden = BATCH * LENGTH * 4 * WIDTH  # elements
    kept = [n.type for n in forward.outputs[primal:]]
    assert sum(t.size == hidden for t in kept) == DEPTH
    assert max(t.size for t in kept) == hidden
