"""Every layer compared with torch: output, gradients, buffers after training, repr, keys."""

from __future__ import annotations

import numpy as np
import pytest
from both import agree, cases, fill, numbers

import nncomp
from nncomp import nn


def run(build, *shapes, mode=True, backward=True):
    """Return a scenario: build, run forward and backward, show all there is to see."""

    def scenario(t):
        layer = fill(t, build(t)).train(mode)
        inputs = [
            t.tensor(numbers(*shape, start=11 * n)).requires_grad_()
            for n, shape in enumerate(shapes)
        ]
        shown = [repr(layer), layer.state_dict()]
        output = layer(*inputs)
        shown.append(output)
        if backward:
            weights = t.tensor(numbers(*output.shape, start=5))
            (output * weights).sum().backward()
            shown.append([x.grad for x in inputs])
            shown.append([p.grad for p in layer.parameters()])
        shown.append([b.float() for b in layer.buffers()])
        return shown

    return scenario


def activation(name, *args, shape=(3, 4), **options):
    return run(lambda t: getattr(t.nn, name)(*args, **options), shape)


def indices(build, *shape, high=5):
    def scenario(t):
        layer = fill(t, build(t))
        index = t.tensor((np.abs(numbers(*shape)) * 100).astype(np.int64) % high)
        output = layer(index)
        (output * t.tensor(numbers(*output.shape))).sum().backward()
        return [repr(layer), output, layer.weight.grad, list(layer.state_dict())]

    return scenario


def twice(build, shape):
    """Train on two batches, then evaluate."""

    def scenario(t):
        layer = fill(t, build(t))
        shown = []
        for n in range(2):
            x = t.tensor(numbers(*shape, start=17 * n)).requires_grad_()
            y = layer(x)
            (y * y * y).sum().backward()
            shown += [y, x.grad]
        shown += [layer.state_dict(), layer.eval()(x)]
        return shown

    return scenario


