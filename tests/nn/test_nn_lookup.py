"""EmbeddingBag, max_norm, random activations, response norms, lazy layers: against torch."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from both import agree, cases, fill, numbers
from same_compiled import same_compiled

import nncomp
from nncomp import nn
from nncomp.nn import functional as F
from nncomp.trace_error import TraceError

INDEX = np.array([[1, 3, 0], [2, 2, 4]])
FLAT = np.array([1, 3, 0, 2, 2, 4, 1])
OFFSETS = np.array([0, 2, 2, 5])


def bag(index=FLAT, offsets=OFFSETS, weights=None, **options):
    def scenario(t):
        layer = fill(t, t.nn.EmbeddingBag(5, 3, **options))
        given = None if offsets is None or index.ndim == 2 else t.tensor(offsets)
        scale = None if weights is None else t.tensor(weights).requires_grad_()
        y = layer(t.tensor(index), given, scale)
        (y * t.tensor(numbers(*y.shape))).sum().backward()
        return [repr(layer), layer.state_dict(), y, layer.weight.grad,
                None if scale is None else scale.grad]  # fmt: skip

    return scenario


def table(**options):
    def scenario(t):
        layer = fill(t, t.nn.Embedding(5, 3, **options))
        y = layer(t.tensor(INDEX))
        (y * t.tensor(numbers(*y.shape))).sum().backward()
        return [repr(layer), layer.weight, y, layer.weight.grad]

    return scenario


def pretrained(t):
    layer = t.nn.EmbeddingBag.from_pretrained(t.tensor(numbers(5, 3)), mode="max")
    return [layer(t.tensor(INDEX)), layer.weight.requires_grad, repr(layer)]


LOOKUPS = {
    **{
        f"{mode} {name} {padding}": bag(index, mode=mode, padding_idx=padding)
        for mode in ("sum", "mean", "max")
        for name, index in (("rows", INDEX), ("offsets", FLAT))
        for padding in (None, 2, -5)
    },
    "weights": bag(weights=numbers(7), mode="sum", padding_idx=1),
    "weights rows": bag(INDEX, weights=numbers(2, 3), mode="sum"),
    "last offset": bag(offsets=np.array([0, 3, 7]), include_last_offset=True),
    "bag max_norm": bag(max_norm=0.5, mode="sum"),
    "pretrained": pretrained,
    "max_norm": table(max_norm=0.5),
    "max_norm 1": table(max_norm=0.5, norm_type=1.0, padding_idx=2),
    "frequency": table(scale_grad_by_freq=True),
}


@cases(LOOKUPS)
def test_lookup_agrees_with_torch(case):
    agree(case, ok=True)


def test_gradient_by_frequency_is_a_mean():
    """Not compared: torch divides by the counts of other rows if a row occurs twice."""
    weight = nncomp.tensor(numbers(5, 1)).requires_grad_()
    given = (nncomp.tensor(FLAT), weight, nncomp.tensor(OFFSETS))
    F.embedding_bag(*given, mode="sum", scale_grad_by_freq=True).sum().backward()
    assert weight.grad.reshape(-1).tolist() == [1.0] * 5


def layer(build, *shape, mode=True):
    def scenario(t):
        module = build(t)
        module = module.train(mode) if isinstance(module, t.nn.Module) else module
        x = t.tensor(numbers(*shape)).requires_grad_()
        y = module(x)
        (y * t.tensor(numbers(*y.shape, start=5))).sum().backward()
        return [repr(module) if isinstance(module, t.nn.Module) else "", y, x.grad]

    return scenario


def in_place(name, *args):
    def scenario(t):
        x = t.tensor(numbers(3, 4)).requires_grad_()
        y = x * 1.0
        z = getattr(t.nn.functional, name)(y, *args)
        z.sum().backward()
        return [z is y, y, x.grad]

    return scenario


OTHERS = {
    "LocalResponseNorm": layer(lambda t: t.nn.LocalResponseNorm(3, 0.1), 2, 5, 3),
    "LocalResponseNorm even": layer(lambda t: t.nn.LocalResponseNorm(4, 0.1, 0.5, 2.0), 2, 5, 3, 2),
    "LocalResponseNorm 5d": layer(lambda t: t.nn.LocalResponseNorm(2, 0.1), 1, 3, 2, 2, 2),
    "CrossMapLRN2d": lambda t: t.nn.CrossMapLRN2d(3, 0.1)(t.tensor(numbers(2, 5, 3, 2))),
    "CrossMapLRN2d even": lambda t: t.nn.CrossMapLRN2d(4, 0.1, 0.5, 2)(
        t.tensor(numbers(2, 7, 3, 2))
    ),
    "AlphaDropout eval": layer(lambda t: t.nn.AlphaDropout(), 3, 4, mode=False),
    "FeatureAlphaDropout eval": layer(lambda t: t.nn.FeatureAlphaDropout(0.2), 3, 4, 2, mode=False),
    "AlphaDropout all": layer(lambda t: t.nn.AlphaDropout(1.0), 3, 4),
    "RReLU eval": layer(lambda t: t.nn.RReLU(0.1, 0.5), 3, 4, mode=False),
    "RReLU one slope": layer(lambda t: t.nn.RReLU(0.25, 0.25), 3, 4),
    "SyncBatchNorm": layer(lambda t: t.nn.SyncBatchNorm(4), 3, 4, mode=False),
    "DataParallel": layer(lambda t: fill(t, t.nn.DataParallel(t.nn.Linear(4, 2))), 3, 4),
    "conv_tbc": layer(
        lambda t: lambda x: t.nn.functional.conv_tbc(
            x, t.tensor(numbers(3, 4, 2)), t.tensor(numbers(2)), 1), 5, 3, 4,
    ),
    "relu_": in_place("relu_"),
    "elu_": in_place("elu_", 0.5),
    "celu_": in_place("celu_", 0.5),
    "selu_": in_place("selu_"),
    "leaky_relu_": in_place("leaky_relu_", 0.2),
    "hardtanh_": in_place("hardtanh_", -0.5, 0.5),
    "threshold_": in_place("threshold_", 0.1, 2.0),
    "rrelu_": in_place("rrelu_", 0.1, 0.3),
    "convert": lambda t: repr(t.nn.SyncBatchNorm.convert_sync_batchnorm(
        t.nn.Sequential(t.nn.BatchNorm1d(3), t.nn.ReLU()))),
}  # fmt: skip


@cases(OTHERS)
def test_layer_agrees_with_torch(case):
    agree(case, ok=True)


I3 = np.zeros(3, np.int64)


def wrong_bag(index, *args, **options):
    def scenario(t):
        given = [t.tensor(a) if isinstance(a, np.ndarray) else a for a in args]
        scale = options.get("per_sample_weights")
        extra = {} if scale is None else {"per_sample_weights": t.tensor(scale)}
        return t.nn.functional.embedding_bag(
            t.tensor(index), t.zeros(4, 2), *given, **{**options, **extra}
        )

    return scenario


TWO_BAGS = np.array([0, 2])
ERRORS = {
    "no offsets": wrong_bag(I3),
    "3d": wrong_bag(np.zeros((2, 3, 1), np.int64)),
    "first offset": lambda t: wrong_bag(I3, I3 + 1)(t),
    "last offset": wrong_bag(I3, np.array([0, 5])),
    "mode": wrong_bag(I3, TWO_BAGS, mode="median"),
    "weights mode": wrong_bag(I3, TWO_BAGS, per_sample_weights=np.zeros(3, np.float32)),
    "weights shape": wrong_bag(I3, TWO_BAGS, mode="sum", per_sample_weights=np.zeros(2)),
    "max frequency": wrong_bag(I3, TWO_BAGS, mode="max", scale_grad_by_freq=True),
    "padding": wrong_bag(I3, TWO_BAGS, padding_idx=7),
    "offsets rank": wrong_bag(I3, np.zeros((1, 1), np.int64)),
    "include last": wrong_bag(I3, np.array([0, 2, 1]), include_last_offset=True),
    "module padding": lambda t: t.nn.EmbeddingBag(3, 4, padding_idx=5),
    "pretrained": lambda t: t.nn.EmbeddingBag.from_pretrained(t.zeros(3)),
    "cross map": lambda t: t.nn.CrossMapLRN2d(3)(t.zeros(2, 2, 2)),
    "alpha": lambda t: t.nn.functional.alpha_dropout(t.zeros(2), 2),
    "rrelu": lambda t: t.nn.functional.rrelu(t.zeros(2), 0.5, 0.2),
    "sync": lambda t: t.nn.SyncBatchNorm(3)(t.zeros(2)),
    "lazy shape": lambda t: t.nn.LazyLinear(3).weight.shape,
    "lazy to plain": lambda t: t.nn.Linear(5, 3).load_state_dict(t.nn.LazyLinear(3).state_dict()),
    "lazy conv": lambda t: t.nn.LazyConv2d(3, 2)(t.zeros(2, 2)),
    "lazy groups": lambda t: t.nn.LazyConv2d(3, 2, groups=3)(t.zeros(1, 2, 4, 4)),
}


@cases({k: v for k, v in ERRORS.items() if k not in ("first offset", "lazy to plain")})
def test_error_agrees_with_torch(case):
    agree(case, ok=False)


def test_wrong_first_offset_and_wrong_lazy_state_are_named():
    with pytest.raises(RuntimeError, match=r"offsets\[0\] has to be 0.*However, got 1"):
        ERRORS["first offset"](nncomp)
    with pytest.raises(RuntimeError, match="access the shape of an uninitialized parameter"):
        ERRORS["lazy to plain"](nncomp)
    with pytest.raises(ValueError, match="Attempted to use an uninitialized parameter"):
        nn.LazyLinear(3).weight + 1
    with pytest.raises(NotImplementedError, match="scaled_mm is not available"):
        F.scaled_mm()


# -- lazy layers ----------------------------------------------------------------------------------


def lazy(build, *shape):
    """Return a scenario: before and after the first call, and one training step."""

    def scenario(t):
        module = build(t)
        before = [repr(module), str(module.state_dict()), module.has_uninitialized_params()]
        x = t.tensor(numbers(*shape)).requires_grad_()
        module(x)
        fill(t, module)
        module.zero_grad()
        y = module(x)
        (y * y * y).sum().backward()
        grads = [p.grad for p in module.parameters()]
        return [*before, repr(module), type(module).__name__, list(module.state_dict()), y, grads,
                len(module._forward_pre_hooks)]  # fmt: skip

    return scenario


LAZY = {
    "linear": lazy(lambda t: t.nn.LazyLinear(3), 2, 4),
    "linear no bias": lazy(lambda t: t.nn.LazyLinear(3, bias=False), 2, 4),
    "conv1": lazy(lambda t: t.nn.LazyConv1d(4, 2, padding=1), 1, 2, 5),
    "conv2": lazy(lambda t: t.nn.LazyConv2d(4, 2, groups=2, bias=False), 1, 2, 3, 4),
    "conv3": lazy(lambda t: t.nn.LazyConv3d(2, 2, stride=2), 1, 2, 3, 4, 3),
    "transposed1": lazy(lambda t: t.nn.LazyConvTranspose1d(4, 2), 1, 2, 5),
    "transposed2": lazy(
        lambda t: t.nn.LazyConvTranspose2d(4, 2, 2, output_padding=1), 1, 2, 3, 2
    ),
    "transposed3": lazy(lambda t: t.nn.LazyConvTranspose3d(2, 2), 1, 2, 2, 2, 2),
    "batch1": lazy(lambda t: t.nn.LazyBatchNorm1d(), 4, 3),
    "batch2": lazy(lambda t: t.nn.LazyBatchNorm2d(affine=False), 2, 3, 4, 4),
    "batch3": lazy(lambda t: t.nn.LazyBatchNorm3d(momentum=None), 2, 3, 2, 2, 2),
}

INSTANCES = {
    f"instance{n}": lazy(lambda t, n=n: getattr(t.nn, f"LazyInstanceNorm{n}d")(), 2, 3, *([3] * n))
    for n in (1, 2, 3)
}


@cases({**LAZY, **INSTANCES})
def test_lazy_layer_agrees_with_torch(case):
    agree(case, ok=True, tol=1e-4)


def test_lazy_layer_takes_its_shape_from_a_checkpoint():
    def scenario(t):
        source = fill(t, t.nn.Linear(4, 3))
        module = t.nn.LazyLinear(3)
        keys = module.load_state_dict(source.state_dict())
        waiting = t.nn.LazyLinear(3).load_state_dict(t.nn.LazyLinear(3).state_dict())
        shape = list(module.weight.shape)
        y = module(t.tensor(numbers(2, 4)))
        wide = t.nn.LazyLinear(2).double()
        wide(t.zeros(1, 3).double())
        norm = t.nn.LazyBatchNorm1d().double()
        norm(t.zeros(2, 3).double())
        return [str(keys), str(waiting), shape, y, repr(module), str(wide.weight.dtype),
                str(norm.running_mean.dtype)]  # fmt: skip

    agree(scenario, ok=True)


def test_lazy_layer_can_be_copied_and_pickled():
    for make in (copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))):
        made = make(nn.LazyLinear(3))
        assert made.has_uninitialized_params() and repr(made.weight) == "<UninitializedParameter>"
        assert made(nncomp.zeros(2, 4)).shape == (2, 3) and type(made) is nn.Linear


def test_lazy_layer_must_be_called_before_it_is_traced():
    module = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(TraceError, match="call it once with an input of the right size"):
        nncomp.trace(module, nncomp.zeros(2, 4))
    module(nncomp.zeros(2, 4))
    same_compiled(module, nncomp.tensor(numbers(2, 4)))


# -- random functions -----------------------------------------------------------------------------


def test_alpha_dropout_keeps_mean_and_variance():
    nncomp.manual_seed(0)
    x = nncomp.randn(200, 400)
    for module in (nn.AlphaDropout(0.3), nn.FeatureAlphaDropout(0.3)):
        y = module(x)
        assert abs(float(y.mean())) < 0.02 and abs(float(y.var()) - 1) < 0.03
        limit = -1.7580993408473766
        scale = ((limit**2 * 0.3 + 1) * 0.7) ** -0.5
        dropped = (y - limit * scale * 0.7).abs() < 1e-5
        assert abs(float(dropped.float().mean()) - 0.3) < 0.01
    y = nn.FeatureAlphaDropout(0.5)(nncomp.randn(3, 50, 20))
    same = (y == y[:, :, :1]).all(2)
    assert 30 < int(same.sum()) < 120


def test_rrelu_draws_slopes_between_the_limits():
    nncomp.manual_seed(0)
    x = -nncomp.ones(1000)
    y = nn.RReLU(0.2, 0.4)(x)
    assert 0.2 <= float(-y.max()) < 0.21 and 0.39 < float(-y.min()) <= 0.4


def test_gumbel_softmax_samples_the_distribution():
    nncomp.manual_seed(0)
    logits = nncomp.tensor([0.0, 1.0, 2.0]).expand(20000, 3).clone().requires_grad_()
    hard = F.gumbel_softmax(logits, tau=0.5, hard=True)
    assert bool((hard.sum(1) == 1).all()) and bool(((hard - hard.round()).abs() < 1e-6).all())
    expected = F.softmax(nncomp.tensor([0.0, 1.0, 2.0]), 0)
    assert float((hard.detach().mean(0) - expected).abs().max()) < 0.02
    (hard * nncomp.arange(3.0)).sum().backward()
    assert float(logits.grad.abs().sum()) > 0
    soft = F.gumbel_softmax(logits.detach(), tau=2.0, dim=0)
    assert abs(float(soft[:, 0].sum()) - 1) < 1e-4


COMPILED = {
    "bag": (nn.EmbeddingBag(5, 3, padding_idx=1), (FLAT, OFFSETS)),
    "bag max": (nn.EmbeddingBag(5, 3, mode="max"), (FLAT, OFFSETS)),
    "bag rows": (nn.EmbeddingBag(5, 3, mode="sum"), (INDEX,)),
    "max_norm": (nn.Embedding(5, 3, max_norm=0.5, scale_grad_by_freq=True), (INDEX,)),
    "response": (nn.LocalResponseNorm(3), (numbers(2, 4, 3),)),
    "cross map": (nn.CrossMapLRN2d(3), (numbers(1, 4, 3, 2),)),
    "alpha": (nn.AlphaDropout(), (numbers(3, 4),)),
    "features": (nn.FeatureAlphaDropout(), (numbers(3, 4, 2),)),
    "rrelu": (nn.RReLU(), (numbers(3, 4),)),
    "gumbel": (lambda x: F.gumbel_softmax(x, hard=True), (numbers(3, 4),)),
    "relu_": (lambda x: F.relu_(x * 2.0), (numbers(3, 4),)),
    "sync": (nn.SyncBatchNorm(4), (numbers(3, 4),)),
    "parallel": (nn.DataParallel(nn.Linear(4, 2)), (numbers(3, 4),)),
}


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_is_eager(name):
    function, arrays = COMPILED[name]
    state = copy.deepcopy(function) if isinstance(function, nn.Module) else function
    same_compiled(state, *map(nncomp.tensor, arrays))
