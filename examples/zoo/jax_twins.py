"""The smaller models as functions for JAX: (weights by name, *inputs) -> output.

They take the weights of the Modules beside them, so that `nncomp bench` can compare results.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

Weights = dict[str, jax.Array]


def linear(weights: Weights, name: str, x: jax.Array) -> jax.Array:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def layer_norm(weights: Weights, name: str, x: jax.Array) -> jax.Array:
    centered = x - x.mean(-1, keepdims=True)
    scale = lax.rsqrt((centered * centered).mean(-1, keepdims=True) + 1e-5)
    return centered * scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def mlp(weights: Weights, x: jax.Array) -> jax.Array:
    hidden = jax.nn.relu(linear(weights, "linear_relu_stack.0", x.reshape(x.shape[0], -1)))
    return linear(weights, "linear_relu_stack.2", hidden)


def wide_mlp(weights: Weights, x: jax.Array) -> jax.Array:
    for i in (0, 3):
        x = jax.nn.gelu(linear(weights, f"layers.{i}", x), approximate=False)
        x = layer_norm(weights, f"layers.{i + 2}", x)
    return linear(weights, "layers.6", x)


def convnet(weights: Weights, x: jax.Array) -> jax.Array:
    x = x.reshape(-1, 1, 28, 28)
    for i in (1, 3, 5):
        x = lax.conv_general_dilated(x, weights[f"{i}.weight"], (2, 2), ((1, 1), (1, 1)))
        x = jax.nn.relu(x + weights[f"{i}.bias"][:, None, None])
    return x.mean((2, 3))


def rnn(weights: Weights, inputs: jax.Array) -> jax.Array:
    def cell(state: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        given = x @ weights["cell.weight_ih"].T + weights["cell.bias_ih"]
        kept = state @ weights["cell.weight_hh"].T + weights["cell.bias_hh"]
        state = jax.nn.relu(given + kept)
        return state, state

    start = jnp.zeros((inputs.shape[0], weights["cell.bias_hh"].shape[0]), jnp.float32)
    _, states = lax.scan(cell, start, inputs.swapaxes(0, 1))
    return states.swapaxes(0, 1)
