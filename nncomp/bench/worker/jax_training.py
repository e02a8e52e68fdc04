"""A training step in JAX: losses and optimizers with torch's formulas, the step as one jit.

Weights and optimizer state are donated, so that XLA updates them in place.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

jax: Any = importlib.import_module("jax")
jnp: Any = jax.numpy


def cross_entropy(scores: Any, target: Any) -> Any:
    """Mean negative log-probability of the target classes; scores (B, C), target (B,)."""
    chosen = jnp.take_along_axis(jax.nn.log_softmax(scores), target[:, None], 1)
    return -chosen.mean()


def mean_squared_error(y: Any, target: Any) -> Any:
    """Mean of squared differences."""
    return ((y - target) ** 2).mean()


LOSSES = {"CrossEntropyLoss": cross_entropy, "MSELoss": mean_squared_error}


def sgd(w: Any, g: Any, state: dict, step: Any, lr: float, momentum: float = 0.0) -> tuple:
    """Gradient descent with momentum: buffer = momentum buffer + g."""
    buffer = momentum * state["buffer"] + g
    return w - lr * buffer, {"buffer": buffer}


def adam(
    w: Any, g: Any, state: dict, step: Any, lr: float, betas: tuple = (0.9, 0.999),
    eps: float = 1e-8,
) -> tuple:  # fmt: skip
    """Adam (Kingma and Ba, 2014) with bias correction."""
    first, second = betas
    mean = first * state["mean"] + (1 - first) * g
    square = second * state["square"] + (1 - second) * g * g
    root = jnp.sqrt(square / (1 - second**step)) + eps
    return w - lr / (1 - first**step) * mean / root, {"mean": mean, "square": square}


OPTIMIZERS: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "SGD": (sgd, ("buffer",)),
    "Adam": (adam, ("mean", "square")),
}


def make_step(function: Callable, weights: dict[str, Any], train: dict[str, Any]) -> Callable:
    """`step(*inputs, target) -> loss`; it keeps weights and state. KeyError for unknown names."""
    loss_of = LOSSES[train["loss"]]
    update, names = OPTIMIZERS[train["optimizer"]]

    def whole(weights: dict, states: dict, count: Any, *batch: Any) -> tuple:
        *inputs, target = batch
        loss, grads = jax.value_and_grad(lambda w: loss_of(function(w, *inputs), target))(weights)
        pairs = {
            k: update(w, grads[k], states[k], count, **train["options"])
            for k, w in weights.items()
        }
        kept = {k: w for k, (w, _) in pairs.items()}, {k: s for k, (_, s) in pairs.items()}
        return loss, *kept, count + 1

    states = {k: {n: jnp.zeros_like(w) for n in names} for k, w in weights.items()}
    kept: list[Any] = [weights, states, jnp.ones((), jnp.float32)]
    compiled = jax.jit(whole, donate_argnums=(0, 1, 2))

    def step(*batch: Any) -> Any:
        loss, *kept[:] = compiled(*kept, *batch)
        return jax.block_until_ready((loss, kept))[0]

    return step
