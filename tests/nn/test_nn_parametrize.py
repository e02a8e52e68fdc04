"""nn.utils: parametrizations, weight and spectral norm, pruning, fusion: compared with torch."""

from __future__ import annotations

import copy
import importlib
import pickle

import numpy as np
import pytest
from both import agree, cases, fill, numbers
from same_compiled import same_compiled

import nncomp
from nncomp import nn

utils = nn.utils
importlib.import_module("torch.nn.utils.prune")


def train(layer, t, *shape, steps=1):
    """Run forward and backward; the output, the gradients and the state after it."""
    x = t.tensor(numbers(*shape)).requires_grad_()
    shown = []
    for _ in range(steps):
        layer.zero_grad()
        y = layer(x)
        (y * t.tensor(numbers(*y.shape, start=5))).sum().backward()
        shown += [y, x.grad, [p.grad for p in layer.parameters()]]
    return [*shown, layer.state_dict()]


def same_singular(t, layer, names):
    """Give the power method of both libraries the same start."""
    for start, name in enumerate(names):
        owner, _, key = name.rpartition(".")
        buffer = getattr(layer.get_submodule(owner), key)
        value = t.tensor(numbers(*buffer.shape, start=start))
        buffer.copy_(value / value.norm())


def weight_norm(old, dim, make):
    def scenario(t):
        u = t.nn.utils
        layer = fill(t, make(t))
        layer = (u.weight_norm if old else u.parametrizations.weight_norm)(layer, dim=dim)
        shown = [repr(layer), train(layer, t, 2, 4, *([3, 3] if "Conv" in repr(layer) else []))]
        if old:
            u.remove_weight_norm(layer)
        else:
            shown.append(u.parametrize.is_parametrized(layer, "weight"))
            u.parametrize.remove_parametrizations(layer, "weight")
        return [*shown, repr(layer), sorted(layer.state_dict()), layer.weight]

    return scenario


def spectral_norm(old, make, mode=True):
    def scenario(t):
        u = t.nn.utils
        layer = fill(t, make(t)).train(mode)
        layer = (u.spectral_norm if old else u.parametrizations.spectral_norm)(layer)
        ends = ("weight_u", "weight_v") if old else (
            "parametrizations.weight.0._u", "parametrizations.weight.0._v")  # fmt: skip
        same_singular(t, layer, ends)
        shape = [2, 4, 3, 3] if "Conv" in repr(layer) else [2, 4]
        shown = [repr(layer), train(layer, t, *shape, steps=2)]
        if old:
            u.remove_spectral_norm(layer)
        else:
            u.parametrize.remove_parametrizations(layer, "weight")
        return [*shown, sorted(layer.state_dict()), layer.weight]

    return scenario


def orthogonal(shape, kind, trivial=True, assign=None):
    def scenario(t):
        layer = fill(t, t.nn.Linear(*shape, bias=False))
        t.nn.utils.parametrizations.orthogonal(
            layer, orthogonal_map=kind, use_trivialization=trivial
        )
        with t.no_grad():
            layer.parametrizations.weight.original.copy_(
                t.tensor(np.eye(*layer.weight.shape) + numbers(*layer.weight.shape, scale=0.2))
            )
            if trivial:  # where the base is random, both get the same
                n = max(shape)
                base = np.linalg.qr(numbers(n, n, start=9).astype(np.float64))[0]
                layer.parametrizations.weight[0].base = t.tensor(base.astype(np.float32))
        shown = [repr(layer), train(layer, t, 2, shape[0])]
        if assign is not None:
            q = np.linalg.qr(numbers(*assign, start=3).astype(np.float64))[0]
            layer.weight = t.tensor(q.astype(np.float32))
            shown.append(layer.weight)
        return shown

    return scenario


