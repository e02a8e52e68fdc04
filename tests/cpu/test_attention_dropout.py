"""Attention with dropout as one kernel: the shares that eager mode drops, values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import test_attention as forward
import test_attention_grad as backward
from nncomp.backends import cpu
from nncomp.backends.attention.dropout import match_dropout
from nncomp.backends.cpu import target as targets
from nncomp.ir.graph import Graph, build_node, input_node
from nncomp.ir.interpret import interpret
from nncomp.ir.op import OPS, OpError
from nncomp.ir.threefry import threefry_at, threefry_words
from nncomp.ir.types import TensorType, bool_, float32, int64
from running import assert_same, run_kernels

import nncomp
import nncomp.nn.functional as F
from nncomp import nn, optim
from nncomp.autograd import grad

MAKERS = {"forward": forward.attention_graph, "gradients": backward.gradient_graph}
KEY = np.array([1234567890123, 7], np.int64)


def dropped(made, p=0.3, strides=None):
    """The graph with dropout of probability `p`, and its operands with a key."""
    graph, arrays = made
    (node,) = graph.outputs
    rows, keys = node.attrs["rows"][0], node.attrs["keys"][0]
    heads = node.attrs["batch"][1][0]
    strides = strides or (keys, heads * rows * keys, rows * keys)
    inputs = [*graph.inputs, input_node("key", TensorType((2,), int64))]
    attrs = {**node.attrs, "drop": (int(p * 2**24) << 8, 1 / (1 - p), *strides)}
    return Graph(graph.name, inputs, [build_node(node.op, inputs, attrs)]), [*arrays, KEY]


# -- the kernels -----------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", (False, True))
@pytest.mark.parametrize("sizes", forward.SIZES)
@pytest.mark.parametrize("kind", MAKERS)
def test_kernel_computes_the_op(kind, sizes, causal):
    graph, arrays = dropped(MAKERS[kind](sizes, causal))
    assert_same(run_kernels(graph, arrays), interpret(graph, *arrays), scale=5.0)


@pytest.mark.parametrize("axes", forward.MASKS)
@pytest.mark.parametrize("dtype", (bool_, float32), ids=str)
@pytest.mark.parametrize("kind", MAKERS)
def test_kernel_reads_masks(kind, dtype, axes):
    for causal in (False, True):
        made = MAKERS[kind]((2, 3, 40, 57, 16, 16), causal, mask=(dtype, axes))
        graph, arrays = dropped(made)
        assert_same(run_kernels(graph, arrays), interpret(graph, *arrays), scale=5.0)


@pytest.mark.parametrize("p", (0.0, 0.001, 0.5, 0.999))
@pytest.mark.parametrize("kind", MAKERS)
def test_any_probability(kind, p):
    graph, arrays = dropped(MAKERS[kind]((1, 2, 40, 57, 16, 16)), p)
    assert_same(run_kernels(graph, arrays), interpret(graph, *arrays), scale=5.0 / (1 - p))


@pytest.mark.parametrize("strides", [(57, 1 << 31, 1 << 29), (3 << 25, 1 << 23, 5 << 20)])
@pytest.mark.parametrize("kind", MAKERS)
def test_numbers_of_elements_up_to_32_bits(kind, strides):
    graph, arrays = dropped(MAKERS[kind]((2, 3, 40, 57, 16, 16)), 0.5, strides)
    assert_same(run_kernels(graph, arrays), interpret(graph, *arrays), scale=5.0)


@pytest.mark.parametrize("level", ("baseline", "avx2"))
@pytest.mark.parametrize("kind", MAKERS)
def test_lower_levels_compute_the_same(kind, level):
    try:
        target = targets._target_at(level)
    except ValueError as error:
        pytest.skip(str(error))
    for causal in (False, True):
        graph, arrays = dropped(MAKERS[kind]((1, 2, 43, 61, 20, 40), causal))
        assert_same(run_kernels(graph, arrays, target), interpret(graph, *arrays), scale=5.0)


def test_every_machine_has_code(monkeypatch):
    """As for attention without dropout, whose script makes the graphs."""
    told = forward.EMIT.replace("kernel_program(graph)", "kernel_program(dropped((graph, []))[0])")
    told = told.replace("texts = {}", "from test_attention_dropout import dropped\ntexts = {}")
    assert told.count("dropped") == 2
    monkeypatch.setattr(forward, "EMIT", told)
    for name in ("x86-64", "x86-64-v3", "x86-64-v4", "aarch64"):
        forward.test_every_machine_has_code(name)


@pytest.mark.parametrize("kind", MAKERS)
def test_threads_do_not_change_a_bit(kind):
    graph, arrays = dropped(MAKERS[kind]((2, 3, 130, 130, 32, 32), True))
    runner = cpu.compile(graph)
    assert any(code.is_shared for code in runner.codes.values())
    one, *others = (runner(arrays, (), n)[0] for n in (1, 2, 3, 7, 1))
    assert all(np.array_equal(one, other) for other in others)


def test_rows_without_any_key_have_no_gradient():
    graph, arrays = backward.gradient_graph((1, 2, 40, 20, 16, 16), mask=(bool_, "row"))
    graph, arrays = dropped((graph, arrays))
    arrays[4][5] = arrays[4][33] = False
    (result,) = run_kernels(graph, arrays)
    of_q = result[: 40 * 32].reshape(40, 2, 16)
    assert (of_q[[5, 33]] == 0).all() and np.isfinite(result).all()
    assert_same([result], interpret(graph, *arrays), scale=5.0)


def test_nans_stay_in_their_rows():
    graph, arrays = dropped(forward.attention_graph((1, 1, 40, 50, 16, 16)))
    arrays[0][0, 20, 7] = np.nan
    (result,) = run_kernels(graph, arrays)
    assert np.isnan(result[0, 0, 20]).all() and np.isfinite(np.delete(result, 20, 2)).all()
    graph, arrays = dropped(backward.gradient_graph((1, 1, 40, 50, 16, 16)))
    arrays[0][0, 20, 7] = np.nan
    (result,) = run_kernels(graph, arrays)
    (want,) = interpret(graph, *arrays)
    of_q, of_k = result[: 40 * 16].reshape(40, 16), result[40 * 16 : 90 * 16]
    assert np.isnan(of_q[20]).all() and np.isfinite(np.delete(of_q, 20, 0)).all()
    assert np.isnan(of_k).all()
    np.testing.assert_array_equal(np.isnan(result), np.isnan(want))


# -- the op ----------------------------------------------------------------------------------------


def test_words_by_number():
    some = np.array([0, 5, 77, 20000], np.uint64)
    np.testing.assert_array_equal(threefry_at(KEY, some), threefry_words(KEY, 20001)[some])
    late = np.array([2**32 + 3], np.uint64)
    np.testing.assert_array_equal(threefry_at(KEY, late), threefry_words(KEY, 1, 2**32 + 3))


def test_op_is_the_gradient_in_float64():
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in ((2, 9, 5), (2, 7, 5), (2, 7, 4))]
    g = rng.standard_normal((2, 9, 4))
    attrs = dict(
        batch=((2, 45, 35, 28, 0),), rows=(9, 5, 0), keys=(7, 5, 4, 0), depth=(5, 1), width=4,
        starts=(0, 0, 0, 0), scale=0.5, causal=True, safe=True, drop=(1 << 30, 4 / 3, 7, 63),
    )  # fmt: skip
    more = dict(given=(0, 4, 36), made=((0, 5, 45), (90, 5, 35), (160, 4, 28)), gains=(0.5, 0.5))
    got = OPS["attention_grad"].eval(*arrays, g, KEY, **attrs, **more, shape=(216,))

    def loss():
        return (OPS["attention"].eval(*arrays, KEY, **attrs) * g).sum()

    want, step = [], 1e-6
    for x in arrays:
        for at in np.ndindex(x.shape):
            x[at] += step
            above = loss()
            x[at] -= 2 * step
            want.append((above - loss()) / (2 * step))
            x[at] += step
    np.testing.assert_allclose(got, want, atol=1e-8)


@pytest.mark.parametrize(
    "changed, message",
    [
        ((1 << 31, 2.0, 57), "a stride per loop"),
        ((1 << 31, 2.0, 57, 1 << 32, 0), "beyond 32 bits"),
        ((1 << 32, 2.0, 57, 0, 0), "drops no share"),
        ((1 << 31, -2.0, 57, 0, 0), "drops no share"),
    ],
)
def test_op_refuses_what_it_has_no_meaning_for(changed, message):
    graph, _ = dropped(forward.attention_graph((2, 3, 40, 57, 16, 16)))
    (node,) = graph.outputs
    with pytest.raises(OpError, match=message):
        build_node(node.op, graph.inputs, {**node.attrs, "drop": changed})
    with pytest.raises(OpError, match=r"needs a key i64\[2\]"):
        build_node(node.op, graph.inputs[:3], node.attrs)


# -- finding it ------------------------------------------------------------------------------------


def both_of(function):
    """`function` and its gradients for a cotangent made of the result."""

    def both(*xs):
        xs = [x.detach().requires_grad_() if x.dtype.is_floating_point else x for x in xs]
        out = function(*xs)
        wanted = [x for x in xs if x.requires_grad]
        return (out, *grad((out * out.detach().cos()).sum(), wanted))

    return both


def kernels_of(function, *tensors):
    """Text of the kernels; two calls are compared with eager mode and its random stream."""
    compiled = nncomp.compile(forward.Wrapped(function))
    nncomp.manual_seed(11)
    wanted = [function(*tensors) for _ in range(2)]
    after = nncomp.get_rng_state().tolist()
    nncomp.manual_seed(11)
    for want in wanted:
        for a, b in zip(compiled(*tensors), want, strict=True):
            a, b = a.detach().numpy(), b.detach().numpy()
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=5e-5)
    assert nncomp.get_rng_state().tolist() == after
    return str(compiled.fused_graph)


def assert_fused(text):
    backward.assert_fused(text)
    assert text.count("drop=(") == 2 and "random_bits" not in text


@pytest.mark.parametrize("p", (0.1, 0.75))
@pytest.mark.parametrize("causal", (False, True))
def test_scaled_dot_product_attention_is_found(causal, p):
    def attend(*x):
        return F.scaled_dot_product_attention(*x, dropout_p=p, is_causal=causal)

    text = kernels_of(both_of(attend), *backward.qkv(2, 3, 40, 16, keys=57))
    assert_fused(text)
    assert f"causal={causal}" in text


def test_every_share_is_dropped_where_eager_mode_drops_it():
    """With the identity for values the result is the shares themselves."""
    q, k, _ = backward.qkv(2, 3, 70, 16, keys=45)
    v = nncomp.eye(45).expand(2, 3, 45, 45).contiguous()

    def attend(*x):
        return F.scaled_dot_product_attention(*x, dropout_p=0.4)

    compiled = nncomp.compile(forward.Wrapped(attend))
    for seed in (1, -5, 2**62 + 3):
        nncomp.manual_seed(seed)
        want = attend(q, k, v).numpy() != 0
        nncomp.manual_seed(seed)
        got = compiled(q, k, v).numpy() != 0
        assert np.array_equal(got, want) and 0.55 < got.mean() < 0.65
    assert " attention(" in str(compiled.fused_graph)


def test_gradients_of_values_see_the_same_mask():
    """With one query that looks everywhere alike: a dropped key's value has no gradient."""
    q, k, v = nncomp.zeros(8, 16), nncomp.randn(50, 16), nncomp.randn(50, 8)

    def attend(q, k, v):
        v = v.detach().requires_grad_()
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=0.5)
        return y, *grad(y, [v], grad_outputs=[nncomp.eye(8)])

    compiled = nncomp.compile(forward.Wrapped(attend))
    nncomp.manual_seed(4)
    _, want = attend(q, k, v)
    nncomp.manual_seed(4)
    _, got = compiled(q, k, v)
    assert np.array_equal(got.numpy() == 0, want.numpy() == 0)
    assert 0.3 < (got.numpy() == 0).mean() < 0.7
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-6)


