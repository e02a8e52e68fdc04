"""Rules of products: MatMul, Gemm, Einsum, Det."""

from __future__ import annotations

from typing import Any

import nncomp

from .load_rules import rule
from .load_steps import Step


@rule("MatMul")
def matmul(n: Step, x: Any, y: Any) -> Any:
    return nncomp.matmul(x, y)


@rule("Gemm")
def gemm(n: Step, a: Any, b: Any, c: Any) -> Any:
    """alpha A B + beta C, A and B transposed on demand."""
    a = a.permute([1, 0]) if n.get("transA", 0) else a
    b = b.permute([1, 0]) if n.get("transB", 0) else b
    y = nncomp.matmul(a, b)
    alpha, beta = n.get("alpha", 1.0), n.get("beta", 1.0)
    y = y if alpha == 1 else _scaled(y, alpha)
    if c is None:
        return y
    return y + (c if beta == 1 else _scaled(c, beta))


def _scaled(x: Any, factor: float) -> Any:
    return (x * factor).to(x.dtype)


@rule("Einsum")
def einsum(n: Step, *xs: Any) -> Any:
    return nncomp.einsum(n.attrs["equation"].replace(" ", ""), *xs)


@rule("Det")
def det(n: Step, x: Any) -> Any:
    return nncomp.linalg.det(x)
