"""What becomes one kernel, what is computed once, how large code gets, how long compiling takes."""

from __future__ import annotations

import time
from random import Random

import numpy as np
import pytest
from nncomp.backends.cpu.codegen import program_modules
from nncomp.backends.cpu.target import Target
from nncomp.backends.expressions import Isa
from nncomp.backends.llvm import Emitter
from nncomp.backends.map_kernel import MapKernel
from nncomp.backends.schedule import make_schedule
from nncomp.ir.grad import joint
from nncomp.ir.graph import Graph, build_node, input_node
from nncomp.ir.interpret import interpret
from nncomp.ir.op import OPS
from nncomp.ir.parser import parse_graph
from nncomp.ir.passes.split_reductions import split_reductions
from nncomp.ir.types import TensorType, float32
from random_graphs import draw_case
from running import assert_same, kernel_program, run_compiled
from test_cpu_golden import BATCH_NORM, SOFTMAX

TARGET = Target("x86_64-unknown-linux-gnu", "x86-64-v4", "", 512, 32)


def f32(*shape) -> TensorType:
    return TensorType(shape, float32)


def op(name, *operands, **attrs):
    return build_node(OPS[name], operands, attrs)


def schedules(graph: Graph):
    return [make_schedule(k) for k in kernel_program(graph).kernels() if k.kind == "map"]


# -- what is computed once -------------------------------------------------------------------------


def test_softmax_is_one_kernel_that_takes_each_exp_once():
    (kernel,) = kernel_program(parse_graph(SOFTMAX)).kernels()
    schedule = MapKernel(Emitter(), kernel, Isa(16)).schedule
    (scratch,) = schedule.scratch
    assert scratch.value.name == "exp" and scratch.buffer.type.shape == (100,)
    assert "exp" not in "".join(map(str, schedule.stores))


def test_a_reduction_is_not_repeated_by_loops_it_does_not_depend_on():
    schedule = schedules(parse_graph(BATCH_NORM))[0]
    assert [v.name for v in schedule.rows] == ["i1"]
    assert sum(v.extent for v in schedule.loops) == 4 + 100


def test_a_costly_broadcast_is_computed_before_it_is_repeated():
    x, b = input_node("x", f32(512, 512)), input_node("b", f32(1, 512))
    wide = op("expand", op("exp", b), shape=x.shape)
    program = kernel_program(Graph("f", [x, b], [op("mul", x, wide)]))
    assert [k.name.split("_")[0] for k in program.kernels()] == ["exp", "mul"]


def test_a_cheap_one_is_repeated():
    x, b = input_node("x", f32(8, 64)), input_node("b", f32(1, 64))
    wide = op("expand", op("neg", b), shape=x.shape)
    program = kernel_program(Graph("f", [x, b], [op("mul", x, wide)]))
    assert len(program.steps) == 1


def test_operands_of_a_small_matmul_are_not_computed_for_every_column():
    x, w = input_node("x", f32(256, 256)), input_node("w", f32(256, 3))
    program = kernel_program(Graph("f", [x, w], [op("matmul", op("tanh", x), w)]))
    assert len(program.steps) == 2


def test_a_long_reduction_is_shared_between_threads():
    x = input_node("x", f32(1_000_003))
    graph = split_reductions(Graph("f", [x], [op("sum", x, axes=(0,))]))
    assert max(s.units for s in schedules(graph)) == 16
    values = np.random.default_rng(0).uniform(-1, 1, x.shape).astype(np.float32)
    assert np.allclose(interpret(graph, values)[0], values.sum(dtype=np.float64), atol=1e-2)


# -- memory ----------------------------------------------------------------------------------------


def test_an_update_is_written_in_place():
    p, g = input_node("p", f32(100)), input_node("g", f32(100))
    program = kernel_program(Graph("sgd", [p, g], [op("sub", p, g)], ["p"]))
    (step,) = program.steps
    assert [str(place) for place in step.places] == ["in 0", "in 1", "in 0"] and program.arena == 0


def test_updates_do_not_keep_every_gradient_alive():
    def arena(layers: int) -> int:
        x = input_node("x", f32(64, 64))
        weights = [input_node(f"w{i}", f32(64, 64)) for i in range(layers)]
        y = x
        for w in weights:
            y = op("tanh", op("matmul", y, w))
        step = joint(Graph("f", [x, *weights], [y]), [w.attrs["name"] for w in weights])
        updates = [op("sub", w, g) for w, g in zip(weights, step.outputs[1:], strict=True)]
        outputs = (step.outputs[0], *updates)
        names = ("", *(w.attrs["name"] for w in weights))
        return kernel_program(Graph("f", step.inputs, outputs, names)).arena

    tensor = 64 * 64 * 4
    assert arena(12) - arena(6) <= 6 * tensor  # one activation per layer


