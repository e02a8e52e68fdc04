"""nn.utils compared with torch: clipping of gradients, parameters as a vector."""

from __future__ import annotations

import math

import numpy as np
import pytest
from both import agree, cases, fill, numbers

import nncomp
from nncomp import nn


def layer_with_grads(t):
    layer = fill(t, t.nn.Linear(3, 2))
    (layer(t.tensor(numbers(4, 3))) ** 2).sum().backward()
    return layer


def clipped(name, *args, **options):
    def scenario(t):
        layer = layer_with_grads(t)
        returned = getattr(t.nn.utils, name)(layer.parameters(), *args, **options)
        return [returned, [p.grad for p in layer.parameters()]]

    return scenario


def round_trip(t):
    layer = fill(t, t.nn.Linear(3, 2))
    vector = t.nn.utils.parameters_to_vector(layer.parameters())
    t.nn.utils.vector_to_parameters(vector * 2, layer.parameters())
    return [vector, list(layer.parameters())]


SCENARIOS = {
    "norm": clipped("clip_grad_norm_", 0.5),
    "norm large": clipped("clip_grad_norm_", 1e6),
    "norm inf": clipped("clip_grad_norm_", 0.5, norm_type=math.inf),
    "norm 1": clipped("clip_grad_norm_", 0.5, norm_type=1),
    "norm 3": clipped("clip_grad_norm_", 0.5, norm_type=3.0),
    "value": clipped("clip_grad_value_", 0.2),
    "no grads": lambda t: t.nn.utils.clip_grad_norm_(t.nn.Linear(1, 1).parameters(), 1.0),
    "vector": round_trip,
}


@cases(SCENARIOS)
def test_utils_are_torchs(case):
    agree(case, ok=True)


def test_nonfinite_norm_is_an_error_on_demand():
    layer = layer_with_grads(nncomp)
    layer.weight.grad.fill_(math.inf)
    with pytest.raises(RuntimeError, match="non-finite"):
        nn.utils.clip_grad_norm_(layer.parameters(), 1.0, error_if_nonfinite=True)


def test_vector_to_parameters_keeps_the_parameters():
    layer = nn.Linear(2, 2)
    weight = layer.weight
    nn.utils.vector_to_parameters(nncomp.ones(6), layer.parameters())
    assert layer.weight is weight and weight.requires_grad
    np.testing.assert_array_equal(weight.detach().numpy(), np.ones((2, 2)))
