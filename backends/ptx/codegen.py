"""Kernel -> LLVM text and launches: which writer a kernel gets."""

from __future__ import annotations

from functools import lru_cache

from nncomp.ir.loops import Kernel

from .element_kernel import ElementKernel
from .emitter import PtxEmitter
from .expressions import index_type
from .gemm import product_code
from .group_kernel import GroupKernel
from .guard import UnsupportedOnGpu
from .kernel import Code, Facts
from .scatter_kernel import ScatterKernel
from .schedule import choose
from .sort_kernel import SortKernel
from .target import Target
from .tile_kernel import TileKernel, tiles_of

NOTHING = Code("", ())


@lru_cache(maxsize=2048)
def kernel_code(kernel: Kernel, target: Target, facts: Facts, precision: str = "strict") -> Code:
    """The code of one kernel; UnsupportedOnGpu for a kind that has none.

    `precision` is how products of float32 are computed, see gemm.product_code.
    """
    if kernel.kind == "scatter":
        return ScatterKernel(PtxEmitter(index_type(kernel)), kernel, facts).write()
    if not any(b.type.size for b in kernel.buffers[len(kernel.buffers) - kernel.outputs :]):
        return NOTHING
    if kernel.kind == "sort":
        return SortKernel(PtxEmitter(index_type(kernel)), kernel, facts).write()
    product = product_code(kernel, target, facts, precision)
    if product is not None:
        return product
    if kernel.kind != "map":
        raise UnsupportedOnGpu(f"kernels of kind {kernel.kind!r} have no code for GPUs")
    tiles = tiles_of(kernel)
    if tiles is not None:
        return TileKernel(PtxEmitter(index_type(kernel)), kernel, tiles, facts).write()
    schedule = choose(kernel)
    writer = ElementKernel if schedule.kind == "elements" else GroupKernel
    return writer(PtxEmitter(index_type(kernel)), kernel, schedule, facts).write()
