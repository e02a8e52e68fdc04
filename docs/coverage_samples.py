"""Sample rows of make_coverage.py: one small use of each name, which is run to get its marks.

A row of a layer is `constructor | inputs`; without inputs the object is only made. The other rows
are expressions. Rows of the tests' tables (function_table, more_table) are used too. Names of
inputs are those of the tests' tables and of INPUTS below; `m` is the package.
"""

from __future__ import annotations

import numpy as np

_rng = np.random.default_rng(3)


def _floats(*shape: int) -> np.ndarray:
    return _rng.standard_normal(shape).astype(np.float32)


INPUTS = {
    "seq": _floats(5, 2, 4),
    "h0": _floats(2, 3),
    "probs": _rng.uniform(0.05, 0.95, (3, 4)).astype(np.float32),
    "hot": (_rng.random((3, 4)) > 0.5).astype(np.float32),
    "cls": np.array([0, 3, 1]),
    "pm": np.array([1.0, -1.0, 1.0], np.float32),
    "many": np.array([[3, 0, -1, 1], [0, -1, 2, 1], [2, 1, 0, -1]]),
    "volume": _floats(1, 2, 5, 6, 5),
    "grid": _rng.uniform(-1, 1, (2, 3, 3, 2)).astype(np.float32),
    "theta": _floats(2, 2, 3),
    "logp": np.log(_rng.dirichlet(np.ones(5), (6, 2))).astype(np.float32),
    "labels": np.array([[1, 2], [3, 4]]),
    "lengths": np.array([6, 6]),
    "short": np.array([2, 2]),
    "ids": np.array([0, 2, 1, 3]),
    "cuts": np.array([0, 2]),
    "w34": _floats(5, 4),
    "wtbc": _floats(3, 4, 6),
    "keys": _floats(2, 6, 4),
    "blocks": _floats(2, 8, 12),
}

