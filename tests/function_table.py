"""The table of test_functions: expressions that must mean the same here and in torch.

In an expression `m` is the namespace; the other names are the inputs below. An expression that
gives floats is also compared by the gradients of its float inputs.
"""

from __future__ import annotations

import numpy as np

_rng = np.random.default_rng(7)


def _floats(*shape: int) -> np.ndarray:
    return _rng.standard_normal(shape).astype(np.float32)


INPUTS = {
    "x": _floats(3, 4),
    "y": _floats(3, 4),
    "v": _floats(4),
    "w": _floats(4),
    "c": _floats(3, 1),
    "s": _floats(),
    "z": _floats(2, 3, 4),
    "q": _floats(2, 4, 5),
    "k": _floats(4, 5),
    "g": _floats(3, 3),
    "d": _floats(3, 4).astype(np.float64),
    "p": _rng.uniform(0.2, 3.0, (3, 4)).astype(np.float32),
    "u": _rng.uniform(-0.9, 0.9, (3, 4)).astype(np.float32),
    "o": np.array([[-2.0, -0.5, 0.0, 0.5], [1.5, 2.5, 3.0, -1.5]], np.float32),
    "n": np.array([np.nan, np.inf, -np.inf, 0.0, 1.0], np.float32),
    "i": _rng.integers(-5, 6, (3, 4)),
    "j": _rng.integers(1, 5, (3, 4)),
    "t": _rng.integers(0, 3, (3, 4)),
    "r": np.array([2, 0, 2, 1]),
    "b": _rng.random((3, 4)) > 0.5,
    "e": np.array([True, False, True]),
    "image": _floats(2, 4, 7, 6),
    "line": _floats(2, 4, 9),
    "cube": _floats(1, 2, 4, 4, 3),
    "k1": _floats(6, 4, 3),
    "k2": _floats(6, 4, 3, 2),
    "k2g": _floats(6, 2, 3, 2),
    "k3": _floats(3, 2, 2, 2, 2),
    "t1": _floats(4, 3, 3),
    "t2": _floats(4, 3, 3, 2),
    "t2g": _floats(4, 3, 2, 3),
    "bias6": _floats(6),
    "bias3": _floats(3),
}

ARITHMETIC = """
x + y; x + v; x + c; x + s; x + 2; x + 2.5; 2.5 - x; x - y; x * c; x / p; 3 / p; x + i; i + 2.5
i + 1; i * True; b + b; b * i; i / j; i // j; i % j; x.detach() // p.detach(); x % p; -7 // j
i / 2; b + 1; m.add(x, y, alpha=2); m.sub(x, y, alpha=0.5); m.rsub(x, 2)
m.div(x, p, rounding_mode='floor'); m.div(x, p, rounding_mode='trunc')
m.div(i, j, rounding_mode='trunc'); m.fmod(x, p); m.fmod(i, j); m.fmod(i, -j); m.remainder(i, -j)
m.div(i, j, rounding_mode='floor'); m.floor_divide(i, 2); x ** 2; x ** 3; p ** 0.5; p ** -1
p ** -0.5; p ** 2.5; p ** y; 2 ** x; i ** 2; i ** j; x ** 0; x ** 1; m.pow(p, 1.5)
m.float_power(i, 2); m.atan2(x, y); m.hypot(x, y); m.copysign(x, y.detach()); m.lerp(x, y, 0.3)
m.lerp(x, y, p); m.addcmul(x, y, p, value=2); m.addcdiv(x, y, p, value=0.5); m.logaddexp(x, y)
m.logaddexp(x, x); m.logaddexp2(x, y); m.xlogy(x, p); m.xlogy(o * 0, p[:2] ); x + d; d * 2
x.double() + s; s + i; i + s; m.true_divide(i, j); m.square(i); -i; +x; abs(x); abs(i); x.T @ y
m.subtract(x, y); m.multiply(x, 2); m.divide(x, p); m.negative(x)
"""

