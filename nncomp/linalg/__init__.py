"""Linear algebra with torch.linalg's names: numpy computes, gradients are the standard formulas.

While a graph is recorded only what has a static formula can be used: norms of vectors, products,
powers; determinants, inverses and systems of up to 3 rows, Cholesky factors of up to 8.
"""

from __future__ import annotations

from typing import Any

from ..functions.linalg import cross, matmul
from ..functions.views import diagonal as _diagonal
from ..refused import COMPLEX, FACTORS
from ._common import LinAlgError
from ._factor import (
    cholesky,
    cholesky_ex,
    eigh,
    eigvalsh,
    lstsq,
    matrix_rank,
    pinv,
    qr,
    svd,
    svdvals,
)
from ._norms import (
    cond,
    matrix_exp,
    matrix_norm,
    matrix_power,
    multi_dot,
    norm,
    vander,
    vecdot,
    vector_norm,
)
from ._solve import (
    det,
    inv,
    inv_ex,
    slogdet,
    solve,
    solve_ex,
    solve_triangular,
    tensorinv,
    tensorsolve,
)

REASONS = {
    **dict.fromkeys(("eig", "eigvals"), COMPLEX),
    **dict.fromkeys(
        ("householder_product", "ldl_factor", "ldl_factor_ex", "ldl_solve", "lu", "lu_factor",
         "lu_factor_ex", "lu_solve"),
        FACTORS,
    ),
}  # fmt: skip


def diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """The diagonals of matrices, as a view."""
    return _diagonal(A, offset, dim1, dim2)


def __getattr__(name: str) -> Any:
    """Say why a name is left out."""
    reason = REASONS.get(name)
    why = "" if reason is None else f": {reason}"
    raise AttributeError(f"module 'nncomp.linalg' has no attribute '{name}'{why}")


__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eigh",
    "eigvalsh", "inv", "inv_ex", "lstsq", "matmul", "matrix_exp", "matrix_norm", "matrix_power",
    "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve", "solve_ex",
    "solve_triangular", "svd", "svdvals", "tensorinv", "tensorsolve", "vander", "vecdot",
    "vector_norm",
]  # fmt: skip
