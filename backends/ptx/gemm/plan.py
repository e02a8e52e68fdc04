"""Which tile a product gets.

A tile's work is its area over a share of the arithmetic's peak that tiles of this size reach; the
plan is the tile with the least work on the busiest of SMS multiprocessors. The number is that of an
A100, whatever the device: results must not depend on it.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from nncomp.ir.types import DType, float32

from .copies import is_asynchronous, vector_length
from .mma import MmaTile
from .product import Product
from .product_kernel import Tile, direction
from .simt import SimtTile

SMS = 108
# (tile, share of the peak): measured on no device, from the ratio of loads to multiply-adds
SIMT = (
    (SimtTile(128, 128, 16, 2, 2, blocks=2), 1.0),
    (SimtTile(128, 64, 16, 2, 2), 0.9),
    (SimtTile(64, 64, 16, 2, 1), 0.75),
    (SimtTile(32, 64, 16, 1, 1), 0.55),
    (SimtTile(16, 64, 16, 1, 1), 0.4),
)
SIMT_DOUBLE = (
    (SimtTile(64, 64, 8, 2, 2), 1.0),
    (SimtTile(32, 32, 8, 2, 1), 0.6),
)
MMA = (
    (MmaTile(128, 128, 64, 2, 2), 1.0),
    (MmaTile(128, 64, 64, 2, 2), 0.85),
    (MmaTile(64, 64, 64, 2, 2), 0.65),
    (MmaTile(32, 64, 64, 1, 2), 0.45),
    (MmaTile(16, 64, 64, 1, 4), 0.3),
)
# 16-bit elements that are not copied in vectors pass through registers: few for each thread
MMA_STAGED = (
    (MmaTile(128, 128, 32, 2, 4, stages=2), 1.0),
    (MmaTile(64, 64, 32, 2, 4, stages=2), 0.65),
    (MmaTile(32, 64, 32, 2, 2, stages=2), 0.45),
    (MmaTile(16, 64, 32, 1, 4, stages=2), 0.3),
)
LEAST = 16  # two of rows, columns and depth must be as long for tiles to be worth it
FEW = 4  # rows or columns up to which dot products read the other operand as fast
HALVES = ("float16", "bfloat16")


def memory_dtype(product: Product) -> DType | None:
    """The type of the operands in shared memory; None where there is no arithmetic for it."""
    a, b = product.a.dtype, product.b.dtype
    if product.dtype.name == "float64":
        return product.dtype
    if product.dtype.kind != "f":
        return None
    return a if a is b and a.name in HALVES else float32


def choose_tile(product: Product, dtype: DType, precision: str, aligned: bool) -> Tile | None:
    """The tile for a product of operands of `dtype`; None where it is too small for tiles."""
    extents = [v.extent for v in (product.rows, product.columns, product.depth)]
    if sum(n >= LEAST for n in extents) < 2 or min(extents[:2]) <= FEW:
        return None
    tiles = _candidates(product, dtype, precision, aligned)
    tile = min(tiles, key=lambda pair: _work(product, *pair))[0]
    even = all(x.load is not None and x.guard is None for x in (product.a, product.b))
    return tile if even else replace(tile, blocks=1)  # addresses and tests need registers too


def _candidates(product: Product, dtype: DType, precision: str, aligned: bool):
    if dtype.name == "float64":
        return SIMT_DOUBLE
    if dtype.name in HALVES:
        return MMA_STAGED if _is_staged(product, dtype, aligned) else MMA
    if precision == "strict":
        return SIMT
    return tuple((replace(t, depth=32, mode=precision), share) for t, share in MMA)


def _is_staged(product: Product, dtype: DType, aligned: bool) -> bool:
    """Whether an operand must pass through registers."""
    operands = product.a, product.b
    vectors = [vector_length(x, direction(x, aligned), aligned) for x in operands]
    return not all(is_asynchronous(x, dtype, n) for x, n in zip(operands, vectors, strict=True))


def _work(product: Product, tile: Tile, share: float) -> float:
    counts = (
        -(-var.extent // size)
        for var, size in ((product.rows, tile.rows), (product.columns, tile.columns))
    )
    blocks = prod(counts) * product.batch.extent
    return -(-blocks // SMS) * tile.rows * tile.columns / share
