"""set_float32_matmul_precision: what GPU code follows, and what does not."""

from __future__ import annotations

import numpy as np
import pytest

import nncomp
from nncomp import nn

VALUES = np.random.default_rng(1).normal(size=(2, 64, 64)).astype(np.float32)
A, B = nncomp.from_numpy(VALUES)
EXACT = (A.double() @ B.double()).numpy()


@pytest.fixture(autouse=True)
def highest():
    apply_op = nncomp.Tensor.__dict__["apply_op"]
    yield
    nncomp.Tensor.apply_op = apply_op  # tensors on a GPU put another one there
    nncomp.set_float32_matmul_precision("highest")


def product(a, b):
    return a @ b


def compiled(**options):
    return nncomp.compile(product, backend="ptx", options=options)


def error(found):
    return np.abs(found.cpu().double().numpy() - EXACT).max()


def test_programs_without_the_option_follow_the_setting():
    tf32 = compiled(matmul_precision="tf32")(A, B)
    assert error(tf32) > 1e-3
    default = compiled()
    assert error(default(A, B)) < 1e-4
    for word in ("high", "medium"):
        nncomp.set_float32_matmul_precision(word)
        assert nncomp.get_float32_matmul_precision() == word
        assert (default(A, B) == tf32).all()
    assert "float32 products changed from strict to tf32" in default.explain()
    assert error(compiled(matmul_precision="strict")(A, B)) < 1e-4
    nncomp.set_float32_matmul_precision("highest")
    assert error(default(A, B)) < 1e-4


def test_the_environment_comes_first(monkeypatch):
    monkeypatch.setenv("NNCOMP_MATMUL_PRECISION", "strict")
    nncomp.set_float32_matmul_precision("high")
    assert error(compiled()(A, B)) < 1e-4


def test_backward_has_the_precision_of_forward():
    layer = nn.Linear(64, 64, bias=False)
    with nncomp.no_grad():
        layer.weight.copy_(B.T)
    x = A.clone().requires_grad_()
    y = nncomp.compile(layer, backend="ptx")(x)
    nncomp.set_float32_matmul_precision("high")  # before the backward program is compiled
    y.backward(A)
    wanted = (A.double() @ B.double().T).numpy()
    assert error(y.detach()) < 1e-4
    assert np.abs(x.grad.double().numpy() - wanted).max() < 1e-4


def test_tensors_on_the_gpu():
    a, b = A.cuda(), B.cuda()
    follows, fixed = nncomp.compile(product), nncomp.compile(
        product, options={"matmul_precision": "tf32"}
    )
    assert error(a @ b) < 1e-4 and error(follows(a, b)) < 1e-4
    assert error(fixed(a, b)) > 1e-3
    nncomp.backends.cuda.matmul.allow_tf32 = True
    assert nncomp.get_float32_matmul_precision() == "high"
    assert (a @ b == fixed(a, b)).all() and (follows(a, b) == fixed(a, b)).all()
    nncomp.backends.cuda.matmul.allow_tf32 = False
    assert nncomp.get_float32_matmul_precision() == "highest"
    assert error(a @ b) < 1e-4


def test_training_steps_follow():
    def weight_after(precision):
        nncomp.set_float32_matmul_precision(precision)
        layer = nn.Linear(64, 64, bias=False)
        with nncomp.no_grad():
            layer.weight.copy_(B)
        optimizer = nncomp.optim.SGD(layer.parameters(), 0.1)
        step = nncomp.compile_train_step(layer, nn.functional.mse_loss, optimizer, backend="ptx")
        step(A, B)
        return layer.weight.detach()

    strict, tf32 = weight_after("highest"), weight_after("high")
    assert 1e-7 < (strict - tf32).abs().max() < 1e-2


def test_cpu_code_has_full_precision_always():
    default = nncomp.compile(product)
    before = default(A, B)
    nncomp.set_float32_matmul_precision("medium")
    assert (default(A, B) == before).all() and default.explain().count("compile ") == 1
    assert (nncomp.compile(product)(A, B) == before).all()


def test_other_words_are_refused():
    with pytest.raises(RuntimeError, match="'highest', 'high' or 'medium', got 'tf32'"):
        nncomp.set_float32_matmul_precision("tf32")
    assert nncomp.get_float32_matmul_precision() == "highest"
