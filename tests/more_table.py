"""The table of test_more_functions: expressions that must mean the same here and in torch.

The inputs are those of function_table and the ones below; rows are read as there.
"""

from __future__ import annotations

import numpy as np
from function_table import INPUTS as COMMON

_rng = np.random.default_rng(11)


def _floats(*shape: int) -> np.ndarray:
    return _rng.standard_normal(shape).astype(np.float32)


_a = _floats(2, 3, 3) + 2 * np.eye(3, dtype=np.float32)
INPUTS = {
    **COMMON,
    "a": _a,
    "a4": (_floats(4, 4) + 3 * np.eye(4)).astype(np.float64),
    "l3": np.tril(_a),
    "rhs": _floats(2, 3, 2),
    "spd": _a @ _a.transpose(0, 2, 1) + np.eye(3, dtype=np.float32),
    "tall": _floats(5, 3).astype(np.float64),
    "wide": _floats(3, 5).astype(np.float64),
    "sing": np.array([[1.0, 2.0], [2.0, 4.0]]),
    "big": np.array([-7.3, -2.5, -0.5, 0.3, 1.0, 2.0, 7.5, 40.0, 3e4], np.float64),
    "one": np.array([-0.999, -0.5, -1e-3, 0.0, 0.2, 0.7, 0.99999], np.float64),
    "far": np.array([-20.0, -6.0, -1.5, 0.0, 0.7, 3.0, 9.0, 25.0], np.float64),
    "h": np.array([0, 1, 0, 2]),
    "ix": _rng.integers(0, 3, (3, 4)),
    "nn_": np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, 2.0]], np.float32),
    "w4": np.array([1, 2, 1, 3]),
    "big_": np.array([12, 18, -8, 0]),
}

SPECIAL = """
m.lgamma(big); m.lgamma(p); m.digamma(big); m.digamma(p); m.polygamma(1, big); m.polygamma(0, p)
m.polygamma(2, p); m.polygamma(4, p); m.erfinv(one); m.erfinv(u); m.sinc(far); m.sinc(x)
m.i0(far); m.i0(x); m.special.i0e(far); m.special.i1(x); m.special.i1e(far); m.mvlgamma(p + 2, 2)
m.special.erfcx(far); m.special.ndtr(far); m.special.log_ndtr(far); m.special.ndtri(p / 4)
m.special.entr(p); m.special.xlog1py(x, p); m.special.expit(x); m.special.zeta(p + 2, p)
m.special.gammaln(p); m.special.psi(p); m.igamma(p.detach(), p * 2); m.igammac(p.detach(), p)
m.special.multigammaln(p + 3, 3); x.lgamma(); p.digamma(); p.polygamma(1); u.erfinv()
m.lgamma(m.tensor([0.0, -1.0, -2.5, float('inf')])); m.digamma(m.tensor([0.0, -1.0, -2.5]))
m.lgamma(j)
"""

NUMBERS = """
m.signbit(x); m.signbit(o * 0.0); m.signbit(i); m.sgn(x); m.isreal(x); m.real(x); m.conj(x)
m.angle(o); m.angle(n); m.ldexp(x, t); m.gcd(big_, h); m.lcm(big_, w4); m.gcd(i, 6 * j)
m.scatter(x.detach(), 1, t, 2.0, reduce='multiply'); m.scatter(i, 1, t, j, reduce='multiply')
m.gcd(i, j); m.lcm(i, j + 1); m.histc(x, 3)
m.nextafter(x, y); m.frexp(x)[0]; m.frexp(o)[1]; m.deg2rad(x); m.resolve_conj(x); m.is_conj(x)
m.is_neg(x); x.sum_to_size(3, 1); z.sum_to_size(3, 1); z.sum_to_size(1, 1, 4); x.sum_to_size(3, 4)
m.conj_physical(x); m.fill(x, 2.0); m.fill(x, s); m.typename(x)
m.is_same_size(x, y); m.get_device(x); m.range(1, 4); m.range(0, 1, 0.25)
"""

