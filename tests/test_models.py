"""Whole model files written against torch: outputs, gradients and training steps equal torch's.

Each file of examples/models runs twice, with nncomp and, its import lines changed, with torch, from
the same weights; here eagerly and compiled.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import nncomp

torch = pytest.importorskip("torch")

FOLDER = Path(__file__).parent.parent / "examples" / "models"
STEPS = 3


def load(name: str, library: str) -> SimpleNamespace:
    """The names that a model file defines when it runs on `library`."""
    source = (FOLDER / f"{name}.py").read_text()
    if library == "torch":
        source = source.replace("import nncomp as torch", "import torch").replace("nncomp", "torch")
    names: dict = {"__name__": name}
    exec(compile(source, f"{name}.py", "exec"), names)  # noqa: S102
    return SimpleNamespace(**names)


class Pair:
    """A model in both libraries, with the same weights and the same data."""

    def __init__(self, name: str):
        torch.manual_seed(1)  # with 0, rounding flips one ReLU of the ResNet in the third step
        self.theirs, inputs, target, self.their_loss = load(name, "torch").build()
        self.ours, _, _, self.our_loss = load(name, "nncomp").build()
        self.their_data = (*inputs, target)
        self.our_data = tuple(nncomp.from_numpy(x.numpy().copy()) for x in self.their_data)
        state = {
            k: nncomp.from_numpy(v.numpy().copy()) for k, v in self.theirs.state_dict().items()
        }
        self.ours.load_state_dict(state)

    def double(self) -> None:
        """Everything in float64, where training steps do not amplify rounding."""
        self.theirs.double(), self.ours.double()
        self.their_data = tuple(x.double() if x.is_floating_point() else x for x in self.their_data)
        self.our_data = tuple(x.double() if x.is_floating_point() else x for x in self.our_data)

    def close(self, ours, theirs, tol: float = 2e-4) -> None:
        a, b = ours.detach().numpy(), theirs.detach().numpy()
        scale = max(1e-3, np.abs(b).max())
        assert a.shape == b.shape and np.abs(a - b).max() <= tol * scale


@pytest.fixture(params=["resnet", "gpt", "unet"])
def pair(request) -> Pair:
    return Pair(request.param)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_outputs_and_gradients(pair, compiled, train):
    ours = nncomp.compile(pair.ours) if compiled else pair.ours
    ours.train(train)
    pair.theirs.train(train)
    got, want = ours(*pair.our_data[:-1]), pair.theirs(*pair.their_data[:-1])
    pair.close(got, want)
    pair.our_loss(got, pair.our_data[-1]).backward()
    pair.their_loss(want, pair.their_data[-1]).backward()
    theirs = dict(pair.theirs.named_parameters())
    assert dict(pair.ours.named_parameters()).keys() == theirs.keys()
    for name, p in pair.ours.named_parameters():
        pair.close(p.grad, theirs[name].grad)
    for (name, a), (_, b) in zip(
        pair.ours.named_buffers(), pair.theirs.named_buffers(), strict=True
    ):
        assert np.allclose(a.numpy(), b.numpy(), atol=1e-5), name


def optimizers(kind: str, pair: Pair):
    if kind == "sgd":
        options = dict(lr=0.05, momentum=0.9, weight_decay=1e-4)
        return (lib.optim.SGD(m.parameters(), **options) for lib, m in both(pair))
    return (lib.optim.AdamW(m.parameters(), lr=1e-3) for lib, m in both(pair))


def both(pair: Pair):
    return (nncomp, pair.ours), (torch, pair.theirs)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_steps(pair, dtype, kind, compiled):
    if dtype == "float64":
        pair.double()
    our_optimizer, their_optimizer = optimizers(kind, pair)
    step = nncomp.compile_train_step(pair.ours, pair.our_loss, our_optimizer)
    for _ in range(STEPS):
        loss = pair.their_loss(pair.theirs(*pair.their_data[:-1]), pair.their_data[-1])
        their_optimizer.zero_grad()
        loss.backward()
        their_optimizer.step()
        if compiled:
            ours = step(*pair.our_data)
        else:
            ours = pair.our_loss(pair.ours(*pair.our_data[:-1]), pair.our_data[-1])
            our_optimizer.zero_grad()
            ours.backward()
            our_optimizer.step()
        near = 1e-4 if dtype == "float32" else 1e-9
        assert abs(ours.item() - loss.item()) <= near * max(1.0, abs(loss.item()))
    rounding = 1e-5 if kind == "sgd" else 2e-3  # Adam divides by tiny second moments
    tol = 1e-8 if dtype == "float64" else rounding
    for a, b in zip(
        pair.ours.state_dict().values(), pair.theirs.state_dict().values(), strict=True
    ):
        pair.close(a, b, tol)
