"""Random tensors, all computed from the op `random_bits` (32 random bits per element).

With the word w of an element read as an unsigned number (>> means a logical shift):

    float32   (w >> 8) * 2^-24                                  24 bits, in [0, 1)
    float16   (w >> 21) * 2^-11;  bfloat16: (w >> 24) * 2^-8    as many bits as the type holds
    float64   ((a >> 5) * 2^26 + (b >> 6)) * 2^-53              two draws a and b, 53 bits
    normal    sqrt(-2 log(1 - u)) cos(2 pi v)                   Box and Muller 1958, two draws u, v
    randint   low + ((w * (high - low)) >> 32)                  above 2^31 a rest of 63 bits

The op's shift is arithmetic, so a logical one masks the copied sign bits.
"""

from __future__ import annotations

import math
from typing import Any

from ..inplace import assign
from ..ir import DType, ops
from ..ir import types as dt
from ..random_state import next_key
from .base import check_sizes, constant, default_float, is_tensor, like, no_out, shape_argument
from .creation import _as, _known
from .placing import created, placed
from .promotion import cast, expand_to
from .random_fill import Part, fill

_BITS = {dt.float32: 24, dt.float16: 11, dt.bfloat16: 8}


def _words(shape: tuple[int, ...], generator: Any) -> Any:
    if isinstance(generator, Part):
        return generator.words(shape)
    return ops.random_bits(next_key(generator), shape=shape)


def _logical_shift(x: Any, count: int) -> Any:
    """The unsigned 32-bit value of x >> count, as int32 (count >= 1)."""
    shifted = ops.shift_right(x, like(x, count))
    return ops.bitwise_and(shifted, like(x, (1 << (32 - count)) - 1))


def uniform(shape: tuple[int, ...], dtype: DType, generator: Any = None) -> Any:
    """Numbers in [0, 1), every multiple of the unit equally likely; see the table above."""
    check_sizes("rand", shape)
    if dtype.kind != "f":
        raise RuntimeError(f"random floats need a floating point dtype, got {dtype}")
    if dtype is dt.float64:
        high = cast(_logical_shift(_words(shape, generator), 5), dtype)
        low = cast(_logical_shift(_words(shape, generator), 6), dtype)
        whole = ops.add(ops.mul(high, like(high, 2.0**26)), low)
        return ops.mul(whole, like(whole, 2.0**-53))
    bits = _BITS[dtype]
    x = cast(_logical_shift(_words(shape, generator), 32 - bits), dtype)
    return ops.mul(x, like(x, 2.0**-bits))


def standard_normal(shape: tuple[int, ...], dtype: DType, generator: Any = None) -> Any:
    """Normal numbers with mean 0 and deviation 1; 16-bit floats are drawn in float32."""
    wide = dt.float32 if dtype.itemsize == 2 else dtype
    u, v = uniform(shape, wide, generator), uniform(shape, wide, generator)
    radius = ops.sqrt(ops.mul(ops.log(ops.sub(like(u, 1.0), u)), like(u, -2.0)))
    return cast(ops.mul(radius, ops.cos(ops.mul(v, like(v, 2.0 * math.pi)))), dtype)


def integers(low: int, high: int, shape: tuple[int, ...], generator: Any = None) -> Any:
    """int64 numbers in [low, high)."""
    span = high - low
    if span <= 0:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    word = _unsigned(_words(shape, generator))
    if span <= 1 << 31:
        x = ops.shift_right(ops.mul(word, like(word, span)), like(word, 32))
    else:  # 63 bits; the rest after division favours small numbers by span / 2^63 at most
        top = ops.shift_right(_unsigned(_words(shape, generator)), like(word, 1))
        x = ops.bitwise_or(ops.shift_left(top, like(top, 32)), word)
        x = x if span >= 1 << 63 else ops.remainder(x, like(x, span))
    return ops.add(x, like(x, low)) if low else x


def _unsigned(word: Any) -> Any:
    x = cast(word, dt.int64)
    return ops.bitwise_and(x, like(x, 0xFFFFFFFF))


def _request(name: str, size: tuple, options: dict) -> tuple:
    """(shape, dtype, generator, requires_grad) of a call such as rand(2, 3, dtype=...)."""
    no_out(name, options.pop("out", None))
    dtype = options.pop("dtype", None) or default_float()
    generator = options.pop("generator", None)
    if "size" in options:
        size = (options.pop("size"),)
    rest = _known(name, options)
    return shape_argument(size), dtype, generator, rest


