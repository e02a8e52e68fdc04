"""Padding, pooling, folding and resampling layers, compared with torch and compiled."""

from __future__ import annotations

import numpy as np
import pytest
from both import agree, cases, numbers
from same_compiled import same_compiled

import nncomp
from nncomp import nn
from nncomp.nn import functional as F


def run(build, *shape, second=None, indices=False):
    """Return a scenario: a layer or function of one tensor, its output and gradient."""

    def scenario(t):
        layer = build(t)
        x = t.tensor(numbers(*shape)).requires_grad_()
        y = layer(x)
        shown = [repr(layer)] if isinstance(layer, t.nn.Module) else []
        if isinstance(y, tuple):
            shown.append(y[1])
            y = y[0]
        (y * t.tensor(numbers(*y.shape, start=5))).sum().backward()
        return [*shown, y, x.grad]

    return scenario


def layer(name, *args, shape, **options):
    return run(lambda t: getattr(t.nn, name)(*args, **options), *shape)


def function(name, *args, shape, **options):
    return run(lambda t: lambda x: getattr(t.nn.functional, name)(x, *args, **options), *shape)


ONE, TWO, THREE = (2, 3, 7), (2, 3, 5, 7), (1, 2, 4, 5, 6)
PADDING = {
    "Constant1": layer("ConstantPad1d", 2, 3.5, shape=ONE),
    "Constant2": layer("ConstantPad2d", (1, 0, -1, 2), 1, shape=TWO),
    "Constant3": layer("ConstantPad3d", 1, 0.5, shape=THREE),
    "Zero1": layer("ZeroPad1d", (1, 2), shape=ONE),
    "Zero2": layer("ZeroPad2d", 1, shape=TWO),
    "Zero3": layer("ZeroPad3d", (1, 2, 0, 1, 2, 0), shape=THREE),
    **{
        f"{kind}{n}": layer(f"{kind}Pad{n}d", widths, shape=shape)
        for kind in ("Reflection", "Replication", "Circular")
        for n, widths, shape in ((1, (2, 3), ONE), (2, (1, 4, 3, 0), TWO), (3, 2, THREE))
    },
    "reflect crop": function("pad", (-1, 3), shape=ONE, mode="reflect"),
    "circular crop": function("pad", (-1, -2), shape=ONE, mode="circular"),
    "replicate crop": function("pad", (3, -2), shape=ONE, mode="replicate"),
    "unbatched": layer("CircularPad2d", 1, shape=(3, 4, 5)),
}

POOLS = {
    **{
        f"AdaptiveMax{n} {size}": layer(f"AdaptiveMaxPool{n}d", size, shape=shape)
        for n, size, shape in (
            (1, 3, ONE), (1, 7, ONE), (1, 10, ONE), (2, (3, None), TWO), (2, (1, 4), TWO),
            (3, (2, 3, 5), THREE), (3, 1, THREE),
        )
    },
    "AdaptiveMax indices": layer("AdaptiveMaxPool2d", (2, 3), True, shape=TWO),
    "AdaptiveMax even indices": layer("AdaptiveMaxPool2d", (2, 2), True, shape=(3, 4, 6)),
    "adaptive functional": function("adaptive_max_pool2d_with_indices", 3, shape=TWO),
    "LP1": layer("LPPool1d", 2, 3, shape=ONE),
    "LP2": layer("LPPool2d", 2, (2, 3), stride=1, ceil_mode=True, shape=TWO),
    "LP3": layer("LPPool3d", 2, 2, shape=THREE),
    "lp 4": function("lp_pool2d", 4, 2, shape=TWO),
    "fractional": run(
        lambda t: t.nn.FractionalMaxPool2d(
            (2, 3), (2, 4), return_indices=True, _random_samples=t.tensor(
                np.abs(numbers(2, 3, 2)) % 1)), *TWO,
    ),
    "fractional ratio": run(
        lambda t: t.nn.FractionalMaxPool3d(
            2, output_ratio=(0.5, 0.7, 0.6), return_indices=True,
            _random_samples=t.tensor(np.abs(numbers(1, 2, 3)) % 1)), *THREE,
    ),
    "fractional unbatched": run(
        lambda t: t.nn.FractionalMaxPool2d(
            2, 1, _random_samples=t.tensor(np.abs(numbers(1, 3, 2)) % 1)), 3, 4, 5,
    ),
    "max indices": function("max_pool2d_with_indices", 2, shape=TWO),
}  # fmt: skip


