"""Primitives against torch where torch has the same function: values and gradients."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from nncomp.ir.grad import vjp_graph
from nncomp.ir.interpret import interpret
from nncomp.ir.op import OPS
from op_samples import SAMPLES, make_operands, sample_attrs, sample_graph

torch = pytest.importorskip("torch")
F = torch.nn.functional


def torch_conv(x, w, stride, padding, dilation, groups):
    rank = len(stride)
    flat = [n for pair in reversed(padding) for n in pair]
    conv = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    return conv(F.pad(x, flat), w, None, stride, 0, dilation, groups)


def torch_max_pool(x, kernel, stride, padding, dilation):
    flat = [n for pair in reversed(padding) for n in pair]
    padded = F.pad(x, flat, value=-torch.inf)
    return F.max_pool2d(padded[None], kernel, stride, 0, dilation)[0]


def torch_slice(x, start, stop, step):
    return x[tuple(np.s_[a:b:s] for a, b, s in zip(start, stop, step, strict=True))]


def torch_take(x, index, axis):
    shape = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
    return x.index_select(axis, index.flatten()).reshape(shape)


def over_axes(function):
    """A torch reduction over a tuple of axes, the last first; the identity over none."""

    def reduce(x, axes):
        for axis in reversed(axes):
            x = function(x, axis)
        return x

    return reduce


SAME = (
    "neg abs exp log log1p expm1 sin cos tanh erf sqrt sigmoid floor round add sub mul div pow "
    "maximum minimum remainder floor_divide atan2 bitwise_and bitwise_or bitwise_xor eq "
    "lt le where matmul"
).split()
TORCH = {
    **{name: getattr(torch, name) for name in SAME},
    "shift_left": torch.bitwise_left_shift,
    "shift_right": torch.bitwise_right_shift,
    "reshape": lambda x, shape: x.reshape(shape),
    "permute": lambda x, dims: x.permute(dims),
    "expand": lambda x, shape: x.expand(shape),
    "slice": torch_slice,
    "flip": lambda x, axes: x.flip(axes),
    "concat": lambda *xs, axis: torch.cat(xs, axis),
    "sum": lambda x, axes: x.sum(axes) if axes else x.clone(),
    "prod": over_axes(lambda x, axis: x.prod(axis)),
    "amax": lambda x, axes: x.amax(axes) if axes else x.clone(),
    "argmax": lambda x, axis: x.argmax(axis),
    "cumsum": lambda x, axis: x.cumsum(axis),
    "argsort": lambda x, axis, descending: torch.argsort(
        x, dim=axis, descending=descending, stable=True
    ),
    "take": torch_take,
    "index_add": lambda x, i, source, axis: x.index_add(axis, i, source),
    "index_reduce": lambda x, i, source, axis, combine: x.index_reduce(
        axis, i, source, {"mul": "prod", "maximum": "amax", "minimum": "amin"}[combine]
    ),
    "index_put": lambda x, i, source, axis: x.index_copy(axis, i, source),
    "conv": torch_conv,
    "max_pool": torch_max_pool,
    "detach": lambda x: x.detach().clone(),
}
NO_COUNTERPART = {
    # torch refuses what the op defines: integers divided by 0, and to negative powers
    "pow": lambda arrays: arrays[1].dtype.kind == "i" and (arrays[1] < 0).any(),
    "remainder": lambda arrays: arrays[1].dtype.kind in "iu" and (arrays[1] == 0).any(),
    "floor_divide": lambda arrays: arrays[1].dtype.kind in "iu" and (arrays[1] == 0).any(),
    # torch refuses an empty batch
    "max_pool": lambda arrays: arrays[0].size == 0,
}


def rows():
    for sample in SAMPLES:
        if sample.op not in TORCH:
            continue
        arrays = make_operands(sample, np.random.default_rng(zlib.crc32(sample.id.encode())), "f64")
        if not NO_COUNTERPART.get(sample.op, lambda arrays: False)(arrays):
            yield pytest.param(sample, arrays, id=sample.id)


@pytest.mark.parametrize("sample, arrays", list(rows()))
def test_values_and_gradients_are_torchs(sample, arrays):
    graph, attrs = sample_graph(sample, "f64"), sample_attrs(sample, "f64")
    tensors = [torch.from_numpy(a.copy()) for a in arrays]
    for t in tensors:
        t.requires_grad_(t.is_floating_point())
    expected = TORCH[sample.op](*tensors, **attrs)
    (got,) = interpret(graph, *arrays)
    np.testing.assert_allclose(got, expected.detach().numpy(), rtol=1e-12, atol=1e-12)
    if not expected.requires_grad or sample.op == "floor_divide":  # torch has no gradient of it
        return
    g = np.random.default_rng(0).uniform(-1, 1, got.shape)
    gradients = interpret(vjp_graph(graph), g, *arrays)
    expected.backward(torch.from_numpy(np.asarray(g)))
    for mine, t in zip(gradients, tensors, strict=True):
        if t.grad is not None:
            np.testing.assert_allclose(mine, t.grad.numpy(), rtol=1e-10, atol=1e-12)


SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, np.inf, -np.inf, np.nan, 2.0, -2.5, 1e300, 1e-300])
PAIRS = tuple(m.ravel() for m in np.meshgrid(SPECIAL[:-1], SPECIAL[:-1]))  # no overflow in a / b
ONE = "abs exp log log1p expm1 sin cos tanh erf sqrt sigmoid floor round".split()
TWO = "add sub mul div pow maximum minimum remainder atan2 eq lt le".split()


@pytest.mark.parametrize("name", [*ONE, *TWO])
def test_special_values_are_torchs(name):
    arrays = (SPECIAL,) if name in ONE else PAIRS
    with np.errstate(all="ignore"):
        got = OPS[name].eval(*arrays)
    expected = TORCH[name](*map(torch.from_numpy, arrays)).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-14)


@pytest.mark.parametrize("name", ["pow", "maximum", "minimum"])
def test_gradients_at_special_points_are_torchs(name):
    points = np.array([0.0, 1.0, 2.0, -1.0])
    a, b = (m.ravel() for m in np.meshgrid(points, points))
    if name == "pow":
        a, b = a[b >= 0], b[b >= 0]
    ta, tb = (torch.from_numpy(v.copy()).requires_grad_() for v in (a, b))
    TORCH[name](ta, tb).sum().backward()
    sample = next(s for s in SAMPLES if s.op == name)._replace(shapes=(a.shape, b.shape))
    da, db = interpret(vjp_graph(sample_graph(sample, "f64")), np.ones_like(a), a, b)
    np.testing.assert_allclose(da, ta.grad.numpy())
    np.testing.assert_allclose(db, tb.grad.numpy())