SPLITS = """
m.hsplit(x, 2); m.hsplit(v, 2); m.vsplit(x, [1]); m.dsplit(z, 2); m.dsplit(z, [1, 3])
m.split_with_sizes(x, [1, 2]); x.split_with_sizes([1, 3], 1); m.narrow_copy(x, 1, 1, 2)
m.unsafe_chunk(x, 2, 1); m.unsafe_split(x, 2); m.select_scatter(x, v, 0, 1)
m.select_scatter(x, y[:, 0], 1, -1); m.slice_scatter(x, y[:2], 0, 1, 3)
m.slice_scatter(x, y[:, :2], 1, None, None, 2); m.diagonal_scatter(g, v[:3])
m.diagonal_scatter(x, w[:3], 1); m.as_strided(x, (2, 3), (4, 1), 1); m.as_strided(v, (2, 3), (1, 1))
m.as_strided_scatter(x, g[:2], (2, 3), (4, 1)); m.unbind_copy(x); m.transpose_copy(x, 0, 1)
m.squeeze_copy(c); m.view_copy(x, (4, 3)); m.expand_copy(c, (3, 2)); m.permute_copy(z, (2, 0, 1))
m.diagonal_copy(g); m.t_copy(x); m.unsqueeze_copy(x, 0); m.select_copy(x, 0, 1)
m.split_copy(x, 2, 1); m.unfold_copy(v, 0, 2, 1); m.split_with_sizes_copy(x, [1, 2])
"""

SCATTERING = """
m.scatter_reduce(x, 1, t, y, 'sum'); m.scatter_reduce(x, 1, t, y, 'sum', include_self=False)
m.scatter_reduce(x, 0, t, y, 'mean'); m.scatter_reduce(x, 1, t, y, 'mean', include_self=False)
m.scatter_reduce(x, 1, t, y, 'prod'); m.scatter_reduce(x, 1, t, y, 'prod', include_self=False)
m.scatter_reduce(o, 1, t[:2], o * 1.5, 'prod'); m.scatter_reduce(x, 1, t, y, 'amax')
m.scatter_reduce(x, 0, t, y, 'amin', include_self=False); m.scatter_reduce(o, 1, t[:2], o, 'amax')
m.scatter_reduce(x, 1, t[:2, :3], y, 'amax'); m.scatter_reduce(i, 1, t, j, 'mean')
m.index_reduce(x, 0, h, y[h], 'amax'); m.index_reduce(x, 0, h[:3], y, 'mean')
m.index_reduce(x, 1, h, y, 'prod', include_self=False); m.index_reduce(x, 0, h[:3], y, 'amin')
m.put(x, m.tensor([0, 5, -1]), v[:3]); m.put(x, m.tensor([[0], [0]]), v[:2], accumulate=True)
m.renorm(x, 2, 0, 1.0); m.renorm(z, 1, 2, 2.0); m.nonzero_static(i, size=5)
m.nonzero_static(b, size=20, fill_value=7); m.nonzero_static(h, size=2)
"""