UNARY = """
m.exp(x); m.exp2(x); m.expm1(x); m.log(p); m.log2(p); m.log10(p); m.log1p(p); m.sqrt(p)
m.rsqrt(p); m.square(x); m.reciprocal(p); m.abs(o); m.neg(x); m.floor(o); m.ceil(o); m.round(o)
m.trunc(o); m.frac(o); m.round(x, decimals=2); m.sin(x); m.cos(x); m.tan(u); m.asin(u); m.acos(u)
m.atan(x); m.sinh(x); m.cosh(x); m.tanh(x); m.asinh(x); m.acosh(p + 1); m.atanh(u); m.erf(x)
m.erfc(x); m.sigmoid(x); m.logit(p / 4); m.logit(p, eps=0.1); m.relu(o); m.deg2rad(x)
m.rad2deg(x); m.exp(i); m.sqrt(j); m.sin(b); m.sigmoid(i); m.isnan(n); m.isinf(n); m.isfinite(n)
m.isposinf(n); m.isneginf(n); m.isnan(i); m.isinf(i); m.isfinite(i); m.nan_to_num(n)
m.nan_to_num(n, 1.0, 2.0, 3.0); m.relu(n); m.floor(i); m.round(i); m.sign(i); m.relu(i)
m.positive(i); m.exp(x.double()); m.clone(x); m.tanh(n)
"""

COMPARISON = """
x == y; x != y; x < y; x <= c; x > 0; x >= v; i == 2; i < 2.5; 1 < i; b == 1; n == n; n != n
m.eq(x, x); m.isclose(x, x + 1e-7); m.isclose(n, n); m.isclose(n, n, equal_nan=True)
m.isclose(i, i + 1); m.allclose(x, x); m.equal(x, y); m.equal(x, x); m.logical_and(x, i)
m.logical_or(b, i); m.logical_xor(b, i); m.logical_not(i); m.logical_not(x); b & b; b | (i > 0)
b ^ (i > 0); ~b; ~i; i & 3; i | j; i ^ j; i << 2; i >> 1; j << j; i >> j; m.bitwise_not(i)
m.bitwise_and(b, i); 3 & i; 1 << j; i.byte() < 3; m.ge(i, s); m.greater(x, y); m.less_equal(x, y)
m.not_equal(x, y); m.isin(i, j)
"""

SELECTION = """
m.where(b, x, y); m.where(b, x, 0.0); m.where(b, 1, 2.5); m.where(b, x, i)
m.where(e[:, None], x, v); m.where(b, s, d); m.masked_fill(x, b, 3.0)
m.masked_fill(x, b, s.detach()); x.where(b, y); m.maximum(x, y); m.minimum(x, y); m.maximum(x, x)
m.maximum(i, j); m.maximum(b, b); m.fmax(n, n * 0); m.fmin(n, n * 0); m.clamp(x, -0.5, 0.5)
m.clamp(x, min=0.1); m.clamp(x, max=0.1); m.clamp(o, 0.0, 1.5); m.clamp(x, y, y + 1)
m.clamp(i, 1.5); m.clamp(i, -1, 2); m.clamp(n.detach(), 0.0, 1.0); m.clamp_min(x, 0)
m.clamp_max(x, v); m.clip(x, 0, 1); m.heaviside(o, o * 0 + 2); m.clamp(x, 1.0, -1.0); m.max(x, y)
m.nn.functional.threshold(o, 0.1, 20.0); m.masked_fill(i, b, 7); m.masked_fill(v, b, 1.0)
"""