LAYERS = {
    "Identity": run(lambda t: t.nn.Identity(3, unused=True), (2, 3)),
    "Linear": run(lambda t: t.nn.Linear(4, 3), (5, 4)),
    "Linear no bias": run(lambda t: t.nn.Linear(4, 3, bias=False), (5, 4)),
    "Linear 1d": run(lambda t: t.nn.Linear(4, 3), (4,)),
    "Linear 4d": run(lambda t: t.nn.Linear(4, 3), (2, 2, 3, 4)),
    "Bilinear": run(lambda t: t.nn.Bilinear(3, 4, 2), (5, 3), (5, 4)),
    "Bilinear 3d": run(lambda t: t.nn.Bilinear(3, 4, 2, bias=False), (2, 5, 3), (2, 5, 4)),
    "Conv1d": run(lambda t: t.nn.Conv1d(2, 4, 3, padding=1), (2, 2, 7)),
    "Conv1d same": run(lambda t: t.nn.Conv1d(2, 4, 4, padding="same", dilation=2), (2, 2, 9)),
    "Conv1d unbatched": run(lambda t: t.nn.Conv1d(2, 4, 3, bias=False), (2, 7)),
    "Conv2d": run(lambda t: t.nn.Conv2d(3, 4, 3), (2, 3, 6, 7)),
    "Conv2d options": run(
        lambda t: t.nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 2), groups=2, bias=False),
        (2, 4, 7, 8),
    ),
    "Conv2d depthwise": run(lambda t: t.nn.Conv2d(3, 3, 3, padding=1, groups=3), (2, 3, 5, 5)),
    "Conv2d same": run(lambda t: t.nn.Conv2d(2, 3, (4, 3), padding="same"), (1, 2, 6, 5)),
    "Conv2d valid": run(lambda t: t.nn.Conv2d(2, 3, 3, padding="valid"), (1, 2, 6, 5)),
    "Conv2d unbatched": run(lambda t: t.nn.Conv2d(2, 3, 3), (2, 6, 5)),
    "Conv2d reflect": run(
        lambda t: t.nn.Conv2d(2, 3, 3, padding=2, padding_mode="reflect"), (1, 2, 5, 4)
    ),
    "Conv2d replicate": run(
        lambda t: t.nn.Conv2d(2, 3, 3, padding=(1, 3), padding_mode="replicate"), (1, 2, 5, 4)
    ),
    "Conv2d circular": run(
        lambda t: t.nn.Conv2d(2, 3, 4, padding="same", padding_mode="circular"), (1, 2, 5, 4)
    ),
    "Conv3d": run(lambda t: t.nn.Conv3d(2, 3, 2, stride=(1, 2, 1)), (1, 2, 3, 4, 4)),
    "ConvTranspose1d": run(lambda t: t.nn.ConvTranspose1d(2, 4, 3, stride=2), (2, 2, 5)),
    "ConvTranspose2d": run(
        lambda t: t.nn.ConvTranspose2d(
            4, 6, (3, 2), 2, (1, 0), output_padding=1, groups=2, bias=False, dilation=2
        ),
        (2, 4, 3, 4),
    ),
    "ConvTranspose2d size": lambda t: fill(t, t.nn.ConvTranspose2d(2, 3, 3, stride=2))(
        t.tensor(numbers(1, 2, 3, 3)), output_size=[8, 7]
    ),
    "ConvTranspose3d": run(lambda t: t.nn.ConvTranspose3d(2, 2, 2), (1, 2, 2, 3, 2)),
    "Flatten": run(lambda t: t.nn.Flatten(), (2, 3, 4)),
    "Flatten dims": run(lambda t: t.nn.Flatten(0, 1), (2, 3, 4)),
    "Unflatten": run(lambda t: t.nn.Unflatten(1, (2, 3)), (2, 6, 4)),
    "Unflatten -1": run(lambda t: t.nn.Unflatten(-1, (-1, 2)), (2, 6)),
    "ReLU": activation("ReLU"),
    "ReLU6": activation("ReLU6"),
    "LeakyReLU": activation("LeakyReLU", 0.2),
    "ELU": activation("ELU", 1.5),
    "CELU": activation("CELU", 2.0),
    "SELU": activation("SELU"),
    "GELU": activation("GELU"),
    "GELU tanh": activation("GELU", approximate="tanh"),
    "SiLU": activation("SiLU"),
    "Mish": activation("Mish"),
    "Tanh": activation("Tanh"),
    "Sigmoid": activation("Sigmoid"),
    "Hardtanh": activation("Hardtanh", -0.5, 0.75),
    "Hardswish": activation("Hardswish"),
    "Hardsigmoid": activation("Hardsigmoid"),
    "Softplus": activation("Softplus", 2.0, 1.0),
    "Softsign": activation("Softsign"),
    "Softshrink": activation("Softshrink"),
    "Hardshrink": activation("Hardshrink"),
    "Tanhshrink": activation("Tanhshrink"),
    "PReLU": activation("PReLU"),
    "PReLU channels": activation("PReLU", 4, shape=(2, 4, 3)),
    "Softmax": activation("Softmax", -1),
    "Softmax dim 0": activation("Softmax", 0),
    "Softmax2d": activation("Softmax2d", shape=(2, 3, 2, 2)),
    "LogSoftmax": activation("LogSoftmax", 1),
    "Softmin": activation("Softmin", 1),
    "LogSigmoid": activation("LogSigmoid"),
    "Threshold": activation("Threshold", 0.3, 5.0),
    "GLU": activation("GLU"),
    "ReLU inplace repr": lambda t: repr(t.nn.ReLU(inplace=True)),
    "LeakyReLU inplace repr": lambda t: repr(t.nn.LeakyReLU(inplace=True)),
    "Dropout eval": run(lambda t: t.nn.Dropout(0.3), (3, 4), mode=False),
    "Dropout p=0": run(lambda t: t.nn.Dropout(0.0), (3, 4)),
    "Dropout p=1": run(lambda t: t.nn.Dropout(1.0), (3, 4)),
    "Dropout2d eval": run(lambda t: t.nn.Dropout2d(0.3), (2, 3, 4, 4), mode=False),
    "BatchNorm1d": twice(lambda t: t.nn.BatchNorm1d(3), (5, 3)),
    "BatchNorm1d 3d": twice(lambda t: t.nn.BatchNorm1d(3, eps=1e-3, momentum=0.3), (4, 3, 5)),
    "BatchNorm2d": twice(lambda t: t.nn.BatchNorm2d(3), (2, 3, 4, 3)),
    "BatchNorm2d average": twice(lambda t: t.nn.BatchNorm2d(3, momentum=None), (2, 3, 4, 3)),
    "BatchNorm2d plain": twice(lambda t: t.nn.BatchNorm2d(3, affine=False), (2, 3, 4, 3)),
    "BatchNorm2d untracked": twice(
        lambda t: t.nn.BatchNorm2d(3, track_running_stats=False), (2, 3, 4, 3)
    ),
    "BatchNorm3d": twice(lambda t: t.nn.BatchNorm3d(2), (2, 2, 3, 2, 2)),
    "BatchNorm repr": run(lambda t: t.nn.BatchNorm2d(2, affine=False), (2, 2, 2, 2)),
    "InstanceNorm2d": twice(lambda t: t.nn.InstanceNorm2d(3, affine=True), (2, 3, 4, 3)),
    "InstanceNorm1d tracked": twice(
        lambda t: t.nn.InstanceNorm1d(3, track_running_stats=True), (2, 3, 4)
    ),
    "LayerNorm": run(lambda t: t.nn.LayerNorm(4), (2, 3, 4)),
    "LayerNorm two": run(lambda t: t.nn.LayerNorm((3, 4), eps=1e-3, bias=False), (2, 3, 4)),
    "LayerNorm plain": run(lambda t: t.nn.LayerNorm(4, elementwise_affine=False), (2, 3, 4)),
    "RMSNorm": run(lambda t: t.nn.RMSNorm(4), (2, 3, 4)),
    "RMSNorm eps": run(lambda t: t.nn.RMSNorm((3, 4), eps=0.1), (2, 3, 4)),
    "GroupNorm": run(lambda t: t.nn.GroupNorm(2, 4), (2, 4, 3, 2)),
    "GroupNorm plain": run(lambda t: t.nn.GroupNorm(4, 4, affine=False), (2, 4, 3)),
    "MaxPool1d": run(lambda t: t.nn.MaxPool1d(3, 2, 1), (2, 3, 9)),
    "MaxPool2d": run(lambda t: t.nn.MaxPool2d(2), (2, 3, 6, 5)),
    "MaxPool2d options": run(
        lambda t: t.nn.MaxPool2d((3, 2), (2, 1), (1, 0), dilation=(1, 2), ceil_mode=True),
        (2, 3, 6, 7),
    ),
    "MaxPool2d unbatched": run(lambda t: t.nn.MaxPool2d(2), (3, 6, 5)),
    "MaxPool3d": run(lambda t: t.nn.MaxPool3d(2, padding=1), (1, 2, 4, 5, 4)),
    "MaxPool2d indices": lambda t: t.nn.MaxPool2d(2, return_indices=True)(
        t.tensor(numbers(2, 3, 4, 6))
    ),
    "AvgPool3d": run(lambda t: t.nn.AvgPool3d(2), (1, 2, 4, 5, 4)),
    "AvgPool1d": run(lambda t: t.nn.AvgPool1d(3, 2, 1), (2, 3, 9)),
    "AvgPool2d": run(lambda t: t.nn.AvgPool2d(2), (2, 3, 6, 5)),
    "AvgPool2d options": run(
        lambda t: t.nn.AvgPool2d((3, 2), 2, (1, 0), count_include_pad=False), (2, 3, 6, 7)
    ),
    "AvgPool2d ceil": run(lambda t: t.nn.AvgPool2d(3, 2, 1, ceil_mode=True), (2, 3, 6, 6)),
    "AvgPool2d divisor": run(lambda t: t.nn.AvgPool2d(2, divisor_override=3), (2, 3, 6, 6)),
    "AdaptiveAvgPool1d": run(lambda t: t.nn.AdaptiveAvgPool1d(3), (2, 3, 7)),
    "AdaptiveAvgPool2d one": run(lambda t: t.nn.AdaptiveAvgPool2d(1), (2, 3, 5, 6)),
    "AdaptiveAvgPool2d even": run(lambda t: t.nn.AdaptiveAvgPool2d((2, 3)), (2, 3, 4, 6)),
    "AdaptiveAvgPool2d odd": run(lambda t: t.nn.AdaptiveAvgPool2d((3, None)), (2, 3, 7, 4)),
    "AdaptiveAvgPool2d unbatched": run(lambda t: t.nn.AdaptiveAvgPool2d((3, 5)), (3, 7, 4)),
    "Embedding": indices(lambda t: t.nn.Embedding(5, 3), 4),
    "Embedding 2d padding": indices(lambda t: t.nn.Embedding(5, 3, padding_idx=-4), 4, 6),
    "Embedding frozen": lambda t: repr(t.nn.Embedding.from_pretrained(t.ones(3, 2))),
    "Embedding padding row": lambda t: t.nn.Embedding(4, 3, padding_idx=2).weight[2],
}


