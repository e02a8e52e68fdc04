"""Margin, distance, likelihood and CTC losses, compared with torch and compiled."""

from __future__ import annotations

import numpy as np
import pytest
from both import agree, cases, fill, numbers
from same_compiled import same_compiled

import nncomp
from nncomp import nn
from nncomp.nn import functional as F

REDUCTIONS = ("none", "mean", "sum")
A, B, C = numbers(5, 3), numbers(5, 3, start=40), numbers(5, 3, start=90)
SIGNS = np.where(numbers(5, start=7) > 0, 1.0, -1.0).astype(np.float32)
SIGN_TABLE = np.where(B > 0, 1.0, -1.0).astype(np.float32)
CLASSES = (np.abs(numbers(5, start=3)) * 1000).astype(np.int64) % 3
LISTS = np.array([[2, 0, -1], [-1, 1, 2], [0, 1, 2], [1, -1, 0], [2, 2, -1]])
WEIGHT = np.array([0.5, 2.0, 1.0], dtype=np.float32)


def loss(build, *arrays):
    """Return a scenario: a loss module, its value and the gradients of its float arguments."""

    def scenario(t):
        module = build(t)
        tensors = [t.tensor(array) for array in arrays]
        floats = [x.requires_grad_() for x in tensors if x.is_floating_point()]
        value = module(*tensors)
        (value * value).sum().backward()
        return [repr(module) if isinstance(module, t.nn.Module) else "", value,
                [x.grad for x in floats]]  # fmt: skip

    return scenario


def each(name, *arrays, **options):
    """A row per reduction of one module."""
    title = f"{name} {' '.join(map(str, options.values()))}".strip()
    return {
        f"{title} {r}": loss(
            lambda t, r=r: getattr(t.nn, name)(
                **{k: t.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()},
                reduction=r,
            ),
            *arrays,
        )
        for r in REDUCTIONS
    }


def fixed_target(call, *arrays):
    """A loss whose last argument is data."""

    def build(t):
        target = t.tensor(arrays[-1])
        return lambda *inputs: call(t, *inputs, target)

    return loss(build, *arrays[:-1])


LOSSES = {
    **each("MultiMarginLoss", A, CLASSES),
    **each("MultiMarginLoss", A, CLASSES, p=2, margin=0.5, weight=WEIGHT),
    **each("MultiLabelMarginLoss", A, LISTS),
    **each("GaussianNLLLoss", A, B, np.abs(C) + 0.1, full=True),
    **each("TripletMarginLoss", A, B, C),
    **each("TripletMarginLoss", A, B, C, p=1.5, margin=2.0, swap=True),
    **each("TripletMarginWithDistanceLoss", A, B, C, swap=True),
    **each("PoissonNLLLoss", A, np.abs(B) * 3, full=True),
    **each("PoissonNLLLoss", np.abs(A) + 0.1, np.abs(B), log_input=False),
    "gaussian one variance": loss(lambda t: t.nn.GaussianNLLLoss(), A, B, np.abs(C[:, :1])),
    "gaussian row variance": loss(lambda t: t.nn.GaussianNLLLoss(), A, B, np.abs(C[:, 0])),
    "gaussian small variance": loss(lambda t: t.nn.GaussianNLLLoss(eps=0.5), A, B, np.abs(C)),
    "gaussian number": loss(
        lambda t: lambda a, b: t.nn.functional.gaussian_nll_loss(a, b, 2.0), A, B
    ),
    **{
        f"{name} {r} {margin}": fixed_target(
            lambda t, *x, n=name, r=r, o=options: getattr(t.nn, n)(**o, reduction=r)(*x),
            *arrays,
        )
        for name, arrays, margins in (
            ("CosineEmbeddingLoss", (A, B, SIGNS), (0.0, 0.3)),
            ("MarginRankingLoss", (A, B, SIGN_TABLE), (0.0, 0.5)),
            ("HingeEmbeddingLoss", (A, SIGN_TABLE), (1.0, 0.2)),
            ("SoftMarginLoss", (A, SIGN_TABLE), (None,)),
            ("MultiLabelSoftMarginLoss", (A, (SIGN_TABLE + 1) / 2), (None,)),
        )
        for margin in margins
        for options in ({} if margin is None else {"margin": margin},)
        for r in REDUCTIONS
    },
    "cosine one": fixed_target(
        lambda t, *x: t.nn.CosineEmbeddingLoss()(*x), A[0], B[0], np.array(-1.0, np.float32)
    ),
    "soft labels weight": fixed_target(
        lambda t, x, y: t.nn.MultiLabelSoftMarginLoss(t.tensor(WEIGHT))(x, y), A,
        (SIGN_TABLE + 1) / 2,
    ),
    "labels one": loss(lambda t: t.nn.MultiLabelMarginLoss(), A[0], LISTS[0]),
    "margin one": loss(lambda t: t.nn.MultiMarginLoss(), A[0], CLASSES[0]),
    "nll 2d": loss(lambda t: t.nn.NLLLoss2d(), numbers(2, 3, 2, 2), CLASSES[:4].reshape(1, 2, 2)
                   .repeat(2, 0)),
    "CosineSimilarity": loss(lambda t: t.nn.CosineSimilarity(), A, B),
    "PairwiseDistance": loss(lambda t: t.nn.PairwiseDistance(3, keepdim=True), A, B),
    "pairwise 1": loss(lambda t: t.nn.PairwiseDistance(1.0), A, B),
    **{
        f"pdist {p}": loss(lambda t, p=p: lambda x: t.nn.functional.pdist(x, p), A)
        for p in (0.5, 1.0, 2.0, 3.0, float("inf"))
    },
    "pdist one": loss(lambda t: lambda x: t.nn.functional.pdist(x) + x.sum(), A[:1]),
    "old reduction": loss(lambda t: t.nn.MultiMarginLoss(size_average=False), A, CLASSES),
}  # fmt: skip


