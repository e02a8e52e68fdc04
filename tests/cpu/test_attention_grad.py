"""Gradients of attention as one kernel: right for every shape and mask, found where they may be."""

from __future__ import annotations

import numpy as np
import pytest
import test_attention as forward
from nncomp.backends import cpu
from nncomp.backends.cpu import target as targets
from nncomp.ir.grad import vjp_graph
from nncomp.ir.graph import Graph, build_node, input_node
from nncomp.ir.interpret import interpret
from nncomp.ir.op import OPS, OpError
from nncomp.ir.parser import parse_graph
from nncomp.ir.types import TensorType, bool_, float32, float64
from running import assert_same, run_kernels

import nncomp
import nncomp.nn.functional as F
from nncomp.autograd import grad

MERGED = "merged"  # all three gradients side by side, as those of one projection


def gradient_graph(sizes, causal=False, mask=None, layout=""):
    """A graph of one `attention_grad` node, and operands for it; see `attention_graph`."""
    B, H, L, S, E, D = sizes
    graph, arrays = forward.attention_graph(sizes, causal, True, mask)
    (node,), (q, k, v, *masks) = graph.outputs, graph.inputs
    g = input_node("g", TensorType((B, L, H, D), float32))
    rng = np.random.default_rng(1)
    arrays.insert(3, rng.standard_normal(g.shape).astype(np.float32))
    ends = np.cumsum([0, B * L * H * E, B * S * H * E, B * S * H * D]).tolist()
    rows, keys = (H * E, L * H * E, E), (H * E, S * H * E, E)
    made = ((0, *rows), (ends[1], *keys), (ends[2], D, H * S * D, S * D))
    shape = (ends[3],)
    if layout == MERGED:
        shape = (B, L, 3 * H * E)
        made = tuple((i * H * E, 3 * H * E, L * 3 * H * E, E) for i in range(3))
    attrs = {**node.attrs, "given": (0, H * D, L * H * D, D), "made": made, "gains": (0.5, 2.0)}
    inputs = [q, k, v, g, *masks]
    result = build_node(OPS["attention_grad"], inputs, attrs | {"shape": shape})
    return Graph("gradients", inputs, [result]), arrays


@pytest.mark.parametrize("causal", (False, True))
@pytest.mark.parametrize("sizes", forward.SIZES)
def test_kernel_computes_the_op(sizes, causal):
    graph, arrays = gradient_graph(sizes, causal)
    assert_same(run_kernels(graph, arrays), interpret(graph, *arrays), scale=5.0)


@pytest.mark.parametrize("causal", (False, True))
def test_kernel_fills_the_parts_of_a_merged_gradient(causal):
    graph, arrays = gradient_graph((2, 3, 45, 45, 24, 24), causal, layout=MERGED)
    assert_same(run_kernels(graph, arrays), interpret(graph, *arrays), scale=5.0)


@pytest.mark.parametrize("axes", forward.MASKS)
@pytest.mark.parametrize("dtype", (bool_, float32), ids=str)
def test_kernel_reads_masks(dtype, axes):
    for sizes in ((2, 3, 40, 57, 16, 16), (2, 1, 33, 70, 16, 40)):
        for causal in (False, True):
            graph, arrays = gradient_graph(sizes, causal, (dtype, axes))
            assert_same(run_kernels(graph, arrays), interpret(graph, *arrays), scale=5.0)


def test_rows_without_any_key_have_no_gradient():
    graph, arrays = gradient_graph((1, 2, 40, 20, 16, 16), mask=(bool_, "row"))
    arrays[4][5] = arrays[4][33] = False
    (result,) = run_kernels(graph, arrays)
    of_q = result[: 40 * 32].reshape(40, 2, 16)
    assert (of_q[[5, 33]] == 0).all() and np.isfinite(result).all()
    assert_same([result], interpret(graph, *arrays), scale=5.0)


@pytest.mark.parametrize("level", ("baseline", "avx2"))
def test_lower_levels_compute_the_same(level):
    try:
        target = targets._target_at(level)
    except ValueError as error:
        pytest.skip(str(error))
    for causal in (False, True):
        for mask in (None, (float32, "row"), (bool_, "key")):
            graph, arrays = gradient_graph((1, 2, 43, 61, 20, 40), causal, mask)
            got = run_kernels(graph, arrays, target)
            assert_same(got, interpret(graph, *arrays), scale=5.0)