@pytest.mark.parametrize("shape", [(40, 57), (2, 1, 1, 57), (2, 3, 40, 57)])
def test_masks_that_are_added_or_choose(shape):
    nncomp.manual_seed(0)
    for mask in (nncomp.randn(*shape), nncomp.rand(*shape) < 0.7):

        def attend(q, k, v, m=mask):
            return F.scaled_dot_product_attention(q, k, v, m, dropout_p=0.2)

        assert_fused(kernels_of(both_of(attend), *backward.qkv(2, 3, 40, 16, keys=57)))


def test_attention_by_hand_is_found():
    def attend(q, k, v, p=0.3):
        return F.dropout(nncomp.softmax(0.25 * q @ k.transpose(-2, -1), -1), p) @ v

    assert_fused(kernels_of(both_of(attend), *backward.qkv(2, 40, 16)))


def test_heads_of_a_merged_projection_are_written_in_place():
    def heads(x):
        parts = (p.view(2, 40, 2, 16).transpose(1, 2) for p in x.split(32, dim=2))
        y = F.scaled_dot_product_attention(*parts, is_causal=True, dropout_p=0.1)
        return y.transpose(1, 2).reshape(2, 40, 32)

    text = kernels_of(both_of(heads), nncomp.randn(2, 40, 96))
    assert_fused(text)
    assert "shape=(2,40,96)" in text and "pad(" not in text