NN = """
AdaptiveAvgPool1d(3) | line; AdaptiveAvgPool2d(2) | image; AdaptiveAvgPool3d(2) | cube
AdaptiveLogSoftmaxWithLoss(4, 6, [2, 4]) | x, cls; AdaptiveMaxPool1d(3) | line
AdaptiveMaxPool2d(2) | image; AdaptiveMaxPool3d(2) | cube; AlphaDropout(0.3) | x
AvgPool1d(2) | line; AvgPool2d(2) | image; AvgPool3d(2) | cube; BCELoss() | probs, hot
BCEWithLogitsLoss() | x, hot; BatchNorm1d(4) | x; BatchNorm2d(4) | image; BatchNorm3d(2) | cube
Bilinear(4, 4, 2) | x, y; Buffer(m.ones(2)); CELU() | x; CTCLoss() | logp, labels, lengths, short
ChannelShuffle(2) | image; CircularPad1d(2) | line; CircularPad2d(2) | image
CircularPad3d(1) | cube; ConstantPad1d(2, 1.0) | line; ConstantPad2d(1, 0.5) | image
ConstantPad3d(1, 0.0) | cube; Conv1d(4, 5, 3) | line; Conv2d(4, 5, 3, padding=1) | image
Conv3d(2, 3, 2) | cube; ConvTranspose1d(4, 3, 3, 2) | line; ConvTranspose2d(4, 3, 3) | image
ConvTranspose3d(2, 3, 2) | cube; CosineEmbeddingLoss() | x, y, pm; CosineSimilarity() | x, y
CrossEntropyLoss() | x, cls; CrossMapLRN2d(3) | image; DataParallel(nn.Linear(4, 2)) | x
Dropout(0.3) | x; Dropout1d(0.3) | line; Dropout2d(0.3) | image; Dropout3d(0.3) | cube; ELU() | x
Embedding(5, 3) | t; EmbeddingBag(5, 3, mode='sum') | t; FeatureAlphaDropout(0.3) | image
Flatten() | image; Fold((4, 5), 2) | blocks; FractionalMaxPool2d(2, 3) | image
FractionalMaxPool3d(2, 2) | volume; GELU() | x; GLU() | x; GRU(4, 3) | seq; GRUCell(4, 3) | seq[0], h0
GaussianNLLLoss() | x, y, probs; GroupNorm(2, 4) | image; Hardshrink() | x; Hardsigmoid() | x
Hardswish() | x; Hardtanh() | x; HingeEmbeddingLoss() | x, hot * 2 - 1; HuberLoss() | x, y
Identity() | x; InstanceNorm1d(4) | line; InstanceNorm2d(4) | image; InstanceNorm3d(2) | cube
KLDivLoss(reduction='batchmean') | x, probs; L1Loss() | x, y; LPPool1d(2, 2) | line.abs()
LPPool2d(2, 2) | image.abs(); LPPool3d(2, 2) | cube.abs(); LSTM(4, 3) | seq
LSTMCell(4, 3) | seq[0]; LayerNorm(4) | x; LazyBatchNorm1d() | x; LazyBatchNorm2d() | image
LazyBatchNorm3d() | cube; LazyConv1d(3, 2) | line; LazyConv2d(3, 2) | image
LazyConv3d(3, 2) | cube; LazyConvTranspose1d(3, 2) | line; LazyConvTranspose2d(3, 2) | image
LazyConvTranspose3d(3, 2) | cube; LazyInstanceNorm1d() | line; LazyInstanceNorm2d() | image
LazyInstanceNorm3d() | cube; LazyLinear(3) | x; LeakyReLU() | x; Linear(4, 3) | x
LinearCrossEntropyLoss(4, 5) | x, cls; LocalResponseNorm(3) | image; LogSigmoid() | x
LogSoftmax(1) | x; MSELoss() | x, y; MarginRankingLoss() | v[:3], w[:3], pm; MaxPool1d(2) | line
MaxPool2d(2) | image; MaxPool3d(2) | cube; MaxUnpool1d(2) | line[:, :, :4], m.arange(8)[::2] + 0 * m.zeros(2, 4, 4).long()
MaxUnpool2d(2) | image[:, :, :2, :2], 0 * m.zeros(2, 4, 2, 2).long() + m.arange(2)
MaxUnpool3d(2) | cube[:, :, :1, :1, :1], m.zeros(1, 2, 1, 1, 1).long(); Mish() | x
Module(); ModuleDict({'a': nn.Linear(2, 2)}); ModuleList([nn.Linear(2, 2)])
MultiLabelMarginLoss() | x, many; MultiLabelSoftMarginLoss() | x, hot; MultiMarginLoss() | x, cls
MultiheadAttention(4, 2) | seq, seq, seq; NLLLoss() | x, cls; NLLLoss2d() | image, m.zeros(2, 7, 6).long()
PReLU() | x; PairwiseDistance() | x, y; Parameter(m.ones(2)); ParameterDict({'a': m.ones(2)})
ParameterList([m.ones(2)]); PixelShuffle(2) | image; PixelUnshuffle(2) | image[:, :, :6]
PoissonNLLLoss() | x, hot; RMSNorm(4) | x; RNN(4, 3) | seq; RNNBase('LSTM', 4, 3); RNNCell(4, 3) | seq[0], h0
RNNCellBase(4, 3, True, 1); RReLU() | x; ReLU() | x; ReLU6() | x; ReflectionPad1d(2) | line
ReflectionPad2d(1) | image; ReflectionPad3d(1) | cube; ReplicationPad1d(2) | line
ReplicationPad2d(1) | image; ReplicationPad3d(1) | cube; SELU() | x
Sequential(nn.Linear(4, 3), nn.ReLU()) | x; SiLU() | x; Sigmoid() | x; SmoothL1Loss() | x, y
SoftMarginLoss() | x, hot * 2 - 1; Softmax(1) | x; Softmax2d() | image; Softmin(1) | x
Softplus() | x; Softshrink() | x; Softsign() | x; SyncBatchNorm(4) | x; Tanh() | x
Tanhshrink() | x; Threshold(0.1, 2.0) | x; Transformer(4, 2, 1, 1, 8) | seq, seq[:3]
TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 8), 1) | seq, seq
TransformerDecoderLayer(4, 2, 8) | seq, seq; TransformerEncoderLayer(4, 2, 8) | seq
TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 1, enable_nested_tensor=False) | seq
TripletMarginLoss() | x, y, p; TripletMarginWithDistanceLoss() | x, y, p; Unflatten(1, (2, 2)) | x
Unfold(2) | image; UninitializedBuffer(); UninitializedParameter(); Upsample(scale_factor=2) | image
UpsamplingBilinear2d(scale_factor=2) | image; UpsamplingNearest2d(scale_factor=2) | image
ZeroPad1d(1) | line; ZeroPad2d(1) | image; ZeroPad3d(1) | cube
"""  # noqa: E501