@cases(LOSSES)
def test_loss_agrees_with_torch(case):
    agree(case, ok=True, tol=2e-5)


# -- CTC ------------------------------------------------------------------------------------------

STEPS = numbers(7, 3, 5)
TARGETS = np.array([[1, 2, 2], [3, 1, 0], [4, 0, 0]])
JOINED = np.array([1, 2, 2, 3, 1, 4])


def ctc(targets, inputs, lengths, steps=STEPS, leaf=False, **options):
    def scenario(t):
        x = t.tensor(steps).requires_grad_()
        log_probs = t.nn.functional.log_softmax(x, -1)
        if leaf:  # torch's gradient of log_probs itself
            log_probs = x = log_probs.detach().requires_grad_()
        given = [t.tensor(v) if isinstance(v, np.ndarray) else v for v in (inputs, lengths)]
        value = t.nn.CTCLoss(**options)(log_probs, t.tensor(targets), *given)
        (value * value).sum().backward()
        return [value, x.grad]

    return scenario


CTC = {
    **{f"padded {r}": ctc(TARGETS, [7, 5, 6], [3, 2, 1], reduction=r) for r in REDUCTIONS},
    **{f"joined {r}": ctc(JOINED, [7, 7, 7], [3, 2, 1], reduction=r) for r in REDUCTIONS},
    "tensors": ctc(TARGETS, np.array([7, 5, 6]), np.array([3, 2, 1])),
    "tensors joined": ctc(JOINED, np.array([7, 5, 6]), np.array([3, 2, 1])),
    "leaf": ctc(TARGETS, [7, 5, 6], [3, 2, 1], leaf=True, reduction="none"),
    "empty target": ctc(TARGETS, [7, 5, 6], [0, 2, 0], leaf=True),
    "impossible": ctc(TARGETS, [7, 1, 6], [3, 2, 1], zero_infinity=True, leaf=True),
    "blank": ctc(TARGETS % 4, [7, 5, 6], [3, 2, 1], blank=4, leaf=True),
    "unbatched": ctc(np.array([1, 2]), np.array(7), np.array(2), STEPS[:, 0], reduction="none"),
    "unbatched mean": ctc(np.array([1, 2]), (7,), (2,), STEPS[:, 0]),
}


@cases(CTC)
def test_ctc_agrees_with_torch(case):
    agree(case, ok=True, tol=1e-4)