def test_grouped_and_shared_heads():
    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, dropout_p=0.1, enable_gqa=True)

    q, _, _ = backward.qkv(2, 4, 40, 16)
    k, v, _ = backward.qkv(2, 2, 40, 16)
    assert kernels_of(both_of(attend), q, k, v).count(" attention_grad(") == 1
    assert kernels_of(both_of(lambda x: attend(x, x, x)), q).count(" attention_grad(") == 1


@pytest.mark.parametrize("p", (0.0, 1.0))
def test_probabilities_that_draw_nothing(p):
    def attend(*x):
        return F.scaled_dot_product_attention(*x, dropout_p=p)

    text = kernels_of(both_of(attend), *backward.qkv(2, 2, 40, 16))
    assert "drop=(" not in text and "random_bits" not in text


def test_weights_or_masks_that_are_read_elsewhere():
    def of_weights(q, k, v):
        weights = F.dropout(nncomp.softmax(0.25 * q @ k.transpose(-2, -1), -1), 0.5)
        return weights @ v + weights.mean()

    text = kernels_of(both_of(of_weights), *backward.qkv(2, 40, 16))
    assert " attention(" not in text and "random_bits" in text

    def of_numbers(q, k, v):
        scores = nncomp.softmax(q @ k.transpose(-2, -1), -1)
        noise = nncomp.rand(2, 40, 40)
        return nncomp.where(noise >= 0.25, scores * 1.5, 0.0) @ v, noise.mean()

    text = kernels_of(lambda *x: of_numbers(*x), *backward.qkv(2, 40, 16))
    assert text.count(" attention(") == 1 and "random_bits" in text