LINEAR = lambda t: t.nn.Linear(4, 3)  # noqa: E731
CONV = lambda t: t.nn.Conv2d(4, 3, 2)  # noqa: E731
TURNED = lambda t: t.nn.ConvTranspose2d(4, 3, 2)  # noqa: E731
NORMS = {
    **{
        f"weight_norm {old} {dim} {name}": weight_norm(old, dim, make)
        for old in (True, False)
        for dim in (0, 1, None)
        for name, make in (("linear", LINEAR), ("conv", CONV))
    },
    **{
        f"spectral_norm {old} {mode} {name}": spectral_norm(old, make, mode)
        for old in (True, False)
        for mode in (True, False)
        for name, make in (("linear", LINEAR), ("conv", CONV), ("turned", TURNED))
    },
    "orthogonal exp": orthogonal((4, 4), "matrix_exp", assign=(4, 4)),
    "orthogonal exp tall": orthogonal((3, 5), "matrix_exp"),
    "orthogonal cayley": orthogonal((4, 4), "cayley", False),
    "orthogonal cayley wide": orthogonal((5, 3), "cayley"),
    "orthogonal householder": orthogonal((4, 4), "householder", assign=(4, 4)),
    "orthogonal householder tall": orthogonal((3, 5), "householder", False, assign=(5, 3)),
    "orthogonal householder wide": orthogonal((5, 3), "householder"),
}


@cases(NORMS)
def test_norm_agrees_with_torch(case):
    agree(case, ok=True, tol=1e-4)


def parametrized(t):
    p = t.nn.utils.parametrize

    class Skew(t.nn.Module):
        def forward(self, x):
            return x.triu(1) - x.triu(1).t()

        def right_inverse(self, a):
            return a.triu(1)

    class Double(t.nn.Module):
        def forward(self, x):
            return x * 2

    class Parts(t.nn.Module):
        def forward(self, a, b):
            return a + b

        def right_inverse(self, x):
            return x.clamp(min=0), x.clamp(max=0)

    layer = fill(t, t.nn.Linear(3, 3))
    shown = [p.register_parametrization(layer, "weight", Skew()) is layer, repr(layer)]
    shown += train(layer, t, 2, 3)
    layer.weight = t.tensor([[0.0, 1, 2], [-1, 0, 3], [-2, -3, 0]])
    shown += [layer.weight, layer.parametrizations.weight.original]
    p.register_parametrization(layer, "weight", Double())
    p.register_parametrization(layer, "bias", Parts())
    shown += [layer.weight, repr(layer), list(layer.state_dict()), layer.bias]
    shown += [p.is_parametrized(layer), p.is_parametrized(layer, "bias"),
              p.type_before_parametrizations(layer) is t.nn.Linear]  # fmt: skip
    twin = copy.deepcopy(layer)
    with p.cached():
        shown += [layer.weight is layer.weight, twin.weight]
    shown += [p.transfer_parametrizations_and_params(layer, t.nn.Linear(3, 3)).weight]
    p.remove_parametrizations(layer, "bias")
    p.remove_parametrizations(layer, "weight", leave_parametrized=False)
    shown += [repr(layer), type(layer) is t.nn.Linear, layer.state_dict()]
    return shown


def test_parametrizations_agree_with_torch():
    agree(parametrized, ok=True)


def prune_linear(t):
    p = t.nn.utils.prune
    layer = fill(t, t.nn.Linear(6, 4))
    p.l1_unstructured(layer, "weight", 0.3)
    shown = [p.is_pruned(layer), *train(layer, t, 2, 6)]
    p.ln_structured(layer, "weight", 2, n=2, dim=1)
    shown += [layer.weight, list(layer.state_dict()), len(list(layer._forward_pre_hooks.values()))]
    p.custom_from_mask(layer, "bias", t.tensor([1, 0, 1, 1]))
    p.l1_unstructured(layer, "weight", 3, importance_scores=t.tensor(numbers(4, 6)))
    shown += [*train(layer, t, 2, 6), p.L1Unstructured(2).prune(t.tensor(numbers(5)))]
    p.remove(layer, "weight")
    return [*shown, layer.weight, list(layer.state_dict()), p.is_pruned(layer)]