REDUCTION = """
m.sum(x); m.sum(x, 1); m.sum(x, (0, 1)); m.sum(x, -1, keepdim=True); m.sum(i); m.sum(b)
m.sum(b, 0); m.sum(x, dtype=m.float64); m.sum(x, axis=0, keepdims=True); x.sum(()); m.sum(s)
m.sum(s, 0); m.mean(x); m.mean(x, 0); m.mean(z, (0, 2), True); m.mean(i, dtype=m.float32)
m.nansum(n); m.prod(x); m.prod(x, 1); m.prod(z, 0, keepdim=True); m.prod(j); m.prod(j, 1)
m.amax(z, (0, 2)); m.amin(x, 1, keepdim=True); m.amax(x); m.amin(i); m.amin(b, 0)
m.amax(o * 0, 1); m.argmax(x); m.argmax(x, 1); m.argmin(x, 0, True); m.argmax(x, keepdim=True)
m.argmin(i); m.argmax(n); m.argmin(n); m.max(x); m.min(x); m.max(x, 1); m.min(x, 0, keepdim=True)
m.max(o * 0, 0); m.max(i, 1); m.max(s); m.any(b); m.any(b, 1); m.all(b); m.all(b, 0, keepdim=True)
m.any(i); m.all(x, 1); m.any(i.byte(), 1); m.count_nonzero(i); m.count_nonzero(i, 1); m.aminmax(x)
m.aminmax(x, dim=1); m.std(x); m.var(x); m.std(x, 1); m.var(x, 0, keepdim=True)
m.var(x, 1, False); m.std(x, dim=0, correction=0); m.var_mean(x, 1); m.std_mean(x)
m.std(x, False); m.var(z, (0, 2), correction=2); m.std(x * 0, 1); m.norm(x); m.norm(x, 1)
m.norm(x, 2, 1); m.norm(x, float('inf')); m.norm(x, 3, 0, True); m.norm(x, 0); m.norm(x * 0, 2, 1)
m.norm(x, -float('inf'), 1); m.norm(x, p='fro', dim=(0, 1)); m.dist(x, y); m.logsumexp(x, 1)
m.logsumexp(z, (0, 2), True); m.logsumexp(n[2:4], 0); m.softmax(x, 1); m.softmax(z, 0)
m.softmax(s, 0); m.log_softmax(x, -1); m.log_softmax(z, 1); m.softmax(x, 1, dtype=m.float64)
m.softmax(x * 100, 0); m.softmax(i, 0, dtype=m.float32); m.cumsum(x, 0); m.cumsum(i, 1)
m.cumsum(b, 0); m.cumprod(x, 1); m.cumprod(j, 0); m.cumsum(x, 1, dtype=m.float64); m.cummax(x, 1)
m.cummin(i, 0); m.logcumsumexp(x, 1); m.nn.functional.cosine_similarity(x, y); m.sum(z[:0], 0)
m.prod(z[:, :0], 1); m.all(b[:0]); m.any(b[:0], 0)
"""