def rand(*size: Any, **options: Any) -> Any:
    """Uniform numbers in [0, 1); keywords dtype, device, requires_grad, generator."""
    shape, dtype, generator, rest = _request("rand", size, options)
    return created(uniform(shape, dtype, generator), **rest)


def randn(*size: Any, **options: Any) -> Any:
    """Normal numbers of mean 0 and deviation 1; keywords as rand()."""
    shape, dtype, generator, rest = _request("randn", size, options)
    return created(standard_normal(shape, dtype, generator), **rest)


def rand_like(input: Any, **options: Any) -> Any:
    """rand() with the shape and dtype of `input`: one draw per element."""
    return rand(tuple(input.shape), **_as(input, options))


def randn_like(input: Any, **options: Any) -> Any:
    """randn() with the shape and dtype of `input`."""
    return randn(tuple(input.shape), **_as(input, options))


def randint(low: int, high: Any = None, size: Any = None, **options: Any) -> Any:
    """Integers in [low, high): randint(high, size) or randint(low, high, size)."""
    if size is None:
        if "size" in options:
            size = options.pop("size")
        elif isinstance(high, (tuple, list)):
            low, high, size = 0, low, high
        else:
            raise TypeError("randint() expects (high, size) or (low, high, size)")
    if high is None:
        low, high = 0, low
    dtype = options.pop("dtype", None) or dt.int64
    shape, _, generator, rest = _request("randint", (size,), options)
    x = integers(int(low), int(high), shape, generator)
    return created(cast(x, dtype), **rest)


def randint_like(input: Any, low: int, high: Any = None, **options: Any) -> Any:
    """randint() with the shape and dtype of `input`."""
    low, high = (0, low) if high is None else (low, high)
    dtype = options.pop("dtype", None) or input.dtype
    where = options.pop("device", None) or input.device
    return randint(low, high, tuple(input.shape), dtype=dtype, device=where, **options)


def randperm(n: int, *, dtype: DType | None = None, generator: Any = None, device: Any = None,
             requires_grad: bool = False) -> Any:  # fmt: skip
    """The integers 0 .. n - 1 in random order (the order of n random words)."""
    order = ops.argsort(_words((n,), generator), axis=0, descending=False)
    return created(cast(order, dtype or dt.int64), device, requires_grad)


def bernoulli(input: Any, p: float | None = None, *, generator: Any = None, out: Any = None) -> Any:
    """1 with probability `p` (or the elements of `input`), else 0, in the dtype of `input`."""
    no_out("bernoulli", out)
    wide = input.dtype if input.dtype.kind == "f" else default_float()
    u = placed(uniform(tuple(input.shape), wide, generator), input.device)
    if p is None and input.dtype.kind != "f":
        raise RuntimeError("bernoulli() expects probabilities: a floating point tensor")
    return cast(ops.lt(u, ops.detach(input) if p is None else like(u, p)), input.dtype)


def normal(
    mean: Any, std: Any = 1.0, size: Any = None, *, generator: Any = None, out: Any = None,
    dtype: DType | None = None, device: Any = None, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """Normal numbers with mean and deviation from tensors, or from numbers for a `size`."""
    no_out("normal", out)
    if not is_tensor(std) and std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    if size is not None:
        noise = standard_normal(shape_argument((size,)), dtype or default_float(), generator)
        return created(noise * std + mean, device, requires_grad)
    if is_tensor(mean) and is_tensor(std):
        shape, kind = (mean + std).shape, mean.dtype
    else:
        like_this = mean if is_tensor(mean) else std
        shape, kind = like_this.shape, like_this.dtype
    noise = standard_normal(tuple(shape), kind, generator)
    return placed(noise, (mean if is_tensor(mean) else std).device) * std + mean


def multinomial(
    input: Any, num_samples: int, replacement: bool = False, *, generator: Any = None
) -> Any:
    """Indices drawn with probabilities proportional to the rows of `input`.

    Without replacement the largest of log(p) + Gumbel noise are drawn (Gumbel-top-k), so the
    result does not depend on values in its shape and can be compiled.
    """
    from .sorting import topk

    weights = cast(ops.detach(input), dt.float32 if input.dtype.itemsize == 2 else input.dtype)
    rows, n = tuple(input.shape[:-1]), input.shape[-1]
    if not replacement:
        if num_samples > n:
            raise RuntimeError(
                "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
            )
        u = placed(uniform((*rows, n), weights.dtype, generator), weights.device)
        noise = ops.neg(ops.log(ops.neg(ops.log(ops.sub(like(u, 1.0), u)))))
        return topk(ops.log(weights) + noise, num_samples, -1).indices
    total = ops.cumsum(weights, axis=len(rows))
    u = placed(uniform((*rows, num_samples, 1), weights.dtype, generator), weights.device)
    bound = ops.reshape(total, shape=(*rows, 1, n))
    target = u * bound.narrow(-1, n - 1, 1)
    return (bound <= target).sum(-1).clamp(0, n - 1)


# -- in place -------------------------------------------------------------------------------------


def uniform_(self: Any, a: float = 0.0, b: float = 1.0, *, generator: Any = None) -> Any:
    """Fill with uniform numbers in [a, b)."""
    if a > b:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={a} > to={b}"
        )

    def values(shape: tuple[int, ...], source: Any) -> Any:
        u = uniform(shape, self.dtype, source)
        return u if (a, b) == (0, 1) else u * (b - a) + a

    return fill(self, values, generator)