def test_threads_do_not_change_a_bit():
    graph, arrays = gradient_graph((2, 3, 130, 130, 32, 32), True)
    runner = cpu.compile(graph)
    assert any(code.is_shared for code in runner.codes.values())
    one, *others = (runner(arrays, (), n)[0] for n in (1, 2, 3, 7))
    assert all(np.array_equal(one, other) for other in others)


FORWARD = """graph f(q: f64[2,9,5], k: f64[2,7,5], v: f64[2,7,4]) {
  permute_0 = permute(k, dims=(0,2,1))
  matmul_0 = matmul(q, permute_0)
  mul_0 = mul(matmul_0, 0.5)
  amax_0 = amax(mul_0, axes=(2,))
  detach_0 = detach(amax_0)
  reshape_0 = reshape(detach_0, shape=(2,9,1))
  expand_0 = expand(reshape_0, shape=(2,9,7))
  sub_0 = sub(mul_0, expand_0)
  exp_0 = exp(sub_0)
  sum_0 = sum(exp_0, axes=(2,))
  reshape_1 = reshape(sum_0, shape=(2,9,1))
  expand_1 = expand(reshape_1, shape=(2,9,7))
  div_0 = div(exp_0, expand_1)
  matmul_1 = matmul(div_0, v)
  return matmul_1
}"""


def test_op_is_the_gradient_of_the_formula():
    graph = parse_graph(FORWARD)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(n.shape) for n in graph.inputs]
    g = rng.standard_normal((2, 9, 4))
    dq, dk, dv = interpret(vjp_graph(graph), g, *arrays)
    attrs = dict(
        batch=((2, 45, 35, 28, 0),), rows=(9, 5, 0), keys=(7, 5, 4, 0), depth=(5, 1), width=4,
        starts=(0, 0, 0, 0), scale=0.5, causal=False, safe=False, given=(0, 4, 36),
        made=((0, 5, 45), (90, 5, 35), (160, 4, 28)), gains=(0.5, 0.5), shape=(216,),
    )  # fmt: skip
    got = OPS["attention_grad"].eval(*arrays, g, **attrs)
    np.testing.assert_allclose(got, np.concatenate([x.ravel() for x in (dq, dk, dv)]), atol=1e-12)


def test_op_refuses_what_it_has_no_meaning_for():
    graph, _ = gradient_graph((1, 1, 16, 16, 8, 8))
    (node,) = graph.outputs

    def build(operands=graph.inputs, **changed):
        return build_node(OPS["attention_grad"], operands, {**node.attrs, **changed})

    made = node.attrs["made"]
    with pytest.raises(OpError, match="fills 384 elements"):
        build(shape=(400,))
    with pytest.raises(OpError, match="no place"):
        build(made=(made[0], made[1], (300, 8, 128, 128)))
    with pytest.raises(OpError, match="no place"):
        build(made=(made[0], (128, 4, 128, 8), made[2]))
    with pytest.raises(OpError, match="a stride per batch loop"):
        build(given=(0, 8))
    q, k, v, g = graph.inputs
    with pytest.raises(OpError, match="has q's type"):
        build((q, k, v, input_node("g", TensorType(g.shape, float64))))


# -- finding it --------------------------------------------------------------------------------


def gradients_of(function, *tensors):
    """Text of the kernels of `function` and of its gradients, which are compared with eager ones.
    """

    def both(*xs):
        xs = [x.detach().requires_grad_() if x.dtype.is_floating_point else x for x in xs]
        out = function(*xs)
        wanted = [x for x in xs if x.requires_grad]
        return (out, *grad((out * out.detach().cos()).sum(), wanted))

    compiled = nncomp.compile(forward.Wrapped(both))
    for got, want in zip(compiled(*tensors), both(*tensors), strict=True):
        got, want = got.detach().numpy(), want.detach().numpy()
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=2e-5)
    return str(compiled.fused_graph)


def by_hand(q, k, v, hidden=None, scale=0.25):
    scores = (q @ k.transpose(-2, -1)) * scale
    if hidden is not None:
        scores = scores.masked_fill(hidden, float("-inf"))
    return nncomp.softmax(scores, -1) @ v