def test_impossible_target_costs_infinity():
    value = F.ctc_loss(nncomp.zeros(1, 1, 3), nncomp.tensor([[1, 2]]), [1], [2], reduction="none")
    assert value.tolist() == [float("inf")]


@pytest.mark.parametrize("joined", [False, True])
def test_compiled_ctc_takes_new_lengths(joined):
    target = nncomp.tensor(JOINED if joined else TARGETS)

    def compute(x, inputs, lengths):
        return F.ctc_loss(F.log_softmax(x, -1), target, inputs, lengths)

    lengths = nncomp.tensor([3, 2, 1])
    x = nncomp.tensor(STEPS)
    compiled = same_compiled(compute, x, nncomp.tensor([7, 5, 6]), lengths)
    other = nncomp.tensor([6, 6, 4])
    assert abs(float(compiled(x, other, lengths) - compute(x, other, lengths))) < 1e-4


def test_graph_of_ctc_does_not_grow_with_time():
    def size(time):
        x = nncomp.zeros(time, 1, 3)
        lengths = nncomp.tensor([time]), nncomp.tensor([1])
        return len(nncomp.trace(F.ctc_loss, x, nncomp.tensor([[1]]), *lengths).nodes)

    assert size(3) == size(300)


# -- adaptive softmax and linear cross entropy ----------------------------------------------------


def adaptive(t):
    layer = fill(t, t.nn.AdaptiveLogSoftmaxWithLoss(6, 10, [3, 6], div_value=2.0, head_bias=True))
    x = t.tensor(numbers(7, 6)).requires_grad_()
    found = layer(x, t.tensor([0, 9, 2, 3, 5, 6, 8]))
    found.loss.backward()
    grads = [p.grad for p in layer.parameters()]
    one = layer(x[0], t.tensor(4))
    return [repr(layer), layer.state_dict(), found.output, found.loss, x.grad, grads, one.output,
            layer.log_prob(x), layer.predict(x)]  # fmt: skip


def linear_cross_entropy(t):
    flat = fill(t, t.nn.LinearCrossEntropyLoss(3, 4, bias=True, label_smoothing=0.1))
    deep = fill(t, t.nn.LinearCrossEntropyLoss(
        3, 4, out_features=(2,), reduction="none", ignore_index=1, weight=t.tensor([1.0, 2, 3, 4])
    ))  # fmt: skip
    x = t.tensor(A).requires_grad_()
    values = [flat(x, t.tensor(CLASSES)), deep(x, t.tensor(np.stack([CLASSES, CLASSES + 1], 1)))]
    (values[0] + values[1].sum()).backward()
    options = t.nn.LinearCrossEntropyOptions()
    return [repr(flat), repr(deep), flat.state_dict(), deep.state_dict(), values, x.grad,
            repr(options)]  # fmt: skip


@cases({"adaptive": adaptive, "linear": linear_cross_entropy})
def test_large_softmax_agrees_with_torch(case):
    agree(case, ok=True)


def functional(name, *arguments, **options):
    def scenario(t):
        given = [t.zeros(*a) if isinstance(a, tuple) else a for a in arguments]
        given = [t.tensor(a) if isinstance(a, np.ndarray) else a for a in given]
        return getattr(t.nn.functional, name)(*given, **options)

    return scenario


