"""One row per primitive sample: what every interpreter, gradient and backend test runs.

A `Sample` is data. `make_operands` draws its operands, `sample_graph` makes the graph of the op.
Operand dtype `T` is the float type under test: float32 unless a test says otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from nncomp.ir.graph import Graph, build_node, input_node
from nncomp.ir.op import OPS
from nncomp.ir.parser import parse_graph
from nncomp.ir.types import TensorType, dtype_of_name


class Sample(NamedTuple):
    """`ranges`: (low, high) per operand, `distinct` for values without ties, or an array.

    `tol` is the relative error a backend may make in float32; `smooth` is False where finite
    differences do not apply.
    """

    op: str
    shapes: tuple[tuple[int, ...], ...]
    attrs: dict
    dtypes: tuple[str, ...]
    ranges: tuple
    tol: float = 2e-6
    smooth: bool = True

    @property
    def id(self) -> str:
        shapes = "_".join("x".join(map(str, s)) or "scalar" for s in self.shapes) or "none"
        return f"{self.op}-{shapes}-{'_'.join(self.dtypes)}"


class Values(NamedTuple):
    """An operand with these values (an unhashable array would not do in a NamedTuple of data)."""

    items: tuple


def make_operands(sample: Sample, rng: np.random.Generator, dtype: str = "f32") -> list[np.ndarray]:
    """Operands of the sample; those of dtype `T` get `dtype`."""
    return [
        _draw(rng, shape, dtype_of_name(dtype if name == "T" else name), values)
        for shape, name, values in zip(sample.shapes, sample.dtypes, sample.ranges, strict=True)
    ]


def _draw(rng, shape, dtype, values) -> np.ndarray:
    count = int(np.prod(shape, dtype=np.int64))
    if isinstance(values, Values):
        return np.asarray(values.items).astype(dtype.numpy).reshape(shape)
    if values == "distinct":
        return (rng.permutation(count) - count // 2).astype(dtype.numpy).reshape(shape)
    low, high = values
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(np.bool_)
    if dtype.kind in "iu":
        return rng.integers(low, high, shape).astype(dtype.numpy)
    return rng.uniform(low, high, shape).astype(dtype.numpy)


def sample_graph(sample: Sample, dtype: str = "f32") -> Graph:
    """The graph that applies the op once to inputs x0, x1, ..."""
    inputs = [
        input_node(f"x{i}", TensorType(shape, dtype_of_name(dtype if name == "T" else name)))
        for i, (shape, name) in enumerate(zip(sample.shapes, sample.dtypes, strict=True))
    ]
    result = build_node(OPS[sample.op], inputs, sample_attrs(sample, dtype))
    return Graph(sample.op, inputs, result if isinstance(result, tuple) else (result,))


def sample_attrs(sample: Sample, dtype: str) -> dict:
    """The attributes; graph texts are parsed and `T` becomes the dtype under test."""

    def value(v):
        if isinstance(v, str) and v.startswith("graph "):
            return parse_graph(v.replace("T[", f"{dtype}["))
        return dtype_of_name(dtype) if isinstance(v, str) and v == "T" else v

    return {key: value(v) for key, v in sample.attrs.items()}


def S(op, *shapes, attrs=None, dtypes=None, ranges=None, **rest) -> Sample:
    """A row with the usual defaults: float operands between -2 and 2."""
    return Sample(
        op,
        shapes,
        attrs or {},
        dtypes or ("T",) * len(shapes),
        ranges or ((-2.0, 2.0),) * len(shapes),
        **rest,
    )


def each(op, operands=1, shapes=((), (0, 3), (2, 3), (37,)), **rest) -> list[Sample]:
    """An elementwise op at several shapes: 0-d, empty, small, odd length."""
    return [S(op, *(shape,) * operands, **rest) for shape in shapes]


def integers(op, n=2, names=("i32", "i64", "u8", "i8"), low=0, high=20, **rest):
    """An elementwise op at integer types."""
    return [
        S(op, *((2, 3),) * n, dtypes=(name,) * n, ranges=((low, high),) * n, **rest)
        for name in names
    ]


POSITIVE = ((0.2, 3.0),)
KINKS = dict(smooth=False)

ELEMENTWISE = [
    *each("neg"), *integers("neg", 1), *each("abs"), *integers("abs", 1, ("i32", "i8"), -20),
    *each("exp"), *each("log", ranges=POSITIVE), *each("log1p", ranges=((-0.7, 3.0),)),
    *each("expm1"), *each("sin"), *each("cos"), *each("tanh"), *each("erf"),
    *each("sqrt", ranges=POSITIVE), *each("sigmoid"), *each("floor"), *each("round"),
    *each("add", 2), *integers("add"), *each("sub", 2), *integers("sub"),
    *each("mul", 2), *integers("mul"), *each("div", 2, ranges=((-2, 2), (0.5, 2))),
    *each("pow", 2, ranges=((0.3, 2), (-2, 2))), *integers("pow", high=4),
    S("pow", (5,), (5,), dtypes=("i32", "i32"),
      ranges=(Values((2, -1, -1, 1, 3)), Values((-1, -2, -3, -1, 0)))),
    *each("maximum", 2), *integers("maximum"), *each("minimum", 2), *integers("minimum"),
    *each("remainder", 2, ranges=((-5, 5), (0.7, 2))), *integers("remainder", low=0, high=9),
    S("remainder", (4,), (4,), dtypes=("i32", "i32"),
      ranges=(Values((-7, 7, -7, 5)), Values((3, -3, -3, 0)))),
    *each("floor_divide", 2, ranges=((-5, 5), (0.7, 2))), *integers("floor_divide", high=9),
    S("floor_divide", (4,), (4,), dtypes=("i32", "i32"),
      ranges=(Values((-7, 7, -7, 5)), Values((3, -3, -3, 0)))),
    *each("atan2", 2, ranges=((0.3, 2), (-2, 2))),
    *integers("bitwise_and", names=("i32", "u8", "bool")),
    *integers("bitwise_or", names=("i64", "u8", "bool")),
    *integers("bitwise_xor", names=("i32", "i8", "bool")),
    *integers("shift_left", high=6), *integers("shift_right", high=6),
    S("shift_right", (3,), (3,), dtypes=("i32", "i32"), ranges=((-99, -1), (0, 5))),
]

SELECTION = [
    *(s for op in ("eq", "lt", "le") for s in (*each(op, 2), *integers(op, names=("i32", "bool")))),
    *(S("where", shape, shape, shape, dtypes=("bool", "T", "T")) for shape in ((), (0,), (3, 4))),
    S("where", (4,), (4,), (4,), dtypes=("bool", "i64", "i64"), ranges=((0, 2), (0, 9), (0, 9))),
    *each("cast", attrs={"dtype": "T"}),
    S("cast", (6,), attrs={"dtype": dtype_of_name("i32")}, ranges=((-9, 9),)),
    S("cast", (6,), attrs={"dtype": dtype_of_name("u8")}, ranges=((-50, 400),)),
    S("cast", (6,), attrs={"dtype": dtype_of_name("bool")}, dtypes=("i64",), ranges=((-1, 2),)),
    S("cast", (6,), attrs={"dtype": "T"}, dtypes=("i64",), ranges=((-99, 99),)),
    S("cast", (6,), attrs={"dtype": "T"}, dtypes=("bool",)),
    S("cast", (6,), attrs={"dtype": dtype_of_name("i8")}, dtypes=("i32",), ranges=((-999, 999),)),
]

CREATION = [
    S("full", attrs=dict(value=1.5, shape=(2, 3), dtype="T")),
    S("full", attrs=dict(value=True, shape=(), dtype=dtype_of_name("bool"))),
    S("full", attrs=dict(value=7, shape=(0, 2), dtype=dtype_of_name("i64"))),
    S("iota", attrs=dict(shape=(3, 4), axis=1, dtype=dtype_of_name("i64"))),
    S("iota", attrs=dict(shape=(3, 4), axis=0, dtype="T")),
    S("random_bits", (2,), attrs=dict(shape=(5, 7)), dtypes=("i64",), ranges=((0, 2**40),)),
    S("random_bits", (2,), attrs=dict(shape=(0,)), dtypes=("i64",), ranges=((0, 9),)),
]

MOVEMENT = [
    S("reshape", (2, 6), attrs=dict(shape=(3, 4))), S("reshape", (1, 1), attrs=dict(shape=())),
    S("reshape", (0, 3), attrs=dict(shape=(5, 0))), S("reshape", (), attrs=dict(shape=(1,))),
    S("permute", (2, 3, 4), attrs=dict(dims=(2, 0, 1))), S("permute", (), attrs=dict(dims=())),
    S("permute", (0, 3), attrs=dict(dims=(1, 0))),
    S("expand", (2, 1, 3), attrs=dict(shape=(2, 4, 3))), S("expand", (1,), attrs=dict(shape=(0,))),
    S("expand", (1, 1), attrs=dict(shape=(3, 5))), S("expand", (), attrs=dict(shape=())),
    S("slice", (5, 7), attrs=dict(start=(1, 0), stop=(4, 7), step=(1, 3))),
    S("slice", (5,), attrs=dict(start=(2,), stop=(2,), step=(1,))),
    S("slice", (), attrs=dict(start=(), stop=(), step=())),
    S("pad", (2, 3), attrs=dict(low=(1, 0), high=(0, 2), interior=(0, 1), value=0)),
    S("pad", (0, 2), attrs=dict(low=(1, 0), high=(2, 0), interior=(3, 0), value=1.5)),
    S("pad", (2,), attrs=dict(low=(1,), high=(1,), interior=(0,), value=3), dtypes=("i64",),
      ranges=((0, 9),)),
    S("flip", (2, 3, 4), attrs=dict(axes=(0, 2))), S("flip", (), attrs=dict(axes=())),
    S("concat", (2, 3), (2, 1), (2, 0), attrs=dict(axis=1)), S("concat", (4,), attrs=dict(axis=0)),
    S("concat", (0, 2), (3, 2), attrs=dict(axis=0)),
]

REDUCE = [
    S("sum", (3, 4, 5), attrs=dict(axes=(0, 2))), S("sum", (), attrs=dict(axes=())),
    S("sum", (0, 3), attrs=dict(axes=(0,))), S("sum", (64, 33), attrs=dict(axes=(1,))),
    S("sum", (3, 4), attrs=dict(axes=(0, 1)), dtypes=("i64",), ranges=((-9, 9),)),
    S("prod", (3, 4), attrs=dict(axes=(1,))), S("prod", (2, 3, 2), attrs=dict(axes=(0, 2))),
    S("prod", (0, 3), attrs=dict(axes=(0,))), S("prod", (2, 3), attrs=dict(axes=())),
    S("prod", (4,), attrs=dict(axes=(0,)), ranges=(Values((2.0, 0.0, 3.0, -1.0)),)),
    S("amax", (3, 4), attrs=dict(axes=(1,)), ranges=("distinct",)),
    S("amax", (2, 3, 4), attrs=dict(axes=(0, 2)), ranges=("distinct",)),
    S("amax", (), attrs=dict(axes=())), S("amax", (0, 3), attrs=dict(axes=(1,))),
    S("amax", (3, 4), attrs=dict(axes=(0,)), dtypes=("i32",), ranges=((-9, 9),)),
    S("argmax", (3, 4), attrs=dict(axis=1), ranges=("distinct",)),
    S("argmax", (5,), attrs=dict(axis=0), dtypes=("i64",), ranges=((0, 2),)),
    S("argmax", (0, 2), attrs=dict(axis=1)),
    S("cumsum", (3, 5), attrs=dict(axis=1)), S("cumsum", (0, 2), attrs=dict(axis=0)),
    S("cumsum", (4,), attrs=dict(axis=0), dtypes=("i64",), ranges=((0, 9),)),
]

GEOMETRY = dict(stride=(1, 2), padding=((1, 1), (0, 2)), dilation=(1, 2), groups=1)
GROUPED = dict(stride=(1,), padding=((1, 1),), dilation=(1,), groups=2)
POOL = dict(kernel=(2, 2), stride=(2, 1), padding=((1, 0), (0, 1)), dilation=(1, 1))

CONTRACTION = [
    S("matmul", (3, 4), (4, 5), tol=1e-5), S("matmul", (2, 3, 4), (2, 4, 5), tol=1e-5),
    S("matmul", (0, 4), (4, 5)), S("matmul", (3, 0), (0, 5)),
    S("matmul", (17, 33), (33, 9), tol=1e-5),
    S("matmul", (2, 3), (3, 2), dtypes=("i64", "i64"), ranges=((-9, 9), (-9, 9))),
    S("conv", (2, 3, 5, 8), (4, 3, 3, 2), attrs=GEOMETRY, tol=1e-5),
    S("conv", (2, 4, 6), (6, 2, 3), attrs=GROUPED, tol=1e-5),
    S("conv", (0, 4, 6), (6, 2, 3), attrs=GROUPED),
    S("conv_transpose", (2, 4, 5, 4), (4, 3, 3, 2), tol=1e-5,
      attrs=dict(GEOMETRY, input_size=(5, 8))),
    S("conv_transpose", (1, 6, 6), (6, 2, 3), attrs=dict(GROUPED, input_size=(6,)), tol=1e-5),
    S("conv_weight", (2, 3, 5, 8), (2, 4, 5, 4), tol=1e-5,
      attrs=dict(GEOMETRY, kernel_size=(3, 2))),
    S("conv_weight", (1, 4, 6), (1, 6, 6), attrs=dict(GROUPED, kernel_size=(3,)), tol=1e-5),
]
PLAIN = dict(panel=0, panel_stride=0, a_offset=0, b_offset=0)
PANELS = dict(panel=4, panel_stride=12, a_offset=0, b_offset=0)

CONTRACT = [  # matmul from plain operands, from offsets, batched with b in panels of 4 columns
    S("contract", (3, 4), (4, 5), tol=1e-5,
      attrs=dict(PLAIN, batch=(), m=((3, 4),), n=5, k=((4, 1, 5),))),
    S("contract", (20,), (30,), tol=1e-5,
      attrs=dict(PLAIN, batch=(), m=((2, 8), (2, 1)), n=3, k=((2, 2, 9),), a_offset=3, b_offset=7)),
    S("contract", (2, 2, 3), (2, 24), tol=1e-5,
      attrs=dict(PANELS, batch=((2, 6, 24),), m=((2, 3),), n=6, k=((3, 1, 4),))),
    S("contract", (0, 4), (4, 5), attrs=dict(PLAIN, batch=(), m=((0, 4),), n=5, k=((4, 1, 5),))),
    S("contract", (2, 5, 3), (5, 7), tol=1e-5,
      attrs=dict(PLAIN, batch=(), m=((2, 15), (3, 1)), n=7, k=((5, 3, 7),), merged=True)),
    S("quadrant_sums", (4, 6), attrs=dict(rows=0, columns=1, right=False)),
    S("quadrant_sums", (2, 6, 5, 8), attrs=dict(rows=3, columns=1, right=True)),
]

HEADS = dict(rows=(9, 20, 0), keys=(7, 20, 20, 0), depth=(4, 1), width=5, safe=False)
F3 = ("f32",) * 3
SPAN = (-2.0, 2.0)
SEEDS = (0, 2**40)

ATTENTION = [  # two heads in one operand; a mask of keys; a mask of every row, cut off; dropout
    S("attention", (9, 20), (7, 20), (7, 20), dtypes=F3, tol=1e-5,
      attrs=dict(HEADS, batch=((2, 10, 10, 10, 0),), starts=(0, 4, 5, 0), scale=0.5, causal=False)),
    S("attention", (9, 20), (7, 20), (7, 20), (7,), dtypes=(*F3, "bool"), tol=1e-5,
      attrs=dict(HEADS, batch=(), starts=(0, 0, 0, 0), scale=1.5, causal=False, safe=True,
                 keys=(7, 20, 20, 1))),
    S("attention", (9, 20), (7, 20), (7, 20), (9, 7), dtypes=(*F3, "f32"), tol=1e-5,
      attrs=dict(HEADS, batch=(), starts=(0, 0, 0, 0), scale=1.0, causal=True,
                 rows=(9, 20, 7), keys=(7, 20, 20, 1))),
    S("attention", (9, 20), (7, 20), (7, 20), (2,), dtypes=(*F3, "i64"), tol=1e-5,
      ranges=(SPAN, SPAN, SPAN, SEEDS),
      attrs=dict(HEADS, batch=((2, 10, 10, 10, 0),), starts=(0, 4, 5, 0), scale=0.5, causal=True,
                 drop=(1 << 30, 4 / 3, 7, 63))),
    S("attention_grad", (9, 20), (7, 20), (7, 20), (9, 6), (9, 7), (2,), tol=1e-5,
      dtypes=(*F3, "f32", "f32", "i64"), ranges=(SPAN, SPAN, SPAN, SPAN, SPAN, SEEDS),
      attrs=dict(HEADS, batch=(), starts=(0, 0, 0, 0), scale=1.0, causal=False, safe=True,
                 rows=(9, 20, 7), keys=(7, 20, 20, 1), given=(1, 6), drop=(1 << 31, 2.0, 7),
                 made=((28, 4), (0, 4), (64, 5)), gains=(1.0, 1.0), shape=(99,))),
    S("attention_grad", (9, 20), (7, 20), (7, 20), (9, 10), dtypes=(*F3, "f32"), tol=1e-5,
      attrs=dict(HEADS, batch=((2, 10, 10, 10, 0),), starts=(0, 4, 5, 0), scale=0.5, causal=True,
                 given=(0, 10, 5), made=((0, 4, 36), (72, 8, 4), (128, 10, 5)), gains=(0.5, 2.0),
                 shape=(198,))),
    S("attention_grad", (9, 20), (7, 20), (7, 20), (9, 6), (9, 7), dtypes=(*F3, "f32", "f32"),
      tol=1e-5,
      attrs=dict(HEADS, batch=(), starts=(0, 0, 0, 0), scale=1.0, causal=False, safe=True,
                 rows=(9, 20, 7), keys=(7, 20, 20, 1), given=(1, 6),
                 made=((28, 4), (0, 4), (64, 5)), gains=(1.0, 1.0), shape=(99,))),
]

SLIDE = dict(stride=(2, 1), padding=((1, 0), (2, 1)), dilation=(1, 2))

CHANNELS_LAST = [
    S("depthwise", (2, 7, 9, 20), (3, 3, 1, 20), attrs=SLIDE, tol=1e-5),
    S("depthwise", (1, 9, 5), (4, 3, 5), tol=1e-5,
      attrs=dict(stride=(1,), padding=((2, 3),), dilation=(1,))),
    S("depthwise", (0, 7, 9, 20), (3, 3, 1, 20), attrs=SLIDE),
    S("window_conv", (2, 7, 9, 5), (3, 3, 5, 20), attrs=SLIDE, tol=1e-5),
    S("window_conv", (1, 9, 2), (4, 2, 10), tol=1e-5,
      attrs=dict(stride=(3,), padding=((2, 1),), dilation=(2,))),
    S("window_conv", (0, 7, 9, 5), (3, 3, 5, 20), attrs=SLIDE),
    S("group_conv", (2, 7, 9, 20), (3, 3, 4, 20), attrs=dict(SLIDE, groups=5), tol=1e-5),
    S("group_conv", (2, 7, 9, 18), (3, 3, 3, 12), attrs=dict(SLIDE, groups=6), tol=1e-5),
    S("group_conv", (1, 9, 6), (4, 3, 6), tol=1e-5,
      attrs=dict(stride=(3,), padding=((2, 1),), dilation=(2,), groups=2)),
    S("group_conv", (0, 7, 9, 20), (3, 3, 4, 20), attrs=dict(SLIDE, groups=5)),
    S("window_max", (2, 7, 9, 20), attrs=dict(SLIDE, kernel=(3, 3))),
    S("window_max", (1, 9, 1), attrs=dict(kernel=(3,), stride=(2,), padding=((1, 1),),
                                          dilation=(1,))),
]

WINOGRAD = [
    S("winograd_weight", (3, 3, 5, 20), attrs=dict(tile=2, panel=16), dtypes=("f32",)),
    S("winograd_weight", (3, 3, 2, 16), attrs=dict(tile=4, panel=16), dtypes=("f32",)),
    S("winograd_weight", (3, 3, 2, 3), attrs=dict(tile=4, panel=4), dtypes=("f32",)),
    S("winograd", (1, 5, 9, 20), (16, 2, 20, 16), dtypes=("f32", "f32"), tol=1e-4,
      attrs=dict(tile=2, padding=((1, 1), (0, 2)), n=20, blocking=(4, 1, 4, 2), workspace=30000)),
    S("winograd", (2, 6, 7, 16), (36, 2, 16, 16), dtypes=("f32", "f32"), tol=1e-4,
      attrs=dict(tile=4, padding=((1, 1), (1, 1)), n=24, blocking=(8, 2, 1, 1), workspace=15000)),
    S("winograd_line", (2, 31, 20), (36, 2, 40, 16), dtypes=("f32", "f32"), tol=1e-4,
      attrs=dict(low=4, dilation=1, columns=3, length=29, n=24,
                 blocking=(3, 2, 2, 1), workspace=60000)),
    S("winograd_line", (1, 40, 16), (36, 1, 16, 16), dtypes=("f32", "f32"), tol=1e-4,
      attrs=dict(low=5, dilation=3, columns=3, length=47, n=16,
                 blocking=(4, 1, 2, 1), workspace=30000)),
    S("winograd_line", (2, 31, 20), (6, 2, 40, 16), dtypes=("f32", "f32"), tol=1e-4,
      attrs=dict(low=4, dilation=2, columns=1, length=29, n=24, blocking=(3, 2, 2, 1),
                 workspace=60000)),
    S("winograd_weight", (3, 1, 5, 20), attrs=dict(tile=4, panel=16), dtypes=("f32",)),
    S("line_points", (2, 31, 20), dtypes=("f32",), tol=1e-4,
      attrs=dict(side="data", low=1, dilation=2, columns=1, length=29, parts=2)),
    S("line_points", (2, 29, 7), dtypes=("f32",), tol=1e-4,
      attrs=dict(side="gradient", low=0, dilation=1, columns=1, length=29, parts=1)),
    S("line_kernels", (6, 3, 21), dtypes=("f32",), tol=1e-4),
    S("line_points", (2, 31, 20), dtypes=("f32",), tol=1e-4,
      attrs=dict(side="data", low=4, dilation=1, columns=3, length=29, parts=2)),
    S("line_points", (1, 40, 17), dtypes=("f32",), tol=1e-4,
      attrs=dict(side="data", low=5, dilation=3, columns=3, length=47, parts=1)),
    S("line_points", (2, 29, 20), dtypes=("f32",), tol=1e-4,
      attrs=dict(side="gradient", low=0, dilation=2, columns=3, length=29, parts=1)),
    S("line_kernels", (30, 3, 21), dtypes=("f32",), tol=1e-4),
    S("winograd_points", (2, 10, 6, 20), attrs=dict(side="data"), dtypes=("f32",), tol=1e-4),
    S("winograd_points", (1, 4, 8, 35), attrs=dict(side="gradient"), dtypes=("f32",), tol=1e-4),
    S("winograd_kernels", (36, 3, 21), dtypes=("f32",), tol=1e-4),
]

WINDOW = [
    S("unfold", (2, 5, 6), attrs=POOL), S("unfold", (0, 5, 6), attrs=POOL),
    S("unfold", (7,), attrs=dict(kernel=(3,), stride=(2,), padding=((0, 0),), dilation=(2,))),
    S("fold", (2, 3, 6, 2, 2), attrs=dict(size=(5, 6), stride=(2, 1), padding=((1, 0), (0, 1)),
                                          dilation=(1, 1))),
    S("max_pool", (2, 5, 6), attrs=POOL, ranges=("distinct",)),
    S("max_pool", (0, 5, 6), attrs=POOL),
    S("argmax_pool", (2, 5, 6), attrs=POOL, ranges=("distinct",)),
]

INDEXING = [
    S("bounded", (2, 3), attrs=dict(length=5), dtypes=("i64",), ranges=((0, 5),)),
    S("bounded", (), attrs=dict(length=5), dtypes=("i32",), ranges=((0, 5),)),
    S("take", (5, 3), (2, 2), attrs=dict(axis=0), dtypes=("T", "i64"), ranges=((-2, 2), (0, 5))),
    S("take", (2, 5), (4,), attrs=dict(axis=1), dtypes=("T", "i32"), ranges=((-2, 2), (0, 5))),
    S("take", (5,), (), attrs=dict(axis=0), dtypes=("T", "i64"), ranges=((-2, 2), (0, 5))),
    S("take", (5, 3), (0,), attrs=dict(axis=0), dtypes=("T", "i64"), ranges=((-2, 2), (0, 5))),
    S("index_add", (4, 3), (6,), (6, 3), attrs=dict(axis=0), dtypes=("T", "i64", "T"),
      ranges=((-2, 2), (0, 4), (-2, 2))),
    S("index_add", (2, 4), (0,), (2, 0), attrs=dict(axis=1), dtypes=("T", "i64", "T"),
      ranges=((-2, 2), (0, 4), (-2, 2))),
    S("index_put", (6, 3), (3,), (3, 3), attrs=dict(axis=0), dtypes=("T", "i64", "T"),
      ranges=((-2, 2), Values((4, 0, 3)), (-2, 2))),
    S("index_put", (2, 4), (2,), (2, 2), attrs=dict(axis=1), dtypes=("T", "i64", "T"),
      ranges=((-2, 2), Values((3, 1)), (-2, 2))),
    *(
        S("index_reduce", (4, 3), (6,), (6, 3), attrs=dict(axis=0, combine=combine),
          dtypes=("T", "i64", "T"), ranges=((-2, 2), (0, 4), (-2, 2)))
        for combine in ("mul", "maximum", "minimum")
    ),
    S("index_reduce", (2, 20), (3,), (2, 3), attrs=dict(axis=1, combine="mul"),
      dtypes=("T", "i32", "T"), ranges=((-2, 2), Values((19, 0, 19)), (-2, 2))),
    S("index_reduce", (2, 4), (0,), (2, 0), attrs=dict(axis=1, combine="maximum"),
      dtypes=("T", "i64", "T"), ranges=((-2, 2), (0, 4), (-2, 2))),
    S("argsort", (3, 6), attrs=dict(axis=1, descending=False), ranges=("distinct",)),
    S("argsort", (6, 2), attrs=dict(axis=0, descending=True), dtypes=("i64",), ranges=((0, 3),)),
    S("argsort", (0,), attrs=dict(axis=0, descending=False)),
    S("argsort", (2, 300), attrs=dict(axis=1, descending=True)),
    S("argsort", (300, 3), attrs=dict(axis=0, descending=False), dtypes=("i32",),
      ranges=((-20, 20),)),
]

AFFINE = """graph affine(x: T[3], w: T[3]) {
  mul_0 = mul(x, w)
  sin_0 = sin(mul_0)
  return sin_0, mul_0
}"""
CELL = """graph cell(h: T[3], w: T[3], x: T[3]) {
  mul_0 = mul(h, w)
  add_0 = add(mul_0, x)
  tanh_0 = tanh(add_0)
  exp_0 = exp(h)
  return tanh_0, exp_0
}"""

LOOP = dict(body=CELL, carries=1, consts=1)

STRUCTURE = [
    *each("detach", smooth=False),
    S("again", (2, 3), attrs=dict(number=1)),
    S("call", (3,), (3,), attrs=dict(body=AFFINE, vjp_body=None, name="affine")),
    S("fused", (3,), (3,), attrs=dict(body=AFFINE, kind="map")),
    S("scan", (3,), (3,), (4, 3), attrs=dict(LOOP, length=4, reverse=False)),
    S("scan", (3,), (3,), (4, 3), attrs=dict(LOOP, length=4, reverse=True)),
    S("scan", (3,), (3,), (0, 3), attrs=dict(LOOP, length=0, reverse=False)),
]

SAMPLES = [
    *ELEMENTWISE, *SELECTION, *CREATION, *MOVEMENT, *REDUCE, *CONTRACTION, *CONTRACT, *WINDOW,
    *CHANNELS_LAST, *WINOGRAD, *ATTENTION,
    *INDEXING, *STRUCTURE,
]
COVERED_ELSEWHERE = {"get"}  # every sample of an op with several results holds it