def unpool(n, shape, **options):
    def scenario(t):
        x = t.tensor(numbers(*shape)).requires_grad_()
        values, index = getattr(t.nn, f"MaxPool{n}d")(2, **options, return_indices=True)(x)
        unpool = getattr(t.nn, f"MaxUnpool{n}d")(2, **options)
        y, whole = unpool(values, index), unpool(values, index, output_size=x.shape)
        (y * y).sum().backward()
        return [repr(unpool), y, whole, x.grad]

    return scenario


UNPOOLS = {
    "1": unpool(1, (2, 3, 6)),
    "2": unpool(2, (2, 3, 6, 8), stride=(2, 3)),
    "3": unpool(3, (1, 2, 4, 4, 6)),
}

MOVES = {
    "Unfold": layer("Unfold", (2, 3), 2, (1, 2), (1, 2), shape=TWO),
    "Unfold unbatched": layer("Unfold", 2, shape=(3, 4, 5)),
    "Fold": layer("Fold", (4, 5), (2, 3), padding=1, stride=(2, 1), shape=(2, 12, 15)),
    "Fold unbatched": layer("Fold", (3, 4), 2, shape=(8, 6)),
    "PixelShuffle": layer("PixelShuffle", 2, shape=(2, 8, 2, 3)),
    "PixelUnshuffle": layer("PixelUnshuffle", 2, shape=(2, 2, 4, 6)),
    "ChannelShuffle": layer("ChannelShuffle", 3, shape=(2, 6, 2, 3)),
}


def resize(shape, **options):
    return function("interpolate", shape=shape, **options)


SIZES = {
    **{
        f"{mode} {n} {options}": resize(shape, mode=mode, **options)
        for n, shape, sizes in ((1, ONE, (11,)), (2, TWO, (8, 3)), (3, THREE, (3, 9, 6)))
        for mode in ("nearest", "nearest-exact", "area", ("linear", "bilinear", "trilinear")[n - 1])
        for options in ({"size": sizes}, {"scale_factor": 2}, {"scale_factor": 1.7})
    },
    **{
        f"{mode} {align} {options}": resize(TWO, mode=mode, align_corners=align, **options)
        for mode in ("bilinear", "bicubic")
        for align in (True, False)
        for options in ({"size": (9, 1)}, {"scale_factor": (0.6, 2.3)}, {"scale_factor": 1.0})
    },
    "recompute": resize(TWO, mode="bilinear", scale_factor=1.7, recompute_scale_factor=True),
    **{
        f"antialias {mode} {align}": resize(
            TWO, mode=mode, antialias=True, size=(2, 9), align_corners=align
        )
        for mode in ("bilinear", "bicubic")
        for align in (True, False)
    },
    "Upsample": layer("Upsample", scale_factor=2, shape=TWO),
    "Upsample size": layer("Upsample", (3, 4), mode="bilinear", shape=TWO),
    "Upsample factors": layer("Upsample", scale_factor=(2, 3), shape=TWO),
    "Nearest2d": layer("UpsamplingNearest2d", scale_factor=2, shape=TWO),
    "Bilinear2d": layer("UpsamplingBilinear2d", 6, shape=TWO),
    "upsample": function("upsample", 3, shape=TWO),
    "upsample_nearest": function("upsample_nearest", 3, shape=TWO),
    "upsample_bilinear": function("upsample_bilinear", 3, shape=TWO),
}


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_double_precision_is_kept(mode):
    def scenario(t):
        x = t.tensor(numbers(1, 1, 4, 5).astype(np.float64))
        return t.nn.functional.interpolate(x, (7, 9), mode=mode)

    agree(scenario, ok=True, tol=1e-12)


def sampled(shape, out, **options):
    def scenario(t):
        x = t.tensor(numbers(*shape)).requires_grad_()
        grid = numbers(shape[0], *out, len(out), start=9)
        grid = t.tensor(grid).requires_grad_()
        y = t.nn.functional.grid_sample(x, grid, **options)
        (y * t.tensor(numbers(*y.shape, start=5))).sum().backward()
        shown = [y, x.grad]
        return shown if options["mode"] == "nearest" else [*shown, grid.grad]

    return scenario


