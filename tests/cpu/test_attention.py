"""Attention as one kernel: found where it may be, right for every shape, mask and machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nncomp.backends import cpu
from nncomp.backends.cpu import target as targets
from nncomp.backends.cpu.codegen import program_modules
from nncomp.backends.cpu.layout_attention import fuse_attention
from nncomp.backends.cpu.target import Target
from nncomp.ir.graph import Graph, build_node, input_node
from nncomp.ir.interpret import interpret
from nncomp.ir.op import OPS, OpError
from nncomp.ir.parser import parse_graph
from nncomp.ir.types import TensorType, bool_, float32, float64
from running import assert_same, kernel_program, run_kernels

import nncomp
import nncomp.nn.functional as F
from nncomp import nn

TARGET = Target("x86_64-unknown-linux-gnu", "x86-64-v4", "", 512, 32)
MASKS = {"row": "LS", "head": "HLS", "key": "BS", "all": "BHLS"}


def attention_graph(sizes, causal=False, safe=False, mask=None):
    """A graph of one `attention` node over heads side by side, and operands for it.

    `sizes` is (batch, heads, queries, keys, depth, width), `mask` (dtype, one of MASKS).
    """
    B, H, L, S, E, D = sizes
    rng = np.random.default_rng(sum(sizes))
    shapes = [(B, L, H * E), (B, S, H * E), (B, S, H * D)]
    named = zip("qkv", shapes, strict=True)
    inputs = [input_node(name, TensorType(shape, float32)) for name, shape in named]
    arrays = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    per_batch = per_head = per_row = 0
    if mask:
        dtype, axes = mask[0], MASKS[mask[1]]
        shape = tuple(dict(B=B, H=H, L=L, S=S)[axis] for axis in axes)
        inputs.append(input_node("mask", TensorType(shape, dtype)))
        values = rng.random(shape) < 0.6 if dtype is bool_ else rng.standard_normal(shape)
        arrays.append(values.astype(dtype.numpy))
        per_row = S if "L" in axes else 0
        per_head = L * S if "H" in axes else 0
        per_batch = (S if axes == "BS" else H * L * S) if "B" in axes else 0
    attrs = dict(
        batch=((B, L * H * E, S * H * E, S * H * D, per_batch), (H, E, E, D, per_head)),
        rows=(L, H * E, per_row), keys=(S, H * E, H * D, 1), depth=(E, 1), width=D,
        starts=(0, 0, 0, 0), scale=E**-0.5, causal=causal, safe=safe,
    )  # fmt: skip
    return Graph("attention", inputs, [build_node(OPS["attention"], inputs, attrs)]), arrays


SIZES = [  # batch, heads, queries, keys, depth, width
    (1, 2, 32, 32, 16, 16),
    (1, 2, 128, 128, 64, 64),
    (2, 3, 40, 57, 16, 16),
    (1, 1, 9, 1, 16, 24),
    (1, 1, 1, 40, 16, 16),
    (3, 1, 17, 33, 20, 40),
    (1, 1, 300, 300, 128, 128),
    (1, 2, 100, 30, 8, 5),
    (1, 1, 20, 2500, 16, 16),
]


@pytest.mark.parametrize("causal", (False, True))
@pytest.mark.parametrize("sizes", SIZES)
def test_kernel_computes_the_op(sizes, causal):
    graph, arrays = attention_graph(sizes, causal)
    assert_same(run_kernels(graph, arrays), interpret(graph, *arrays))


@pytest.mark.parametrize("axes", MASKS)
@pytest.mark.parametrize("dtype", (bool_, float32), ids=str)
def test_kernel_reads_masks(dtype, axes):
    for sizes in ((2, 3, 40, 57, 16, 16), (2, 1, 33, 70, 16, 40)):
        for causal in (False, True):
            graph, arrays = attention_graph(sizes, causal, True, (dtype, axes))
            assert_same(run_kernels(graph, arrays), interpret(graph, *arrays))


@pytest.mark.parametrize("safe", (False, True))
def test_rows_without_any_key(safe):
    graph, arrays = attention_graph((1, 2, 40, 20, 16, 16), safe=safe, mask=(bool_, "row"))
    arrays[3][5] = arrays[3][33] = False
    (result,) = run_kernels(graph, arrays)
    rows = result[0, :, [5, 33]]
    assert (rows == 0).all() if safe else np.isnan(rows).all()
    assert np.isfinite(np.delete(result, [5, 33], 2)).all()
    assert_same([result], interpret(graph, *arrays))


def test_large_scores_and_nans_stay_in_their_rows():
    graph, arrays = attention_graph((1, 1, 40, 50, 16, 16))
    arrays[0][0, 3] *= 1e4
    arrays[0][0, 20, 7] = np.nan
    (result,) = run_kernels(graph, arrays)
    assert np.isnan(result[0, 0, 20]).all() and np.isfinite(np.delete(result, 20, 2)).all()
    top = (arrays[0][0, 3] @ arrays[1][0].T).argmax()
    np.testing.assert_allclose(result[0, 0, 3], arrays[2][0, top], rtol=1e-5)


@pytest.mark.parametrize("causal", (False, True))
def test_threads_do_not_change_a_bit(causal):
    graph, arrays = attention_graph((2, 3, 130, 130, 32, 32), causal)
    runner = cpu.compile(graph)
    assert any(code.is_shared for code in runner.codes.values())
    one, *others = (runner(arrays, (), n)[0] for n in (1, 2, 3, 7))
    assert all(np.array_equal(one, other) for other in others)


@pytest.mark.parametrize("level", ("baseline", "avx2"))
def test_lower_levels_compute_the_same(level):
    try:
        target = targets._target_at(level)
    except ValueError as error:
        pytest.skip(str(error))
    for causal in (False, True):
        for mask in (None, (float32, "row"), (bool_, "key")):
            graph, arrays = attention_graph((1, 2, 43, 61, 20, 40), causal, True, mask)
            assert_same(run_kernels(graph, arrays, target), interpret(graph, *arrays))


EMIT = """
import sys
sys.path[:0] = sys.argv[2:]
from nncomp.backends.cpu.jit import compile_many
from nncomp.backends.cpu.target import Target
from test_attention import MASKS, SIZES, attention_graph, bool_, float32, kernel_program
from test_attention import program_modules
TARGETS = {
    "x86-64": Target("x86_64-unknown-linux-gnu", "x86-64", "", 128, 16),
    "x86-64-v3": Target("x86_64-unknown-linux-gnu", "x86-64-v3", "", 256, 16),
    "x86-64-v4": Target("x86_64-unknown-linux-gnu", "x86-64-v4", "", 512, 32),
    "aarch64": Target("aarch64-unknown-linux-gnu", "generic", "", 128, 32),
}
texts = {}
for sizes in SIZES[2:6]:
    for mask in (None, (bool_, "row"), (float32, "key")):
        graph, _ = attention_graph(sizes, sizes[0] > 1, True, mask)
        modules, _ = program_modules(kernel_program(graph), TARGETS[sys.argv[1]])
        texts.update(dict.fromkeys(modules))
