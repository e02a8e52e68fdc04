"""Scans as programs: no copies from turn to turn, weights packed before the loop, equal results."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends import cpu
from nncomp.ir.graph import Graph, Node, build_node, input_node
from nncomp.ir.interpret import interpret
from nncomp.ir.op import OPS
from nncomp.ir.program import LoopStep
from nncomp.ir.types import TensorType, float32
from running import assert_same, kernel_program, run_compiled

WIDTH = 32


def f32(*shape: int) -> TensorType:
    return TensorType(shape, float32)


def op(name: str, *inputs: Node, **attrs) -> Node:
    return build_node(OPS[name], inputs, attrs)


def cell_body(batch: int) -> Graph:
    """(h, c, w, x) -> (h', c', h', h): the new h is a carry and a result, the old h a result."""
    h, c = input_node("h", f32(batch, WIDTH)), input_node("c", f32(batch, WIDTH))
    w, x = input_node("w", f32(WIDTH, WIDTH)), input_node("x", f32(batch, WIDTH))
    gate = op("sigmoid", op("add", x, op("matmul", h, w)))
    new_c = op("add", op("mul", gate, c), x)
    new_h = op("tanh", op("mul", gate, new_c))
    return Graph("cell", [h, c, w, x], [new_h, new_c, new_h, h])


def layer(length: int, reverse: bool, batch: int = 4) -> Graph:
    h, c = input_node("h", f32(batch, WIDTH)), input_node("c", f32(batch, WIDTH))
    w, x = input_node("w", f32(WIDTH, WIDTH)), input_node("x", f32(length, batch, WIDTH))
    attrs = dict(body=cell_body(batch), carries=2, consts=1, length=length, reverse=reverse)
    out = build_node(OPS["scan"], (h, c, op("permute", w, dims=(1, 0)), x), attrs)
    return Graph("layer", [h, c, w, x], list(out))


def arrays_for(graph: Graph) -> list[np.ndarray]:
    r = np.random.default_rng(0)
    return [r.standard_normal(n.shape).astype(np.float32) * 0.3 for n in graph.inputs]


def loops_of(program) -> list[LoopStep]:
    return [s for s in program.steps if isinstance(s, LoopStep)]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("batch", [1, 4])
def test_turns_in_pairs_give_what_single_turns_give(length, reverse, batch):
    graph = layer(length, reverse, batch)
    arrays = arrays_for(graph)
    assert_same(run_compiled(graph, arrays), interpret(graph, *arrays))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [2, 3])
def test_a_scan_in_a_scan(length, reverse):
    inner = layer(3, reverse)
    h, c, w, x = inner.inputs
    body = Graph("outer", inner.inputs, [*inner.outputs[:2], inner.outputs[2]])
    xs = input_node("xs", f32(length, *x.shape))
    attrs = dict(body=body, carries=2, consts=1, length=length, reverse=reverse)
    graph = Graph("nested", [h, c, w, xs], list(build_node(OPS["scan"], (h, c, w, xs), attrs)))
    arrays = arrays_for(graph)
    assert_same(run_compiled(graph, arrays), interpret(graph, *arrays))


def test_carries_are_not_copied_in_the_loop():
    """A pair of turns is the product and the cell, twice; and the old h as a result."""
    (loop,) = loops_of(kernel_program(layer(9, False)))
    copies = [s for s in loop.steps if s.kernel.name.startswith("copy")]
    assert loop.length == 4 and len(copies) == 2  # of the old h alone, which is the cell's operand
    places = [s.places for s in loop.steps]
    assert places[: len(places) // 2] != places[len(places) // 2 :]


def test_a_value_with_two_places_is_stored_twice():
    x = input_node("x", f32(8, 8))
    y = op("tanh", x)
    program = kernel_program(Graph("f", [x], [y, y]))
    (step,) = program.steps
    assert step.kernel.outputs == 2
    (a, b) = run_compiled(Graph("f", [x], [y, y]), [np.ones((8, 8), np.float32)])
    assert (a == b).all() and abs(a - np.tanh(1)).max() < 1e-6 and not np.shares_memory(a, b)


def test_recurrent_weights_are_packed_once_for_all_calls():
    graph = layer(6, False, batch=1)
    runner = cpu.compile(graph, constant=["w"])
    arrays = arrays_for(graph)
    prepared = runner.prepare(arrays)
    assert sum(p.size for p in prepared) == WIDTH * WIDTH
    assert all(p.ctypes.data % 64 == 0 for p in prepared)
    assert not any(s.kernel.name.startswith("permute") for s in runner.program.steps
                   if not isinstance(s, LoopStep))  # fmt: skip
    (loop,) = loops_of(runner.program)
    kinds = [s.kernel.kind for s in loop.steps]
    assert kinds.count("contract") == 2
    assert [s.backwards for s in loop.steps if s.kernel.kind == "contract"] == [False, True]
    assert_same(runner(arrays, prepared), interpret(graph, *arrays))


def test_equal_bits_for_any_number_of_threads():
    graph = layer(8, True, batch=16)
    runner, arrays = cpu.compile(graph, constant=["w"]), arrays_for(graph)
    prepared = runner.prepare(arrays)
    one = runner(arrays, prepared, 1)
    for threads in (2, 3):
        for a, b in zip(one, runner(arrays, prepared, threads), strict=True):
            assert (a == b).all()
