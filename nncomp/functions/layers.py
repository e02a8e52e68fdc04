"""Functions of nn.functional that torch has in its own namespace too.

They are looked up when they are called, since nn imports this package.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def _late(name: str) -> Callable:
    """nn.functional.<name>, found at the call."""

    def function(*args: Any, **kwargs: Any) -> Any:
        return getattr(import_module("nncomp.nn.functional"), name)(*args, **kwargs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"nn.functional.{name}(...)."
    return function


alpha_dropout = _late("alpha_dropout")
bilinear = _late("bilinear")
celu = _late("celu")
channel_shuffle = _late("channel_shuffle")
cosine_embedding_loss = _late("cosine_embedding_loss")
feature_alpha_dropout = _late("feature_alpha_dropout")
hardshrink = _late("hardshrink")
hinge_embedding_loss = _late("hinge_embedding_loss")
margin_ranking_loss = _late("margin_ranking_loss")
pairwise_distance = _late("pairwise_distance")
poisson_nll_loss = _late("poisson_nll_loss")
prelu = _late("prelu")
rms_norm = _late("rms_norm")
rrelu = _late("rrelu")
selu = _late("selu")
triplet_margin_loss = _late("triplet_margin_loss")


def layer_norm(
    input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Any:  # fmt: skip
    """nn.functional.layer_norm(...)."""
    return _late("layer_norm")(input, normalized_shape, weight, bias, eps)


def group_norm(
    input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Any:  # fmt: skip
    """nn.functional.group_norm(...)."""
    return _late("group_norm")(input, num_groups, weight, bias, eps)


def batch_norm(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool,
    momentum: float, eps: float, cudnn_enabled: bool = True,
) -> Any:  # fmt: skip
    """nn.functional.batch_norm(...), with the arguments in the order of torch.batch_norm."""
    return _late("batch_norm")(
        input, running_mean, running_var, weight, bias, training, momentum, eps
    )


def adaptive_avg_pool1d(input: Any, output_size: Any) -> Any:
    """nn.functional.adaptive_avg_pool1d(...)."""
    return _late("adaptive_avg_pool1d")(input, output_size)