print(min(map(len, compile_many(list(texts), TARGETS[sys.argv[1]], 0, None))))
"""


@pytest.mark.parametrize("name", ("x86-64", "x86-64-v3", "x86-64-v4", "aarch64"))
def test_every_machine_has_code(name):
    here = Path(__file__).parent
    command = [sys.executable, "-c", EMIT, name, str(here), str(here.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 100


# -- finding it --------------------------------------------------------------------------------

HEADS = """graph heads(x: f32[2,40,96]) {
  slice_0 = slice(x, start=(0,0,0), stop=(2,40,32), step=(1,1,1))
  reshape_0 = reshape(slice_0, shape=(2,40,2,16))
  permute_0 = permute(reshape_0, dims=(0,2,1,3))
  mul_0 = mul(permute_0, 0.25)
  slice_1 = slice(x, start=(0,0,32), stop=(2,40,64), step=(1,1,1))
  reshape_1 = reshape(slice_1, shape=(2,40,2,16))
  permute_1 = permute(reshape_1, dims=(0,2,3,1))
  matmul_0 = matmul(mul_0, permute_1)
  amax_0 = amax(matmul_0, axes=(3,))
  reshape_2 = reshape(amax_0, shape=(2,2,40,1))
  expand_0 = expand(reshape_2, shape=(2,2,40,40))
  sub_0 = sub(matmul_0, expand_0)
  exp_0 = exp(sub_0)
  sum_0 = sum(exp_0, axes=(3,))
  reshape_3 = reshape(sum_0, shape=(2,2,40,1))
  expand_1 = expand(reshape_3, shape=(2,2,40,40))
  div_0 = div(exp_0, expand_1)
  slice_2 = slice(x, start=(0,0,64), stop=(2,40,96), step=(1,1,1))
  reshape_4 = reshape(slice_2, shape=(2,40,2,16))
  permute_2 = permute(reshape_4, dims=(0,2,1,3))
  matmul_1 = matmul(div_0, permute_2)
  return matmul_1
}"""

FUSED = """graph heads(x: f32[2,40,96]) {
  attention_0 = attention(x, x, x, batch=((2,3840,3840,3840,0),(2,16,16,16,0)), rows=(40,96,0), \
keys=(40,96,96,0), depth=(16,1), width=16, starts=(0,32,64,0), scale=0.25, causal=False, safe=False)
  return attention_0
}"""


def test_pass_reads_the_parts_of_a_merged_projection_in_place():
    assert str(fuse_attention(parse_graph(HEADS), TARGET)) == str(parse_graph(FUSED))


@pytest.mark.parametrize(
    "old, new",
    [
        ("return matmul_1", "return matmul_1, div_0"),  # weights that are a result
        ("return matmul_1", "return matmul_1, amax_0"),
        ("sub(matmul_0, expand_0)", "add(matmul_0, expand_0)"),
        ("div(exp_0, expand_1)", "div(expand_1, exp_0)"),
        ("exp(sub_0)", "tanh(sub_0)"),
    ],
)
def test_pass_leaves_other_graphs_alone(old, new):
    assert old in HEADS
    graph = parse_graph(HEADS.replace(old, new))
    assert fuse_attention(graph, TARGET) is graph


def fused_of(function, *tensors) -> str:
    """The kernels of a traced function of tensors, as text; results are checked on the way."""
    net = Wrapped(function)
    compiled = nncomp.compile(net)
    got, expected = compiled(*tensors), net(*tensors)
    np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=2e-5, atol=2e-6)
    return str(compiled.fused_graph)


class Wrapped(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *tensors):
        return self.function(*tensors)


def heads(*shape):
    nncomp.manual_seed(sum(shape))
    return nncomp.randn(*shape)


def test_causal_attention_reads_no_mask():
    q, k = heads(2, 3, 70, 16), heads(2, 3, 50, 16)
    attend = F.scaled_dot_product_attention
    text = fused_of(lambda q, k: attend(q, k, k, is_causal=True), q, k)
    assert "causal=True" in text and "fused(" not in text
    hidden = nncomp.ones(70, 50, dtype=nncomp.bool).tril()
    text = fused_of(lambda q, k: attend(q, k, k, attn_mask=hidden), q, k)
    assert "attention(" in text

    def by_hand(q, k):
        scores = (q @ k.transpose(-2, -1)) / 4.0
        later = nncomp.ones(70, 50).tril() == 0
        return nncomp.softmax(scores.masked_fill(later, float("-inf")), -1) @ k

    assert "causal=True" in fused_of(by_hand, q, k)


@pytest.mark.parametrize("shape", [(40, 57), (3, 40, 57), (2, 1, 1, 57), (2, 3, 40, 57)])
def test_masks_of_any_shape_that_spreads(shape):
    q, k = heads(2, 3, 40, 16), heads(2, 3, 57, 16)
    nncomp.manual_seed(0)
    added, chosen = nncomp.randn(*shape), nncomp.rand(*shape) < 0.7
    for mask in (added, chosen):
        text = fused_of(lambda q, k, m: F.scaled_dot_product_attention(q, k, k, m), q, k, mask)
        assert text.count("attention(") == 1 and "'contract'" not in text


def test_grouped_heads_are_read_without_copies():
    q, k = heads(2, 8, 40, 16), heads(2, 2, 40, 16)
    attend = F.scaled_dot_product_attention
    text = fused_of(lambda q, k: attend(q, k, k, enable_gqa=True), q, k)
    assert "attention(" in text and "fused(" not in text


def test_a_mask_that_hides_is_turned_round():
    q = heads(2, 2, 40, 16)
    nncomp.manual_seed(1)
    hidden = nncomp.rand(40, 40) < 0.3

    def by_hand(q, hidden):
        scores = (q @ q.transpose(-2, -1)) * 0.25
        return nncomp.softmax(scores.masked_fill(hidden, float("-inf")), -1) @ q

    assert "attention(" in fused_of(by_hand, q, hidden)


@pytest.mark.parametrize("dtype", (nncomp.float64, nncomp.bfloat16))
def test_other_dtypes_keep_their_kernels(dtype):
    q = heads(2, 2, 40, 16).to(dtype)
    compiled = nncomp.compile(Wrapped(F.scaled_dot_product_attention))
    got = compiled(q, q, q).float().numpy()
    assert "attention(" not in str(compiled.fused_graph)
    tolerance = 1e-6 if dtype is nncomp.float64 else 3e-2
    expected = F.scaled_dot_product_attention(q, q, q).float().numpy()
    np.testing.assert_allclose(got, expected, atol=tolerance)


def test_few_queries_and_endless_keys_keep_their_kernels():
    attend = F.scaled_dot_product_attention
    for queries, keys in ((4, 64), (16, 6000)):
        q, k = heads(1, 1, queries, 16), heads(1, 1, keys, 16)
        assert "attention(" not in fused_of(lambda q, k: attend(q, k, k), q, k)


def test_training_keeps_what_the_gradient_reads():
    q = heads(1, 2, 32, 16).requires_grad_()
    want = nncomp.autograd.grad(F.scaled_dot_product_attention(q, q, q).square().sum(), q)[0]
    compiled = nncomp.compile(Wrapped(F.scaled_dot_product_attention))
    got = nncomp.autograd.grad(compiled(q, q, q).square().sum(), q)[0]
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-4, atol=1e-5)


def test_op_refuses_what_it_has_no_meaning_for():
    graph, _ = attention_graph((1, 1, 16, 16, 8, 8))
    (node,) = graph.outputs
    q, k, v = graph.inputs

    def build(operands=(q, k, v), **changed):
        return build_node(OPS["attention"], operands, {**node.attrs, **changed})

    with pytest.raises(OpError, match="k is read beyond its end"):
        build(keys=(17, 8, 8, 0))
    with pytest.raises(OpError, match="extents from 1 on"):
        build(keys=(0, 8, 8, 0))
    with pytest.raises(OpError, match="need one float type"):
        build((q, k, input_node("v", TensorType(v.shape, float64))))
    with pytest.raises(OpError, match="mask is bool or"):
        build((q, k, v, input_node("m", TensorType((16, 16), float64))))
    wide = [input_node(x.attrs["name"], TensorType(x.shape, float64)) for x in (q, k, v)]
    double = Graph("double", wide, [build(wide)])
    with pytest.raises(OpError, match="has a kernel for float32"):
        program_modules(kernel_program(double), TARGET)


def test_passes_find_it_in_the_encoder_layer():
    layer = nn.TransformerEncoderLayer(64, 4, batch_first=True).requires_grad_(False).eval()
    x = heads(2, 40, 64)
    padding = nncomp.zeros(2, 40, dtype=nncomp.bool)
    padding[1, 30:] = True
    compiled = nncomp.compile(layer)
    got = compiled(x, src_key_padding_mask=padding)
    expected = layer(x, src_key_padding_mask=padding)
    np.testing.assert_allclose(got.numpy(), expected.numpy(), atol=1e-5)
    assert "attention(" in str(compiled.fused_graph)
