"""A convolution in groups over channels-last tensors: what backends lower to, as in channels_last.

Each group of input channels gives a group of output channels; both stay side by side, so neither
the images nor the results are sorted by groups in memory.
"""

from __future__ import annotations

import numpy as np

from ..index import Index, linear
from ..op import Op, op, require
from ..types import TensorType
from .channels_last import padded, places_of
from .contraction import sliding, window_position, windows


@op
class group_conv(Op):
    """x [N, *S, C] under weights [*K, C / groups, O] -> [N, *S', O], both in groups of channels.

    `padding` holds (low, high) zeros per axis.
    """

    differentiable = False

    def type(x, w, *, stride, padding, dilation, groups):
        out = places_of("group_conv", x, w.shape[:-2], stride, padding, dilation)
        ok = w.shape[-2] * groups == x.shape[-1] and w.dtype is x.dtype and x.dtype.kind == "f"
        ok = ok and w.shape[-1] % groups == 0
        require(ok, f"group_conv: weights {w} do not fit the channels of {x} in {groups} groups")
        return TensorType((x.shape[0], *out, w.shape[-1]), x.dtype)

    def eval(x, w, *, stride, padding, dilation, groups):
        wide = np.dtype(np.float32) if x.dtype.itemsize == 2 else x.dtype
        rank, kernel = len(stride), w.shape[:-2]
        space = np.moveaxis(padded(x.astype(wide, copy=False), padding), -1, 1)
        view = sliding(space, kernel, stride, dilation)  # N C *out *K
        taps = [*range(rank + 2, 2 * rank + 2), 1]
        inputs, outputs = (n // groups for n in (x.shape[-1], w.shape[-1]))
        parts = [
            np.tensordot(
                view[:, g * inputs : (g + 1) * inputs],
                w[..., g * outputs : (g + 1) * outputs].astype(wide, copy=False),
                (taps, [*range(rank + 1)]),
            )
            for g in range(groups)
        ]
        return np.ascontiguousarray(np.concatenate(parts, -1).astype(x.dtype, copy=False))

    def element(k, idx, x, w, *, stride, padding, dilation, groups):
        kernel, inputs, outputs = w.shape[:-2], w.shape[-2], w.shape[-1] // groups
        geometry = windows(kernel, stride, padding, dilation)
        image, *places, out = idx

        def body(at_):
            *taps, channel = at_
            inside, at = window_position(k, places, taps, geometry, x.shape[1:-1])
            read: Index = linear((out // outputs, channel), (groups, inputs))
            value = k.guarded(inside, lambda: x((image, *at, read)), k.const(0, x.dtype))
            return k.mul(value, w((*taps, channel, out)))

        return k.reduce("add", (*kernel, inputs), body, x.dtype)