def test_what_is_no_dropout_of_this_kind_stays():
    def normal(q, k, v):
        scores = nncomp.softmax(q @ k.transpose(-2, -1), -1)
        return (nncomp.where(nncomp.randn(2, 40, 40) >= 0.25, scores, 0.0) @ v,)

    def shared(q, k, v):
        scores = nncomp.softmax(q @ k.transpose(-2, -1), -1)
        kept = (nncomp.rand(2, 40, 1) >= 0.25).expand(2, 40, 40)
        return (nncomp.where(kept, scores, 0.0) @ v,)

    def other_value(q, k, v):
        scores = nncomp.softmax(q @ k.transpose(-2, -1), -1)
        return (nncomp.where(nncomp.rand(2, 40, 40) >= 0.25, scores, 0.5) @ v,)

    for function in (normal, shared, other_value):
        assert " attention(" not in kernels_of(function, *backward.qkv(2, 40, 16))


def test_one_pattern_in_graphs():
    x, key = input_node("x", TensorType((4, 8), float32)), input_node("k", TensorType((2,), int64))
    ops = OPS

    def node(name, *operands, **attrs):
        return build_node(ops[name], operands, attrs)

    def full(value, type):
        return node("full", value=value, shape=type.shape, dtype=type.dtype)

    bits = node("random_bits", key, shape=(4, 8))
    upper = node("shift_right", bits, full(8, bits.type))
    upper = node("bitwise_and", upper, full(2**24 - 1, bits.type))
    u = node("cast", upper, dtype=float32)
    u = node("mul", u, full(2.0**-24, u.type))

    def least(p):
        y = node("where", node("le", full(p, u.type), u), x, full(0.0, x.type))
        found = match_dropout(y)
        return found and (found[0].least, found[0].gain, found[0].key is key, found[1] is x)

    assert least(0.5) == (1 << 31, 1.0, True, True)
    assert least(2.0**-24) == (256, 1.0, True, True)
    assert least(1.5 * 2.0**-24) == (512, 1.0, True, True)
    assert least(1.0) is None and least(0.0) is None and least(float("nan")) is None


