"""Counters of memory traffic and bank conflicts, on accesses whose cost is known."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import CASES, module
from nncomp.backends.ptx.simulator import Memory, Report, load


def counted(name: str) -> Report:
    file, run = CASES[name]
    return run(module(file), count=True)


def test_a_copy_moves_every_byte_once_each_way():
    report = counted("copy4")
    assert report.moved == 2 * 4096 and report.conflicts == 0
    assert {a.kind: a.requests for a in report.accesses} == {"read": 8, "write": 8}
    assert report.instructions["ld"] == 8 + 2 * 8  # two parameters per warp


def test_padding_a_tile_removes_conflicts():
    assert counted("transpose").conflicts == 0
    report = counted("transpose_conflicts")
    (read,) = [a for a in report.accesses if a.space == "shared" and a.kind == "read"]
    assert (read.requests, read.ideal, read.wavefronts) == (32, 32, 32 * 32)
    assert report.conflicts == 31 * 32


def launch(body: str, shape: str = "", threads: int = 32) -> Report:
    """One warp; %r1 is the lane, %rd1 a buffer, s shared memory."""
    text = f""".version 7.0
.target sm_80
.address_size 64
.shared .align 16 .b8 s[4096];
.visible .entry k(.param .b64 x)
{{
.reg .b32 %r<9>; .reg .b64 %rd<9>; .reg .pred %p<3>;
ld.param.b64 %rd1, [x];
mov.u32 %r1, %tid.x;
{body}
ret;
}}
"""
    memory = Memory()
    x = memory.put(np.zeros(4096, np.int32))
    return load(text).launch("k", 1, threads, [x], memory=memory, count=True, uninitialised=False)


GLOBAL = "mul.wide.u32 %rd2, %r1, {};\nadd.s64 %rd1, %rd1, %rd2;\nld.global.{} {}, [%rd1+{}];"


@pytest.mark.parametrize(
    ("stride", "type_", "target", "offset", "sectors"),
    [
        (4, "b32", "%r2", 0, 4),
        (4, "b32", "%r2", 16, 5),
        (8, "b32", "%r2", 0, 8),
        (32, "b32", "%r2", 0, 32),
        (16, "v4.b32", "{%r2, %r3, %r4, %r5}", 0, 16),
        (0, "b32", "%r2", 0, 1),
        (1, "b8", "%r2", 0, 1),
    ],
)
def test_sectors_of_a_request(stride, type_, target, offset, sectors):
    report = launch(GLOBAL.format(stride, type_, target, offset))
    (access,) = report.accesses
    assert (access.requests, access.sectors, access.moved) == (1, sectors, 32 * sectors)


SHARED = """mul.lo.u32 %r2, %r1, {};
mov.b32 %r3, s;
add.u32 %r2, %r2, %r3;
ld.shared.{} {}, [%r2];"""


@pytest.mark.parametrize(
    ("stride", "type_", "target", "ideal", "wavefronts"),
    [
        (4, "b32", "%r4", 1, 1),
        (0, "b32", "%r4", 1, 1),  # one word for all
        (8, "b32", "%r4", 1, 2),
        (128, "b32", "%r4", 1, 32),
        (132, "b32", "%r4", 1, 1),
        (8, "v2.b32", "{%r4, %r5}", 2, 2),
        (16, "v4.b32", "{%r4, %r5, %r6, %r7}", 4, 4),
        (32, "v4.b32", "{%r4, %r5, %r6, %r7}", 4, 8),
        (2, "b16", "%r4", 1, 1),
    ],
)
def test_wavefronts_of_shared_memory(stride, type_, target, ideal, wavefronts):
    report = launch(SHARED.format(stride, type_, target))
    (access,) = report.accesses
    assert (access.ideal, access.wavefronts) == (ideal, wavefronts)
    assert report.conflicts == wavefronts - ideal


def test_lanes_that_are_off_count_nothing():
    body = "setp.lt.u32 %p1, %r1, 8;\n@%p1 " + GLOBAL.format(4, "b32", "%r2", 0).split("\n")[-1]
    report = launch(body)
    assert [(a.requests, a.sectors, a.useful) for a in report.accesses] == [(1, 1, 4)]
    assert max(report.lines) > 9
