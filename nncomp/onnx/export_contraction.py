"""Export rules of contractions and windows: MatMul, Gemm, Conv, ConvTranspose, pools, Col2Im."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..ir.graph import Node
from ..ir.ops.window import lowest
from ..ir.types import bfloat16, int64
from .export_builder import Builder, smaller

RULES: dict[str, Callable] = {}


def rule(function: Callable) -> Callable:
    RULES[function.__name__] = function
    return function


# -- products -------------------------------------------------------------------------------------


def _turned(x: Node) -> Node | None:
    """w if x is the transpose of the matrix w."""
    is_turned = x.name == "permute" and x.attrs["dims"] == (1, 0)
    return x.inputs[0] if is_turned else None


def _product(b: Builder, node: Node, *bias: str) -> str:
    """A product of matrices by Gemm, which takes a transposed right side and a bias."""
    left, right = node.inputs
    turned = _turned(right)
    operands = (b.values[left], b.values[right if turned is None else turned])
    return b.emit("Gemm", *operands, *bias, transB=None if turned is None else 1)


@rule
def matmul(b: Builder, node: Node) -> str:
    left, right = node.inputs
    if left.shape[-1] == 0:
        return b.filled(0, node.type)
    if len(left.shape) == 2 and left.dtype.kind == "f" and _turned(right) is not None:
        return _product(b, node)
    return b.emit("MatMul", b.values[left], b.values[right])


def _geometry(node: Node) -> dict:
    """The attributes that Conv, ConvTranspose and the pools share."""
    a = node.attrs
    pads = (*(low for low, _ in a["padding"]), *(high for _, high in a["padding"]))
    return dict(strides=a["stride"], pads=pads, dilations=a["dilation"])


def _conv(b: Builder, node: Node, *bias: str) -> str:
    x, w = node.inputs
    kernel = w.shape[2:]
    operands = (b.values[x], b.values[w], *bias)
    group = node.attrs["groups"]
    return b.emit("Conv", *operands, kernel_shape=kernel, group=group, **_geometry(node))


@rule
def conv(b: Builder, node: Node) -> str:
    return _conv(b, node)


def with_bias(b: Builder, node: Node) -> str | None:
    """Conv, ConvTranspose or Gemm with the bias that `node` adds to it; None for any other sum."""
    for product, added in (node.inputs, node.inputs[::-1]):
        is_matrix = product.name == "matmul" and len(product.shape) == 2
        known = product.name in WITH_CHANNELS or is_matrix
        if not known or not _may_join(node) or not b.only_user(product) or 0 in _inner(product):
            continue
        bias = _vector(added, product.shape)
        if bias is not None:
            return WITH_CHANNELS.get(product.name, _product)(b, product, b.values[bias])
    return None


def _may_join(node: Node) -> bool:
    """Gemm is defined for floats, Conv for those but bfloat16."""
    return node.dtype.kind == "f" and node.dtype is not bfloat16


def _inner(product: Node) -> tuple[int, ...]:
    return product.inputs[0].shape


def _vector(added: Node, shape: Sequence[int]) -> Node | None:
    """v if `added` is the vector v along axis 1."""
    x = smaller(added)
    if x.name == "reshape":
        line = (shape[1], *(1,) * (len(shape) - 2))
        core = x.shape[1:] if x.shape[:1] == (1,) and len(x.shape) == len(shape) else x.shape
        x = x.inputs[0] if core == line else x
    return x if x.shape == (shape[1],) and (len(shape) == 2 or x is not smaller(added)) else None


@rule
def conv_transpose(b: Builder, node: Node) -> str:
    return _conv_transpose(b, node)


def _conv_transpose(b: Builder, node: Node, *bias: str) -> str:
    """`output_padding` is what the stride leaves over of the result's size."""
    g, w = node.inputs
    a = node.attrs
    extra = []
    rows = zip(a["input_size"], a["stride"], a["padding"], a["dilation"], w.shape[2:], g.shape[2:],
               strict=True)  # fmt: skip
    for size, stride, (low, high), dilation, k, m in rows:
        extra.append(size - ((m - 1) * stride + (k - 1) * dilation + 1 - low - high))
    return b.emit(
        "ConvTranspose", b.values[g], b.values[w], *bias, kernel_shape=w.shape[2:],
        group=a["groups"], output_padding=tuple(extra), **_geometry(node),
    )  # fmt: skip


WITH_CHANNELS: dict[str, Callable[..., str]] = {"conv": _conv, "conv_transpose": _conv_transpose}


@rule
def conv_weight(b: Builder, node: Node) -> str:
    """A convolution over the batch: channels become the batch, strides dilations."""
    x, g = node.inputs
    a = node.attrs
    swap = (1, 0, *range(2, len(x.shape)))
    groups, kernel = a["groups"], a["kernel_size"]
    channels, outs = x.shape[1] // groups, g.shape[1] // groups
    left, right = b.transpose(b.values[x], swap), b.transpose(b.values[g], swap)
    geometry = _geometry(node)
    geometry["strides"], geometry["dilations"] = geometry["dilations"], geometry["strides"]
    parts = []
    for i in range(groups):
        xs = b.slice(left, [i * channels], [(i + 1) * channels], [0])
        gs = b.slice(right, [i * outs], [(i + 1) * outs], [0])
        y = b.emit("Conv", xs, gs, kernel_shape=g.shape[2:], **geometry)
        space = range(2, 2 + len(kernel))
        parts.append(b.transpose(b.slice(y, [0] * len(kernel), kernel, list(space)), swap))
    return parts[0] if groups == 1 else b.emit("Concat", *parts, axis=0)


