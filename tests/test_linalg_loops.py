"""linalg in compiled code: the loops against numpy, their gradients against eager mode's."""

from __future__ import annotations

import numpy as np
import pytest

import nncomp
from nncomp import linalg


def matrices(*shape, dtype=np.float64, seed=0):
    values = np.random.default_rng(seed).normal(size=shape).astype(dtype)
    return nncomp.from_numpy(values)


def positive(*shape, dtype=np.float64):
    a = matrices(*shape, dtype=dtype)
    return a @ a.mT + nncomp.eye(shape[-1], dtype=a.dtype)


def from_eigh(a):
    values, vectors = linalg.eigh(a)
    return values, (vectors * values.exp()[..., None, :]) @ vectors.mT


def from_svd(a):
    u, s, vh = linalg.svd(a, full_matrices=False)
    return s, (u * (s + 1)[..., None, :]) @ vh


CASES = {
    "inv": (linalg.inv, "general"),
    "solve": (lambda a: linalg.solve(a, a.mT * 2 + 1), "general"),
    "solve from the left": (lambda a: linalg.solve(a, a.mT + 1, left=False), "general"),
    "triangular": (lambda a: linalg.solve_triangular(a, a + 1, upper=True), "positive"),
    "det": (linalg.det, "general"),
    "slogdet": (lambda a: tuple(linalg.slogdet(a)), "general"),
    "cholesky": (linalg.cholesky, "positive"),
    "cholesky upper": (lambda a: linalg.cholesky(a, upper=True), "positive"),
    "cholesky_inverse": (lambda a: nncomp.cholesky_inverse(linalg.cholesky(a)), "positive"),
    "qr": (lambda a: tuple(linalg.qr(a)), "general"),
    "eigh": (from_eigh, "positive"),
    "eigh upper": (lambda a: linalg.eigh(a, UPLO="U")[0], "general"),
    "eigvalsh": (linalg.eigvalsh, "general"),
    "svd": (from_svd, "general"),
    "svdvals": (linalg.svdvals, "general"),
    "pinv": (linalg.pinv, "general"),
    "matrix_exp": (nncomp.matrix_exp, "general"),
    "norm": (lambda a: linalg.matrix_norm(a, "nuc"), "general"),
    "rank": (linalg.matrix_rank, "general"),
}


def results(found):
    return list(found) if isinstance(found, tuple) else [found]


@pytest.mark.parametrize("shape", [(4, 4), (2, 5, 5), (2, 3, 6, 6), (17, 17)], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_eager_mode(name, shape):
    function, kind = CASES[name]
    a = (positive if kind == "positive" else matrices)(*shape)
    runs = []
    for run in (function, nncomp.compile(function)):
        x = a.clone().requires_grad_()
        found = results(run(x))
        weights = [np.cos(np.arange(y.numel())).reshape(y.shape) for y in found]
        total = sum((y * nncomp.from_numpy(w)).sum() for y, w in zip(found, weights, strict=True))
        arrays = [y.detach().numpy() for y in found]
        if total.requires_grad:
            total.backward()
            arrays.append(x.grad.numpy())
        runs.append(arrays)
    for eager, compiled in zip(*runs, strict=True):
        scale = max(1.0, np.abs(eager).max())
        np.testing.assert_allclose(compiled / scale, eager / scale, atol=1e-8)


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (3, 6, 2), (1, 5), (5, 1)], ids=str)
def test_rectangles(shape):
    a = matrices(*shape)
    m, n = shape[-2:]
    for mode in ("reduced", "complete"):
        q, r = nncomp.compile(lambda x, mode=mode: tuple(linalg.qr(x, mode)))(a)
        for ours, theirs in zip((q, r), np.linalg.qr(a.numpy(), mode), strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-12)
    u, s, vh = nncomp.compile(lambda x: tuple(linalg.svd(x)))(a)
    assert u.shape[-1] == m and vh.shape[-2] == n
    for q in (u, vh):
        turned = (q @ q.mT).numpy()
        np.testing.assert_allclose(turned, np.broadcast_to(np.eye(q.shape[-1]), turned.shape),
                                   atol=1e-12)  # fmt: skip
    k = min(m, n)
    again = (u[..., :k] * s[..., None, :]) @ vh[..., :k, :]
    np.testing.assert_allclose(again.numpy(), a.numpy(), atol=1e-12)
    pinv = nncomp.compile(linalg.pinv)(a)
    np.testing.assert_allclose(pinv.numpy(), np.linalg.pinv(a.numpy()), atol=1e-12)


def test_matrices_without_full_rank():
    a = matrices(6, 2) @ matrices(2, 5, seed=1)
    u, s, vh = nncomp.compile(lambda x: tuple(linalg.svd(x, full_matrices=False)))(a)
    assert (s.numpy()[2:] < 1e-12).all()
    np.testing.assert_allclose((u.mT @ u).numpy(), np.eye(5), atol=1e-12)
    np.testing.assert_allclose(((u * s) @ vh).numpy(), a.numpy(), atol=1e-12)
    square = matrices(5, 2) @ matrices(2, 5, seed=1)
    assert abs(nncomp.compile(linalg.det)(square).item()) < 1e-12
    found = nncomp.compile(linalg.pinv)(a)
    np.testing.assert_allclose(found.numpy(), np.linalg.pinv(a.numpy()), atol=1e-10)
    zeros = nncomp.zeros(4, 4, dtype=nncomp.float64)
    assert nncomp.compile(lambda x: tuple(linalg.slogdet(x)))(zeros)[1].item() == -np.inf
    assert not np.isfinite(nncomp.compile(linalg.inv)(zeros).numpy()).all()
    assert np.isnan(nncomp.compile(linalg.cholesky)(zeros - 1).numpy()[..., -1, -1])


def test_pivoting_handles_zeros_on_the_diagonal():
    a = nncomp.from_numpy(np.roll(np.eye(6), 2, 0) * np.arange(1, 7.0))
    found = nncomp.compile(linalg.inv)(a)
    np.testing.assert_allclose(found.numpy(), np.linalg.inv(a.numpy()), atol=1e-14)
    np.testing.assert_allclose(nncomp.compile(linalg.det)(a).item(), np.linalg.det(a.numpy()))


@pytest.mark.parametrize("name", ["inv", "qr", "eigvalsh", "svdvals", "matrix_exp"])
def test_float32(name):
    a = positive(12, 12, dtype=np.float32) / 4
    function = CASES[name][0]
    for ours, eager in zip(
        results(nncomp.compile(function)(a)), results(function(a)), strict=True
    ):
        scale = np.abs(eager.numpy()).max()
        np.testing.assert_allclose(ours.numpy() / scale, eager.numpy() / scale, atol=2e-5)


@pytest.mark.parametrize("name", ["inv", "cholesky", "qr", "eigvalsh", "svdvals"])
def test_the_graph_does_not_grow_with_the_matrix(name):
    def count(n):
        return len(nncomp.trace(CASES[name][0], positive(n, n)).nodes)

    assert count(10) == count(40)


def test_matrix_exp_of_large_and_small_norms():
    for factor in (1e-9, 1.0, 30.0):
        a = matrices(4, 4) * factor
        found = nncomp.compile(nncomp.matrix_exp)(a).numpy()
        np.testing.assert_allclose(found, nncomp.matrix_exp(a).numpy(), rtol=1e-9)