def prune_together(t):
    p = t.nn.utils.prune
    first, second = fill(t, t.nn.Linear(3, 4)), fill(t, t.nn.Conv1d(2, 3, 2))
    pairs = [(first, "weight"), (second, "weight")]
    p.global_unstructured(pairs, pruning_method=p.L1Unstructured, amount=0.4)
    p.identity(first, "bias")
    return [first.weight, second.weight_mask, list(first.state_dict()), first.bias_mask]


def fuse(t):
    u = t.nn.utils
    bn = fill(t, t.nn.BatchNorm2d(3)).eval()
    bn.running_mean.copy_(t.tensor(numbers(3)))
    bn.running_var.copy_(t.tensor(numbers(3)).abs() + 0.1)
    x = t.tensor(numbers(1, 2, 4, 4))
    shown = []
    for layer, turned in ((t.nn.Conv2d(2, 3, 2), False), (t.nn.ConvTranspose2d(2, 3, 2), True)):
        layer = fill(t, layer).eval()
        fused = u.fuse_conv_bn_eval(layer, bn, turned)
        shown += [fused.weight, fused.bias, fused(x), bn(layer(x))]
    line, norm = fill(t, t.nn.Linear(4, 3)).eval(), fill(t, t.nn.BatchNorm1d(3)).eval()
    fused = u.fuse_linear_bn_eval(line, norm)
    return [*shown, fused.weight, fused.bias, repr(fused)]


def helpers(t):
    u = t.nn.utils
    layer = fill(t, t.nn.Linear(3, 2))
    x = t.tensor(numbers(2, 3))
    new = {"weight": t.tensor(numbers(2, 3)), "bias": t.zeros(2)}
    shown = [u.stateless.functional_call(layer, new, x), layer(x)]
    layer(x).sum().backward()
    grads = [p.grad for p in layer.parameters()]
    total = u.get_total_norm(grads, norm_type=3.0)
    u.clip_grads_with_norm_(layer.parameters(), 0.5, total)
    shown += [total, grads, u.clip_grad_norm(layer.parameters(), 0.1), grads]
    empty = u.skip_init(t.nn.Linear, 3, 2)
    conv = u.convert_conv2d_weight_memory_format(t.nn.Conv2d(1, 1, 1), t.channels_last)
    return [*shown, repr(empty), list(empty.weight.shape), repr(conv)]


@cases({"prune": prune_linear, "together": prune_together, "fuse": fuse, "helpers": helpers})
def test_helper_agrees_with_torch(case):
    agree(case, ok=True)


def module(t):
    return t.nn.Linear(3, 2)


class NotATensor:
    """A parametrization that does not work."""

    def make(self, t, result, inverse=None):
        members = {"forward": lambda self, x: result(t, x)}
        if inverse is not None:
            members["right_inverse"] = lambda self, x: inverse(t, x)
        return type("Wrong", (t.nn.Module,), members)()


def wrong(result, inverse=None):
    def scenario(t):
        made = NotATensor().make(t, result, inverse)
        t.nn.utils.parametrize.register_parametrization(module(t), "weight", made)

    return scenario


