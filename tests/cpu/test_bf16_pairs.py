"""bfloat16 products in pairs: the sums of the plain kernels, where the CPU has the instruction."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends.cpu.target import Target, host_target
from nncomp.ir import Graph, TensorType, build_node, input_node, ops
from nncomp.ir.op import OpError
from nncomp.ir.types import bfloat16, float32

import nncomp

F = nncomp.nn.functional
needs_pairs = pytest.mark.skipif(
    not host_target().bf16_pairs, reason="the CPU (or NNCOMP_ISA) has no vdpbf16ps"
)


def draw(*shape):
    rng = np.random.default_rng([7, *shape])
    return nncomp.from_numpy(rng.normal(size=shape).astype(np.float32)).bfloat16()


def kernels(compiled):
    return str(compiled.fused_graph)


CASES = {
    "plain": (lambda a, b: a @ b, (64, 32), (32, 48), True),
    "few columns": (lambda a, b: a @ b, (33, 34), (34, 7), True),
    "odd depth": (lambda a, b: a @ b, (33, 35), (35, 17), False),
    "few rows": (lambda a, b: a @ b, (3, 64), (64, 48), False),
    "linear": (lambda a, b: a @ b.t(), (64, 32), (50, 32), True),
    "wide": (lambda a, b: a @ b, (40, 258), (258, 100), True),
    "batch": (lambda a, b: a @ b, (3, 40, 32), (3, 32, 48), True),
    "scores": (lambda a, b: a @ b.transpose(-1, -2), (2, 3, 40, 32), (2, 3, 50, 32), True),
    "turned": (lambda a, b: a.t() @ b, (64, 48), (64, 96), True),
    "turned, 33 rows": (lambda a, b: a.t() @ b, (64, 33), (64, 96), True),
    "turned, two axes": (
        lambda a, b: a.flatten(0, 1).t() @ b.flatten(0, 1), (4, 16, 48), (4, 16, 96), True,
    ),
    "turned, odd depth": (lambda a, b: a.t() @ b, (63, 48), (63, 96), False),
    "heads": (
        lambda a, b: (
            a.reshape(2, 40, 3, 32).transpose(1, 2)
            @ b.reshape(2, 40, 3, 32).permute(0, 2, 3, 1)
        ),
        (2, 40, 96), (2, 40, 96), True,
    ),
    "conv": (lambda a, b: F.conv2d(a, b, padding=1), (2, 64, 9, 9), (64, 64, 3, 3), True),
    "strided": (lambda a, b: F.conv2d(a, b, stride=2), (2, 64, 9, 9), (32, 64, 3, 3), True),
    "groups": (lambda a, b: F.conv2d(a, b, groups=2), (2, 128, 7, 7), (64, 64, 3, 3), True),
    "pointwise": (lambda a, b: F.conv2d(a, b), (2, 16, 9, 9), (24, 16, 1, 1), True),
}  # fmt: skip


def reference(f, *xs):
    return f(*(x.double() for x in xs)).numpy()


@needs_pairs
@pytest.mark.parametrize("name", CASES)
def test_products(name):
    f, left, right, expected = CASES[name]
    a, b = draw(*left), draw(*right)
    compiled = nncomp.compile(f, options={"winograd": False})
    y = compiled(a, b)
    assert ("paired=True" in kernels(compiled)) is expected
    exact = reference(f, a, b)
    assert y.dtype is nncomp.bfloat16 and y.shape == f(a, b).shape
    # float32 sums rounded once: half a unit of bfloat16, and a little for the sums
    limit = 2.0**-8 * abs(exact) + 2.0**-18 * abs(exact).max()
    assert (abs(y.float().numpy() - exact) <= limit).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_winograd_of_rounded_operands(dtype):
    dtype = getattr(nncomp, dtype)
    a, b = (draw(*s).float().to(dtype) for s in ((2, 64, 16, 16), (64, 64, 3, 3)))
    g = draw(2, 64, 16, 16).float().to(dtype)

    def both(a, b, g):
        a, b = a.detach().requires_grad_(), b.detach().requires_grad_()
        y = F.conv2d(a, b, padding=1)
        return (y, *nncomp.autograd.grad(y, (a, b), g))

    compiled = nncomp.compile(both)
    found, expected = compiled(a, b, g), both(a.double(), b.double(), g.double())
    assert "winograd" in kernels(compiled)
    for y, exact in zip(found, expected, strict=True):
        assert y.dtype is dtype
        scale = abs(exact.detach().numpy()).max()
        np.testing.assert_allclose(
            y.detach().double().numpy(), exact.detach().numpy(), rtol=2.0**-7, atol=1e-3 * scale
        )


@needs_pairs
def test_an_epilogue_reads_the_float_sums():
    a, b, c = draw(64, 32), draw(32, 48), draw(48)
    compiled = nncomp.compile(lambda a, b, c: nncomp.relu((a @ b).float() + c.float()))
    y = compiled(a, b, c)
    assert "paired=True" in kernels(compiled) and kernels(compiled).count("= fused(") <= 2
    exact = np.maximum(reference(lambda a, b, c: a @ b + c, a, b, c), 0)
    np.testing.assert_allclose(y.numpy(), exact, rtol=2.0**-7, atol=0.05)


@needs_pairs
def test_results_do_not_depend_on_threads():
    a, b = draw(200, 130), draw(130, 90)
    results = [nncomp.compile(lambda a, b: a @ b, threads=n)(a, b) for n in (1, 2)]
    np.testing.assert_array_equal(*(y.float().numpy() for y in results))


@needs_pairs
def test_inf_and_nan_go_through():
    a, b = draw(32, 32), draw(32, 32)
    a[3, 5], a[7, 1] = float("inf"), float("nan")
    y = nncomp.compile(lambda a, b: a @ b)(a, b).float().numpy()
    assert np.isnan(y[7]).all() and np.isinf(y[3]).all()
    assert np.isfinite(np.delete(y, (3, 7), 0)).all()


@needs_pairs
def test_gradients_of_a_layer_under_autocast():
    layer, x = nncomp.nn.Linear(64, 96), nncomp.randn(48, 64)
    step = nncomp.compile_train_step(layer, F.mse_loss, nncomp.optim.SGD(layer.parameters(), 0.0))
    with nncomp.autocast("cpu"):
        step(x, nncomp.zeros(48, 96))
    assert str(step.fused_graph).count("paired=True") == 2  # forward, gradient of the weight


def test_without_the_instruction_nothing_is_paired(monkeypatch):
    monkeypatch.setattr(Target, "bf16_pairs", property(lambda self: False))
    monkeypatch.setenv("NNCOMP_CACHE", "0")
    a, b = draw(64, 32), draw(32, 48)
    compiled = nncomp.compile(lambda a, b: a @ b)
    y = compiled(a, b)
    assert "paired" not in kernels(compiled)
    np.testing.assert_allclose(y.float().numpy(), reference(lambda a, b: a @ b, a, b), atol=0.2)


def test_other_machines_have_no_pairs():
    assert not Target("x86_64-unknown-linux-gnu", "x86-64-v4", "-bmi", 512, 32).bf16_pairs
    assert not Target("aarch64-unknown-linux-gnu", "generic", "+bf16", 128, 32).bf16_pairs
    assert Target("x86_64-pc-linux", "znver4", "+avx512bf16,+fma", 512, 32).bf16_pairs


def packed_product():
    x = input_node("x", TensorType((2, 8), bfloat16))
    w = input_node("w", TensorType((1, 4, 16, 2), bfloat16))
    attrs = dict(
        batch=(), m=((2, 8),), n=16, k=((4, 2, 32),), panel=16, panel_stride=128, a_offset=0,
        b_offset=0, paired=True,
    )  # fmt: skip
    return Graph("product", (x, w), (build_node(ops.contract, (x, w), attrs),))


def test_a_target_without_the_instruction_is_an_error_not_a_crash():
    from nncomp.backends.cpu.codegen import kernel_code
    from nncomp.ir.passes.fuse import fuse
    from nncomp.ir.passes.plan import plan_program

    (kernel,) = plan_program(fuse(packed_product())).kernels()
    plain = Target("x86_64-unknown-linux-gnu", "x86-64-v4", "", 512, 32)
    with pytest.raises(ValueError, match="has no vdpbf16ps"):
        kernel_code(kernel, plain)


def test_the_op_means_two_terms_each():
    a, b = np.arange(12.0).reshape(2, 6), np.arange(18.0).reshape(6, 3)
    packed = np.zeros((1, 3, 4, 2))  # [panels, k / 2, panel, 2]
    packed[0, :, :3] = b.reshape(3, 2, 3).transpose(0, 2, 1)
    attrs = dict(
        batch=(), m=((2, 6),), n=3, k=((3, 2, 8),), panel=4, panel_stride=24, a_offset=0,
        b_offset=0, paired=True,
    )  # fmt: skip
    left, right = (x.astype(bfloat16.numpy) for x in (a, packed))
    np.testing.assert_array_equal(
        ops.contract.eval(left, right, **attrs).astype(np.float32), (a @ b).astype(bfloat16.numpy)
    )
    nodes = [input_node("x", TensorType(x.shape, float32)) for x in (a, packed)]
    with pytest.raises(OpError, match="paired terms are of bfloat16"):
        build_node(ops.contract, nodes, attrs)
