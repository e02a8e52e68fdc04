"""Every registered op: complete, typed as it evaluates, differentiated as it varies."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from gradcheck import check_gradients
from nncomp.ir.grad import vjp_graph
from nncomp.ir.interpret import interpret
from nncomp.ir.op import OPS
from nncomp.ir.parser import parse_graph
from nncomp.ir.printer import print_graph
from nncomp.ir.verify import verify
from op_samples import COVERED_ELSEWHERE, SAMPLES, make_operands, sample_graph

ids = [f"{i}-{s.id}" for i, s in enumerate(SAMPLES)]
FLOATS = ("f16", "bf16", "f32", "f64")


def rng_of(sample) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(sample.id.encode()))


def test_every_op_is_complete():
    sampled = {s.op for s in SAMPLES}
    missing = []
    for name, op in OPS.items():
        missing += [
            f"{name}: {field}"
            for field in ("type", "eval")
            if not callable(getattr(op, field, None))
        ]
        if not (type(op).__doc__ or "").strip():
            missing.append(f"{name}: docstring")
        if op.differentiable and not callable(getattr(op, "vjp", None)):
            missing.append(f"{name}: vjp or differentiable = False")
        if name not in sampled | COVERED_ELSEWHERE:
            missing.append(f"{name}: a row in op_samples.py")
    assert not missing
    assert sampled <= set(OPS)


@pytest.mark.parametrize("sample", SAMPLES, ids=ids)
@pytest.mark.parametrize("dtype", FLOATS)
def test_eval_gives_the_declared_type(sample, dtype):
    """`interpret` raises when shape or dtype of a result differs from the type rule."""
    if "T" not in sample.dtypes and dtype != "f32":
        pytest.skip("no operand of the dtype under test")
    graph = verify(sample_graph(sample, dtype))
    outputs = interpret(graph, *make_operands(sample, rng_of(sample), dtype))
    assert [a.shape for a in outputs] == [n.type.shape for n in graph.outputs]
    assert not any((a != a).any() for a in outputs if a.dtype.kind == "f")


@pytest.mark.parametrize("sample", SAMPLES, ids=ids)
def test_text_round_trip(sample):
    text = print_graph(sample_graph(sample))
    assert print_graph(parse_graph(text)) == text


def differentiable(sample) -> bool:
    graph = sample_graph(sample, "f64")
    floats = [any(n.dtype.kind == "f" for n in side) for side in (graph.inputs, graph.outputs)]
    return OPS[sample.op].differentiable and sample.smooth and all(floats)


SMOOTH = [s for s in SAMPLES if differentiable(s)]


@pytest.mark.parametrize("sample", SMOOTH, ids=[s.id for s in SMOOTH])
def test_gradient_is_the_slope_to_second_order(sample):
    rng = rng_of(sample)
    check_gradients(sample_graph(sample, "f64"), make_operands(sample, rng, "f64"), rng)


@pytest.mark.parametrize("sample", SMOOTH, ids=[s.id for s in SMOOTH])
@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32"])
def test_gradient_graph_is_well_formed_at_every_float_type(sample, dtype):
    graph = sample_graph(sample, dtype)
    backward = verify(vjp_graph(graph))
    assert [n.type for n in backward.outputs] == [n.type for n in graph.inputs]
    rng = rng_of(sample)
    arrays = make_operands(sample, rng, dtype)
    cotangents = [np.ones(n.type.shape, n.dtype.numpy) for n in graph.outputs]
    interpret(backward, *cotangents, *arrays)


def test_detach_stops_gradients():
    graph = parse_graph("graph g(x: f64[3]) { \n d = detach(x)\n m = mul(d, x)\n return m\n}")
    ones, x = np.ones(3), np.array([1.0, 2.0, 3.0])
    assert interpret(vjp_graph(graph), ones, x)[0].tolist() == x.tolist()


@pytest.mark.parametrize("name", ["fused", "contract"])
def test_a_kernel_has_no_gradient(name):
    sample = next(s for s in SAMPLES if s.op == name)
    with pytest.raises(TypeError, match="take gradients before the passes that make kernels"):
        vjp_graph(sample_graph(sample))