ANALYSIS = """
m.diff(x); m.diff(x, n=2, dim=0); m.diff(b); m.diff(v, prepend=w, append=w); m.diff(i, dim=0)
m.trapezoid(x); m.trapezoid(x, dx=0.5, dim=0); m.trapezoid(x, v); m.trapz(x, y)
m.cumulative_trapezoid(x, dim=0); m.cumulative_trapezoid(x, dx=2); m.gradient(v)
m.gradient(x, spacing=0.5, dim=1); m.gradient(x, spacing=(0.5, 2.0)); m.gradient(v, edge_order=2)
m.cov(x); m.cov(v); m.cov(x, correction=0); m.cov(x, fweights=w4); m.cov(x, aweights=v.abs())
m.cov(x, fweights=w4, aweights=v.abs()); m.corrcoef(x); m.corrcoef(v); m.nanmean(nn_)
m.nanmean(nn_, 1); m.nanmedian(nn_); m.nanmedian(nn_, 1, keepdim=True); m.nanmedian(x, 0)
m.quantile(x, m.tensor([0.1, 0.5, 0.9])); m.quantile(x, 0.4, dim=1, interpolation='lower')
m.quantile(x, 0.4, dim=0, keepdim=True, interpolation='higher'); m.quantile(nn_, 0.5, dim=1)
m.quantile(x, 0.35, interpolation='midpoint'); m.quantile(x, 0.35, interpolation='nearest')
m.quantile(x, m.tensor([0.0, 1.0]), dim=1, keepdim=True); m.nanquantile(nn_, 0.5)
m.nanquantile(nn_, 0.25, dim=1); m.nanquantile(nn_, m.tensor([0.2, 0.9]), dim=0)
m.nanquantile(nn_, 0.4, dim=1, interpolation='midpoint'); m.quantile(x, 0.3, 1)
m.searchsorted(v.sort().values, x, right=True); m.searchsorted(v.sort().values, x, side='right')
m.searchsorted(x.sort().values, y, out_int32=True); m.searchsorted(v, x, sorter=v.argsort())
m.searchsorted(v.sort().values, 0.5); m.bucketize(x, v.sort().values, out_int32=True, right=True)
m.histogram(x, 4)[0]; m.histogram(x, 4, range=(-1.0, 1.0))[1]; m.histogram(x, v.sort().values)[0]
m.histogram(x, 5, weight=p, density=True)[0]; m.combinations(v); m.combinations(v, 3)
m.combinations(v, with_replacement=True); m.unravel_index(t, (2, 3)); m.pdist(x); m.pdist(x, 1)
m.vdot(v, w); m.isin(i, j, invert=True); m.isin(i, 2); m.isin(2, i)
m.unique_consecutive(t, dim=1); m.unique_consecutive(t[h], True, True, dim=0)
m.unique_consecutive(i, return_inverse=True); m.hann_window(6)
m.hann_window(5, periodic=False); m.hamming_window(7)
m.blackman_window(8); m.bartlett_window(6); m.bartlett_window(5, False); m.kaiser_window(7)
m.kaiser_window(4, False, 6.0); m.hann_window(1); m.hamming_window(5, True, 0.6, 0.4)
"""