# -- windows --------------------------------------------------------------------------------------


def _as_images(b: Builder, x: Node, node: Node, kernel: Sequence[int], value: float) -> tuple:
    """x as (rows, 1, *space), and the pool's attributes; pads that a pool refuses are done before.
    """
    rank = len(kernel)
    lead, space = x.shape[: len(x.shape) - rank], x.shape[len(x.shape) - rank :]
    geometry = _geometry(node)
    image = b.values[x]
    if len(lead) != 2:
        image = b.reshape(image, (math.prod(lead), 1, *space))
    if any(max(p) >= k for p, k in zip(node.attrs["padding"], kernel, strict=True)):
        pads = geometry.pop("pads")
        image = b.pad(image, (0, 0, *pads[:rank]), (0, 0, *pads[rank:]), value, x.dtype)
    return image, dict(geometry, kernel_shape=tuple(kernel))


@rule
def max_pool(b: Builder, node: Node) -> str:
    x = node.inputs[0]
    value = lowest(x.dtype.numpy) if x.dtype.kind in "iu" else -np.inf
    image, geometry = _as_images(b, x, node, node.attrs["kernel"], value)
    return _back(b, b.emit("MaxPool", image, **geometry), node)


@rule
def argmax_pool(b: Builder, node: Node) -> str:
    """MaxPool counts positions through all rows; the rest by the size of a row is ours."""
    x, kernel = node.inputs[0], node.attrs["kernel"]
    image, geometry = _as_images(b, x, node, kernel, -np.inf)
    if "pads" not in geometry:
        raise b.error("padding as wide as the window is not supported by MaxPool with indices")
    _, index = b.emit("MaxPool", image, count=2, **geometry)
    space = math.prod(x.shape[len(x.shape) - len(kernel) :])
    return _back(b, b.emit("Mod", index, b.scalar(space, int64)), node)


def _back(b: Builder, y: str, node: Node) -> str:
    """The images in the shape of the op's result."""
    rank = len(node.attrs.get("kernel", ())) or len(node.inputs[0].attrs["kernel"])
    return y if len(node.shape) == rank + 2 else b.reshape(y, node.shape)


def mean_pool(b: Builder, node: Node) -> str | None:
    """AveragePool for a sum of windows over their size, as quotient or product."""
    total, count = node.inputs
    if total.name != "sum" or total.inputs[0].name != "unfold" or count.name != "full":
        return None
    size = math.prod(total.inputs[0].attrs["kernel"])
    wanted = 1 / size if node.name == "mul" else size
    if not math.isclose(count.attrs["value"], wanted, rel_tol=1e-6):
        return None
    return average_pool(b, total, scaled=False)


def average_pool(b: Builder, node: Node, scaled: bool = True) -> str | None:
    """AveragePool for the sum over all axes of the windows of an unfold; None for others."""
    x = node.inputs[0]
    if x.name != "unfold" or not _may_join(x):
        return None
    kernel = x.attrs["kernel"]
    last = tuple(range(len(x.shape) - len(kernel), len(x.shape)))
    if node.attrs["axes"] != last or any(d != 1 for d in x.attrs["dilation"]):
        return None
    image, geometry = _as_images(b, x.inputs[0], x, kernel, 0)
    del geometry["dilations"]
    y = b.emit("AveragePool", image, count_include_pad=1, **geometry)
    if scaled:
        y = b.emit("Mul", y, b.scalar(math.prod(kernel), node.dtype))
    return _back(b, y, node)


@rule
def unfold(b: Builder, node: Node) -> str:
    """One Gather per window axis, then the taps go to the end."""
    x, a = node.inputs[0], node.attrs
    rank, lead = len(a["kernel"]), len(x.shape) - len(a["kernel"])
    low = (*(0,) * lead, *(p for p, _ in a["padding"]))
    high = (*(0,) * lead, *(p for _, p in a["padding"]))
    y = b.pad(b.values[x], low, high, 0, x.dtype)
    outs = node.shape[lead : lead + rank]
    for i in range(rank):
        starts = np.arange(outs[i])[:, None] * a["stride"][i]
        taps = np.arange(a["kernel"][i])[None] * a["dilation"][i]
        y = b.emit("Gather", y, b.constant(starts + taps, int64), axis=lead + 2 * i)
    order = (*range(lead), *range(lead, lead + 2 * rank, 2), *range(lead + 1, lead + 2 * rank, 2))
    return b.transpose(y, order)


@rule
def fold(b: Builder, node: Node) -> str:
    """ConvTranspose by one-hot kernels: tap t of a window goes to place t."""
    x, a = node.inputs[0], node.attrs
    rank = len(a["size"])
    lead, kernel = x.shape[: len(x.shape) - 2 * rank], x.shape[len(x.shape) - rank :]
    outs = x.shape[len(lead) : len(lead) + rank]
    taps, rows = math.prod(kernel), math.prod(lead)
    y = b.reshape(b.values[x], (rows, *outs, taps))
    y = b.transpose(y, (0, rank + 1, *range(1, rank + 1)))
    weight = b.constant(np.eye(taps).reshape(taps, 1, *kernel), node.dtype)
    extra = []
    table = zip(a["size"], a["stride"], a["padding"], a["dilation"], kernel, outs, strict=True)
    for size, stride, (low, high), dilation, k, m in table:
        extra.append(size - ((m - 1) * stride + (k - 1) * dilation + 1 - low - high))
    y = b.emit("ConvTranspose", y, weight, kernel_shape=kernel, output_padding=tuple(extra),
               **_geometry(node))  # fmt: skip
    return b.reshape(y, node.shape)
