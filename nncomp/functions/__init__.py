"""The functions of the torch namespace, by family; results are composites of the primitive ops."""
# ruff: noqa: F401, I001  (packed lists of names)

from __future__ import annotations

from .aliases import *  # noqa: F403
from .analysis import (  # fmt: skip
    bucketize, combinations, corrcoef, cov, cumulative_trapezoid, diff, gradient,
    nanmean, nanmedian, nanquantile, pdist, quantile, searchsorted, trapezoid, trapz, unravel_index,
    vdot,
)
from .arithmetic import (  # fmt: skip
    add, addcdiv, addcmul, atan2, copysign, div, float_power, floor_divide, fmod, hypot, lerp,
    logaddexp, logaddexp2, mul, pow, remainder, rsub, sub, true_divide, xlogy,
)
from .base import get_default_dtype, is_tensor, set_default_dtype
from .compare import (  # fmt: skip
    allclose, bitwise_and, bitwise_left_shift, bitwise_not, bitwise_or, bitwise_right_shift,
    bitwise_xor, eq, equal, ge, gt, isclose, le, logical_and, logical_not, logical_or, logical_xor,
    lt, ne,
)
from .conv import conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d
from .convert import (  # fmt: skip
    bfloat16, bool, byte, char, clone, cpu, cuda, detach, double, float, half, int, is_complex,
    is_floating_point, is_nonzero, is_signed, long, numel, pin_memory, short, to, type, type_as,
)
from .creation import (  # fmt: skip
    arange, as_tensor, asarray, empty, empty_like, empty_strided, eye, from_numpy, frombuffer, full,
    full_like, linspace, logspace, new_empty, new_full, new_ones, new_tensor, new_zeros, ones,
    ones_like, scalar_tensor, tensor, zeros, zeros_like,
)
from .decompositions import (  # fmt: skip
    cholesky, cholesky_inverse, cholesky_solve, det, frobenius_norm, inverse, logdet, matrix_exp,
    matrix_power, nuclear_norm, pinverse, qr, slogdet, svd, triangular_solve,
)
from .draws import binomial, poisson
from .einstein import einsum
from .gathering import (  # fmt: skip
    embedding, gather, index_add, index_copy, index_fill, index_put, index_select, one_hot, scatter,
    scatter_add, take, take_along_dim,
)
from .histograms import histc, histogram
from .index import getitem, setitem
from .join import (  # fmt: skip
    atleast_1d, atleast_2d, atleast_3d, block_diag, broadcast_tensors, cartesian_prod, cat,
    column_stack, dstack, hstack, meshgrid, repeat, repeat_interleave, stack, tile, vstack,
)
from .layers import (  # fmt: skip
    adaptive_avg_pool1d, alpha_dropout, batch_norm, bilinear, celu, channel_shuffle,
    cosine_embedding_loss, feature_alpha_dropout, group_norm, hardshrink, hinge_embedding_loss,
    layer_norm, margin_ranking_loss, pairwise_distance, poisson_nll_loss, prelu, rms_norm, rrelu,
    selu, triplet_margin_loss,
)
from .limits import finfo, iinfo
from .linalg import (  # fmt: skip
    addbmm, addmm, addmv, addr, baddbmm, bmm, cdist, chain_matmul, cross, dot, inner, kron, linear,
    matmul, mm, mv, outer, tensordot, trace,
)
from .masks import (  # fmt: skip
    argwhere, bincount, isin, masked_scatter, masked_select, nonzero, unique,
    unique_consecutive,
)
from .numbers import (  # fmt: skip
    angle, conj, conj_physical, imag, is_conj, is_neg, isreal, ldexp, real, resolve_conj,
    resolve_neg, sgn, signbit,
)
from .pool import (  # fmt: skip
    avg_pool1d, avg_pool2d, avg_pool3d, dropout, max_pool1d, max_pool2d, max_pool3d, pixel_shuffle,
    pixel_unshuffle,
)
from .promotion import can_cast, promote_types, result_type
from .queries import (  # fmt: skip
    broadcast_shapes, fill, get_device, is_distributed, is_inference, is_same_size, is_storage,
    range, typename,
)
from .random import (  # fmt: skip
    bernoulli, bernoulli_, copy_, exponential_, fill_, log_normal_, multinomial, normal, normal_,
    rand, rand_like, randint, randint_like, randn, randn_like, random_, randperm, uniform_, zero_,
)
from .rearrange import (  # fmt: skip
    constant_pad_nd, diag, diag_embed, diagflat, flip, fliplr, flipud, roll, rot90, tril,
    tril_indices, triu, triu_indices, vander,
)
from .reduce import (  # fmt: skip
    all, amax, amin, aminmax, any, argmax, argmin, count_nonzero, max, mean, min, nansum, prod, sum,
)
from .scan import cummax, cummin, cumprod, cumsum, logcumsumexp
from .scattering import index_reduce, nonzero_static, put, renorm, scatter_reduce
from .selection import (  # fmt: skip
    clamp, clamp_max, clamp_min, fmax, fmin, heaviside, masked_fill, maximum, minimum, threshold,
    where,
)
from .sorting import argsort, kthvalue, median, mode, msort, sort, topk
from .special import digamma, erfinv, i0, lgamma, mvlgamma, polygamma, sinc
from .special_values import frexp, gcd, igamma, igammac, lcm, nextafter
from .splits import (  # fmt: skip
    as_strided, as_strided_scatter, diagonal_copy, diagonal_scatter, dsplit, expand_copy, hsplit,
    narrow_copy, permute_copy, select_copy, select_scatter, slice_scatter, split_copy,
    split_with_sizes, split_with_sizes_copy, squeeze_copy, sum_to_size, t_copy, transpose_copy,
    unbind_copy, unfold_copy, unsafe_chunk, unsafe_split, unsafe_split_with_sizes, unsqueeze_copy,
    view_copy, vsplit,
)
from .statistics import (  # fmt: skip
    cosine_similarity, dist, log_softmax, logsumexp, norm, softmax, std, std_mean, var, var_mean,
)
from .unary import (  # fmt: skip
    abs, acos, acosh, asin, asinh, atan, atanh, ceil, cos, cosh, deg2rad, erf, erfc, exp, exp2,
    expm1, floor, frac, isfinite, isinf, isnan, isneginf, isposinf, log, log1p, log2, log10, logit,
    nan_to_num, neg, positive, rad2deg, reciprocal, relu, round, rsqrt, sigmoid, sign, sin, sinh,
    sqrt, square, tan, tanh, trunc,
)
from .views import (  # fmt: skip
    adjoint, broadcast_to, chunk, diagonal, expand, expand_as, flatten, movedim, narrow, permute,
    ravel, reshape, reshape_as, reverse_dims, select, split, squeeze, t, tensor_split, transpose,
    unbind, unflatten, unfold, unsqueeze, view, view_as,
)
from .windows import bartlett_window, blackman_window, hamming_window, hann_window, kaiser_window

# Methods whose names mean something else in the torch namespace, or are not in it.
METHODS_ONLY = frozenset({
    "bfloat16", "bool", "byte", "char", "copy_", "cpu", "cuda", "double", "float", "getitem",
    "half", "int", "long", "new_empty", "new_full", "new_ones", "new_tensor", "new_zeros",
    "pin_memory", "reverse_dims", "setitem", "short", "sum_to_size", "to", "trace", "type",
    "type_as",
})  # fmt: skip

__all__ = [
    name
    for name, value in globals().items()
    if callable(value) and not name.startswith("_") and name not in METHODS_ONLY
]