LINALG = """
m.linalg.det(a); m.det(a4); m.linalg.det(sing); m.linalg.slogdet(a); m.slogdet(a4); m.logdet(spd)
m.linalg.inv(a); m.inverse(a4); m.linalg.inv_ex(a)[0]; m.linalg.solve(a, rhs)
m.linalg.solve(a, rhs[:, :, 0]); m.linalg.solve(a[0], rhs[0, :, 0]); m.linalg.solve(a[0], rhs)
m.linalg.solve(a, rhs.mT, left=False); m.linalg.solve_triangular(l3, rhs, upper=False)
m.linalg.solve_triangular(a, rhs, upper=True, unitriangular=True)
m.linalg.solve_triangular(a, rhs.mT, upper=True, left=False); m.linalg.cholesky(spd)
m.linalg.cholesky(spd, upper=True); m.cholesky_solve(rhs, l3.tril()); m.cholesky_inverse(l3.tril())
m.linalg.cholesky_ex(spd)[0]; m.triangular_solve(rhs, a)[0]; m.linalg.svdvals(tall)
m.linalg.svdvals(wide); m.linalg.eigvalsh(spd); m.linalg.pinv(tall); m.linalg.pinv(wide)
m.pinverse(tall); m.linalg.matrix_rank(sing); m.linalg.matrix_rank(a); m.linalg.cond(a)
m.linalg.cond(a, 1); m.linalg.cond(a, -2); m.linalg.cond(a, 'fro'); m.linalg.norm(x)
m.linalg.norm(x, 'fro'); m.linalg.norm(x, 'nuc'); m.linalg.norm(x, 2); m.linalg.norm(x, -1)
m.linalg.norm(v, 3); m.linalg.norm(x, float('inf'), 1); m.linalg.vector_norm(z, 3, (0, 2))
m.linalg.vector_norm(x); m.linalg.matrix_norm(z); m.linalg.matrix_norm(z, 1, keepdim=True)
m.linalg.matrix_norm(z, float('inf'), (0, 2)); m.linalg.matrix_norm(z, 'nuc', (0, 1), True)
m.linalg.matrix_norm(z, -2); m.linalg.matrix_power(a, 3); m.linalg.matrix_power(a, -2)
m.linalg.matrix_power(a, 0); m.linalg.matrix_power(a, 1); m.matrix_exp(a); m.linalg.matrix_exp(a4)
m.linalg.multi_dot([x, k, q[0].T]); m.linalg.multi_dot([v, k, k.T, x.T]); m.linalg.vecdot(x, y)
m.linalg.multi_dot([x, v]); m.linalg.vander(v); m.linalg.vander(x, N=3); m.linalg.diagonal(z)
m.linalg.lstsq(tall, tall[:, :2] * 2).solution; m.linalg.lstsq(a4, a4[:, :1] + 1).solution
m.linalg.tensorinv(a4.reshape(2, 2, 4)); m.linalg.tensorsolve(a4.reshape(2, 2, 4), tall[:2, :2])
m.linalg.cross(g, g.T); m.linalg.qr(tall)[0].abs(); m.linalg.qr(tall)[1].abs()
m.frobenius_norm(x, 1); m.linalg.qr(a)[1].abs(); m.linalg.qr(wide.detach())[1].abs()
m.nuclear_norm(x); m.linalg.qr(tall.detach(), 'complete')[0].abs()[:, :3]
m.linalg.eigh(spd + spd.mT)[1].abs()
m.linalg.svd(tall, full_matrices=False)[0].abs(); m.linalg.svd(wide, full_matrices=False)[2].abs()
m.linalg.svd(a4)[0].abs(); m.svd(tall)[2].abs(); m.linalg.svd(tall.detach())[0].abs()[:, :3]
a.det(); a.inverse(); spd.cholesky(); a.matrix_power(2); a.slogdet()[1]; tall.svd()[1]
"""

FAMILIES = {
    name.lower(): [row.strip() for row in text.replace("\n", ";").split(";") if row.strip()]
    for name, text in list(globals().items())
    if name.isupper() and isinstance(text, str)
}

# In-place statements: (statement, the name of what it changes)
STATEMENTS = """
x.squeeze_(); c.squeeze_(1); x.unsqueeze_(0); x.t_(); z.transpose_(0, 2); z.swapaxes_(0, 1)
x.unsqueeze_(1).squeeze_(1); x.sinc_(); p.lgamma_(); p.digamma_(); u.erfinv_(); x.i0_(); i.gcd_(j)
i.lcm_(j); x.renorm_(2, 0, 1.0); x.sgn_(); x.arctan_(); u.arcsin_(); x.less_(y); i.not_equal_(j)
x.ldexp_(t); x.scatter_reduce_(1, t, y, 'amax'); x.index_reduce_(0, h[:3], y, 'mean')
x.put_(m.tensor([1, 2]), v[:2]); x.fill_diagonal_(5.0); g.fill_diagonal_(0.0); x.rad2deg_()
tall.fill_diagonal_(1.0); tall.fill_diagonal_(1.0, wrap=True); a[0].fill_diagonal_(2.0)
x.heaviside_(y); x.polygamma_(1); p.polygamma_(1); x.apply_(lambda e: e * 2 + 1)
x.map_(y, lambda e, f: e - f); x.resize_(2, 6); x.resize_(3, 2); x.resize_as_(c); x.set_(y)
m.relu_(x); m.abs_(x); m.sigmoid_(x); m.clamp_(x, 0, 1); x.nextafter_(y); p.mvlgamma_(1)
p.igamma_(p); x.float_power_(2) if 0 else x.arctan2_(y); x.conj_physical_()
"""
STATEMENTS = [row.strip() for row in STATEMENTS.replace("\n", ";").split(";") if row.strip()]
