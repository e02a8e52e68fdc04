"""Gradients of attention on the PTX simulator: three launches, no scores in memory."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends.ptx import ptxas
from nncomp.backends.ptx.gemm.attention_grad import Gradients
from nncomp.ir.graph import build_node
from nncomp.ir.op import OPS
from nncomp.ir.types import TensorType, bool_, float32
from product_running import OneKernel, close, ptx_of, simulate

import nncomp
from nncomp.nn import functional


def gradient_of(batch, heads, rows, keys, depth, width, mask=None, **attrs):
    """(types, function) of the gradients over [batch, length, heads, size] operands."""
    lengths = ((rows, depth), (keys, depth), (keys, width))
    types = [TensorType((batch, n, heads, d), float32) for n, d in lengths]
    types.append(TensorType((batch, rows, heads, width), float32))
    strides = [n * heads * d for n, d in lengths]
    if mask:
        types.append(TensorType((batch, 1, rows, keys), mask))
    marks = (rows * keys, keys, 1) if mask else (0, 0, 0)
    forward = dict(
        batch=((batch, *strides, marks[0]), (heads, depth, depth, width, 0)),
        rows=(rows, heads * depth, marks[1]), keys=(keys, heads * depth, heads * width, marks[2]),
        depth=(depth, 1), width=width, starts=(0, 0, 0, 0),
        scale=depth**-0.5, **{"causal": False, "safe": False, **attrs},
    )  # fmt: skip
    sizes = [batch * s for s in strides]
    starts = [sum(sizes[:k]) for k in range(3)]
    made = tuple(
        (start, heads * d, n * heads * d, d) for start, (n, d) in zip(starts, lengths, strict=True)
    )
    more = dict(
        given=(0, heads * width, rows * heads * width, width), made=made,
        gains=(depth**-0.5, depth**-0.5), shape=(sum(sizes),),
        workspace=Gradients.workspace(forward),
    )  # fmt: skip
    return types, lambda *operands: build_node(OPS["attention_grad"], operands, forward | more)


CASES = {
    "edges": ((1, 2, 70, 70, 16, 32), {}),
    "long": ((1, 1, 64, 130, 64, 64), {}),
    "causal": ((2, 1, 130, 130, 32, 32), {"causal": True}),
    "causal edges": ((1, 1, 70, 130, 20, 44), {"causal": True}),
    "more rows than keys": ((1, 1, 130, 70, 20, 44), {"causal": True}),
    "bool": ((2, 1, 40, 90, 20, 44), {"mask": bool_}),
    "added": ((2, 1, 40, 70, 33, 12), {"mask": float32}),
}


@pytest.mark.parametrize("aligned", [True, False], ids=["aligned", "unaligned"])
@pytest.mark.parametrize("name", CASES)
def test_against_numpy(name, aligned):
    sizes, options = CASES[name]
    types, function = gradient_of(*sizes, **options)
    case = OneKernel(function, types)
    data = case.data()
    if options.get("mask") is bool_:
        data[4][..., 0] = True
    code = case.code(aligned=aligned)
    assert len(code.launches) == 3
    got, _ = simulate(case, code, data, race=aligned)
    assert close(got, case.expected(data)) < 4e-6


def test_safe_rows_without_keys_have_no_gradient():
    types, function = gradient_of(1, 1, 40, 70, 16, 32, mask=bool_, safe=True)
    case = OneKernel(function, types)
    data = case.data()
    data[4][0, 0, 5] = False
    got, _ = simulate(case, case.code(), data)
    assert close(got, case.expected(data)) < 4e-6
    assert (got[5 * 16 : 6 * 16] == 0).all()


def test_no_bank_conflicts():
    types, function = gradient_of(1, 1, 128, 128, 64, 64)
    case = OneKernel(function, types)
    _, report = simulate(case, case.code(), case.data(), count=True)
    assert [str(a) for a in report.accesses if a.space == "shared" and a.conflicts] == []


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_registers(arch):
    if ptxas.find() is None:
        pytest.skip("ptxas is not installed")
    types, function = gradient_of(8, 12, 1024, 1024, 64, 64, causal=True)
    usages = ptxas.assemble(ptx_of(OneKernel(function, types).code()), arch).kernels
    assert len(usages) == 3
    assert all(u.spill_stores == u.stack == 0 for u in usages.values())


def test_whole_gradients(monkeypatch):
    monkeypatch.setenv("NNCOMP_PTX_DEVICE", "simulator")

    def pulled(q, k, v):
        def loss(q, k, v):
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return (y * y).sum()

        return nncomp.func.grad(loss, argnums=(0, 1, 2))(q, k, v)

    nncomp.manual_seed(0)
    operands = [nncomp.randn(2, 2, 40, 16) for _ in range(3)]
    compiled = nncomp.compile(pulled, backend="ptx")
    for got, wanted in zip(compiled(*operands), pulled(*operands), strict=True):
        assert close(np.asarray(got), np.asarray(wanted)) < 1e-5
    assert "attention_grad" in str(compiled.fused_graph)


def test_dropout_stays_outside_of_the_kernel(monkeypatch):
    monkeypatch.setenv("NNCOMP_PTX_DEVICE", "simulator")

    def pulled(q, k, v):
        def loss(q, k, v):
            y = functional.scaled_dot_product_attention(q, k, v, dropout_p=0.25)
            return (y * y).sum()

        return nncomp.func.grad(loss, argnums=(0, 1, 2))(q, k, v)

    nncomp.manual_seed(0)
    operands = [nncomp.randn(2, 40, 16) for _ in range(3)]
    compiled = nncomp.compile(pulled, backend="ptx")
    nncomp.manual_seed(1)
    found = compiled(*operands)
    nncomp.manual_seed(1)
    for got, wanted in zip(found, pulled(*operands), strict=True):
        assert close(np.asarray(got), np.asarray(wanted)) < 1e-5
    assert " attention" not in str(compiled.fused_graph)
