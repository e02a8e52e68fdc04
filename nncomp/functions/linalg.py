"""Matrix products with torch's rank rules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..ir import ops
from ..ir import types as dt
from .arithmetic import add, mul
from .autocasting import full_precision, lowered
from .base import is_tensor, no_out, wrap_dim
from .promotion import broadcast_shapes, cast, expand_to, reshaped


def _check_dtypes(a: Any, b: Any) -> None:
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"expected m1 and m2 to have the same dtype, but got: {a.dtype.name} != {b.dtype.name}"
        )


def _strict(a: Any, b: Any) -> Any:
    """The op matmul; bools have no product, so they go through int32."""
    if a.dtype is dt.bool_:
        product = ops.matmul(cast(a, dt.int32), cast(b, dt.int32))
        return cast(product, dt.bool_)
    return ops.matmul(a, b)


def _check_inner(a: Any, b: Any) -> None:
    if a.shape[-1] != b.shape[-2]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({math.prod(a.shape[:-1])}x{a.shape[-1]} "
            f"and {b.shape[-2]}x{b.shape[-1]})"
        )


def matmul(input: Any, other: Any, *, out: Any = None) -> Any:
    """Matrix product; vectors become a row or column, leading dims are batches and broadcast."""
    no_out("matmul", out)
    return _product(*lowered(input, other))


def _product(a: Any, b: Any) -> Any:
    _check_dtypes(a, b)
    if not a.shape or not b.shape:
        raise RuntimeError(
            "both arguments to matmul need to be at least 1D, but they are "
            f"{len(a.shape)}D and {len(b.shape)}D"
        )
    row, column = len(a.shape) == 1, len(b.shape) == 1
    if row and column:
        return dot(a, b)
    if row:
        a = reshaped(a, (1, a.shape[0]))
    if column:
        b = reshaped(b, (b.shape[0], 1))
    _check_inner(a, b)
    y = _batched(a, b)
    if row or column:
        y = reshaped(y, y.shape[:-2] + (y.shape[-1:] if row else y.shape[-2:-1]))
    return y


def _batched(a: Any, b: Any) -> Any:
    """Product of operands of rank >= 2; a batch times one matrix becomes a single tall product."""
    if len(a.shape) == len(b.shape) == 2:
        return _strict(a, b)
    if len(b.shape) == 2:
        flat = reshaped(a, (math.prod(a.shape[:-1]), a.shape[-1]))
        return reshaped(_strict(flat, b), (*a.shape[:-1], b.shape[-1]))
    batch = broadcast_shapes(tuple(a.shape[:-2]), tuple(b.shape[:-2]))
    a = expand_to(a, (*batch, *a.shape[-2:]))
    return _strict(a, expand_to(b, (*batch, *b.shape[-2:])))


def mm(input: Any, mat2: Any, *, out: Any = None) -> Any:
    """Product of two matrices."""
    no_out("mm", out)
    for name, x in (("self", input), ("mat2", mat2)):
        if len(x.shape) != 2:
            raise RuntimeError(f"{name} must be a matrix")
    return matmul(input, mat2)


def bmm(input: Any, mat2: Any, *, out: Any = None) -> Any:
    """Products of two batches (b, n, m) and (b, m, p) of matrices."""
    no_out("bmm", out)
    for name, x in (("batch1", input), ("batch2", mat2)):
        if len(x.shape) != 3:
            raise RuntimeError(f"{name} must be a 3D tensor")
    if input.shape[0] != mat2.shape[0] or input.shape[2] != mat2.shape[1]:
        raise RuntimeError(
            "Expected size for first two dimensions of batch2 tensor to be: "
            f"[{input.shape[0]}, {input.shape[2]}] but got: [{mat2.shape[0]}, {mat2.shape[1]}]."
        )
    return matmul(input, mat2)


def mv(input: Any, vec: Any) -> Any:
    """Matrix times vector."""
    if (len(input.shape), len(vec.shape)) != (2, 1):
        raise RuntimeError(
            f"vector + matrix @ vector expected, got {len(input.shape)}, {len(vec.shape)}"
        )
    if input.shape[1] != vec.shape[0]:
        rows, columns = input.shape
        raise RuntimeError(
            f"size mismatch, got input ({rows}), mat ({rows}x{columns}), vec ({vec.shape[0]})"
        )
    return _product(input, vec)


def dot(input: Any, tensor: Any) -> Any:
    """Sum of the products of two vectors of equal length."""
    for x in (input, tensor):
        if len(x.shape) != 1:
            raise RuntimeError(
                f"1D tensors expected, but got {len(input.shape)}D and {len(tensor.shape)}D tensors"
            )
    if input.shape != tensor.shape:
        raise RuntimeError(
            "inconsistent tensor size, expected tensor "
            f"[{input.shape[0]}] and src [{tensor.shape[0]}] to have the same number of elements, "
            f"but got {input.shape[0]} and {tensor.shape[0]} elements respectively"
        )
    _check_dtypes(input, tensor)
    return ops.sum(ops.mul(input, tensor), axes=(0,))


def inner(input: Any, other: Any) -> Any:
    """Sum of products over the last dims of both."""
    if not input.shape or not other.shape:
        return mul(input, other)
    return tensordot(input, other, ([-1], [-1]))


def outer(input: Any, vec2: Any) -> Any:
    """Products of all pairs of elements of two vectors."""
    if len(input.shape) != 1 or len(vec2.shape) != 1:
        raise RuntimeError(
            f"outer: Expected 1-D argument self and vec2, but got {len(input.shape)}-D and "
            f"{len(vec2.shape)}-D"
        )
    return mul(reshaped(input, (input.shape[0], 1)), vec2)


def _combined(input: Any, product: Any, beta: float, alpha: float) -> Any:
    if alpha != 1:
        product = mul(product, alpha)
    if beta == 0:
        return product
    return add(product, input if beta == 1 else mul(input, beta))


def addmm(input: Any, mat1: Any, mat2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """beta * input + alpha * (mat1 @ mat2)."""
    input, mat1, mat2 = lowered(input, mat1, mat2)
    return _combined(input, mm(mat1, mat2), beta, alpha)


def addmv(input: Any, mat: Any, vec: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """beta * input + alpha * (mat @ vec)."""
    return _combined(input, mv(mat, vec), beta, alpha)


def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """beta * input + alpha * bmm(batch1, batch2)."""
    input, batch1, batch2 = lowered(input, batch1, batch2)
    return _combined(input, bmm(batch1, batch2), beta, alpha)


def addbmm(input: Any, batch1: Any, batch2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """beta * input + alpha * (sum of the products of the batch)."""
    input, batch1, batch2 = lowered(input, batch1, batch2)
    product = bmm(batch1, batch2)
    return _combined(input, ops.sum(product, axes=(0,)), beta, alpha)


def addr(input: Any, vec1: Any, vec2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """beta * input + alpha * outer(vec1, vec2)."""
    return _combined(input, outer(vec1, vec2), beta, alpha)


def chain_matmul(*matrices: Any) -> Any:
    """Product of several matrices, from left to right."""
    product = matrices[0]
    for x in matrices[1:]:
        product = mm(product, x)
    return product


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """input @ weight.T + bias."""
    input, weight, bias = lowered(input, weight, bias)
    rank = len(weight.shape)
    turned = ops.permute(weight, dims=(1, 0)) if rank == 2 else weight
    y = matmul(input, turned)
    return y if bias is None else add(y, bias)


def tensordot(a: Any, b: Any, dims: Any = 2) -> Any:
    """Sum of products over pairs of dims: the last `dims` of a and the first of b, or two lists."""
    a, b = lowered(a, b)
    if is_tensor(dims):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        dims = (range(len(a.shape) - dims, len(a.shape)), range(dims))
    left = [wrap_dim(d, len(a.shape)) for d in _listed(dims[0])]
    right = [wrap_dim(d, len(b.shape)) for d in _listed(dims[1])]
    if [a.shape[i] for i in left] != [b.shape[i] for i in right]:
        raise RuntimeError(
            f"contracted dimensions need to match, but first has size {[a.shape[i] for i in left]}"
            f" and second has size {[b.shape[i] for i in right]}"
        )
    _check_dtypes(a, b)
    free_a = [i for i in range(len(a.shape)) if i not in left]
    free_b = [i for i in range(len(b.shape)) if i not in right]
    inner = math.prod(a.shape[i] for i in left)
    x = _matrix(a, [*free_a, *left], (math.prod(a.shape[i] for i in free_a), inner))
    y = _matrix(b, [*right, *free_b], (inner, math.prod(b.shape[i] for i in free_b)))
    shape = (*(a.shape[i] for i in free_a), *(b.shape[i] for i in free_b))
    return reshaped(_strict(x, y), shape)


def _listed(dims: Any) -> Sequence[int]:
    return (dims,) if isinstance(dims, int) else tuple(dims)


def _matrix(x: Any, order: Sequence[int], shape: tuple[int, int]) -> Any:
    if list(order) != list(range(len(order))):
        x = ops.permute(x, dims=tuple(order))
    return reshaped(x, shape)


def kron(input: Any, other: Any) -> Any:
    """Kronecker product."""
    rank = max(len(input.shape), len(other.shape))
    left = (1,) * (rank - len(input.shape)) + tuple(input.shape)
    right = (1,) * (rank - len(other.shape)) + tuple(other.shape)
    a = reshaped(input, tuple(m for n in left for m in (n, 1)))
    b = reshaped(other, tuple(m for n in right for m in (1, n)))
    return reshaped(mul(a, b), tuple(n * m for n, m in zip(left, right, strict=True)))


@full_precision
def trace(input: Any) -> Any:
    """Sum of the diagonal of a matrix."""
    from .reduce import sum
    from .views import diagonal

    if len(input.shape) != 2:
        raise RuntimeError("trace: expected a matrix")
    return sum(diagonal(input))


def cross(input: Any, other: Any, dim: int = -1) -> Any:
    """Vector product along a dim of length 3."""
    from .arithmetic import sub
    from .rearrange import roll

    axis = wrap_dim(dim, max(len(input.shape), len(other.shape)))
    a, b = input, other
    if a.shape[axis] != 3 or b.shape[axis] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {a.shape[axis]} and "
            f"{b.shape[axis]}"
        )
    return sub(
        mul(roll(a, -1, axis), roll(b, -2, axis)), mul(roll(a, -2, axis), roll(b, -1, axis))
    )


@full_precision
def cdist(x1: Any, x2: Any, p: float = 2.0) -> Any:
    """Distances of all pairs of rows of (..., n, m) and (..., k, m)."""
    from .statistics import vector_norm

    a = reshaped(x1, (*x1.shape[:-1], 1, x1.shape[-1]))
    b = reshaped(x2, (*x2.shape[:-2], 1, *x2.shape[-2:]))
    return vector_norm(a - b, float(p), -1)
