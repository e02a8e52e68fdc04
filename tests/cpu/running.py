"""Running a graph on the CPU backend next to the interpreter, and comparing the results."""

from __future__ import annotations

import numpy as np
from nncomp.backends import cpu
from nncomp.ir.graph import Graph, Node, rebuild
from nncomp.ir.interpret import interpret
from nncomp.ir.passes.fuse import fuse
from nncomp.ir.passes.inline_calls import inline_calls
from nncomp.ir.passes.plan import plan_program
from nncomp.ir.program import Program

TOLERANCE = {"float16": 4e-3, "bfloat16": 3e-2, "float32": 1e-5, "float64": 1e-11}


def run_compiled(graph: Graph, arrays) -> list[np.ndarray]:
    """Results of the whole CPU pipeline; updates of inputs are returned like results."""
    mine = [np.array(a, order="C") for a in arrays]
    outputs = cpu.compile(graph)(mine)
    return _with_updates(graph, mine, outputs)


def run_kernels(graph: Graph, arrays, target=None) -> list[np.ndarray]:
    """Results of fusion, planning and code generation alone, without graph passes before them."""
    from nncomp.backends.cpu.codegen import program_modules
    from nncomp.backends.cpu.executable import build
    from nncomp.backends.cpu.target import host_target

    target = target or host_target()
    program = kernel_program(graph)
    modules, _ = program_modules(program, target)
    types = [None if n else o.type for n, o in zip(graph.output_names, graph.outputs, strict=True)]
    mine = [np.array(a, order="C") for a in arrays]
    return _with_updates(graph, mine, build(program, modules, target, types)(mine))


def kernel_program(graph: Graph) -> Program:
    """The program of a graph without passes before fusion."""
    return plan_program(fuse(_fused_bodies(inline_calls(graph))))


def _fused_bodies(graph: Graph) -> Graph:
    def visit(node: Node, operands):
        if node.name != "scan":
            return None
        attrs = {**node.attrs, "body": fuse(inline_calls(node.attrs["body"]))}
        return Node(node.op, operands, attrs, node.type, node.loc)

    return rebuild(graph, visit)


def _with_updates(graph, arrays, outputs):
    names = graph.input_names
    pairs = zip(outputs, graph.output_names, strict=True)
    return [arrays[names.index(name)] if name else out for out, name in pairs]


def assert_same(got, expected, scale: float = 1.0) -> None:
    """Equal for integers; within the dtype's tolerance, relative to 1 + |value|, for floats."""
    for number, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert a.shape == b.shape and a.dtype == b.dtype, f"result {number}: {a.dtype}{a.shape}"
        if a.dtype.kind in "iub":
            assert (a == b).all(), f"result {number}: {(a != b).sum()} of {a.size} differ"
            continue
        tol = TOLERANCE[a.dtype.name] * scale
        x, y = a.astype(np.float64), b.astype(np.float64)
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        with np.errstate(all="ignore"):
            error = np.where(same, 0.0, np.abs(x - y) / (1 + np.abs(y)))
        worst = np.nan_to_num(error, nan=np.inf).max() if error.size else 0.0
        assert worst <= tol, f"result {number}: error {worst:.3g} > {tol:.3g}"


def check(graph: Graph, arrays, scale: float = 1.0) -> None:
    """Interpreter and compiled code agree."""
    assert_same(run_compiled(graph, arrays), interpret(graph, *arrays), scale)
