"""TensorMethods: the functions of the package as methods and operators of Tensor.

One line per method; what a method does is written at the function. In-place methods end in `_`.
"""

from __future__ import annotations

from typing import Any

from . import functions, printing
from .functions.base import wrap_dim
from .functions.binding import in_place_operator, operator, reflected
from .functions.in_place_methods import InPlaceMethods
from .tensor_more import MoreMethods


class TensorMethods(InPlaceMethods, MoreMethods):
    """The numeric methods of Tensor."""

    # -- operators

    __add__ = operator(functions.add)
    __radd__ = operator(functions.add)
    __iadd__ = in_place_operator(functions.add)
    __sub__ = operator(functions.sub)
    __rsub__ = operator(functions.rsub)
    __isub__ = in_place_operator(functions.sub)
    __mul__ = operator(functions.mul)
    __rmul__ = operator(functions.mul)
    __imul__ = in_place_operator(functions.mul)
    __truediv__ = operator(functions.div)
    __rtruediv__ = reflected(functions.div)
    __itruediv__ = in_place_operator(functions.div)
    __floordiv__ = operator(functions.floor_divide)
    __rfloordiv__ = reflected(functions.floor_divide)
    __ifloordiv__ = in_place_operator(functions.floor_divide)
    __mod__ = operator(functions.remainder)
    __rmod__ = reflected(functions.remainder)
    __imod__ = in_place_operator(functions.remainder)
    __pow__ = operator(functions.pow)
    __rpow__ = reflected(functions.pow)
    __ipow__ = in_place_operator(functions.pow)
    __matmul__ = operator(functions.matmul)
    __rmatmul__ = reflected(functions.matmul)
    __and__ = operator(functions.bitwise_and)
    __rand__ = operator(functions.bitwise_and)
    __iand__ = in_place_operator(functions.bitwise_and)
    __or__ = operator(functions.bitwise_or)
    __ror__ = operator(functions.bitwise_or)
    __ior__ = in_place_operator(functions.bitwise_or)
    __xor__ = operator(functions.bitwise_xor)
    __rxor__ = operator(functions.bitwise_xor)
    __ixor__ = in_place_operator(functions.bitwise_xor)
    __lshift__ = operator(functions.bitwise_left_shift)
    __rlshift__ = reflected(functions.bitwise_left_shift)
    __rshift__ = operator(functions.bitwise_right_shift)
    __rrshift__ = reflected(functions.bitwise_right_shift)
    __eq__ = operator(functions.eq)
    __ne__ = operator(functions.ne)
    __lt__ = operator(functions.lt)
    __le__ = operator(functions.le)
    __gt__ = operator(functions.gt)
    __ge__ = operator(functions.ge)
    __neg__ = functions.neg
    __pos__ = functions.positive
    __abs__ = functions.abs
    __invert__ = functions.bitwise_not
    __getitem__ = functions.getitem
    __setitem__ = functions.setitem
    __hash__ = object.__hash__
    __array_priority__ = 1000

    # -- arithmetic

    add = functions.add
    sub = functions.sub
    subtract = functions.subtract
    mul = functions.mul
    multiply = functions.multiply
    div = functions.div
    divide = functions.divide
    true_divide = functions.true_divide
    floor_divide = functions.floor_divide
    remainder = functions.remainder
    fmod = functions.fmod
    pow = functions.pow
    float_power = functions.float_power
    atan2 = functions.atan2
    arctan2 = functions.arctan2
    hypot = functions.hypot
    copysign = functions.copysign
    lerp = functions.lerp
    addcmul = functions.addcmul
    addcdiv = functions.addcdiv
    logaddexp = functions.logaddexp
    logaddexp2 = functions.logaddexp2
    xlogy = functions.xlogy
    rsub = functions.rsub

    # -- one operand

    abs = functions.abs
    absolute = functions.absolute
    neg = functions.neg
    negative = functions.negative
    positive = functions.positive
    sign = functions.sign
    exp = functions.exp
    exp2 = functions.exp2
    expm1 = functions.expm1
    log = functions.log
    log2 = functions.log2
    log10 = functions.log10
    log1p = functions.log1p
    sqrt = functions.sqrt
    rsqrt = functions.rsqrt
    square = functions.square
    reciprocal = functions.reciprocal
    floor = functions.floor
    ceil = functions.ceil
    round = functions.round
    trunc = functions.trunc
    fix = functions.fix
    frac = functions.frac
    sin = functions.sin
    cos = functions.cos
    tan = functions.tan
    asin = functions.asin
    arcsin = functions.arcsin
    acos = functions.acos
    arccos = functions.arccos
    atan = functions.atan
    arctan = functions.arctan
    sinh = functions.sinh
    cosh = functions.cosh
    tanh = functions.tanh
    asinh = functions.asinh
    acosh = functions.acosh
    atanh = functions.atanh
    erf = functions.erf
    erfc = functions.erfc
    sigmoid = functions.sigmoid
    logit = functions.logit
    relu = functions.relu
    deg2rad = functions.deg2rad
    rad2deg = functions.rad2deg
    isnan = functions.isnan
    isinf = functions.isinf
    isposinf = functions.isposinf
    isneginf = functions.isneginf
    isfinite = functions.isfinite
    nan_to_num = functions.nan_to_num

    # -- comparison and logic

    eq = functions.eq
    ne = functions.ne
    not_equal = functions.not_equal
    lt = functions.lt
    less = functions.less
    le = functions.le
    less_equal = functions.less_equal
    gt = functions.gt
    greater = functions.greater
    ge = functions.ge
    greater_equal = functions.greater_equal
    isclose = functions.isclose
    allclose = functions.allclose
    equal = functions.equal
    logical_and = functions.logical_and
    logical_or = functions.logical_or
    logical_xor = functions.logical_xor
    logical_not = functions.logical_not
    bitwise_and = functions.bitwise_and
    bitwise_or = functions.bitwise_or
    bitwise_xor = functions.bitwise_xor
    bitwise_not = functions.bitwise_not
    bitwise_left_shift = functions.bitwise_left_shift
    bitwise_right_shift = functions.bitwise_right_shift
    isin = functions.isin

    # -- selection

    masked_fill = functions.masked_fill
    maximum = functions.maximum
    minimum = functions.minimum
    fmax = functions.fmax
    fmin = functions.fmin
    clamp = functions.clamp
    clip = functions.clip
    clamp_min = functions.clamp_min
    clamp_max = functions.clamp_max
    heaviside = functions.heaviside

    # -- reductions

    sum = functions.sum
    nansum = functions.nansum
    mean = functions.mean
    prod = functions.prod
    max = functions.max
    min = functions.min
    amax = functions.amax
    amin = functions.amin
    aminmax = functions.aminmax
    argmax = functions.argmax
    argmin = functions.argmin
    any = functions.any
    all = functions.all
    count_nonzero = functions.count_nonzero
    std = functions.std
    var = functions.var
    norm = functions.norm
    dist = functions.dist
    logsumexp = functions.logsumexp
    softmax = functions.softmax
    log_softmax = functions.log_softmax
    cumsum = functions.cumsum
    cumprod = functions.cumprod
    cummax = functions.cummax
    cummin = functions.cummin
    logcumsumexp = functions.logcumsumexp

    # -- shape

    view = functions.view
    view_as = functions.view_as
    reshape = functions.reshape
    reshape_as = functions.reshape_as
    flatten = functions.flatten
    ravel = functions.ravel
    unflatten = functions.unflatten
    squeeze = functions.squeeze
    unsqueeze = functions.unsqueeze
    permute = functions.permute
    transpose = functions.transpose
    swapaxes = functions.swapaxes
    swapdims = functions.swapdims
    t = functions.t
    adjoint = functions.adjoint
    movedim = functions.movedim
    moveaxis = functions.moveaxis
    expand = functions.expand
    expand_as = functions.expand_as
    broadcast_to = functions.broadcast_to
    narrow = functions.narrow
    select = functions.select
    split = functions.split
    chunk = functions.chunk
    tensor_split = functions.tensor_split
    unbind = functions.unbind
    diagonal = functions.diagonal
    unfold = functions.unfold
    repeat = functions.repeat
    tile = functions.tile
    repeat_interleave = functions.repeat_interleave

    # -- rearrangement

    flip = functions.flip
    fliplr = functions.fliplr
    flipud = functions.flipud
    rot90 = functions.rot90
    roll = functions.roll
    tril = functions.tril
    triu = functions.triu
    diag = functions.diag
    diag_embed = functions.diag_embed
    diagflat = functions.diagflat

    # -- matrices

    matmul = functions.matmul
    mm = functions.mm
    bmm = functions.bmm
    mv = functions.mv
    dot = functions.dot
    inner = functions.inner
    outer = functions.outer
    ger = functions.ger
    addmm = functions.addmm
    addmv = functions.addmv
    baddbmm = functions.baddbmm
    addbmm = functions.addbmm
    addr = functions.addr
    trace = functions.trace
    cross = functions.cross
    kron = functions.kron

    # -- indices

    gather = functions.gather
    scatter = functions.scatter
    scatter_add = functions.scatter_add
    index_select = functions.index_select
    index_add = functions.index_add
    index_copy = functions.index_copy
    index_fill = functions.index_fill
    index_put = functions.index_put
    take = functions.take
    take_along_dim = functions.take_along_dim
    masked_select = functions.masked_select
    masked_scatter = functions.masked_scatter
    nonzero = functions.nonzero
    argwhere = functions.argwhere
    unique = functions.unique
    unique_consecutive = functions.unique_consecutive
    bincount = functions.bincount
    histc = functions.histc

    # -- order

    sort = functions.sort
    argsort = functions.argsort
    msort = functions.msort
    topk = functions.topk
    kthvalue = functions.kthvalue
    median = functions.median
    quantile = functions.quantile
    mode = functions.mode

    # -- conversion

    to = functions.to
    float = functions.float
    double = functions.double
    half = functions.half
    bfloat16 = functions.bfloat16
    long = functions.long
    int = functions.int
    short = functions.short
    char = functions.char
    byte = functions.byte
    bool = functions.bool
    type = functions.type
    type_as = functions.type_as
    cpu = functions.cpu
    cuda = functions.cuda
    pin_memory = functions.pin_memory
    clone = functions.clone
    is_floating_point = functions.is_floating_point
    is_complex = functions.is_complex
    is_signed = functions.is_signed
    is_nonzero = functions.is_nonzero

    # -- new tensors

    new_tensor = functions.new_tensor
    new_full = functions.new_full
    new_zeros = functions.new_zeros
    new_ones = functions.new_ones
    new_empty = functions.new_empty
    bernoulli = functions.bernoulli
    multinomial = functions.multinomial

    # -- shape and type queries

    def where(self, condition: Any, other: Any) -> Any:
        """This tensor where `condition` holds, `other` elsewhere."""
        return functions.where(condition, self, other)

    def size(self, dim: Any = None) -> Any:
        """The shape, or the extent of one dim."""
        return self.shape if dim is None else self.shape[wrap_dim(dim, self.dim())]

    def nelement(self) -> Any:
        """Number of elements."""
        return self.numel()

    def ndimension(self) -> Any:
        """Number of dims."""
        return self.dim()

    def contiguous(self, memory_format: Any = None) -> Any:
        """This tensor if its elements lie in row-major order without gaps, else a copy."""
        return self if self.is_contiguous() else self.clone()

    def get_device(self) -> Any:
        """-1, as for every CPU tensor."""
        return -1

    def is_same_size(self, other: Any) -> Any:
        """True if both shapes are equal."""
        return self.shape == other.shape

    def share_memory_(self) -> Any:
        """This tensor; it is not moved to memory shared between processes."""
        return self

    def __contains__(self, element: Any) -> Any:
        return (self == element).any().item()

    def __reversed__(self) -> Any:
        return self.flip(tuple(range(self.dim())))

    def __repr__(self) -> str:
        return printing.tensor_str(self)

    T = property(functions.reverse_dims, doc="All dims in reverse order.")
    mT = property(functions.adjoint, doc="The last two dims exchanged.")
    H = property(functions.t, doc="A matrix transposed.")
    mH = property(functions.adjoint, doc="The last two dims exchanged.")
    real = property(lambda self: self, doc="The tensor itself: there are no complex dtypes.")
    is_cuda = property(lambda self: self.device.type == "cuda", doc="True in GPU memory.")
    is_cpu = property(lambda self: True, doc="True: tensors live on the CPU.")
    is_sparse = property(lambda self: False, doc="False: tensors are dense.")
    is_quantized = property(lambda self: False, doc="False: tensors are not quantized.")
    is_meta = property(lambda self: False, doc="False: tensors have values.")