ERRORS = {
    "no tensor": wrong(lambda t, x: 3),
    "shape": wrong(lambda t, x: x.t()),
    "dtype": wrong(lambda t, x: x.double()),
    "inverse": wrong(lambda t, x: x, lambda t, x: 3),
    "inverse dtype": wrong(lambda t, x: x, lambda t, x: x.double()),
    "no name": lambda t: t.nn.utils.parametrize.register_parametrization(
        module(t), "gain", t.nn.Identity()
    ),
    "not parametrized": lambda t: t.nn.utils.parametrize.remove_parametrizations(
        module(t), "weight"
    ),
    "pickle": lambda t: pickle.dumps(
        t.nn.utils.parametrize.register_parametrization(module(t), "weight", t.nn.Identity())
    ),
    "weight norm twice": lambda t: t.nn.utils.weight_norm(t.nn.utils.weight_norm(module(t))),
    "weight norm none": lambda t: t.nn.utils.remove_weight_norm(module(t)),
    "spectral twice": lambda t: t.nn.utils.spectral_norm(t.nn.utils.spectral_norm(module(t))),
    "spectral none": lambda t: t.nn.utils.remove_spectral_norm(module(t)),
    "spectral steps": lambda t: t.nn.utils.parametrizations.spectral_norm(
        module(t), n_power_iterations=0
    ),
    "spectral name": lambda t: t.nn.utils.parametrizations.spectral_norm(module(t), "gain"),
    "orthogonal vector": lambda t: t.nn.utils.parametrizations.orthogonal(module(t), "bias"),
    "prune amount": lambda t: t.nn.utils.prune.random_unstructured(module(t), "weight", 1.5),
    "prune type": lambda t: t.nn.utils.prune.random_unstructured(module(t), "weight", "all"),
    "prune count": lambda t: t.nn.utils.prune.l1_unstructured(module(t), "weight", 7),
    "prune vector": lambda t: t.nn.utils.prune.ln_structured(module(t), "bias", 1, 2, 0),
    "prune dim": lambda t: t.nn.utils.prune.ln_structured(module(t), "weight", 1, 2, 2),
    "prune remove": lambda t: t.nn.utils.prune.remove(module(t), "weight"),
    "fuse training": lambda t: t.nn.utils.fuse_conv_bn_eval(
        t.nn.Conv1d(1, 1, 1), t.nn.BatchNorm1d(1)
    ),
    "fuse sizes": lambda t: t.nn.utils.fuse_linear_bn_eval(
        module(t).eval(), t.nn.BatchNorm1d(3).eval()
    ),
    "skip_init": lambda t: t.nn.utils.skip_init(t.nn.ReLU),
}


@cases(ERRORS)
def test_error_agrees_with_torch(case):
    agree(case, ok=False)


def test_random_pruning_keeps_the_rest():
    nncomp.manual_seed(0)
    layer = nn.Conv2d(4, 6, 3)
    before = layer.weight.detach().clone()
    utils.prune.random_unstructured(layer, "weight", 0.25)
    assert int((layer.weight == 0).sum()) == layer.weight.numel() // 4
    kept = layer.weight_mask == 1
    assert bool((layer.weight[kept] == before[kept]).all())
    utils.prune.random_structured(layer, "weight", 2, dim=0)
    assert int((layer.weight_mask.sum([1, 2, 3]) == 0).sum()) == 2


COMPILED = {
    "weight_norm": lambda: utils.parametrizations.weight_norm(nn.Linear(4, 3)),
    "spectral_norm": lambda: utils.parametrizations.spectral_norm(nn.Linear(4, 3)).eval(),
    "orthogonal": lambda: utils.parametrizations.orthogonal(
        nn.Linear(4, 3), orthogonal_map="householder"
    ),
    "old weight_norm": lambda: utils.weight_norm(nn.Linear(4, 3)),
    "pruned": lambda: utils.prune.l1_unstructured(nn.Linear(4, 3), "weight", 0.5),
}


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_is_eager(name):
    same_compiled(COMPILED[name](), nncomp.tensor(numbers(2, 4)))


def test_layers_have_torch_import_paths():
    for path, name in (("conv", "Conv2d"), ("module", "Module"), ("rnn", "LSTMCell"),
                       ("batchnorm", "_BatchNorm"), ("activation", "MultiheadAttention"),
                       ("loss", "_Loss"), ("utils.rnn", "PackedSequence")):  # fmt: skip
        where = "nn" if path.startswith("utils") else "nn.modules"
        ours = importlib.import_module(f"nncomp.{where}.{path}")
        assert isinstance(getattr(ours, name), type)
        assert name.startswith("_") or "." in path or getattr(ours, name) is getattr(nn, name)
    assert nn.modules.Linear is nn.Linear and nn.parameter.Parameter is nn.Parameter
    assert nn.parameter.UninitializedParameter is nn.UninitializedParameter