# -- large graphs ----------------------------------------------------------------------------------


def chain(length: int) -> Graph:
    x = y = input_node("x", f32(8, 8))
    for i in range(length):
        y = op(("tanh", "neg", "sin", "abs")[i % 4], y)
    return Graph("chain", [x], [y])


def tangle(length: int) -> Graph:
    r, shape = Random(0), (16, 16)
    inputs = [input_node(f"x{i}", f32(*shape)) for i in range(4)]
    pool = list(inputs)
    for _ in range(length):
        a, b = r.choice(pool[-20:]), r.choice(pool[-20:])
        kind = r.random()
        if kind < 0.7:
            pool.append(op(r.choice(("add", "sub", "mul", "maximum")), a, b))
        elif kind < 0.85:
            pool.append(op("tanh", a))
        else:
            total = op("reshape", op("sum", a, axes=(1,)), shape=(16, 1))
            pool.append(op("sub", a, op("expand", total, shape=shape)))
    return Graph("tangle", inputs, [op("tanh", x) for x in pool[-3:]])


def rnn(steps: int) -> Graph:
    x, h = input_node("x", f32(steps, 8, 32)), input_node("h", f32(8, 32))
    w, u = input_node("w", f32(32, 32)), input_node("u", f32(32, 32))
    y, outputs = h, []
    for t in range(steps):
        bounds = dict(start=(t, 0, 0), stop=(t + 1, 8, 32), step=(1, 1, 1))
        now = op("reshape", op("slice", x, **bounds), shape=(8, 32))
        y = op("tanh", op("add", op("matmul", now, w), op("matmul", y, u)))
        outputs.append(op("reshape", y, shape=(1, 8, 32)))
    return joint(Graph("rnn", [x, h, w, u], [op("concat", *outputs, axis=0)]), ["w", "u"])


@pytest.mark.parametrize("make", (chain, tangle))
def test_thousands_of_nodes_take_seconds(make):
    graph = make(5000)
    start = time.process_time()  # what else the machine does is not counted
    program = kernel_program(graph)
    program_modules(program, TARGET)
    assert time.process_time() - start < 20  # 1 to 3 on an idle machine; quadratic: minutes
    assert len(program.steps) > 100


def test_the_turns_of_an_unrolled_loop_share_kernels():
    from nncomp.backends.cpu.pipeline import cpu_pipeline
    from nncomp.ir.passes.run import run_pipeline

    program = kernel_program(run_pipeline(rnn(20), cpu_pipeline(TARGET)))
    assert len(program.steps) > 100 and len(program.kernels()) < 20


@pytest.mark.parametrize("count", (5, 40, 400))
def test_a_concat_of_many_copies_each_once(count):
    inputs = [input_node(f"x{i}", f32(6, 3 + i % 4)) for i in range(count)]
    graph = Graph("f", inputs, [op("tanh", op("concat", *inputs, axis=1))])
    program = kernel_program(graph)
    assert len(program.kernels()) <= 6
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, n.shape).astype(np.float32) for n in inputs]
    assert_same(run_compiled(graph, arrays), interpret(graph, *arrays))


def test_kernels_stay_small():
    for seed in range(12):
        graph, _ = draw_case(seed, "deep")
        _, codes = program_modules(kernel_program(graph), TARGET)
        assert max((len(c.text) for c in codes.values()), default=0) < 120_000


def test_a_heavy_epilogue_is_written_once():
    x, w = input_node("x", f32(200, 64)), input_node("w", f32(64, 96))
    attrs = dict(batch=(), m=((200, 64),), n=96, k=((64, 1, 96),), a_offset=0, b_offset=0)
    y = op("contract", x, w, panel=0, panel_stride=0, **attrs)
    for name in ("tanh", "erf", "sigmoid"):
        y = op(name, y)
    program = kernel_program(Graph("f", [x, w], [y]))
    (kernel,) = program.kernels()
    _, codes = program_modules(program, TARGET)
    text = codes[kernel.name].text
    assert text.count("define internal") == 1 and len(text) < 60_000