SHAPE = """
x.view(4, 3); x.view(2, -1); x.view((12,)); x.reshape(2, 6); m.reshape(x.t(), (6, 2))
x.view_as(x); x.flatten(); z.flatten(1); z.flatten(0, 1); s.flatten(); x.unflatten(1, (2, 2))
x.ravel(); x.unflatten(1, (-1, 2)); c.squeeze(); c.squeeze(1); c.squeeze(0)
z[None].squeeze((0, 1)); x.unsqueeze(1); x.unsqueeze(-1); x.t(); x.T; z.transpose(0, 2)
z.transpose(-1, 1); z.permute(2, 0, 1); z.permute((1, 2, 0)); z.mT; m.permute(z, (0, 2, 1))
m.swapaxes(z, 0, 1); m.movedim(z, 0, -1); m.movedim(z, (0, 1), (1, 2)); v.expand(3, 4)
c.expand(-1, 5); c.expand(2, 3, 4); c.expand_as(x); v.broadcast_to((2, 4)); x.repeat(2, 1)
v.repeat(2, 3); m.tile(x, (2,)); x.repeat_interleave(2); x.repeat_interleave(3, dim=0)
v.repeat(2, 1, 2); v.repeat_interleave(m.tensor([1, 0, 2, 1])); m.cat([x, y]); m.cat([x, y], 1)
m.cat([x, i], dim=-1); m.cat((x, c), 1); m.cat([x, y], axis=1); m.cat([m.zeros(0), v])
m.stack([x, y]); m.stack([x, y], -1); m.hstack([x, y]); m.hstack([v, w]); m.vstack([v, w])
m.dstack([x, y]); m.column_stack([v, w]); m.split(x, 2, 1); m.split(x, [1, 3], dim=1)
m.split(x, 2); m.chunk(x, 2, 1); m.chunk(x, 3, 1); x.tensor_split(3, 1); x.tensor_split((1, 3), 1)
m.unbind(x); x.unbind(1); x.narrow(1, 1, 2); x.narrow(0, -2, 2); x.select(1, 2); x.select(0, -1)
m.flip(x, (0,)); x.flip(0, 1); m.fliplr(x); m.roll(x, 1); m.roll(x, 1, 0)
m.roll(x, (1, -1), (0, 1)); m.rot90(x); m.rot90(x, 3); m.tril(x); m.triu(x, 1); m.tril(z, -1)
m.diag(v); m.diag(x); m.diag(v, -1); m.diag(x, 1); m.diagonal(z, 0, 1, 2); m.diagonal(x, -1)
m.diagonal(z, 1, 0, 2); m.diag_embed(x); m.diag_embed(x, 1); m.diagflat(c)
m.broadcast_tensors(x, c, v); m.meshgrid(v, c[:, 0], indexing='ij')
m.meshgrid(v, w, indexing='xy'); x.unfold(1, 2, 1); x.unfold(0, 2, 1); v.unfold(0, 3, 1)
m.atleast_2d(v); m.atleast_3d(x); m.constant_pad_nd(x, (1, 2))
m.constant_pad_nd(x, (1, -1, 0, 2), 3.0); m.cartesian_prod(v, w); m.block_diag(x, g)
m.vander(v.detach()); m.tril_indices(3, 4); m.triu_indices(3, 3, 1); x.contiguous()
x.T.contiguous(); m.ravel(z.transpose(0, 1)); x[:, :0].reshape(0, 3); m.zeros(0, 3).view(3, 0)
"""

MATRIX = """
x @ x.T; m.matmul(x, v); m.matmul(v, q[0]); m.matmul(v, w); m.matmul(z, q); m.matmul(z, k)
m.matmul(x, q); m.matmul(z, v); m.matmul(v, q); m.matmul(z[None], q[:, None]); m.mm(x, k)
m.bmm(z, q); m.mv(x, v); m.dot(v, w); m.outer(v, c[:, 0]); m.addmm(k[:3], x, k)
m.addmm(k[0], x, k, beta=0.5, alpha=2); m.baddbmm(q[:, :3], z, q); m.addmv(c[:, 0], x, v)
m.addbmm(k[:3], z, q, beta=2); m.addr(x, c[:, 0], v); m.inner(x, y)
m.tensordot(z, q, dims=([2], [1])); m.tensordot(x, k, 1); m.tensordot(x, y, dims=2); m.kron(g, x)
g.trace(); m.cross(g, g.T, dim=1); m.cdist(z, z + 1); i @ i.T; m.matmul(b.long(), i.T)
m.einsum('ij,jk->ik', x, k); m.einsum('ij,kj', x, y); m.einsum('bij,bjk->bik', z, q)
m.einsum('ii->i', g); m.einsum('ii', g); m.einsum('ij->ji', x); m.einsum('ij->', x)
m.einsum('i,j->ij', v, c[:, 0]); m.einsum('bij,jk->bik', z, k)
m.einsum('...ij,...jk->...ik', z, q); m.einsum('ij,ij->i', x, y); m.einsum('ij,ij,ij->j', x, y, p)
m.einsum('bhi,hij->bj', z, q[:1].expand(3, 4, 5)); m.einsum('i...->...', z)
m.einsum('ij,jk,bkl->bil', x, k, q.transpose(1, 2)); m.einsum(x, [0, 1], k, [1, 2], [0, 2])
m.einsum('ij,j', x, v); m.einsum('i,i', v, w); m.nn.functional.linear(x, y, c[:, 0])
m.einsum('ab,b->ab', x, v); m.chain_matmul(x, k, k.T)
"""