@cases(LAYERS)
def test_layer_is_torchs(case):
    agree(case, ok=True, tol=2e-5)


def call(build, *shape):
    return lambda t: build(t)(t.zeros(*shape))


FAILURES = {
    "Linear size": call(lambda t: t.nn.Linear(3, 4), 2, 5),
    "Bilinear size": lambda t: t.nn.Bilinear(0, 1, 1),
    "Conv groups": lambda t: t.nn.Conv2d(3, 4, 1, groups=2),
    "Conv out groups": lambda t: t.nn.Conv2d(4, 3, 1, groups=2),
    "Conv groups 0": lambda t: t.nn.Conv2d(4, 3, 1, groups=0),
    "Conv same stride": lambda t: t.nn.Conv2d(1, 1, 3, stride=2, padding="same"),
    "Dropout p": lambda t: t.nn.Dropout(1.5),
    "BatchNorm1d dims": call(lambda t: t.nn.BatchNorm1d(3), 2, 3, 4, 5),
    "BatchNorm2d dims": call(lambda t: t.nn.BatchNorm2d(3), 2, 3),
    "BatchNorm one value": call(lambda t: t.nn.BatchNorm1d(3), 1, 3),
    "GroupNorm groups": lambda t: t.nn.GroupNorm(3, 4),
    "Embedding padding": lambda t: t.nn.Embedding(3, 2, padding_idx=3),
    "Hardtanh limits": lambda t: t.nn.Hardtanh(1.0, 0.0),
    "Softmax2d dims": call(lambda t: t.nn.Softmax2d(), 2, 3),
}