GRIDS = {
    **{
        f"{mode} {padding} {align}": sampled(
            (2, 3, 4, 5), (3, 6), mode=mode, padding_mode=padding, align_corners=align
        )
        for mode in ("bilinear", "nearest", "bicubic")
        for padding in ("zeros", "border", "reflection")
        for align in (True, False)
    },
    **{
        f"3d {mode}": sampled((1, 2, 3, 4, 5), (2, 3, 2), mode=mode, padding_mode="reflection")
        for mode in ("bilinear", "nearest")
    },
    "affine": lambda t: t.nn.functional.affine_grid(
        t.tensor(numbers(2, 2, 3)), (2, 1, 3, 4), align_corners=True
    ),
    "affine default": lambda t: t.nn.functional.affine_grid(
        t.tensor(numbers(2, 2, 3)), (2, 1, 1, 4)
    ),
    "affine 3d": lambda t: t.nn.functional.affine_grid(
        t.tensor(numbers(1, 3, 4)), (1, 1, 2, 3, 4), align_corners=False
    ),
}


@cases({**PADDING, **POOLS, **UNPOOLS, **MOVES})
def test_layer_agrees_with_torch(case):
    agree(case, ok=True)


@cases(SIZES)
def test_interpolate_agrees_with_torch(case):
    agree(case, ok=True)


@cases(GRIDS)
def test_grid_agrees_with_torch(case):
    agree(case, ok=True, tol=1e-4)


def image(t):
    return t.arange(24.0).reshape(1, 2, 3, 4)


def zeros(*shape):
    return lambda t: t.zeros(*shape)


def wrong(name, *args, of=image, **options):
    return lambda t: getattr(t.nn.functional, name)(of(t), *args, **options)


ERRORS = {
    "pad odd": wrong("pad", (1, 1, 1)),
    "pad long": wrong("pad", (1, 1, 1, 1), of=zeros(2)),
    "pad mode": wrong("pad", (1, 1), mode="mirror"),
    "pad rank": wrong("pad", (1, 1), mode="reflect"),
    "pad reflect": wrong("pad", (3, 3, 3, 3), mode="reflect"),
    "pad circular": wrong("pad", (4, 4, 4, 4), mode="circular"),
    "pad value": wrong("pad", (1, 1, 1, 1), mode="reflect", value=3),
    "circular rank": lambda t: t.nn.CircularPad2d(1)(t.zeros(3, 3)),
    "interpolate nothing": wrong("interpolate"),
    "interpolate both": wrong("interpolate", 3, 2),
    "interpolate sizes": wrong("interpolate", (3,)),
    "interpolate factors": wrong("interpolate", None, (3,)),
    "interpolate rank": wrong("interpolate", None, 2, "linear"),
    "interpolate mode": wrong("interpolate", None, 2, "sharp"),
    "interpolate align": wrong("interpolate", None, 2, "nearest", True),
    "interpolate recompute": wrong("interpolate", 2, recompute_scale_factor=True),
    "interpolate 2d": wrong("interpolate", 2, of=zeros(3, 4)),
    "interpolate antialias": wrong("interpolate", 2, antialias=True),
    "interpolate zero": wrong("interpolate", 0),
    "grid width": lambda t: t.nn.functional.grid_sample(image(t), t.zeros(1, 2, 2, 3)),
    "grid batch": lambda t: t.nn.functional.grid_sample(image(t), t.zeros(2, 2, 2, 2)),
    "grid mode": lambda t: t.nn.functional.grid_sample(image(t), t.zeros(1, 2, 2, 2), "cubic"),
    "grid padding": lambda t: t.nn.functional.grid_sample(
        image(t), t.zeros(1, 2, 2, 2), padding_mode="wrap"
    ),
    "affine theta": wrong("affine_grid", (1, 1, 2, 2), of=zeros(1, 2, 2)),
    "affine size": wrong("affine_grid", (1, 1, 0, 2), of=zeros(1, 2, 3)),
    "affine rank": wrong("affine_grid", (1, 1, 2), of=zeros(1, 2, 3)),
    "adaptive rank": wrong("adaptive_max_pool2d", 2, of=zeros(3, 3)),
    "fractional nothing": lambda t: t.nn.FractionalMaxPool2d(2),
    "fractional both": lambda t: t.nn.FractionalMaxPool2d(2, output_size=2, output_ratio=0.5),
    "fractional ratio": lambda t: t.nn.FractionalMaxPool2d(2, output_ratio=2),
    "fractional size": wrong("fractional_max_pool2d", 2, output_size=4),
    "unpool size": lambda t: t.nn.functional.max_unpool2d(
        image(t), t.zeros(1, 2, 3, 4).long(), 2, output_size=(1, 1)
    ),
    "unpool length": lambda t: t.nn.functional.max_unpool2d(
        image(t), t.zeros(1, 2, 3, 4).long(), 2, output_size=(1,)
    ),
    "unpool shape": lambda t: t.nn.functional.max_unpool2d(
        image(t), t.zeros(1, 2, 3, 3).long(), 2
    ),
    "unfold": wrong("unfold", 9),
    "fold rank": wrong("fold", 4, 2),
    "fold rows": wrong("fold", (3, 3), 2, of=zeros(1, 3, 4)),
    "fold places": wrong("fold", (3, 3), 2, of=zeros(1, 4, 5)),
    "shuffle": wrong("channel_shuffle", 3),
}


