"""nn.functional: losses with all their options, padding, and hard values, compared with torch."""

from __future__ import annotations

import numpy as np
import pytest
from both import agree, cases, numbers

import nncomp
from nncomp.nn import functional as F


def loss(call, *arrays):
    """Return a scenario: the loss and the gradient of its first argument."""

    def scenario(t):
        tensors = [t.tensor(array) for array in arrays]
        first = tensors[0].requires_grad_()
        value = call(t.nn, *tensors)
        (value * value).sum().backward()
        return [value, first.grad]

    return scenario


def classes(*shape, high=4):
    return (np.abs(numbers(*shape, start=3)) * 1000).astype(np.int64) % high


def shares(*shape):
    raw = np.exp(numbers(*shape, start=31))
    return (raw / raw.sum(axis=1, keepdims=True)).astype(np.float32)


LOGITS, TARGET = numbers(6, 4), classes(6)
IMAGE, LABELS = numbers(2, 4, 3, 3), classes(2, 3, 3)
WEIGHT = np.array([0.5, 1.0, 2.0, 0.1], dtype=np.float32)
A, B = numbers(5, 3, scale=2.0), numbers(5, 3, start=50)
PROBS = (1 / (1 + np.exp(-A))).astype(np.float32)
BITS = (B > 0).astype(np.float32)
REDUCTIONS = ("none", "mean", "sum")


def ce(*arrays, **options):
    """cross_entropy; a third array is the class weight."""

    def call(nn, x, y, weight=None):
        return nn.functional.cross_entropy(x, y, weight, **options)

    return loss(call, *arrays)


def pair(name, x=A, y=B, **options):
    return loss(lambda nn, a, b: getattr(nn.functional, name)(a, b, **options), x, y)


LOSSES = {
    **{f"ce {r}": ce(LOGITS, TARGET, reduction=r) for r in REDUCTIONS},
    **{f"ce weight {r}": ce(LOGITS, TARGET, WEIGHT, reduction=r) for r in REDUCTIONS},
    **{f"ce ignore {r}": ce(LOGITS, TARGET, ignore_index=2, reduction=r) for r in REDUCTIONS},
    **{
        f"ce smooth {r}": ce(
            LOGITS, TARGET, WEIGHT, label_smoothing=0.2, ignore_index=1, reduction=r
        )
        for r in REDUCTIONS
    },
    "ce -100": ce(LOGITS, np.where(TARGET == 1, -100, TARGET)),
    "ce image": ce(IMAGE, LABELS, WEIGHT),
    "ce image smooth": ce(IMAGE, LABELS, WEIGHT, label_smoothing=0.1),
    "ce vector": ce(LOGITS[0], np.array(2)),
    **{f"ce probs {r}": ce(LOGITS, shares(6, 4), reduction=r) for r in REDUCTIONS},
    "ce probs weight": ce(LOGITS, shares(6, 4), WEIGHT, label_smoothing=0.3),
    "ce probs image": ce(IMAGE, shares(2, 4, 3, 3), WEIGHT),
    "nll": loss(lambda nn, x, y: nn.functional.nll_loss(x, y), LOGITS, TARGET),
    "nll module": loss(lambda nn, x, y, w: nn.NLLLoss(w, ignore_index=3)(x, y), LOGITS, TARGET,
                       WEIGHT),  # fmt: skip
    "ce module": loss(lambda nn, x, y, w: nn.CrossEntropyLoss(w)(x, y), LOGITS, TARGET, WEIGHT),
    **{f"mse {r}": pair("mse_loss", reduction=r) for r in REDUCTIONS},
    **{f"l1 {r}": pair("l1_loss", reduction=r) for r in REDUCTIONS},
    **{f"huber {r}": pair("huber_loss", reduction=r, delta=0.7) for r in REDUCTIONS},
    **{f"smooth l1 {r}": pair("smooth_l1_loss", reduction=r, beta=0.7) for r in REDUCTIONS},
    "smooth l1 beta 0": pair("smooth_l1_loss", beta=0.0),
    **{f"bce {r}": pair("binary_cross_entropy", PROBS, BITS, reduction=r) for r in REDUCTIONS},
    **{
        f"bce logits {r}": pair("binary_cross_entropy_with_logits", A, BITS, reduction=r)
        for r in REDUCTIONS
    },
    "bce logits pos_weight": loss(
        lambda nn, x, y, p: nn.BCEWithLogitsLoss(pos_weight=p)(x, y), A, BITS, WEIGHT[:3]
    ),
    "bce weight": loss(lambda nn, x, y, w: nn.BCELoss(w)(x, y), PROBS, BITS, WEIGHT[:3]),
    **{
        f"kl {r}": pair("kl_div", np.log(shares(6, 4)), shares(6, 4)[::-1].copy(), reduction=r)
        for r in (*REDUCTIONS, "batchmean")
    },
    "kl log": pair("kl_div", np.log(shares(6, 4)), numbers(6, 4), log_target=True),
    "kl zero": pair("kl_div", numbers(2, 3), np.eye(2, 3, dtype=np.float32)),
    "size_average": pair("mse_loss", size_average=False),
    "reduce": pair("l1_loss", reduce=False),
    "normalize": loss(lambda nn, x: nn.functional.normalize(x, dim=1), A),
    "normalize 1": loss(lambda nn, x: nn.functional.normalize(x, p=1.0, dim=0), A),
    "cosine": loss(lambda nn, x, y: nn.functional.cosine_similarity(x, y), A, B),
}


