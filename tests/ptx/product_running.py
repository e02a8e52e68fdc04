"""Products for tests: graphs of one kernel, their code, and runs of it on the PTX simulator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from nncomp.backends.ptx.assemble import ptx_text
from nncomp.backends.ptx.gemm import PRODUCTS, product_code
from nncomp.backends.ptx.kernel import Code, Facts
from nncomp.backends.ptx.target import Target
from nncomp.ir.graph import Graph, Node, input_node
from nncomp.ir.interpret import interpret
from nncomp.ir.loops import Kernel
from nncomp.ir.ops import add, conv, conv_transpose, conv_weight, expand, matmul, permute, reshape
from nncomp.ir.passes.fuse import fuse
from nncomp.ir.passes.plan import plan_program
from nncomp.ir.types import DType, TensorType, float32

TARGET = Target()


def turned(x: Node) -> Node:
    """The last two axes exchanged."""
    rank = len(x.shape)
    return permute(x, dims=(*range(rank - 2), rank - 1, rank - 2))


def linear(x: Node, w: Node, b: Node) -> Node:
    """x w^T + b for w [out, in]."""
    y = matmul(x, turned(w))
    return add(y, expand(reshape(b, shape=(1, b.shape[0])), shape=y.shape))


def geometry(stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1) -> dict:
    """Attributes of a 2-d convolution."""
    return dict(
        stride=(stride,) * 2, padding=((padding,) * 2,) * 2, dilation=(dilation,) * 2, groups=groups
    )


def conv_case(kind: str, channels: int, outputs: int, size: int, kernel: int, images: int = 2, **g):
    """(shapes, function) of a convolution or one of its gradients."""
    attrs = geometry(**g)
    span = (kernel - 1) * attrs["dilation"][0] + 1
    out = (size + 2 * attrs["padding"][0][0] - span) // attrs["stride"][0] + 1
    x, y = (images, channels, size, size), (images, outputs, out, out)
    w = (outputs, channels // attrs["groups"], kernel, kernel)
    if kind == "conv":
        return (x, w), lambda a, b: conv(a, b, **attrs)
    if kind == "conv_transpose":
        return (y, w), lambda a, b: conv_transpose(a, b, input_size=(size, size), **attrs)
    return (x, y), lambda a, b: conv_weight(a, b, kernel_size=(kernel, kernel), **attrs)


class OneKernel:
    """A graph that becomes one kernel."""

    def __init__(self, function: Callable, shapes: Sequence, dtype: DType = float32):
        types = [s if isinstance(s, TensorType) else TensorType(tuple(s), dtype) for s in shapes]
        inputs = [input_node(f"x{i}", t) for i, t in enumerate(types)]
        self.graph = Graph("case", inputs, [function(*inputs)])
        fused = fuse(self.graph, alone=PRODUCTS)
        (step,) = plan_program(fused).steps
        self.kernel: Kernel = step.kernel
        self.order = [place.index for place in step.places if place.base == "in"]
        self.rooms = [b.type.nbytes for b in self.kernel.buffers[len(self.order) + 1 :]]

    def data(self, seed: int = 0) -> list[np.ndarray]:
        """Random operands."""
        rng = np.random.default_rng(seed)
        types = [x.type for x in self.graph.inputs]
        return [
            rng.random(t.shape) < 0.7 if t.dtype.kind == "b"
            else rng.standard_normal(t.shape).astype(t.dtype.numpy)
            for t in types
        ]  # fmt: skip

    def expected(self, data: Sequence[np.ndarray]) -> np.ndarray:
        """What the graph means."""
        return interpret(self.graph, *data)[0]

    def code(self, precision: str = "strict", aligned: bool = True) -> Code | None:
        return product_code(self.kernel, TARGET, Facts(aligned), precision)


def ptx_of(code: Code) -> str:
    return ptx_text(code.text, TARGET)


def simulate(case: OneKernel, code: Code, data: Sequence[np.ndarray], ptx: str = "", **options):
    """(result, last report) of the kernel on the simulator; `options` go to its `launch`."""
    from nncomp.backends.ptx.simulator import Memory, load

    memory = Memory()
    pointers = [memory.put(np.ascontiguousarray(data[k])) for k in case.order]
    type = case.graph.outputs[0].type
    out = memory.alloc(type.nbytes)
    rooms = [memory.alloc(n) for n in case.rooms]
    module = load(ptx or ptx_of(code))
    for launch in code.launches:
        report = module.launch(
            launch.function, launch.grid, launch.block, [*pointers, out, *rooms],
            memory=memory, shared_bytes=launch.shared, **options,
        )  # fmt: skip
    return memory.get(out, type.dtype.numpy, type.shape), report


def close(got: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference, as a share of the largest value."""
    a, b = got.astype(np.float64), wanted.astype(np.float64)
    return float(np.abs(a - b).max() / np.abs(b).max())