FUNCTIONAL = """
adaptive_avg_pool1d(line, 3); adaptive_avg_pool2d(image, 2); adaptive_avg_pool3d(cube, 2)
adaptive_max_pool1d(line, 3); adaptive_max_pool1d_with_indices(line, 3)
adaptive_max_pool2d(image, 2); adaptive_max_pool2d_with_indices(image, 2)
adaptive_max_pool3d(cube, 2); adaptive_max_pool3d_with_indices(cube, 2)
affine_grid(theta, (2, 3, 4, 4)); alpha_dropout(x, 0.3, True); avg_pool1d(line, 2)
avg_pool2d(image, 2); avg_pool3d(cube, 2); batch_norm(x, None, None, training=True)
bilinear(x, y, m.ones(2, 4, 4)); binary_cross_entropy(probs, hot)
binary_cross_entropy_with_logits(x, hot); celu(x); celu_(x * 1); channel_shuffle(image, 2)
conv1d(line, k1); conv2d(image, k2); conv3d(cube, k3); conv_tbc(seq, wtbc, bias6)
conv_transpose1d(line, t1); conv_transpose2d(image, t2); conv_transpose3d(cube, k3[:2])
cosine_embedding_loss(x, y, pm); cosine_similarity(x, y); cross_entropy(x, cls)
ctc_loss(logp, labels, lengths, short); dropout(x, 0.3); dropout1d(line, 0.3)
dropout2d(image, 0.3); dropout3d(cube, 0.3); elu(x); elu_(x * 1); embedding(t, x)
embedding_bag(t, w34, mode='mean'); feature_alpha_dropout(image, 0.3, True)
fold(blocks, (4, 5), 2); fractional_max_pool2d(image, 2, 3)
fractional_max_pool2d_with_indices(image, 2, 3); fractional_max_pool3d(volume, 2, 2)
fractional_max_pool3d_with_indices(volume, 2, 2); gaussian_nll_loss(x, y, probs); gelu(x); glu(x)
grid_sample(image, grid, align_corners=False); group_norm(image, 2); gumbel_softmax(x); hardshrink(x)
hardsigmoid(x); hardswish(x); hardtanh(x); hardtanh_(x * 1); hinge_embedding_loss(x, hot * 2 - 1)
huber_loss(x, y); instance_norm(line); interpolate(image, scale_factor=2)
kl_div(x, probs, reduction='sum'); l1_loss(x, y); layer_norm(x, (4,)); leaky_relu(x)
leaky_relu_(x * 1); linear(x, w34); linear_cross_entropy(x, w34, cls)
local_response_norm(image, 3); log_softmax(x, 1); logsigmoid(x); lp_pool1d(line.abs(), 2, 2)
lp_pool2d(image.abs(), 2, 2); lp_pool3d(cube.abs(), 2, 2); margin_ranking_loss(v[:3], w[:3], pm)
max_pool1d(line, 2); max_pool1d_with_indices(line, 2); max_pool2d(image, 2)
max_pool2d_with_indices(image, 2); max_pool3d(cube, 2); max_pool3d_with_indices(cube, 2)
max_unpool1d(line[:, :, :4], 0 * m.zeros(2, 4, 4).long() + m.arange(0, 8, 2), 2)
max_unpool2d(image[:, :, :2, :2], 0 * m.zeros(2, 4, 2, 2).long() + m.arange(2), 2)
max_unpool3d(cube[:, :, :1, :1, :1], m.zeros(1, 2, 1, 1, 1).long(), 2); mish(x); mse_loss(x, y)
multi_margin_loss(x, cls); multilabel_margin_loss(x, many); multilabel_soft_margin_loss(x, hot)
multi_head_attention_forward(seq, seq, seq, 4, 2, m.ones(12, 4), None, None, None, False, 0.0, m.ones(4, 4), None)
native_channel_shuffle(image, 2); nll_loss(x, cls); normalize(x); one_hot(t, 3); pad(x, (1, 2))
pairwise_distance(x, y); pdist(x); pixel_shuffle(image, 2); pixel_unshuffle(image[:, :, :6], 2)
poisson_nll_loss(x, hot); prelu(x, v[:1]); relu(x); relu6(x); relu_(x * 1); rms_norm(x, (4,)); rrelu(x)
rrelu_(x * 1); scaled_dot_product_attention(keys, keys, keys); selu(x); selu_(x * 1); sigmoid(x)
silu(x); smooth_l1_loss(x, y); soft_margin_loss(x, hot * 2 - 1); softmax(x, 1); softmin(x, 1)
softplus(x); softshrink(x); softsign(x); tanh(x); tanhshrink(x); threshold(x, 0.1, 2.0)
threshold_(x * 1, 0.1, 2.0); triplet_margin_loss(x, y, p)
triplet_margin_with_distance_loss(x, y, p); unfold(image, 2); upsample(image, scale_factor=2)
upsample_bilinear(image, scale_factor=2); upsample_nearest(image, scale_factor=2)
"""  # noqa: E501

