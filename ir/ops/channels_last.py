"""Windows that slide over channels-last tensors [N, *S, C]: what backends lower to.

A depthwise convolution and a max pooling read the same window of each channel, and a narrow
convolution gives few channels, so the channels of the result are what a vector runs over. Backends
choose these ops with the layout; they are no part of what a user's graph is traced to.
"""

from __future__ import annotations

import numpy as np

from ..op import Op, op, require
from ..types import TensorType
from .contraction import check_geometry, sliding, window_position, windows


def padded(x: np.ndarray, padding, value=0) -> np.ndarray:
    """x [N, *S, C] with padding around S."""
    return np.pad(x, [(0, 0), *map(tuple, padding), (0, 0)], constant_values=value)


def places_of(name: str, x: TensorType, kernel, stride, padding, dilation) -> tuple[int, ...]:
    """The window positions along the axes S of x [N, *S, C]."""
    check_geometry(name, len(kernel), stride, padding, dilation)
    require(len(kernel) == len(x.shape) - 2 > 0, f"{name}: {kernel} is no window for {x}")
    geometry = windows(kernel, stride, padding, dilation)
    out = tuple(g.count(n) for g, n in zip(geometry, x.shape[1:-1], strict=True))
    require(min(out) > 0, f"{name}: window {tuple(kernel)} is larger than the padded input {x}")
    return out


@op
class depthwise(Op):
    """x [N, *S, C] under weights [*K, M, C], channel by channel -> [N, *S', M, C].

    M weights per channel (torch's channel multiplier); `padding` holds (low, high) zeros per axis.
    """

    differentiable = False

    def type(x, w, *, stride, padding, dilation):
        out = places_of("depthwise", x, w.shape[:-2], stride, padding, dilation)
        ok = w.shape[-1] == x.shape[-1] and w.dtype is x.dtype and x.dtype.kind == "f"
        require(ok, f"depthwise: weights {w} do not fit the channels of {x}")
        return TensorType((x.shape[0], *out, *w.shape[-2:]), x.dtype)

    def eval(x, w, *, stride, padding, dilation):
        wide = np.dtype(np.float32) if x.dtype.itemsize == 2 else x.dtype
        rank, kernel = len(stride), w.shape[:-2]
        space = np.moveaxis(padded(x.astype(wide, copy=False), padding), -1, 1)
        view = sliding(space, kernel, stride, dilation)  # N C *out *K
        axes = [*range(rank + 2), *range(rank + 2, 2 * rank + 2)]
        taps = axes[rank + 2 :]
        places = [0, *axes[2 : rank + 2]]
        m = 2 * rank + 2
        out = np.einsum(view, axes, w.astype(wide, copy=False), [*taps, m, 1], [*places, m, 1])
        return np.ascontiguousarray(out.astype(x.dtype, copy=False))

    def element(k, idx, x, w, *, stride, padding, dilation):
        kernel = w.shape[:-2]
        geometry = windows(kernel, stride, padding, dilation)
        image, *places, m, channel = idx

        def body(taps):
            inside, at = window_position(k, places, taps, geometry, x.shape[1:-1])
            value = k.guarded(inside, lambda: x((image, *at, channel)), k.const(0, x.dtype))
            return k.mul(value, w((*taps, m, channel)))

        return k.reduce("add", kernel, body, x.dtype)


@op
class window_conv(Op):
    """x [N, *S, C] under weights [*K, C, O] -> [N, *S', O]: a convolution whose padding is inside.

    `padding` holds (low, high) zeros per axis.
    """

    differentiable = False

    def type(x, w, *, stride, padding, dilation):
        out = places_of("window_conv", x, w.shape[:-2], stride, padding, dilation)
        ok = w.shape[-2] == x.shape[-1] and w.dtype is x.dtype and x.dtype.kind == "f"
        require(ok, f"window_conv: weights {w} do not fit the channels of {x}")
        return TensorType((x.shape[0], *out, w.shape[-1]), x.dtype)

    def eval(x, w, *, stride, padding, dilation):
        wide = np.dtype(np.float32) if x.dtype.itemsize == 2 else x.dtype
        rank, kernel = len(stride), w.shape[:-2]
        space = np.moveaxis(padded(x.astype(wide, copy=False), padding), -1, 1)
        view = sliding(space, kernel, stride, dilation)  # N C *out *K
        taps = [*range(rank + 2, 2 * rank + 2), 1]
        out = np.tensordot(view, w.astype(wide, copy=False), (taps, [*range(rank + 1)]))
        return np.ascontiguousarray(out.astype(x.dtype, copy=False))

    def element(k, idx, x, w, *, stride, padding, dilation):
        kernel = w.shape[:-2]
        geometry = windows(kernel, stride, padding, dilation)
        image, *places, out = idx

        def body(at_):
            *taps, channel = at_
            inside, at = window_position(k, places, taps, geometry, x.shape[1:-1])
            value = k.guarded(inside, lambda: x((image, *at, channel)), k.const(0, x.dtype))
            return k.mul(value, w((*taps, channel, out)))

        return k.reduce("add", (*kernel, x.shape[-1]), body, x.dtype)


@op
class window_max(Op):
    """The largest element of each window over the middle axes: [N, *S, C] -> [N, *S', C].

    The padding never wins; nan wins.
    """

    differentiable = False

    def type(x, *, kernel, stride, padding, dilation):
        out = places_of("window_max", x, kernel, stride, padding, dilation)
        require(x.dtype.kind == "f", f"window_max: {x} should be a tensor of floats")
        return TensorType((x.shape[0], *out, x.shape[-1]), x.dtype)

    def eval(x, *, kernel, stride, padding, dilation):
        space = np.moveaxis(padded(x, padding, -np.inf), -1, 1)
        view = sliding(space, kernel, stride, dilation)
        best = view.max(axis=tuple(range(view.ndim - len(kernel), view.ndim)))
        return np.ascontiguousarray(np.moveaxis(best, 1, -1))

    def element(k, idx, x, *, kernel, stride, padding, dilation):
        geometry = windows(kernel, stride, padding, dilation)
        image, *places, channel = idx

        def body(taps):
            inside, at = window_position(k, places, taps, geometry, x.shape[1:-1])
            return k.guarded(inside, lambda: x((image, *at, channel)), k.lowest(x.dtype))

        return k.reduce("maximum", kernel, body, x.dtype)
