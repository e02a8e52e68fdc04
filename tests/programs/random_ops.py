"""Operations of random user programs: one function each, the same code under torch and nncomp.

`OPS[name](T, x, y, r)` gets the module (torch or nncomp), two tensors of one shape and a source of
random numbers, and returns a tensor, or None where it has no meaning for the shape. Whatever it
draws depends on the shape alone, so both modules run the same program.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import numpy as np

LARGEST = 4000  # elements of a value

OPS: dict[str, Callable] = {}


def op(function: Callable) -> Callable:
    OPS[function.__name__] = function
    return function


def weight(T, r: Random, *shape: int):
    """A constant, scaled so that products keep the size of what they multiply."""
    values = np.random.default_rng(r.randrange(1 << 30)).normal(size=shape)
    return T.tensor(values / math.sqrt(max(1, math.prod(shape[1:]))), dtype=T.float64)


def axis(x, r: Random) -> int:
    return r.randrange(-x.dim(), x.dim())


# -- elements --------------------------------------------------------------------------------------

POINTWISE = (
    "relu tanh sigmoid gelu silu softplus hardtanh leaky_relu elu mish hardswish relu6 selu "
    "logsigmoid celu softsign tanhshrink softshrink"
).split()
METHODS = "abs neg sin cos square sign floor atan erf expm1".split()


@op
def pointwise(T, x, y, r):
    name = r.choice(POINTWISE + METHODS)
    return getattr(T.nn.functional, name)(x) if name in POINTWISE else getattr(x, name)().tanh()


@op
def positive(T, x, y, r):
    name = r.choice(["sqrt", "log", "rsqrt", "reciprocal", "log1p", "log2"])
    return getattr(x.abs() + 0.5, name)()


@op
def pair(T, x, y, r):
    F = T.nn.functional
    forms = [
        lambda: x + y, lambda: x - 0.5 * y, lambda: x * y.tanh(), lambda: x / (y.abs() + 1),
        lambda: T.maximum(x, 0.9 * y), lambda: T.minimum(x, 0.9 * y), lambda: T.lerp(x, y, 0.3),
        lambda: T.addcmul(x, y.tanh(), x, value=0.5), lambda: T.atan2(x, y.abs() + 1),
        lambda: (x.abs() + 0.2) ** y.tanh(), lambda: T.where(x > 0.1, x, 0.3 * y),
        lambda: x + F.smooth_l1_loss(x, y), lambda: x - F.mse_loss(x, y),
    ]  # fmt: skip
    return r.choice(forms)()


@op
def broadcast(T, x, y, r):
    return x + y.mean(axis(x, r), keepdim=True) if x.dim() else x + y


# -- reductions and scans --------------------------------------------------------------------------


@op
def reduction(T, x, y, r):
    if not x.dim():
        return None
    d, keep = axis(x, r), r.random() < 0.6
    forms = [
        lambda: 0.3 * x.sum(d, keepdim=keep), lambda: x.mean(d, keepdim=keep),
        lambda: x.amax(d, keepdim=keep), lambda: x.amin(d, keepdim=keep),
        lambda: x.max(d, keepdim=keep)[0], lambda: x.logsumexp(d, keepdim=keep),
        lambda: x.tanh().prod(d, keepdim=keep), lambda: x.var(d, keepdim=keep, unbiased=False),
        lambda: (x.square().sum(d, keepdim=keep) + 0.1).sqrt(),
        lambda: x.gather(d, x.detach().argmax(d, keepdim=True)),
        lambda: x.sort(d)[0].narrow(d, x.shape[d] // 2, 1),
        lambda: 0.3 * x.sum(tuple({d % x.dim(), axis(x, r) % x.dim()}), keepdim=keep),
    ]  # fmt: skip
    return r.choice(forms)()


@op
def scan(T, x, y, r):
    if not x.dim():
        return None
    d = axis(x, r)
    forms = [
        lambda: 0.1 * x.cumsum(d), lambda: x.tanh().cumprod(d), lambda: x.cummax(d)[0],
        lambda: x.logcumsumexp(d),
    ]  # fmt: skip
    return r.choice(forms)()


@op
def softmax(T, x, y, r):
    if not x.dim():
        return None
    d, F = axis(x, r), T.nn.functional
    forms = [
        lambda: x.softmax(d), lambda: F.log_softmax(x, d), lambda: F.softmin(x, d),
        lambda: F.glu(T.cat([x, y], d), d), lambda: F.normalize(x + 0.1, dim=d, eps=0.1),
    ]  # fmt: skip
    return r.choice(forms)()


@op
def norm(T, x, y, r):
    F, shape = T.nn.functional, tuple(x.shape)
    if len(shape) < 2 or x.numel() // shape[1] < 2 or x.numel() // shape[0] < 3:
        return None
    last, channels = shape[-r.randint(1, 2) :], shape[1]
    groups = r.choice([g for g in range(1, channels + 1) if channels % g == 0])
    scale, shift = weight(T, r, channels) + 1, weight(T, r, channels)
    forms = [
        lambda: F.layer_norm(x, last, weight(T, r, *last) + 1, weight(T, r, *last), eps=0.1),
        lambda: F.rms_norm(x, shape[-1:], weight(T, r, shape[-1]) + 1, eps=0.1),
        lambda: F.group_norm(x, groups, scale, shift, eps=0.1),
        lambda: F.batch_norm(x, None, None, scale, shift, training=True, eps=0.1),
    ]  # fmt: skip
    return r.choice(forms)()


# -- shapes ----------------------------------------------------------------------------------------


@op
def arrange(T, x, y, r):
    if not x.dim():
        return x.reshape(1).expand(3)
    n, d = x.dim(), axis(x, r)
    size, order = x.shape[d], r.sample(range(n), n)
    start, width = r.randrange(size), r.randint(1, size)
    factors = [a for a in range(1, x.numel() + 1) if x.numel() % a == 0]
    rows = r.choice(factors)
    skip = [slice(None)] * n
    skip[d] = slice(start, None, r.randint(1, 3))
    forms = [
        lambda: x.permute(*order), lambda: x.reshape(rows, x.numel() // rows),
        lambda: x.flatten(r.randrange(n)), lambda: x.squeeze(), lambda: x.transpose(d, 0),
        lambda: x.narrow(d, start, size - start), lambda: x[tuple(skip)], lambda: x.flip(d),
        lambda: x.roll(r.randint(-3, 3), d), lambda: x.chunk(2, d)[0], lambda: x.movedim(d, -1),
        lambda: x[..., -1:] + x[..., :1], lambda: x.split(max(1, size // 2), d)[-1],
        lambda: x.unsqueeze(r.randrange(n + 1)) if n < 5 else None,
        lambda: x.unfold(d, width, r.randint(1, 2)) if n < 5 else None,
        lambda: x.expand(2, *x.shape).flatten(0, 1), lambda: T.cat([x, y], d),
        lambda: T.cat([x, y.narrow(d, 0, 1), 2 * x], d), lambda: T.stack([x, y]).flatten(0, 1),
    ]  # fmt: skip
    return r.choice(forms)()


@op
def matrix(T, x, y, r):
    if x.dim() < 2:
        return None
    diagonal = r.randint(-1, 1)
    product, narrow = "...ij,...kj->...ik", 1 / x.shape[-1]
    forms = [
        lambda: x.tril(diagonal), lambda: x.triu(diagonal), lambda: x.diagonal(0, -2, -1),
        lambda: x @ y.transpose(-1, -2) * narrow, lambda: T.einsum(product, x, y) * narrow,
        lambda: x.transpose(-1, -2) @ weight(T, r, *x.shape[:-1], r.choice([1, 5, 16])),
        lambda: T.nn.functional.linear(x, weight(T, r, r.choice([1, 8, 17, 32]), x.shape[-1])),
    ]  # fmt: skip
    return r.choice(forms)()


@op
def pad(T, x, y, r):
    F = T.nn.functional
    if not x.dim():
        return None
    if x.dim() == 3 and x.shape[-1] > 2 and r.random() < 0.5:
        return F.pad(x, (1, 2), mode=r.choice(["reflect", "replicate", "circular"]))
    return F.pad(x, (r.randint(0, 2), r.randint(0, 3)), value=0.5)


# -- indices and writes ----------------------------------------------------------------------------


@op
def index(T, x, y, r):
    if not x.dim():
        return None
    d = axis(x, r)
    chosen = [r.randrange(x.shape[d]) for _ in range(r.randint(1, 6))]
    t, first = T.tensor(chosen), T.tensor([r.randrange(x.shape[0]) for _ in range(x.shape[0])])
    forms = [
        lambda: x.index_select(d, t), lambda: x[first],
        lambda: x.masked_fill(x.detach() > 0.5, 0.2),
        lambda: T.zeros(x.shape, dtype=x.dtype).index_add(0, first, x) + 0.5 * y,
        lambda: x.index_fill(d, t, 0.5), lambda: x[chosen[0] % x.shape[0]],
    ]  # fmt: skip
    return r.choice(forms)()


@op
def write(T, x, y, r):
    if not x.dim():
        return None
    c, d = x.clone(), axis(x, r)
    kind = r.randrange(6)
    if kind == 0:
        c.narrow(d, 0, max(1, x.shape[d] // 2)).mul_(0.5)
    elif kind == 1:
        c.add_(y, alpha=0.3)
    elif kind == 2:
        c[0] = 0.5 * c[0] + 1
    elif kind == 3:
        c[x.detach() > 0.3] = 0.3
    elif kind == 4:
        c[..., 0].copy_(0.2 * c[..., -1])
    else:
        c[..., ::2] = 0
    return c


# -- images and sequences --------------------------------------------------------------------------


@op
def convolution(T, x, y, r):
    if x.dim() not in (3, 4):
        return None
    F, channels, space = T.nn.functional, x.shape[1], x.shape[2:]
    kernel = [r.choice([1, 2, 3, 5]) for _ in space]
    stride, padding, dilation = r.choice([1, 1, 2]), r.randint(0, 2), r.choice([1, 1, 2])
    reach = [dilation * (k - 1) + 1 for k in kernel]
    divisors = [g for g in range(1, channels + 1) if channels % g == 0]
    if r.random() < 0.3:
        if any((s - 1) * stride - 2 * padding + k < 1 for s, k in zip(space, reach, strict=True)):
            return None
        convolve = F.conv_transpose1d if x.dim() == 3 else F.conv_transpose2d
        filters = weight(T, r, channels, r.choice([1, 3, 8]), *kernel)
        return convolve(x, filters, stride=stride, padding=padding, dilation=dilation)
    if any(s + 2 * padding < k for s, k in zip(space, reach, strict=True)):
        return None
    groups = r.choice([1, 1, channels, r.choice(divisors)])
    filters = weight(T, r, groups * r.choice([1, 2, 5]), channels // groups, *kernel)
    bias = weight(T, r, filters.shape[0]) if r.random() < 0.5 else None
    convolve = F.conv1d if x.dim() == 3 else F.conv2d
    return convolve(x, filters, bias, stride, padding, dilation, groups)


@op
def pool(T, x, y, r):
    if x.dim() not in (3, 4) or min(x.shape[2:]) < 2:
        return None
    F, n = T.nn.functional, f"{x.dim() - 2}d"
    stride, padding, count = r.randint(1, 2), r.randint(0, 1), r.random() < 0.5
    mode = r.choice(["nearest", "linear" if n == "1d" else "bilinear"])
    forms = [
        lambda: getattr(F, "max_pool" + n)(x, 2, stride, padding),
        lambda: getattr(F, "avg_pool" + n)(x, 2, stride, padding, count_include_pad=count),
        lambda: getattr(F, "adaptive_avg_pool" + n)(x, r.randint(1, 3)),
        lambda: getattr(F, "adaptive_max_pool" + n)(x, r.randint(1, 2)),
        lambda: getattr(F, "avg_pool" + n)(x, 2, ceil_mode=True),
        lambda: F.interpolate(x, scale_factor=2, mode=mode),
    ]  # fmt: skip
    return r.choice(forms)()


@op
def attention(T, x, y, r):
    if x.dim() not in (3, 4):
        return None
    causal = r.random() < 0.5
    return T.nn.functional.scaled_dot_product_attention(x, 0.5 * y, x.tanh(), is_causal=causal)