INDEX = """
x[0]; x[-1]; x[1, 2]; x[:, 1]; x[1:]; x[:, ::2]; x[..., -1]; x[None]; x[:, None, 1:3]; x[:0]
z[1, ..., 2]; z[:, 1:, None, ::3]; x[r[1]]; x[r]; x[:, r]; x[[0, 2]]; x[:, [1, -1]]; x[-r]
z[:, r[:2], r[2:]]; z[r[1:2], :, r[:1]]; z[[0, 1], [1, 2], [2, 3]]; x[r[:, None], r[None, :]]
z[0, :, r]; x[b]; x[e]; z[:, b[:2, :3].T[:3, 0]]; x[e, 1:]; x[e, r[:2]]; x[True]; x[m.tensor(1)]
x[(0, 1), ]; x[t[0] * 0 + 1]; z[..., r, :][:, :0] if 0 else v[r]; m.gather(x, 1, t)
m.gather(x, 0, t); m.gather(x, 1, t[:2, :3]); m.gather(z, 2, t[None, :, :2]); m.gather(v, 0, r)
m.scatter(x, 1, t, y); m.scatter(x, 0, t, 2.0); m.scatter_add(x, 1, t, y)
m.scatter_add(x, 0, t, y); m.scatter(x, 1, t[:2, :1], y.detach())
m.scatter_add(z, 1, t[None, :, :2], z.detach()); m.index_select(x, 0, r); m.index_select(z, 2, r)
m.index_add(x, 0, t[0, :3], y); m.index_add(x, 1, r, y, alpha=2); m.index_copy(x, 0, r[1:], y)
m.index_fill(x, 1, r[:2], 5.0); m.take(x, t); m.take(x, -t - 1); m.take_along_dim(x, t, 1)
m.take_along_dim(x, x.argsort(1)[:1], 1); m.masked_select(x, b); m.masked_select(x, e[:, None])
m.nonzero(b); m.nonzero(b, as_tuple=True); m.nonzero(s); m.where(b); m.argwhere(i)
m.nn.functional.one_hot(t, 4); m.nn.functional.one_hot(t); m.embedding(x, t, 1)
m.nn.functional.embedding(t, x); m.sort(x); m.sort(x, 0, descending=True); m.sort(n)
m.argsort(x, 1); m.argsort(i, stable=True); m.topk(x, 2); m.topk(x, 2, 0, largest=False)
m.topk(v, 3); m.msort(x); m.kthvalue(x, 2); m.kthvalue(x, 1, 0, True); m.median(x); m.median(x, 1)
m.median(n); m.quantile(x, 0.3); m.quantile(x, 0.5, dim=1, keepdim=True); m.mode(i); m.unique(i)
m.unique(i, return_counts=True); m.unique(i, return_inverse=True); m.unique_consecutive(r)
m.bincount(r); m.bincount(r, minlength=5); m.searchsorted(v.sort().values, x)
m.bucketize(x, m.tensor([-1.0, 0.0, 1.0])); x.masked_scatter(b, y)
m.index_put(x, (r[:2], r[2:]), v[:2]); m.index_put(x, (r,), y[:1].repeat(4, 1), accumulate=True)
m.histc(x, 4, -2, 2)
"""

