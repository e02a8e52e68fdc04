"""Layers, losses, clipping and optimizer steps never read a tensor's value.

This is what lets them be recorded into one static graph. Every way from a tensor to a Python value
is made to raise while they run.
"""

from __future__ import annotations

import pytest
from both import numbers

import nncomp
from nncomp import nn, optim

WAYS_OUT = ("item", "numpy", "tolist", "__bool__", "__int__", "__float__", "__index__",
            "__array__", "__iter__", "__contains__")  # fmt: skip


@pytest.fixture
def no_values(monkeypatch):
    """Make reading a value an error."""

    def refuse(*args, **kwargs):
        raise AssertionError("a tensor's value was read")

    for name in WAYS_OUT:
        monkeypatch.setattr(nncomp.Tensor, name, refuse, raising=False)


def x(*shape):
    return nncomp.tensor(numbers(*shape)).requires_grad_()


LAYERS = [
    (nn.Linear(4, 3), (2, 4)),
    (nn.Conv2d(2, 4, 3, padding="same", padding_mode="reflect"), (2, 2, 5, 5)),
    (nn.ConvTranspose1d(2, 4, 3), (2, 2, 5)),
    (nn.BatchNorm2d(2), (3, 2, 4, 4)),
    (nn.BatchNorm1d(2, momentum=None), (3, 2)),
    (nn.InstanceNorm2d(2, track_running_stats=True), (3, 2, 4, 4)),
    (nn.LayerNorm(4), (2, 4)),
    (nn.GroupNorm(2, 4), (2, 4, 3)),
    (nn.RMSNorm(4), (2, 4)),
    (nn.Dropout(0.4), (3, 4)),
    (nn.Dropout2d(0.4), (3, 4, 2, 2)),
    (nn.MaxPool2d(2, ceil_mode=True), (2, 2, 5, 5)),
    (nn.AvgPool2d(3, 2, 1, count_include_pad=False), (2, 2, 5, 5)),
    (nn.AdaptiveAvgPool2d((3, 2)), (2, 2, 5, 5)),
    *[
        (layer(), (3, 4))
        for layer in (nn.ReLU6, nn.ELU, nn.SELU, nn.GELU, nn.Mish, nn.Hardswish, nn.Softplus,
                      nn.PReLU, nn.GLU, nn.LogSigmoid, nn.Softshrink)
    ],
    (nn.Softmax(-1), (3, 4)),
    (nn.LogSoftmax(1), (3, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda v: type(v).__name__)
def test_layer_reads_no_value(no_values, layer, shape):
    layer(x(*shape)).sum().backward()


CLASSES = nncomp.tensor([0, 2, 1])
WEIGHT = nncomp.tensor([1.0, 0.5, 2.0, 1.0])
LOSSES = [
    (nn.CrossEntropyLoss(WEIGHT, ignore_index=2, label_smoothing=0.1), CLASSES),
    (nn.NLLLoss(WEIGHT), CLASSES),
    (nn.CrossEntropyLoss(label_smoothing=0.1), nncomp.ones(3, 4)),
    (nn.MSELoss(), nncomp.ones(3, 4)),
    (nn.HuberLoss(), nncomp.ones(3, 4)),
    (nn.SmoothL1Loss(), nncomp.ones(3, 4)),
    (nn.BCEWithLogitsLoss(pos_weight=WEIGHT), nncomp.ones(3, 4)),
    (nn.KLDivLoss(reduction="batchmean"), nncomp.ones(3, 4)),
]


@pytest.mark.parametrize(("loss", "target"), LOSSES, ids=lambda v: type(v).__name__)
def test_loss_reads_no_value(no_values, loss, target):
    loss(x(3, 4), target).backward()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (optim.SGD, {"momentum": 0.9, "dampening": 0.1}),
        (optim.SGD, {"momentum": 0.9, "nesterov": True}),
        (optim.Adam, {"weight_decay": 0.1}),
        (optim.AdamW, {"amsgrad": True}),
    ],
)
@pytest.mark.parametrize("rate", [0.1, nncomp.tensor(0.1)])
def test_train_step_reads_no_value(no_values, kind, options, rate):
    layer = nn.Linear(4, 4)
    optimizer = kind(layer.parameters(), lr=rate, **options)
    optimizer.init_state()
    table = nn.Embedding(5, 4, padding_idx=1)
    for _ in range(2):
        optimizer.zero_grad()
        layer(table(CLASSES)).sum().backward()
        nn.utils.clip_grad_norm_(layer.parameters(), 0.5)
        nn.utils.clip_grad_value_(layer.parameters(), 0.5)
        optimizer.step()
