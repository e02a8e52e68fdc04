"""matmul and the three convolutions, each the adjoint of the others.

Backends choose the algorithm; `element` is the plain sum of products, right for every dtype.
"""

from __future__ import annotations

from math import prod

import numpy as np

from ..op import Contraction, OpError, op, require
from ..types import TensorType, bfloat16
from .movement import permute


def _accumulate(dtype) -> np.dtype:
    """16-bit floats are multiplied and summed in float32; bool has no product."""
    return np.dtype(np.float32) if dtype.itemsize == 2 and dtype.kind not in "iu" else dtype


@op
class matmul(Contraction):
    """Matrix product of the last two axes: [..., M, K] @ [..., K, N] with equal leading axes."""

    def type(a, b):
        ok = len(a.shape) == len(b.shape) >= 2 and a.shape[:-2] == b.shape[:-2]
        ok = ok and a.shape[-1] == b.shape[-2] and a.dtype is b.dtype and a.dtype.kind != "b"
        if not ok:
            raise OpError(f"matmul: shapes cannot be multiplied ({a} and {b})")
        return TensorType((*a.shape[:-1], b.shape[-1]), a.dtype)

    def eval(a, b):
        wide = _accumulate(a.dtype)
        return np.matmul(a.astype(wide, copy=False), b.astype(wide, copy=False)).astype(a.dtype)

    def vjp(g, y, a, b):
        return lambda: matmul(g, transpose(b)), lambda: matmul(transpose(a), g)

    def element(k, idx, a, b):
        def body(inner):
            (j,) = inner
            return k.mul(a((*idx[:-1], j)), b((*idx[:-2], j, idx[-1])))

        return k.reduce("add", (a.shape[-1],), body, a.dtype)


def transpose(x):
    """The last two axes exchanged."""
    rank = len(x.shape)
    return permute(x, dims=(*range(rank - 2), rank - 1, rank - 2))


class Window(tuple):
    """Static geometry of one spatial axis: (kernel, stride, low, high, dilation)."""

    @property
    def span(self) -> int:
        kernel, _, _, _, dilation = self
        return (kernel - 1) * dilation + 1

    def count(self, n: int) -> int:
        """Number of window positions over an axis of length n."""
        _, stride, low, high, _ = self
        return (n + low + high - self.span) // stride + 1


def windows(kernel, stride, padding, dilation) -> list[Window]:
    """One `Window` per spatial axis from the attributes of a conv or pool."""
    return [
        Window((n, s, lo, hi, d))
        for n, s, (lo, hi), d in zip(kernel, stride, padding, dilation, strict=True)
    ]


def check_geometry(name, rank, stride, padding, dilation):
    ok = len(stride) == len(padding) == len(dilation) == rank
    ok = ok and all(s > 0 for s in stride) and all(d > 0 for d in dilation)
    ok = ok and all(lo >= 0 and hi >= 0 for lo, hi in padding)
    require(
        ok,
        f"{name}: needs {rank} positive strides and dilations and paddings >= 0, got "
        f"stride={tuple(stride)} padding={tuple(padding)} dilation={tuple(dilation)}",
    )


def pad_spatial(x: np.ndarray, padding, value=0) -> np.ndarray:
    widths = [(0, 0)] * (x.ndim - len(padding)) + [tuple(p) for p in padding]
    return np.pad(x, widths, constant_values=value) if any(map(any, widths)) else x


def sliding(x: np.ndarray, kernel, stride, dilation) -> np.ndarray:
    """[..., *out, *kernel] view of the windows over the last axes of a padded array."""
    rank = len(kernel)
    spans = tuple((n - 1) * d + 1 for n, d in zip(kernel, dilation, strict=True))
    axes = tuple(range(x.ndim - rank, x.ndim))
    view = np.lib.stride_tricks.sliding_window_view(x, spans, axes)
    steps = (*(np.s_[::s] for s in stride), *(np.s_[::d] for d in dilation))
    return view[(..., *steps)]


def _groups(array: np.ndarray, axis: int, groups: int):
    return np.split(array, groups, axis)