WINDOW = """
m.conv1d(line, k1); m.conv1d(line, k1, bias6, 2, 1); m.conv1d(line, k1, padding='same')
m.conv1d(line[0], k1); m.conv2d(image, k2, bias6); m.conv2d(image, k2, stride=2, padding=(1, 2))
m.conv2d(image, k2, dilation=(2, 1)); m.conv2d(image, k2g, groups=2)
m.conv2d(image, k2, padding='same'); m.conv2d(image, k2, padding='valid')
m.conv3d(cube, k3, bias3, padding=1); m.conv_transpose1d(line, t1, bias3, 2, 1, 1)
m.conv_transpose2d(image, t2, stride=(2, 1), padding=1)
m.conv_transpose2d(image, t2g, None, 2, 1, 1, 2); m.conv_transpose2d(image, t2, bias3, dilation=2)
m.conv_transpose1d(line[1], t1); m.conv_transpose3d(cube, k3[:2]); m.max_pool1d(line, 2)
m.max_pool1d(line, 3, 2, 1); m.max_pool2d(image, 2); m.max_pool2d(image, 3, 2, 1)
m.max_pool2d(image, (2, 3), ceil_mode=True); m.max_pool2d(image, 3, 2, 1, 2)
m.max_pool2d(image, 3, 3, 1, ceil_mode=True); m.max_pool3d(cube, 2)
m.nn.functional.max_pool2d(image, 2, return_indices=True)
m.nn.functional.max_pool2d(image[0], 3, 2, 1, return_indices=True); m.avg_pool1d(line, 2)
m.avg_pool1d(line, 3, 2, 1, True); m.nn.functional.avg_pool2d(image, 2)
m.nn.functional.avg_pool2d(image, 3, 2, 1)
m.nn.functional.avg_pool2d(image, 3, 2, 1, count_include_pad=False)
m.nn.functional.avg_pool2d(image, 4, 3, 2, ceil_mode=True)
m.nn.functional.avg_pool2d(image, 4, 3, 2, ceil_mode=True, count_include_pad=False)
m.nn.functional.avg_pool2d(image, 2, divisor_override=3); m.pixel_shuffle(image, 2)
m.pixel_unshuffle(image[:, :, :6], 2)
"""

CREATION = """
m.zeros(2, 3); m.zeros((2, 3)); m.ones(2, dtype=m.int64); m.full((2,), 3); m.full((2,), 2.5)
m.full((), True); m.zeros(2, 0); m.zeros(()); m.tensor(3); m.tensor([1, 2]); m.tensor([1.0, 2])
m.tensor([True, 1]); m.tensor([[1, 2], [3, 4]], dtype=m.float64); m.tensor([]); m.tensor([[], []])
m.tensor(2.5, dtype=m.int32); m.tensor([x[0].tolist(), [1, 2, 3, 4]]); m.tensor([s, s]).shape
m.as_tensor([1, 2]); m.tensor([True, False]); m.arange(5); m.arange(1, 5); m.arange(5, 0, -2)
m.arange(0, 1, 0.3); m.arange(2.5); m.arange(3, dtype=m.float32)
m.arange(0.0, 1.0, 0.1, dtype=m.float64); m.linspace(0, 1, 5); m.linspace(-3, 3, 7)
m.linspace(1, 2, 1); m.linspace(0, 10, 5, dtype=m.int64); m.logspace(0, 2, 3); m.eye(3)
m.eye(2, 3); m.eye(2, dtype=m.int32); m.zeros_like(x); m.ones_like(i); m.full_like(x, 2)
m.zeros_like(x, dtype=m.int64); x.new_zeros(2, 2); x.new_tensor([1, 2]); i.new_full((2,), 7)
x.new_ones((3,), dtype=m.int64); m.scalar_tensor(2); m.asarray([1.5]); m.Tensor([1, 2])
m.FloatTensor([1, 2]); m.LongTensor([1, 2]); m.BoolTensor([0, 2]); m.ByteTensor([250, 3])
m.arange(0); m.promote_types(m.int8, m.uint8); m.result_type(i, 1.5); x.to(m.float64); x.int()
o.long(); o.bool(); x.half(); x.bfloat16(); i.float(); i.to(x); b.float()
x.type(m.DoubleTensor if 0 else m.float64); x.type_as(d); x.type(); i.type(); x.to('cpu')
i.byte(); o.short(); x.to(device='cpu', dtype=m.float64); i.char(); d.to(m.float32); m.numel(x)
x.size(); x.size(-1); x.ndimension(); m.is_floating_point(i); m.is_tensor(x); m.tensor(1.5).int()
m.tensor([300]).byte(); x.nelement()
"""

FAMILIES = {
    name.lower(): [row.strip() for row in text.replace("\n", ";").split(";") if row.strip()]
    for name, text in list(globals().items())
    if name.isupper() and isinstance(text, str)
}