# -- whole models ----------------------------------------------------------------------------------


def encoder(p=0.1):
    nncomp.manual_seed(0)
    layers = [nn.TransformerEncoderLayer(32, 4, 64, dropout=p, batch_first=True) for _ in range(2)]
    return nn.Sequential(*layers)


def test_training_step_of_encoder_layers():
    x, target = nncomp.randn(2, 40, 32), nncomp.randn(2, 40, 32)
    eager, model = encoder(), encoder()
    step = nncomp.compile_train_step(model, F.mse_loss, optim.SGD(model.parameters(), lr=0.1))
    optimizer = optim.SGD(eager.parameters(), lr=0.1)
    nncomp.manual_seed(9)
    wanted = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = F.mse_loss(eager(x), target)
        loss.backward()
        optimizer.step()
        wanted.append(loss.item())
    state = nncomp.get_rng_state().tolist()
    nncomp.manual_seed(9)
    np.testing.assert_allclose([step(x, target).item() for _ in range(4)], wanted, rtol=2e-5)
    assert nncomp.get_rng_state().tolist() == state
    ((program,),) = step.programs.values()
    text = str(program.fused_graph)
    assert text.count(" attention(") == text.count(" attention_grad(") == 2
    assert "[2,4,40,40]" not in text
    for a, b in zip(model.parameters(), eager.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-3, atol=1e-5)


def test_a_compiled_module_and_backward_draw_once():
    model = encoder()
    compiled = nncomp.compile(model)
    x = nncomp.randn(2, 40, 32)
    for seed in (3, 4):  # the key of its own call
        nncomp.manual_seed(seed)
        y = compiled(x)
        compiled(x)
        y.sin().sum().backward()
        got = [p.grad.numpy().copy() for p in model.parameters()]
        model.zero_grad()
        nncomp.manual_seed(seed)
        model(x).sin().sum().backward()
        for gradient, p in zip(got, model.parameters(), strict=True):
            np.testing.assert_allclose(gradient, p.grad.numpy(), rtol=1e-3, atol=1e-4)
        model.zero_grad()


def test_evaluation_drops_nothing():
    model = encoder().eval()
    compiled = nncomp.compile(model)
    x = nncomp.randn(2, 40, 32)
    np.testing.assert_allclose(compiled(x).detach().numpy(), model(x).detach().numpy(), atol=1e-5)
    text = str(compiled.fused_graph)
    assert text.count(" attention(") == 2 and "drop=(" not in text
