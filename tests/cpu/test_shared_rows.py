"""Rows shared by threads: every unit once and the same bits, whichever way a thread walks."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
from nncomp.backends.cpu.codegen import kernel_code
from nncomp.backends.cpu.contract import Contraction, Dim, make_plan
from nncomp.backends.cpu.contract_units import SECOND_CACHE, starts
from nncomp.backends.cpu.meeting import meeting_nanoseconds
from nncomp.backends.cpu.shares import shares_text
from nncomp.backends.cpu.target import host_target

import nncomp
from nncomp import nn

NETS = {
    "1x1": lambda: nn.Conv2d(24, 144, 1),
    "1x1 of few rows": lambda: nn.Conv2d(160, 960, 1),
    "depthwise": lambda: nn.Conv2d(48, 48, 3, padding=1, groups=48),
    "depthwise with strides": lambda: nn.Conv2d(48, 48, 3, stride=2, padding=1, groups=48),
    "3x3 with strides": lambda: nn.Conv2d(32, 40, 3, stride=2, padding=1),
    "pooling": lambda: nn.MaxPool2d(3, 2, 1),
    "narrow": lambda: nn.Conv2d(3, 8, 3, padding=1),
}
SHAPES = {
    "1x1": (1, 24, 56, 56),
    "1x1 of few rows": (1, 160, 7, 7),
    "depthwise": (1, 48, 29, 31),
    "depthwise with strides": (2, 48, 29, 31),
    "3x3 with strides": (1, 32, 37, 37),
    "pooling": (1, 64, 57, 57),
    "narrow": (3, 3, 33, 33),
}


@pytest.fixture(autouse=True)
def threads_as_before():
    before = nncomp.get_num_threads()
    yield
    nncomp.set_num_threads(before)


@pytest.mark.parametrize("name", NETS)
def test_any_number_of_threads_gives_the_same_bits(name):
    nncomp.manual_seed(1)
    chain = nn.Sequential(NETS[name](), nn.ReLU()).requires_grad_(False)
    x = nncomp.randn(*SHAPES[name])
    expected = chain(x).numpy()
    compiled, results = nncomp.compile(chain), []
    for threads in (1, 2, 3, 4, 7):
        nncomp.set_num_threads(threads)
        results += [compiled(x).numpy().copy() for _ in range(3)]
    assert np.allclose(results[0], expected, rtol=1e-5, atol=1e-5)
    for result in results[1:]:
        assert np.array_equal(result, results[0])


def test_kernels_that_share_rows_start_from_the_middle():
    nncomp.manual_seed(1)
    net = nncomp.compile(nn.Conv2d(24, 144, 1).requires_grad_(False))
    net(nncomp.randn(1, 24, 56, 56))
    ((program,),) = net._compiled_forward.programs.values()
    kernels = [k for k in program.runner.program.kernels() if k.kind == "contract"]
    assert kernels and all(kernel_code(k, host_target()).from_middle for k in kernels)


@pytest.mark.parametrize("count", range(1, 60))
def test_blocks_are_even(count):
    for size in range(1, count + 1):
        ends = [*starts(count, size), count]
        sizes = [b - a for a, b in itertools.pairwise(ends)]
        assert ends[0] == 0 and len(sizes) == -(-count // size)
        assert 1 <= min(sizes) and max(sizes) <= min(size, min(sizes) + 1)


def test_rows_are_shared_where_columns_are_few():
    """A pointwise convolution with little weight, and a product that is mostly weight."""
    target = host_target()
    few = Contraction((), (Dim(196, 96),), 576, (Dim(96, 1, 32),), panel=32, panel_stride=96 * 32)
    many = Contraction((), (Dim(32, 512),), 2048, (Dim(512, 1, 32),), 32, 512 * 32)
    assert make_plan(few, target).shares_rows
    assert not make_plan(many, target).shares_rows


def test_the_dump_says_who_does_what():
    nncomp.manual_seed(1)
    net = nncomp.compile(nn.Conv2d(24, 144, 1).requires_grad_(False))
    net(nncomp.randn(1, 24, 56, 56))
    ((program,),) = net._compiled_forward.programs.values()
    runner = program.runner
    text = shares_text(runner.program, runner.codes, 3)
    (line,) = [x for x in text.splitlines() if "from the middle" in x]
    (kernel,) = [k for k in runner.program.kernels() if k.kind == "contract"]
    units = runner.codes[kernel.name].units
    a, b = units // 3, units * 2 // 3
    walks = f"{a - 1}..0, {a}..{b - 1}, {b}..{units - 1}"
    assert line.endswith(f"contract {walks}; rows from the middle")


def test_an_empty_barrier_has_a_time():
    assert meeting_nanoseconds(1) == 0.0
    assert 5 < meeting_nanoseconds(2) < 1e7


class Machine(NamedTuple):
    vector_bits: int = 512
    vector_registers: int = 32


def test_deep_rows_of_a_large_operand_come_from_far_once():
    """A gradient of a weight: what a unit keeps of the larger operand fits the near cache."""
    panels = (Dim(48, 2048 * 32), Dim(32, 1))
    deep = (Dim(2048, 32, 32),)
    spec = Contraction((), panels, 384, deep, panel=32, panel_stride=2048 * 32)
    plan = make_plan(spec, Machine())
    kept = plan.row_block * plan.row_bytes + plan.column_bytes
    assert plan.rows_outer and kept <= SECOND_CACHE
    assert plan.row_block < plan.row_tiles


def test_tiles_of_a_large_left_operand_are_wide():
    """Each column tile reads all of it, which a small one bears."""
    terms = {"k": (Dim(1536, 1, 32),), "panel": 32, "panel_stride": 1536 * 32}
    large, small = (Contraction((), (Dim(rows, 1536),), 384, **terms) for rows in (2048, 256))
    wide, narrow = (make_plan(x, Machine()).column_runs[0].live for x in (large, small))
    assert wide > narrow
