"""Graph passes of the PTX pipeline: what they make, and that they keep the meaning."""

from __future__ import annotations

import numpy as np
from nncomp.backends.ptx.gates import cut_gates
from nncomp.backends.ptx.split import split_for_blocks
from nncomp.ir.interpret import interpret
from nncomp.ir.parser import parse_graph
from nncomp.ir.verify import verify

CELL = """graph cell(h: f32[1,64], w: f32[64,128], x: f32[1,128]) {
  matmul_0 = matmul(h, w)
  add_0 = add(x, matmul_0)
  slice_0 = slice(add_0, start=(0,0), stop=(1,64), step=(1,1))
  slice_1 = slice(add_0, start=(0,64), stop=(1,128), step=(1,1))
  sigmoid_0 = sigmoid(slice_0)
  mul_0 = mul(sigmoid_0, slice_1)
  return mul_0
}"""


def check(before, after, terms: int) -> None:
    """Both graphs agree, up to the rounding of float32 sums of `terms` terms.

    Partial sums of k normal numbers are of size sqrt(k), each is rounded by up to 2^-24 of that.
    The errors are as good as independent: those of one sum are of size 2^-24 terms / sqrt(2), the
    difference of two sums 2^-24 terms. Four times that; a forgotten term is of size 1.
    """
    verify(after)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(n.shape).astype(n.dtype.numpy) for n in before.inputs]
    for a, b in zip(interpret(before, *arrays), interpret(after, *arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=4 * terms * 2.0**-24)


def names(graph) -> list[str]:
    return [n.name for n in graph.nodes]


def test_products_that_are_read_in_parts_become_sums():
    before = parse_graph(CELL)
    after = cut_gates(before)
    check(before, after, terms=64)
    assert "matmul" not in names(after) and names(after).count("sum") == 2


def test_products_that_are_also_read_whole_stay():
    whole = parse_graph(CELL.replace("return mul_0", "return mul_0, add_0"))
    assert cut_gates(whole) is whole
    many = parse_graph(CELL.replace("[1,", "[8,").replace("(1,", "(8,"))
    assert names(cut_gates(many)).count("matmul") == 1


def test_long_sums_to_few_results_are_cut():
    cases = (("65536", "0", 64, 65536), ("8192,64", "0", 8, 8192), ("4,40000", "1", 32, 40000))
    for shape, axes, parts, terms in cases:
        text = f"graph f(x: f32[{shape}]) {{\n y = sum(x, axes=({axes},))\n return y\n}}"
        before = parse_graph(text)
        after = split_for_blocks(before)
        check(before, after, terms)
        first = next(n for n in after.nodes if n.name == "sum")
        assert first.type.size == parts * before.outputs[0].type.size


def test_sums_that_keep_a_gpu_busy_are_left():
    for shape, axis in (("4096,256", 0), ("1000,1000", 1), ("100,10", 0)):
        text = f"graph f(x: f32[{shape}]) {{\n y = sum(x, axes=({axis},))\n return y\n}}"
        before = parse_graph(text)
        kept = names(split_for_blocks(before)).count("sum")
        assert kept == (2 if shape == "4096,256" else 1)