def normal_(self: Any, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Any:
    """Fill with normal numbers."""
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")

    def values(shape: tuple[int, ...], source: Any) -> Any:
        return standard_normal(shape, self.dtype, source) * std + mean

    return fill(self, values, generator)


def log_normal_(self: Any, mean: float = 1.0, std: float = 2.0, *, generator: Any = None) -> Any:
    """Fill with the exponentials of normal numbers."""
    noise = standard_normal(tuple(self.shape), self.dtype, generator)
    return assign(self, ops.exp(noise * std + mean))


def exponential_(self: Any, lambd: float = 1.0, *, generator: Any = None) -> Any:
    """Fill with exponentially distributed numbers of rate `lambd`."""
    u = uniform(tuple(self.shape), self.dtype, generator)
    return assign(self, ops.log(ops.sub(like(u, 1.0), u)) * (-1.0 / lambd))


def bernoulli_(self: Any, p: Any = 0.5, *, generator: Any = None) -> Any:
    """Fill with 1 with probability `p` (a number or tensor), else 0."""
    u = uniform(tuple(self.shape), dt.float32, generator)
    limit = cast(expand_to(p, tuple(self.shape)), dt.float32) if is_tensor(p) else like(u, p)
    return assign(self, cast(ops.lt(u, limit), self.dtype))


def random_(self: Any, *bounds: Any, generator: Any = None) -> Any:
    """Fill with integers in [0, to) or [from, to), without bounds in the dtype's whole range."""
    if len(bounds) == 2 and bounds[1] is not None:
        low, high = bounds
    elif bounds:
        low, high = 0, bounds[0]
    else:
        digits = {dt.float64: 53, dt.float32: 24, dt.float16: 11, dt.bfloat16: 8, dt.bool_: 1}
        width = 8 * self.dtype.itemsize - (self.dtype.kind == "i")
        low, high = 0, (1 << digits.get(self.dtype, width)) + (self.dtype.kind == "f")
    x = integers(int(low), int(high), tuple(self.shape), generator)
    return assign(self, cast(x, self.dtype))


def fill_(self: Any, value: Any) -> Any:
    """Fill with a number or the value of a 0-d tensor."""
    if is_tensor(value):
        if value.dim():
            raise RuntimeError(
                "fill_ only supports 0-dimension value tensor but got tensor with "
                f"{value.dim()} dimensions."
            )
        return assign(self, expand_to(cast(value, self.dtype), tuple(self.shape)))
    return assign(self, constant(value, self.shape, self.dtype))


def zero_(self: Any) -> Any:
    """Fill with zeros."""
    return assign(self, like(self, 0))


def copy_(self: Any, src: Any, non_blocking: bool = False) -> Any:
    """Overwrite with the elements of `src`, which is broadcast and cast."""
    if not is_tensor(src):
        raise TypeError(f"copy_(): argument 'other' must be Tensor, not {type(src).__name__}")
    if len(src.shape) > len(self.shape):
        raise RuntimeError(
            f"output with shape {list(self.shape)} doesn't match the broadcast shape "
            f"{list(src.shape)}"
        )
    return assign(self, expand_to(cast(src, self.dtype), tuple(self.shape)))
