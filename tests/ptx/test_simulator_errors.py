"""Mistakes in kernels end in errors that name the kernel, the line, the instruction, the thread."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends.ptx.simulator import Memory, PtxError, SimulationError, load

HEAD = ".version 7.0\n.target sm_80\n.address_size 64\n"
REGISTERS = """.reg .b32 %r<20>; .reg .b64 %rd<20>; .reg .pred %p<9>; .reg .b16 %h<9>;
ld.param.b64 %rd1, [x];
mov.u32 %r1, %tid.x;
mul.wide.u32 %rd2, %r1, 4;
add.s64 %rd3, %rd1, %rd2;
"""


def launch(body: str, before: str = "", threads: int = 64, n: int = 64, **options):
    """Run a kernel whose %r1 is the thread, %rd1 a buffer of n words, %rd3 the thread's word."""
    text = f"{HEAD}{before}\n.visible .entry bad(.param .b64 x)\n{{\n{REGISTERS}{body}\nret;\n}}\n"
    memory = Memory()
    x = memory.put(np.arange(n, dtype=np.int32), "x")
    load(text).launch("bad", 1, threads, [x], memory=memory, **options)
    return memory.get(x, np.int32, n)


SHARED = ".shared .align 16 .b8 s[256];"
SLOT = "mov.b32 %r2, s;\nshl.b32 %r3, %r1, 2;\nadd.s32 %r2, %r2, %r3;\n"
RUNTIME = {
    "bounds": ("ld.global.b32 %r5, [%rd3+4];", "", r"thread \(63, 0, 0\).*0 bytes past the end of "
               r"'x' of 256 bytes"),
    "negative": ("st.global.b32 [%rd3+-8], %r1;", "", r"thread \(0, 0, 0\).*no buffer"),
    "vector": ("ld.global.v2.b32 {%r5, %r6}, [%rd1+256];", "", "8 bytes at global address"),
    "alignment": ("ld.global.v4.b32 {%r5, %r6, %r7, %r8}, [%rd1+8];", "", "not a multiple of 16"),
    "shared bounds": (SLOT + "ld.shared.b32 %r5, [%r2+256];", SHARED, "outside of its 256 bytes"),
    "uninitialised": (SLOT + "ld.shared.b32 %r5, [%r2];", SHARED, "which nobody wrote"),
    "register": ("add.s32 %r5, %r6, %r1;", "", "register %r6, which was never written"),
    "divergent barrier": ("setp.lt.u32 %p1, %r1, 7;\n@%p1 bra L;\nbar.sync 0;\nbra M;\nL:\n"
                          "bar.sync 0;\nM:", "", "waits for lanes of its warp"),
    "barrier of one warp": ("setp.lt.u32 %p1, %r1, 32;\n@%p1 bra L;\nbar.sync 0, 64;\nL:", "",
                            "waits for ever: 32 of the block's 64 threads are at barrier 0"),
    "shuffle": ("setp.lt.u32 %p1, %r1, 7;\n@%p1 bra L;\nbra M;\nL:\nshfl.sync.idx.b32 %r5, %r1, 0, "
                "31, -1;\nN:\nbra N;\nM:\nshfl.sync.idx.b32 %r5, %r1, 0, 31, -1;", "",
                "waits for lanes of its warp that never get here"),
    "endless": ("L:\nbra L;", "", "no end after 500 steps"),
    "guard": ("@%p1 add.s32 %r5, %r1, 1;", "", "guarded by a predicate that was never written"),
    "branch": ("@%p1 bra L;\nL:", "", "branches on a predicate that was never written"),
    "carry": ("addc.u32 %r5, %r1, %r1;", "", "a carry that nothing set"),
    "trap": ("setp.eq.u32 %p1, %r1, 5;\n@%p1 trap;", "", r"thread \(5, 0, 0\): trap"),
    "table": ("T: .branchtargets L, M;\nL:\nM:\nbrx.idx %r1, T;", "", "past the end of its table"),
    "no wait": (SLOT + "cp.async.ca.shared.global [%r2], [%rd3], 4;\ncp.async.commit_group;\n"
                "cp.async.wait_group 1;\nld.shared.b32 %r5, [%r2];", SHARED, "still writing"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(RUNTIME))
def test_mistakes_are_reported(name):
    body, before, message = RUNTIME[name]
    with pytest.raises(SimulationError, match=message) as caught:
        launch(body, before, limit=500)
    assert caught.value.kernel == "bad" and "kernel 'bad', line" in str(caught.value)


RACES = {
    "neighbour": (SLOT + "st.shared.b32 [%r2], %r1;\nxor.b32 %r6, %r3, 128;\nmov.b32 %r7, s;\n"
                  "add.s32 %r7, %r7, %r6;\nld.shared.b32 %r5, [%r7];",
                  r"reads shared memory at \d+, which .* wrote at line 15"),
    "same warp": (SLOT + "st.shared.b32 [%r2], %r1;\nxor.b32 %r6, %r3, 4;\nmov.b32 %r7, s;\n"
                  "add.s32 %r7, %r7, %r6;\nld.shared.b32 %r5, [%r7];", "race: reads"),
    "write after read": (SLOT + "st.shared.b32 [%r2], %r1;\nbar.sync 0;\nld.shared.b32 %r5, [s+8];"
                         "\nst.shared.b32 [%r2], 7;", "race: writes .* read at line 17"),
    "one address": ("st.global.b32 [%rd1], %r1;", "race: writes global memory .0 bytes into 'x'"),
    "atomic and plain": ("red.global.add.u32 [%rd1], 1;\nld.global.b32 %r5, [%rd1];",
                         "race: reads global"),
    "returned": ("setp.lt.u32 %p1, %r1, 32;\n@%p1 ret;\nbar.sync 0;", "returned before this"),
    "inactive lane": ("setp.lt.u32 %p1, %r1, 16;\n@%p1 ret;\n"
                      "shfl.sync.idx.b32 %r5, %r1, 3, 31, -1;", "not active"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(RACES))
def test_races_are_reported_in_race_mode(name):
    body, message = RACES[name]
    launch(body, SHARED)
    with pytest.raises(SimulationError, match=message):
        launch(body, SHARED, race=True)


QUIET = {
    "same value": "st.global.b32 [%rd1], 7;",
    "atomics": "red.global.add.u32 [%rd1], 1;\natom.global.max.u32 %r5, [%rd1], %r1;",
    "reads": "ld.global.b32 %r5, [%rd1];\nld.global.b32 %r6, [%rd3];",
    "barrier": SLOT + "st.shared.b32 [%r2], %r1;\nbar.sync 0;\nld.shared.b32 %r5, [s+4];",
}


@pytest.mark.parametrize("name", sorted(QUIET))
def test_ordered_accesses_are_no_race(name):
    launch(QUIET[name], SHARED, race=True)


TEXT = {
    "opcode": ("wobble.b32 %r5, %r1;", "opcode 'wobble' is not supported"),
    "modifier": ("add.wide.s32 %r5, %r1, %r1;", ".wide.s32 is no form of 'add'"),
    "type": ("add.b32 %r5, %r1, %r1;", ".b32 is no form of 'add'"),
    "width": ("add.s64 %rd5, %rd1, %r1;", "%r1 has 32 bits but 64 are expected"),
    "undeclared": ("add.s32 %r5, %r1, %x7;", "'%x7' is not known here"),
    "label": ("bra NOWHERE;", "no label 'NOWHERE'"),
    "call": ("call.uni somewhere;", "only defined functions can be called"),
    "operands": ("add.s32 %r5, %r1;", "has 2 operands, too few"),
    "literal": ("add.f32 %r5, %r1, 1;", "a whole number cannot be a floating-point operand"),
    "character": ("add.s32 %r5, %r1, #1;", "line 12: unexpected character '#'"),
    "end": ("add.s32 %r5, %r1, (", "the text ends in the middle|expected an operand"),
}


@pytest.mark.parametrize("name", sorted(TEXT))
def test_text_that_is_not_understood(name):
    body, message = TEXT[name]
    with pytest.raises(PtxError, match=message):
        launch(body)


def test_arguments_are_checked():
    module = load(f"{HEAD}.visible .entry k(.param .b64 x, .param .b32 n)\n.maxntid 64\n{{ret;}}")
    memory = Memory()
    with pytest.raises(ValueError, match="takes 2 arguments, not 1"):
        module.launch("k", 1, 32, [0], memory=memory)
    with pytest.raises(ValueError, match="'n' has 4 bytes, not 8"):
        module.launch("k", 1, 32, [0, np.int64(1)], memory=memory)
    with pytest.raises(SimulationError, match="at most"):
        module.launch("k", 1, 96, [0, 1], memory=memory)
    with pytest.raises(PtxError, match="no kernel named 'j'; there are: k"):
        module.launch("j", 1, 32, [0, 1], memory=memory)
    with pytest.raises(SimulationError, match="shared memory"):
        module.launch("k", 1, 32, [0, 1], memory=memory, shared_bytes=300_000)
    with pytest.raises(ValueError, match="positive"):
        module.launch("k", 0, 32, [0, 1], memory=memory)


def test_recursion_is_refused():
    function = ".func f()\n{\ncall.uni f, ();\nret;\n}\n"
    with pytest.raises(PtxError, match="'f' is recursive"):
        launch("call.uni f, ();", function)


def test_memory_outside_of_buffers():
    memory = Memory()
    x = memory.put(np.arange(4), "numbers")
    with pytest.raises(ValueError, match="into 'numbers' of 32 bytes"):
        memory.get(x + 8, np.int64, 4)
    assert memory.written(x, 32) and not memory.written(memory.alloc(8), 8)
    memory.free(x)
    with pytest.raises(ValueError):
        memory.write(x, np.arange(2))
    memory = Memory()
    memory.free(memory.put(np.arange(4)))
    fresh = memory.alloc(32)
    assert not memory.written(fresh, 32)
    big = memory.put(np.arange(1 << 22, dtype=np.int64))
    assert memory.get(big, np.int64, 1 << 22)[-1] == (1 << 22) - 1


def test_memory_given_back_is_out_of_bounds():
    memory = Memory()
    x = memory.put(np.zeros(4, np.int32))
    body = f"{REGISTERS}st.global.b32 [%rd1], 1;\nret;"
    text = f"{HEAD}.visible .entry k(.param .b64 x)\n{{\n{body}\n}}"
    module = load(text)
    module.launch("k", 1, 32, [x], memory=memory)
    memory.free(x)
    with pytest.raises(SimulationError, match="global address"):
        module.launch("k", 1, 32, [x], memory=memory)