@cases(FAILURES)
def test_layer_errors_are_torchs(case):
    agree(case, ok=False)


def test_conv_error_names_sizes():
    with pytest.raises(ValueError, match="Invalid padding string 'other'"):
        nn.Conv2d(1, 1, 1, padding="other")
    with pytest.raises(RuntimeError, match="to have 3 channels, but got 2 channels"):
        nn.Conv2d(3, 4, 1)(nncomp.zeros(1, 2, 5, 5))
    with pytest.raises(RuntimeError, match="Expected 3D .* or 4D"):
        nn.Conv2d(3, 4, 1)(nncomp.zeros(2, 5))


@pytest.mark.parametrize("option", [{"sparse": True}])
def test_unsupported_embedding_options_are_named(option):
    with pytest.raises(NotImplementedError, match=next(iter(option))):
        nn.Embedding(3, 2, **option)(nncomp.tensor([0]))


@pytest.mark.parametrize(
    ("layer", "shape", "group"),
    [
        (nn.Dropout(0.25), (64, 64), (1, 1)),
        (nn.Dropout1d(0.25), (40, 50, 6), (1, 1, 6)),
        (nn.Dropout2d(0.25), (40, 50, 3, 4), (1, 1, 3, 4)),
    ],
)
def test_dropout_drops_the_right_share_and_rescales(layer, shape, group):
    nncomp.manual_seed(1)
    x = nncomp.ones(*shape).requires_grad_()
    y = layer(x)
    y.sum().backward()
    values = y.detach().numpy()
    assert set(np.unique(values)) == {0.0, np.float32(1 / 0.75)}
    assert abs((values == 0).mean() - 0.25) < 0.04
    cells = values[tuple(slice(None, None, step) for step in group)]
    for axis, size in enumerate(group):
        cells = np.repeat(cells, size, axis=axis)
    np.testing.assert_array_equal(cells, values)
    np.testing.assert_array_equal(x.grad.numpy(), values)


def test_inplace_activation_changes_its_input():
    x = nncomp.tensor(numbers(3, 3))
    y = nn.ReLU(inplace=True)(x)
    assert float(x.min()) == 0.0
    np.testing.assert_array_equal(x.numpy(), y.numpy())