@cases(ERRORS)
def test_error_agrees_with_torch(case):
    agree(case, ok=False)


def test_random_windows_lie_inside_and_follow_the_seed():
    x = nncomp.arange(36.0).reshape(1, 1, 6, 6)
    nncomp.manual_seed(1)
    pool = nn.FractionalMaxPool2d(2, output_size=3)
    first = pool(x)
    assert first.shape == (1, 1, 3, 3) and float(first.max()) == 35.0
    nncomp.manual_seed(1)
    assert bool((pool(x) == first).all())


COMPILED = {
    "reflect": (nn.ReflectionPad2d(1), (1, 2, 3, 4)),
    "replicate": (nn.ReplicationPad1d(2), (1, 2, 5)),
    "adaptive max": (nn.AdaptiveMaxPool2d((2, 3)), (1, 2, 5, 4)),
    "adaptive indices": (nn.AdaptiveMaxPool1d(3, return_indices=True), (1, 2, 5)),
    "lp": (nn.LPPool2d(2, 2), (1, 2, 4, 4)),
    "fractional": (nn.FractionalMaxPool2d(2, 2), (1, 2, 4, 5)),
    "unfold": (nn.Unfold(2, padding=1), (1, 2, 3, 4)),
    "fold": (nn.Fold((3, 4), 2), (1, 8, 6)),
    "shuffle": (nn.Sequential(nn.PixelShuffle(2), nn.ChannelShuffle(2)), (1, 8, 2, 2)),
    "nearest": (nn.Upsample(scale_factor=2), (1, 2, 3, 4)),
    "exact": (lambda x: F.interpolate(x, (5, 3), mode="nearest-exact"), (1, 2, 3, 4)),
    "bilinear": (nn.Upsample((5, 7), mode="bilinear"), (1, 2, 3, 4)),
    "bicubic": (nn.Upsample((5, 7), mode="bicubic"), (1, 2, 3, 4)),
    "area": (lambda x: F.interpolate(x, (2, 3), mode="area"), (1, 2, 3, 4)),
    "antialias": (
        lambda x: F.interpolate(x, (2, 3), mode="bicubic", antialias=True), (1, 2, 5, 4)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_is_eager(name):
    function, shape = COMPILED[name]
    same_compiled(function, nncomp.tensor(numbers(*shape)))


def test_compiled_grid_sample_is_eager():
    x, theta = nncomp.tensor(numbers(1, 2, 3, 4)), nncomp.tensor(numbers(1, 2, 3, scale=0.5))

    def warp(x, theta):
        grid = F.affine_grid(theta, (1, 2, 5, 3), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)

    same_compiled(warp, x, theta)


def test_compiled_unpool_is_eager():
    def there_and_back(x):
        values, index = F.max_pool2d(x, 2, return_indices=True)
        return F.max_unpool2d(values, index, 2)

    same_compiled(there_and_back, nncomp.tensor(numbers(1, 2, 4, 4)))
