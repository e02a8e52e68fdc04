"""Products on the GPU: matmul and the convolutions as tiles in shared memory.

`product.py` finds them in kernels, `plan.py` chooses tiles, `product_kernel.py` writes the code
around one of two cores: `simt.py` multiplies and adds in the operands' own precision, `mma.py` on
tensor cores. `copies.py` brings the operands.
"""

from __future__ import annotations

from nncomp.ir.graph import Graph, Node, rebuild
from nncomp.ir.loops import Kernel
from nncomp.ir.types import bfloat16, float16, float32

from ...attention import fuse_attention_where
from ..expressions import index_type
from ..kernel import Code, Facts
from ..target import Target
from .attention import AttentionKernel, Geometry
from .attention_grad import Gradients, gradient_code
from .attention_mma import MmaAttention
from .attention_simt import SimtAttention
from .plan import choose_tile, memory_dtype
from .product import PRODUCTS, find_product
from .product_kernel import ProductKernel
from .split import split_products

__all__ = ["PRECISIONS", "PRODUCTS", "lower_products", "product_code"]

PRECISIONS = ("strict", "tf32", "tf32x3")
ATTENTION: dict[str, type[AttentionKernel]] = {
    "float32": SimtAttention,
    "float16": MmaAttention,
    "bfloat16": MmaAttention,
}
FIRST = 80  # compute capability of the first devices with cp.async and mma.sync of bfloat16


def lower_products(graph: Graph, target: Target) -> Graph:
    """The graph with its products in the form that kernels are written for.

    A pass before `fuse`, which must be told of PRODUCTS; see attention.py and split.py.
    """
    if target.sm >= FIRST:
        dtypes = (float32, float16, bfloat16)
        graph = fuse_attention_where(
            graph,
            lambda attrs: "drop" not in attrs and Geometry(**attrs).fits,
            lambda attrs: "drop" not in attrs and Gradients.fits(attrs),
            dtypes,
        )
        graph = rebuild(graph, _with_workspace)
    return split_products(graph)


def _with_workspace(node: Node, operands: tuple[Node, ...]) -> Node | None:
    """Gradients of attention with the memory that their launches need."""
    if node.name != "attention_grad":
        return None
    attrs = {**node.attrs, "workspace": Gradients.workspace(dict(node.attrs))}
    return Node(node.op, operands, attrs, node.type, node.loc)


def product_code(
    kernel: Kernel, target: Target, facts: Facts, precision: str = "strict"
) -> Code | None:
    """The code of a kernel around a sum of products; None where the general code is the better one.

    `precision` is how float32 operands are multiplied: `strict` in float32, `tf32` rounded to
    10 bits of mantissa, `tf32x3` as three products of parts, with nearly float32's accuracy.
    """
    if precision not in PRECISIONS:
        raise ValueError(
            f"unknown matmul precision {precision!r}: expected one of {', '.join(PRECISIONS)}"
        )
    if target.sm < FIRST:
        return None
    if kernel.kind == "attention_grad":
        can = kernel.buffers[0].type.dtype is float32 and "workspace" in kernel.extra.geometry
        return gradient_code(kernel, facts.aligned) if can else None
    if kernel.kind == "attention":
        writer = ATTENTION.get(kernel.buffers[0].type.dtype.name)
        if writer is None or not Geometry(**kernel.extra.geometry).fits:
            return None
        return writer(kernel, facts.aligned).code()
    if index_type(kernel) != "i32":
        return None
    product = find_product(kernel)
    dtype = memory_dtype(product) if product else None
    if product is None or dtype is None:
        return None
    tile = choose_tile(product, dtype, precision, facts.aligned)
    if tile is None:
        return None
    return ProductKernel(product, tile, dtype, facts.aligned).code()