@op
class conv(Contraction):
    """Cross-correlation: x [N, C, *S], w [O, C/groups, *K] -> [N, O, *S'].

    `padding` holds (low, high) zeros per spatial axis.
    """

    def type(x, w, *, stride, padding, dilation, groups):
        rank = len(x.shape) - 2
        check_geometry("conv", rank, stride, padding, dilation)
        ok = rank >= 1 and len(w.shape) == rank + 2 and x.dtype is w.dtype and groups >= 1
        ok = ok and x.shape[1] == w.shape[1] * groups and w.shape[0] % groups == 0
        if not ok:
            raise OpError(
                f"conv: input {x} and weight {w} with groups={groups} do not fit: expected input "
                f"[N, {w.shape[1] * groups if len(w.shape) > 1 else '?'}, ...]"
            )
        geometry = windows(w.shape[2:], stride, padding, dilation)
        out = tuple(g.count(n) for g, n in zip(geometry, x.shape[2:], strict=True))
        if min(out) < 1:
            raise OpError(f"conv: kernel {w.shape[2:]} is larger than the padded input {x}")
        return TensorType((x.shape[0], w.shape[0], *out), x.dtype)

    def eval(x, w, *, stride, padding, dilation, groups):
        wide = _accumulate(x.dtype)
        padded = pad_spatial(x.astype(wide, copy=False), padding)
        rank = len(stride)
        outs = []
        pairs = zip(
            _groups(padded, 1, groups), _groups(w.astype(wide, copy=False), 0, groups), strict=True
        )
        for part, weight in pairs:
            view = sliding(part, w.shape[2:], stride, dilation)  # N C *out *K
            taps = tuple(range(2 + rank, 2 + 2 * rank))
            out = np.tensordot(view, weight, ((1, *taps), (1, *range(2, 2 + rank))))
            outs.append(np.moveaxis(out, -1, 1))
        return np.concatenate(outs, 1).astype(x.dtype, copy=False)

    def vjp(g, y, x, w, *, stride, padding, dilation, groups):
        geometry = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        return (
            lambda: conv_transpose(g, w, input_size=tuple(x.shape[2:]), **geometry),
            lambda: conv_weight(x, g, kernel_size=tuple(w.shape[2:]), **geometry),
        )

    def element(k, idx, x, w, *, stride, padding, dilation, groups):
        geometry = windows(w.shape[2:], stride, padding, dilation)
        first = (idx[1] // (w.shape[0] // groups)) * w.shape[1]

        def body(inner):
            c, *taps = inner
            inside, at = window_position(k, idx[2:], taps, geometry, x.shape[2:])
            value = k.guarded(inside, lambda: x((idx[0], first + c, *at)), k.const(0, x.dtype))
            return k.mul(value, w((idx[1], c, *taps)))

        return k.reduce("add", w.shape[1:], body, x.dtype)


def window_position(k, outer, taps, geometry, shape):
    """(guards, input position) of tap `taps` of the window at output position `outer`."""
    inside, at = [], []
    for o, t, g, n in zip(outer, taps, geometry, shape, strict=True):
        _, stride, low, high, dilation = g
        i = o * stride + t * dilation - low
        if low or high:
            inside.append(k.index_inside(i, n))
        at.append(i)
    return inside, at


@op
class conv_transpose(Contraction):
    """Adjoint of conv in x: g [N, O, *S'], w [O, C/groups, *K] -> [N, C, *input_size]."""

    def type(g, w, *, input_size, stride, padding, dilation, groups):
        check_geometry("conv_transpose", len(input_size), stride, padding, dilation)
        x = TensorType((g.shape[0], w.shape[1] * groups, *input_size), g.dtype)
        expected = conv.type(x, w, stride=stride, padding=padding, dilation=dilation, groups=groups)
        require(expected == g, f"conv_transpose: gradient should be {expected}, got {g}")
        return x

    def eval(g, w, *, input_size, stride, padding, dilation, groups):
        wide = _accumulate(g.dtype)
        sizes = [n + lo + hi for n, (lo, hi) in zip(input_size, padding, strict=True)]
        outs = []
        pairs = zip(
            _groups(g.astype(wide, copy=False), 1, groups),
            _groups(w.astype(wide, copy=False), 0, groups),
            strict=True,
        )
        for part, weight in pairs:
            out = np.zeros((g.shape[0], w.shape[1], *sizes), wide)
            for taps in np.ndindex(*w.shape[2:]):
                spot = tuple(
                    np.s_[t * d : t * d + (m - 1) * s + 1 : s]
                    for t, d, s, m in zip(taps, dilation, stride, g.shape[2:], strict=True)
                )
                tap = np.tensordot(part, weight[(slice(None), slice(None), *taps)], ((1,), (0,)))
                out[(slice(None), slice(None), *spot)] += np.moveaxis(tap, -1, 1)
            outs.append(out)
        inner = tuple(slice(lo, lo + n) for n, (lo, _) in zip(input_size, padding, strict=True))
        whole = np.concatenate(outs, 1)[(slice(None), slice(None), *inner)]
        return whole.astype(g.dtype, copy=False)

    def vjp(u, y, g, w, *, input_size, stride, padding, dilation, groups):
        geometry = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        return (
            lambda: conv(u, w, **geometry),
            lambda: conv_weight(u, g, kernel_size=tuple(w.shape[2:]), **geometry),
        )

    def element(k, idx, g, w, *, input_size, stride, padding, dilation, groups):
        per_group = w.shape[0] // groups
        group, c = idx[1] // w.shape[1], idx[1] % w.shape[1]

        def body(inner):
            o, *taps = inner
            inside, at = [], []
            rows = zip(idx[2:], taps, stride, padding, dilation, g.shape[2:], strict=True)
            for i, t, s, (low, _), d, m in rows:
                j = i + low - t * d
                inside.append(k.index_inside(j, (m - 1) * s + 1))
                if s > 1:
                    inside.append(k.index_eq(j % s, k.index(0)))
                at.append(j // s)
            channel = group * per_group + o
            value = k.guarded(inside, lambda: g((idx[0], channel, *at)), k.const(0, g.dtype))
            return k.mul(value, w((channel, c, *taps)))

        return k.reduce("add", (per_group, *w.shape[2:]), body, g.dtype)


@op
class conv_weight(Contraction):
    """Adjoint of conv in w: x [N, C, *S], g [N, O, *S'] -> [O, C/groups, *kernel_size]."""

    def type(x, g, *, kernel_size, stride, padding, dilation, groups):
        check_geometry("conv_weight", len(kernel_size), stride, padding, dilation)
        w = TensorType((g.shape[1], x.shape[1] // groups, *kernel_size), x.dtype)
        expected = conv.type(x, w, stride=stride, padding=padding, dilation=dilation, groups=groups)
        require(expected == g, f"conv_weight: gradient should be {expected}, got {g}")
        return w

    def eval(x, g, *, kernel_size, stride, padding, dilation, groups):
        wide = _accumulate(x.dtype)
        rank = len(stride)
        padded = pad_spatial(x.astype(wide, copy=False), padding)
        outs = []
        pairs = zip(
            _groups(padded, 1, groups), _groups(g.astype(wide, copy=False), 1, groups), strict=True
        )
        for part, grad in pairs:
            view = sliding(part, kernel_size, stride, dilation)
            used = tuple(slice(0, m) for m in g.shape[2:])
            view = view[(slice(None), slice(None), *used)]
            space = tuple(range(2, 2 + rank))
            outs.append(np.tensordot(grad, view, ((0, *space), (0, *space))))
        return np.concatenate(outs, 0).astype(x.dtype, copy=False)

    def vjp(u, y, x, g, *, kernel_size, stride, padding, dilation, groups):
        geometry = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        return (
            lambda: conv_transpose(g, u, input_size=tuple(x.shape[2:]), **geometry),
            lambda: conv(x, u, **geometry),
        )

    def element(k, idx, x, g, *, kernel_size, stride, padding, dilation, groups):
        geometry = windows(kernel_size, stride, padding, dilation)
        per_group = x.shape[1] // groups
        channel = (idx[0] // (g.shape[1] // groups)) * per_group + idx[1]

        def body(inner):
            n, *at = inner
            inside, source = window_position(k, at, idx[2:], geometry, x.shape[2:])
            value = k.guarded(inside, lambda: x((n, channel, *source)), k.const(0, x.dtype))
            return k.mul(value, g((n, idx[0], *at)))

        return k.reduce("add", (g.shape[0], *g.shape[2:]), body, x.dtype)


@op
class contract(Contraction):
    """A strided sum of products, what matmul and conv become once a backend chose their layout.

    result[batch.., m.., n] = sum over k.. of a[...] * b[...], where `batch` and `k` list
    (extent, stride in a, stride in b) and `m` (extent, stride in a), in elements of the flattened
    operands, counted from elements `a_offset` and `b_offset`. Column n of b lies at n, or with
    `panel` P > 0 at n // P * panel_stride + n % P. With `merged` all of m is one axis of the
    result. With `paired` each term is two: also that of the elements right behind both; the columns
    of a panel are then 2 apart. With `half` C > 0 code may multiply quadrants by Strassen's method,
    the second ones from the middle of the last `m` and the first `k`, and from column C on; the
    third and fourth operand are then the `quadrant_sums` of a and b.
    """

    differentiable = False

    def type(
        a, b, *sums, batch, m, n, k, panel, panel_stride, a_offset, b_offset, merged=False,
        paired=False, half=0,
    ):  # fmt: skip
        require(sums == ((a, b) if half else ()), f"contract: half {half} does not go with {sums}")
        even = panel and half % panel == 0 and m[-1][0] % 2 == k[0][0] % 2 == 0
        whole = not half or (even and 0 < half < n and not batch)
        require(whole, f"contract: {m}, {k}, panel {panel} have no quadrants of width {half}")
        ok = not paired or (panel and a.dtype is b.dtype is bfloat16)
        require(ok, f"contract: paired terms are of bfloat16 in panels, got {a} and {b}")
        k, step = (*k, (2, 1, 1)) if paired else k, 2 if paired else 1
        last_a = a_offset + sum((e - 1) * s for e, s, *_ in (*batch, *m, *k))
        last_b = b_offset + sum((e - 1) * s for e, _, s in (*batch, *k))
        last_b += (n - 1) // panel * panel_stride + (n - 1) % panel * step if panel else n - 1
        shape = (*(e for e, *_ in batch), *_rows_of(m, merged), n)
        strides = (a_offset, b_offset, *(s for _, *both in (*batch, *m, *k) for s in both))
        empty = 0 in (*shape, *(e for e, *_ in k))
        fits = empty or (min(strides) >= 0 and last_a < a.size and last_b < b.size)
        require(fits, f"contract: strides reach beyond the operands {a} and {b}")
        return TensorType(shape, a.dtype)

    def eval(
        a, b, *_, batch, m, n, k, panel, panel_stride, a_offset, b_offset, merged=False,
        paired=False, half=0,
    ):  # fmt: skip
        wide = _accumulate(a.dtype)
        k, step = (*k, (2, 1, 1)) if paired else k, 2 if paired else 1
        walk = [(e, s) for e, s, *_ in (*batch, *m, *k)]
        rows = strided(a.astype(wide).ravel()[a_offset:], walk)
        width = panel or max(n, 1)
        panels = -(-n // width)
        columns = [(panels, panel_stride), (width, step)]
        flat = np.concatenate([b.astype(wide).ravel()[b_offset:], np.zeros(width * step, wide)])
        right = strided(flat, [*((e, s) for e, _, s in (*batch, *k)), *columns])
        groups, inner = [e for e, *_ in batch], int(np.prod([e for e, *_ in k], dtype=np.int64))
        right = right.reshape(*groups, inner, panels * width)[..., :n]
        left = rows.reshape(*groups, -1 if inner else int(np.prod([e for e, _ in m])), inner)
        out = np.matmul(left, right)
        return out.reshape(*groups, *_rows_of(m, merged), n).astype(a.dtype)

    def element(
        k_, idx, a, b, *_, batch, m, n, k, panel, panel_stride, a_offset, b_offset, merged=False,
        paired=False, half=0,
    ):  # fmt: skip
        rank = len(batch)
        k, step = (*k, (2, 1, 1)) if paired else k, 2 if paired else 1
        at_batch, at_m, column = idx[:rank], idx[rank:-1], idx[-1]
        if merged:
            at_m = k_.unravel(at_m[0], tuple(e for e, _ in m))

        def body(inner):
            left = _dot(at_batch, [s for _, s, _ in batch]) + _dot(at_m, [s for _, s in m])
            left = left + _dot(inner, [s for _, s, _ in k]) + a_offset
            right = _dot(at_batch, [s for _, _, s in batch]) + _dot(inner, [s for _, _, s in k])
            place = column
            if panel:
                place = (column // panel) * panel_stride + (column % panel) * step
            x = a(k_.unravel(left, a.shape))
            return k_.mul(x, b(k_.unravel(right + place + b_offset, b.shape)))

        return k_.reduce("add", tuple(e for e, *_ in k), body, a.dtype)


def _rows_of(m, merged: bool) -> tuple[int, ...]:
    """The axes of the result that the loops `m` are."""
    extents = tuple(e for e, _ in m)
    return (prod(extents),) if merged else extents


def strided(array: np.ndarray, axes) -> np.ndarray:
    flat = np.ascontiguousarray(array).ravel()
    shape, strides = [e for e, _ in axes], [s * flat.itemsize for _, s in axes]
    if 0 in shape:
        return np.zeros(shape, array.dtype)
    return np.lib.stride_tricks.as_strided(flat, shape, strides, writeable=False)


def _dot(indices, strides):
    total = None
    for i, s in zip(indices, strides, strict=True):
        total = i * s if total is None else total + i * s
    from ..index import Index

    return Index() if total is None else total
