"""Packing weights by one function with sizes as arguments, against what the kernels mean."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends.cpu import compile
from nncomp.backends.cpu.pack_kernel import make_pack
from nncomp.backends.cpu.stages import Stages
from nncomp.backends.cpu.target import host_target
from nncomp.ir.interpret import interpret
from nncomp.ir.parser import parse_graph

CASES = {
    "matrix": ((64, 48), "permute_0 = permute(w, dims=(1,0))", (48, 2, 32), (1, 0, 2)),
    "short rows": ((64, 16), "permute_0 = permute(w, dims=(1,0))", (16, 2, 32), (1, 0, 2)),
    "odd rows": ((96, 37), "permute_0 = permute(w, dims=(1,0))", (37, 2, 48), (1, 0, 2)),
    "one panel": ((32, 40), "permute_0 = permute(w, dims=(1,0))", (40, 1, 32), (1, 0, 2)),
    "cut": (
        (70, 50),
        "pad_0 = pad(w, low=(0,0), high=(26,0), interior=(0,0), value=0)\n"
        "  permute_0 = permute(pad_0, dims=(1,0))", (50, 3, 32), (1, 0, 2),
    ),
    "cut in the middle of a block": (
        (23, 50),
        "pad_0 = pad(w, low=(0,0), high=(9,0), interior=(0,0), value=0)\n"
        "  permute_0 = permute(pad_0, dims=(1,0))", (50, 1, 32), (1, 0, 2),
    ),
    "kernels of 3 x 3": (
        (64, 20, 3, 3), "permute_0 = permute(w, dims=(2,3,1,0))",
        (3, 3, 20, 2, 32), (3, 0, 1, 2, 4),
    ),
    "kernels of 1 x 1": (
        (64, 20, 1, 1), "permute_0 = permute(w, dims=(2,3,1,0))",
        (1, 1, 20, 2, 32), (3, 0, 1, 2, 4),
    ),
}  # fmt: skip


def _graph(shape, first, cut, order, dtype="f32"):
    sizes = ",".join(map(str, shape))
    return parse_graph(
        f"graph f(x: {dtype}[1], w: {dtype}[{sizes}]) {{\n  {first}\n"
        f"  reshape_0 = reshape(permute_0, shape=({','.join(map(str, cut))}))\n"
        f"  permute_1 = permute(reshape_0, dims=({','.join(map(str, order))}))\n"
        "  return permute_1\n}"
    )


def _prepared(graph):
    """The stages of a graph as those of a prepare program, and its one kernel."""
    stages = Stages(graph, (), host_target(), runs_once=True)
    (kernel,) = stages.program.kernels()
    return stages, kernel


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("threads", [1, 2])
def test_packs_bit_for_bit(name, threads):
    from nncomp.backends.cpu.executable import build

    graph = _graph(*CASES[name])
    stages, kernel = _prepared(graph)
    assert make_pack(kernel) is not None and stages.codes[kernel.name].member
    shape = graph.inputs[1].type.shape
    w = np.random.default_rng(0).integers(0, 1 << 32, shape, np.uint32).view(np.float32)
    x = np.zeros(1, np.float32)
    types = [node.type for node in graph.outputs]
    (packed,) = build(stages.program, stages.modules, host_target(), types)([x, w], threads)
    (expected,) = interpret(graph, x, w)
    assert packed.tobytes() == expected.tobytes()


@pytest.mark.parametrize("case", ["8 columns", "doubles", "sum"])
def test_other_kernels_have_code_of_their_own(case):
    if case == "sum":
        graph = parse_graph(
            "graph f(x: f32[1], w: f32[64,48]) {\n  add_0 = add(w, w)\n"
            "  permute_0 = permute(add_0, dims=(1,0))\n  return permute_0\n}"
        )
    elif case == "doubles":
        graph = _graph(*CASES["matrix"], dtype="f64")
    else:
        first = "permute_0 = permute(w, dims=(1,0))"
        graph = _graph((64, 8), first, (8, 2, 32), (1, 0, 2))
    stages, kernel = _prepared(graph)
    assert make_pack(kernel) is None and not stages.codes[kernel.name].member


def test_programs_that_run_often_have_code_of_their_own():
    graph = _graph(*CASES["matrix"])
    runner = compile(graph)
    assert all(not code.member for code in runner.stages.codes.values())


def test_one_module_holds_all_packing():
    text = ["graph f(a: f32[64,48], b: f32[96,64], c: f32[40,32]) {"]
    for name, panels in (("a", (48, 2, 32)), ("b", (64, 3, 32)), ("c", (32, 5, 8))):
        text += [
            f"  permute_{name} = permute({name}, dims=(1,0))",
            f"  reshape_{name} = reshape(permute_{name}, shape={panels})",
            f"  moved_{name} = permute(reshape_{name}, dims=(1,0,2))",
        ]
    graph = parse_graph("\n".join([*text, "  return moved_a, moved_b, moved_c\n}"]))
    stages = Stages(graph, (), host_target(), runs_once=True)
    assert len(stages.codes) == 3
    members = [code.member for code in stages.codes.values() if code.member]
    assert len(members) == 2  # panels of 8 columns are no whole vectors
    assert sum("@pack_any" in module for module in stages.modules) == 1
    assert len(stages.modules) == 3  # the two, the third, run