THREE = np.zeros(3, np.int64)
ERRORS = {
    "cosine inputs": functional("cosine_embedding_loss", (3, 4, 2), (3, 4, 2), (3,)),
    "cosine target": functional("cosine_embedding_loss", (3, 4), (3, 4), (3, 1)),
    "ranking": functional("margin_ranking_loss", (3, 1), (3,), (3,)),
    "margin p": functional("multi_margin_loss", (3, 4), THREE, p=3),
    "margin target": functional("multi_margin_loss", (3, 4), THREE[:2]),
    "margin class": functional("multi_margin_loss", (3, 4), THREE + 7),
    "labels shape": functional("multilabel_margin_loss", (3, 4), np.zeros((3, 3), np.int64)),
    "labels class": functional("multilabel_margin_loss", (3, 4), np.full((3, 4), 5)),
    "poisson": functional("poisson_nll_loss", (3, 4), (3, 4), reduction="x"),
    "gaussian size": functional("gaussian_nll_loss", (3, 4), (3, 4), (3, 2)),
    "gaussian negative": functional("gaussian_nll_loss", (3,), (3,), -np.ones(3, np.float32)),
    "gaussian reduction": functional("gaussian_nll_loss", (3,), (3,), (3,), reduction="x"),
    "triplet ranks": functional("triplet_margin_loss", (3, 4), (3, 4), (4,)),
    "triplet margin": functional("triplet_margin_loss", (3, 4), (3, 4), (3, 4), margin=-1),
    "triplet module": lambda t: t.nn.TripletMarginLoss(margin=-1),
    "triplet distance": lambda t: t.nn.TripletMarginWithDistanceLoss(margin=0),
    "margin module": lambda t: t.nn.MultiMarginLoss(p=3),
    "margin weight": lambda t: t.nn.MultiMarginLoss(weight=t.zeros(2, 2)),
    "hinge": functional("hinge_embedding_loss", (3, 4), (3, 4), reduction="x"),
    "soft labels": functional("multilabel_soft_margin_loss", (3, 4), (3, 4), reduction="x"),
    "ctc width": functional("ctc_loss", (5, 2, 3), TARGETS[:2, :2], [5, 5], [2, 3]),
    "ctc time": functional("ctc_loss", (5, 2, 3), TARGETS[:2, :2], [6, 5], [2, 2]),
    "ctc inputs": functional("ctc_loss", (5, 2, 3), TARGETS[:2, :2], [5], [2, 2]),
    "ctc targets": functional("ctc_loss", (5, 2, 3), TARGETS[:2, :2], [5, 5], [2]),
    "ctc blank": functional("ctc_loss", (5, 2, 3), TARGETS[:2, :2], [5, 5], [2, 2], blank=3),
    "ctc joined": functional("ctc_loss", (5, 2, 3), JOINED[:3], [5, 5], [2, 2]),
    "ctc batch": functional("ctc_loss", (5, 2, 3), TARGETS[:1, :2], [5, 5], [2, 2]),
    "adaptive none": lambda t: t.nn.AdaptiveLogSoftmaxWithLoss(6, 10, []),
    "adaptive order": lambda t: t.nn.AdaptiveLogSoftmaxWithLoss(6, 10, [3, 3]),
    "adaptive batch": lambda t: t.nn.AdaptiveLogSoftmaxWithLoss(6, 10, [3])(
        t.zeros(2, 6), t.tensor(THREE)
    ),
    "adaptive class": lambda t: t.nn.AdaptiveLogSoftmaxWithLoss(6, 10, [3])(
        t.zeros(3, 6), t.tensor(THREE + 11)
    ),
    "pdist": functional("pdist", (3,)),
}


@cases(ERRORS)
def test_error_agrees_with_torch(case):
    agree(case, ok=False)


COMPILED = {
    "margin": (nn.MultiMarginLoss(p=2), (A, CLASSES)),
    "labels": (nn.MultiLabelMarginLoss(), (A, LISTS)),
    "gaussian": (nn.GaussianNLLLoss(), (A, B, np.abs(C))),
    "poisson": (nn.PoissonNLLLoss(full=True), (A, np.abs(B))),
    "triplet": (nn.TripletMarginLoss(swap=True), (A, B, C)),
    "cosine": (nn.CosineEmbeddingLoss(0.2), (A, B, SIGNS)),
    "ranking": (nn.MarginRankingLoss(0.2), (A, B, SIGN_TABLE)),
    "hinge": (nn.HingeEmbeddingLoss(), (A, SIGN_TABLE)),
    "soft labels": (nn.MultiLabelSoftMarginLoss(), (A, (SIGN_TABLE + 1) / 2)),
    "pdist": (F.pdist, (A,)),
    "adaptive": (nn.AdaptiveLogSoftmaxWithLoss(3, 7, [2, 4]), (A, CLASSES)),
}


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_is_eager(name):
    function, arrays = COMPILED[name]
    same_compiled(function, *map(nncomp.tensor, arrays))