INIT = """
calculate_gain('relu'); constant_(x, 2.0); dirac_(k2); eye_(x); kaiming_normal_(x)
kaiming_uniform_(x); normal_(x); ones_(x); orthogonal_(x); sparse_(x, 0.5); trunc_normal_(x)
uniform_(x); xavier_normal_(x); xavier_uniform_(x); zeros_(x)
constant(x, 2.0); dirac(k2); eye(x); kaiming_normal(x); kaiming_uniform(x); normal(x)
orthogonal(x); sparse(x, 0.5); uniform(x); xavier_normal(x); xavier_uniform(x)
"""

# Uses of Tensor methods that no table of the tests shows; `x` may be written
METHODS = """
x.size(); x.dim(); x.numel(); x.nelement(); x.ndimension(); x.stride(); x.element_size()
x.is_contiguous(); x.contiguous(); x.data_ptr(); s.item(); x.tolist(); x.numpy(); x.clone()
x.detach(); (x * 1).detach_(); (x * m.ones(1, requires_grad=True)).sum().backward(); x.cpu(); x.requires_grad_()
(x * m.ones(1, requires_grad=True)).retain_grad(); (x * m.ones(1, requires_grad=True)).register_hook(print); x.type(); x.is_floating_point(); x.is_signed()
x.is_complex(); x.get_device(); x.is_same_size(y); x.share_memory_(); x.to(m.float64)
probs.bernoulli(); probs.multinomial(2); x.normal_(); x.uniform_(); x.exponential_()
x.log_normal_(); x.random_(); x.bernoulli_(0.5); x.geometric_(0.5); x.cauchy_(); x.new_empty((2,))
x.new_full((2,), 1.0); x.new_ones(2); x.new_zeros(2); x.new_tensor([1.0])
x.new_empty_strided((2, 2), (2, 1)); x.new(2); x.pin_memory(); x.is_pinned(); x.is_shared()
x.storage(); x.untyped_storage(); x.storage_offset(); x.storage_type(); x.is_set_to(x)
x.as_subclass(m.Tensor); x.dim_order(); x.const_data_ptr(); x.to_dense(); x.is_inference()
x.is_distributed(); x.resolve_conj(); x.resolve_neg(); s.is_nonzero(); x.fill_(1.0); x.zero_()
x.copy_(y); x.view(4, 3); x.int(); x.long(); x.short(); x.char(); x.byte(); x.bool(); x.half()
x.bfloat16(); x.float(); x.double(); x.type_as(d); x.set_(y); x.resize_(4, 3); x.resize_as_(c)
x.apply_(abs); x.map_(y, lambda a, b: a); x.map2_(y, y, lambda a, b, c: a); x.fill_diagonal_(1.0)
x.where(b, y); x.abs(); x.prelu(v[:1]); x.hardshrink(); x.dist(y); x.norm(); x.take(t)
x.index_put_((r[:2],), v); x.index_add_(0, h[:3], y); x.index_copy_(0, h[:1], y[:1])
x.index_fill_(0, h[:1], 1.0); x.cumsum_(0); x.masked_fill_(b, 1.0); x.masked_scatter_(b, y)
x.scatter_(1, t, y); x.scatter_add_(1, t, y); m.ones(1, requires_grad=True).register_post_accumulate_grad_hook(print)
x.isin(y); x.unique(); x.sum_to_size(3, 1); g.addmm(g, g); g.addmm_(g, g); v[:3].addmv(g, v[:3])
v[:3].clone().addmv_(g, v[:3]); g.addr(v[:3], v[:3]); g.addr_(v[:3], v[:3]); a.baddbmm(a, a)
a.baddbmm_(a, a); a[0].addbmm(a, a); a[0].addbmm_(a, a); a.bmm(a); g.mm(g); g.mv(v[:3]); v.ger(w)
v.outer(w); v.inner(w); v.dot(w); x.cov(); x.corrcoef(); x.kron(x); g.trace(); g.cross(g); x.t_()
x.squeeze_(); x.unsqueeze_(0); x.transpose_(0, 1); x.swapaxes_(0, 1); x.swapdims_(0, 1)
x.rsub(1.0); x.erfc(); x.argsort(); x.msort(); x.sort(); x.std(); x.var(); x.chunk(2); x.unbind()
r.bincount(); r.bitwise_and(r); r.bitwise_or(r); r.bitwise_xor(r); r.bitwise_not()
r.bitwise_left_shift(r); r.bitwise_right_shift(r); r.bitwise_and_(r); r.bitwise_or_(r)
r.bitwise_xor_(r); r.bitwise_not_(); r.bitwise_left_shift_(r); r.bitwise_right_shift_(r); r.gcd(r)
r.lcm(r); r.gcd_(r); r.lcm_(r); x.logical_and_(y); x.logical_or_(y); x.logical_xor_(y)
x.logical_not_(); x.lerp_(y, 0.5); x.clip_(0, 1); x.clip(0, 1); x.positive(); x.tril_(); x.triu_()
x.histc(4); x.nonzero(); x.argwhere(); x.masked_select(b); x.unique_consecutive(); x.allclose(x)
x.equal(x); x.unsafe_chunk(2); x.unsafe_split(2); x.unsafe_split_with_sizes([1, 2])
x.swapaxes(0, 1); x.swapdims(0, 1); x.moveaxis(0, 1); x.arctan2(y); x.absolute(); x.fix()
x.matmul(x.T); spd.cholesky_inverse(); spd.cholesky_solve(spd); spd.triangular_solve(spd)
tall.pinverse(); spd.logdet(); spd.qr(); x.float_power(2); d.float_power_(2.0); probs.mvlgamma(1)
probs.mvlgamma_(1); x.flipud(); x.fliplr(); x.rot90(); x.roll(1); v.diag_embed(); v.diagflat()
v.diag(); x.diagonal(); x.unfold(1, 2, 1); x.index_select(0, h[:2]); x.gather(1, t)
g.matrix_exp(); x.adjoint(); x.nanmean(); x.nanmedian(); x.nanquantile(0.5); x.quantile(0.5)
x.histogram(3); x.frexp(); x.diff(); x.narrow_copy(0, 0, 1); x.as_strided((2, 2), (4, 1))
x.vsplit(3); x.hsplit(2); z.dsplit(2); x.put(r[:1], v[:1]); x.put_(r[:1], v[:1])
x.renorm(2, 0, 1.0); v.vdot(w); x.sinc(); x.signbit(); x.nonzero_static(size=3)
x.split_with_sizes([1, 2]); x.slice_scatter(y[:1], 0, 0, 1); x.conj(); x.select_scatter(v, 0, 0)
g.diagonal_scatter(v[:3]); x.scatter_reduce(1, t, y, 'sum'); x.sgn()
x.index_reduce(0, h[:3], y, 'amax'); x.as_strided_scatter(g, (3, 3), (4, 1)); x.angle()
x.isreal(); x.conj_physical(); x.nextafter(y); probs.igamma(probs); probs.igammac(probs)
probs.digamma(); probs.polygamma(1); probs.lgamma(); probs.erfinv(); x.i0(); x.ldexp(r[0])
g.matrix_power(2); x.is_conj(); x.is_neg(); x.svd(); g.slogdet(); g.det(); g.inverse()
spd.cholesky(); x.nansum()
x.absolute_(); probs.arccos(); probs.arccos_(); p.exp().arccosh(); p.exp().arccosh_(); probs.arcsin()
x.arcsinh(); x.arcsinh_(); x.arctan(); x.arctan2_(y); probs.arctanh(); probs.arctanh_(); x.fix_()
x.greater_equal(y); x.greater_equal_(y); x.gt(y); x.gt_(y); x.le(y); x.le_(y); x.less(y); x.lt(y)
x.lt_(y); x.ne(y); x.ne_(y); x.mul(y); x.mul_(y); x.reshape_as(x); x.true_divide(y); x.mode()
x.true_divide_(y); x.remainder(p); x.remainder_(p); x.cummin(0); p.polygamma_(1); r.gcd(r)
probs.arcsin_(); x.arctan_(); x.multiply_(y); x.subtract_(y); x.negative_(); d.float_power_(2.0)
x.floor_divide(p); x.as_strided_scatter(g, (3, 3), (4, 1)); x.bernoulli_(p * 0)
"""  # noqa: E501