def qkv(*shape, keys=None):
    nncomp.manual_seed(sum(shape))
    other = shape if keys is None else (*shape[:-2], keys, shape[-1])
    return nncomp.randn(*shape), nncomp.randn(*other), nncomp.randn(*other)


def assert_fused(text):
    assert text.count(" attention(") == 1 and text.count(" attention_grad(") == 1
    assert "'contract'" not in text


@pytest.mark.parametrize("causal", (False, True))
def test_scaled_dot_product_attention_is_found(causal):
    attend = F.scaled_dot_product_attention
    text = gradients_of(lambda *x: attend(*x, is_causal=causal), *qkv(2, 3, 40, 16, keys=57))
    assert_fused(text)
    assert f"causal={causal}" in text


def test_attention_by_hand_is_found():
    assert_fused(gradients_of(by_hand, *qkv(2, 40, 16)))
    assert_fused(gradients_of(lambda q, k, v: by_hand(q / 2.0, k * 0.75, v), *qkv(2, 40, 16)))

    def masked(*x):
        return by_hand(*x, nncomp.ones(40, 40).tril() == 0)

    text = gradients_of(masked, *qkv(2, 2, 40, 16))
    assert_fused(text)
    assert "causal=True" in text
    nncomp.manual_seed(1)
    assert_fused(gradients_of(by_hand, *qkv(2, 2, 40, 16), nncomp.rand(40, 40) < 0.3))


@pytest.mark.parametrize("shape", [(40, 57), (2, 1, 1, 57), (2, 3, 40, 57)])
def test_masks_that_are_added_or_choose(shape):
    attend = F.scaled_dot_product_attention
    nncomp.manual_seed(0)
    for mask in (nncomp.randn(*shape), nncomp.rand(*shape) < 0.7):
        text = gradients_of(lambda q, k, v, m=mask: attend(q, k, v, m), *qkv(2, 3, 40, 16, keys=57))
        assert text.count(" attention_grad(") == 1


def test_heads_of_a_merged_projection_are_written_in_place():
    def heads(x):
        parts = (p.view(2, 40, 2, 16).transpose(1, 2) for p in x.split(32, dim=2))
        y = F.scaled_dot_product_attention(*parts, is_causal=True)
        return y.transpose(1, 2).reshape(2, 40, 32)

    nncomp.manual_seed(3)
    text = gradients_of(heads, nncomp.randn(2, 40, 96))
    assert_fused(text)
    assert "shape=(2,40,96)" in text and "pad(" not in text


def test_grouped_heads_and_shared_operands():
    attend = F.scaled_dot_product_attention
    q, _, _ = qkv(2, 4, 40, 16)
    k, v, _ = qkv(2, 2, 40, 16)
    text = gradients_of(lambda q, k, v: attend(q, k, v, enable_gqa=True), q, k, v)
    assert text.count(" attention_grad(") == 1
    assert " attention_grad(" in gradients_of(lambda x: attend(x, x, x), q)


def test_gradients_of_some_operands():
    q, k, v = qkv(2, 2, 40, 16)
    for fixed in ({0}, {2}, {1, 2}):
        def some(*free, fixed=fixed):
            rest, tensors = iter(free), (q, k, v)
            mine = [t.detach() if i in fixed else next(rest) for i, t in enumerate(tensors)]
            return F.scaled_dot_product_attention(*mine)

        text = gradients_of(some, *(t for i, t in enumerate((q, k, v)) if i not in fixed))
        assert (" attention_grad(" in text) == (fixed != {0, 1})


def test_weights_that_are_read_elsewhere_stay():
    def with_weights(q, k, v):
        weights = nncomp.softmax(0.25 * q @ k.transpose(-2, -1), -1)
        return weights @ v + weights.sum()

    text = gradients_of(with_weights, *qkv(2, 40, 16))
    assert " attention(" not in text and " attention_grad(" not in text


def test_a_mask_with_a_gradient_stays():
    q, k, v = qkv(1, 2, 40, 16)
    bias = nncomp.randn(1, 2, 40, 40)
    text = gradients_of(lambda *x: F.scaled_dot_product_attention(*x), q, k, v, bias)
    assert " attention_grad(" not in text