@cases(LOSSES)
def test_loss_is_torchs(case):
    agree(case, ok=True)


@pytest.mark.parametrize("name", ["L1Loss", "MSELoss", "SmoothL1Loss", "HuberLoss", "KLDivLoss",
                                  "BCELoss", "BCEWithLogitsLoss"])  # fmt: skip
def test_loss_module_is_its_function(name):
    agree(
        lambda t: [
            repr(getattr(t.nn, name)()),
            getattr(t.nn, name)(reduction="sum")(t.tensor(PROBS), t.tensor(BITS)),
        ],
        ok=True,
    )


def padded(shape, pad, **options):
    def scenario(t):
        x = t.tensor(numbers(*shape)).requires_grad_()
        y = t.nn.functional.pad(x, pad, **options)
        (y * t.tensor(numbers(*y.shape))).sum().backward()
        return [y, x.grad]

    return scenario


PADS = {
    "zeros": padded((2, 3), (1, 2)),
    "two dims": padded((2, 3), (1, 0, 0, 2), value=4.0),
    "crop": padded((4, 5), (-1, 2, 1, -2)),
    "nothing": padded((2, 3), (0, 0)),
    "reflect": padded((1, 2, 5), (3, 2), mode="reflect"),
    "replicate": padded((1, 2, 3), (4, 2), mode="replicate"),
    "circular": padded((1, 2, 3, 4), (2, 4, 1, 0), mode="circular"),
}


@cases(PADS)
def test_pad_is_torchs(case):
    agree(case, ok=True)


EXTREMES = np.array([-200.0, -30.0, -1.0, -0.0, 0.0, 1e-4, 1.0, 19.0, 21.0, 30.0, 200.0],
                    dtype=np.float32)  # fmt: skip
STABLE = [
    "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "softplus",
    "logsigmoid", "hardtanh", "hardswish", "hardsigmoid", "softsign", "sigmoid", "tanh",
    "hardshrink", "softshrink", "tanhshrink",
]  # fmt: skip


@pytest.mark.parametrize("name", STABLE)
def test_activation_at_extremes_and_kinks(name):
    def scenario(t):
        x = t.tensor(EXTREMES).requires_grad_()
        function = getattr(t.nn.functional, name, None) or getattr(t, name)
        y = function(x)
        y.sum().backward()
        return [y, x.grad]

    agree(scenario, ok=True)


def huge_logits(call):
    x = np.array([[1e4, -1e4, 0.0], [300.0, 299.0, -300.0]], dtype=np.float32)
    return loss(call, x)


@cases({
    "softmax": huge_logits(lambda nn, x: nn.functional.softmax(x, -1)),
    "log_softmax": huge_logits(lambda nn, x: nn.functional.log_softmax(x, -1)),
    "layer_norm": huge_logits(lambda nn, x: nn.functional.layer_norm(x, (3,))),
    "bce logits": huge_logits(
        lambda nn, x: nn.functional.binary_cross_entropy_with_logits(x, (x > 0).float())
    ),
})  # fmt: skip
def test_huge_inputs_stay_finite(case):
    agree(case, ok=True)


def test_half_precision_is_normalized_in_float32():
    def scenario(t):
        x = t.tensor(numbers(4, 64) + 20.0).to(t.bfloat16)
        return [
            t.nn.functional.softmax(x, -1).float(),
            t.nn.functional.layer_norm(x, (64,)).float(),
            str(t.nn.functional.rms_norm(x, (64,)).dtype),
        ]

    agree(scenario, ok=True, tol=1e-2)


def test_softmax_without_dim_warns():
    with pytest.warns(UserWarning, match="Implicit dimension choice for softmax"):
        F.softmax(nncomp.ones(2, 3))


ERRORS = {
    "label smoothing": lambda t: t.nn.functional.cross_entropy(
        t.zeros(2, 3), t.tensor([0, 1]), label_smoothing=1.5
    ),
    "target class": lambda t: t.nn.functional.cross_entropy(t.zeros(2, 3), t.tensor([3, 0])),
    "target below 0": lambda t: t.nn.functional.nll_loss(t.zeros(2, 3), t.tensor([0, -1])),
    "mode": lambda t: t.nn.functional.gelu(t.zeros(2), approximate="other"),
    "dropout": lambda t: t.nn.functional.dropout(t.zeros(2), p=-0.5),
    "reduction": lambda t: t.nn.functional.mse_loss(t.zeros(2), t.zeros(2), reduction="all"),
    "layer_norm": lambda t: t.nn.functional.layer_norm(t.zeros(2, 3), (4,)),
}


@cases(ERRORS)
def test_errors_are_torchs(case):
    agree(case, ok=False)


def test_wrong_target_shape_is_named():
    with pytest.raises(ValueError, match=r"Expected target of shape \[2\].*got \[3\]"):
        F.cross_entropy(nncomp.zeros(2, 4), nncomp.tensor([0, 1, 2]))


def test_one_hot():
    agree(lambda t: t.nn.functional.one_hot(t.tensor([0, 2, 1]), 4), ok=True)
    agree(lambda t: t.nn.functional.one_hot(t.tensor([[0, 2]])), ok=True)
