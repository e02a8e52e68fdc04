"""The lint of PTX text and the reading of ptxas's report."""

from __future__ import annotations

import pytest
from kernel_cases import text
from nncomp.backends.ptx import ptxas
from nncomp.backends.ptx.lint import lint, pressure
from nncomp.backends.ptx.simulator import load

HEAD = ".version 7.0\n.target sm_80\n.address_size 64\n"
needs_ptxas = pytest.mark.skipif(ptxas.find() is None, reason="ptxas is not installed")


def kernel(body: str, registers: str = ".reg .b32 %r<9>; .reg .b64 %rd<9>; .reg .f64 %d<9>;",
           before: str = "") -> str:  # fmt: skip
    return (HEAD + before + ".visible .entry k(.param .u64 .ptr .global k_param_0)\n{\n"
            + registers + "\n" + body + "\nret;\n}\n")  # fmt: skip


def rules(source: str, **options) -> list[str]:
    return sorted({finding.rule for finding in lint(source, **options)})


def test_clean_text_has_no_findings():
    body = "ld.param.b64 %rd1, [k_param_0];\nst.global.b32 [%rd1], 1;"
    assert lint(kernel(body)) == []


@pytest.mark.parametrize(
    ("rule", "body", "before"),
    [
        ("generic", "ld.param.b64 %rd1, [k_param_0];\nld.b32 %r1, [%rd1];", ""),
        ("double", "mov.b64 %d1, 0d0000000000000000;\nadd.rn.f64 %d2, %d1, %d1;", ""),
        ("approx", "mov.b32 %r1, 0f00000000;\nex2.approx.f32 %r2, %r1;", ""),
        ("ftz", "mov.b32 %r1, 0f00000000;\nadd.rn.ftz.f32 %r2, %r1, %r1;", ""),
        ("call", "{\n.param .b32 p;\ncall.uni llvm_erf, (p);\n}", ".extern .func llvm_erf(.param "
         ".b32 a);\n"),
        ("unsupported", "tex.2d.v4.f32.f32 {%r1,%r2,%r3,%r4}, [t, {%r5,%r6}];", ""),
        ("unsupported", "add.strange.s32 %r1, %r1, %r1;", ""),
        ("shared", "mov.b64 %rd1, s;", ".shared .align 4 .b8 s[60000];\n"),
    ],
    ids=["generic", "double", "approx", "ftz", "call", "texture", "modifier", "shared"],
)  # fmt: skip
def test_findings(rule, body, before):
    assert rules(kernel(body, before=before)) == [rule]
    assert rules(kernel(body, before=before), allow=[rule]) == []


def test_target_and_register_pressure():
    source = kernel("ld.param.b64 %rd1, [k_param_0];\nst.global.b32 [%rd1], 1;")
    assert rules(source, target="sm_90") == ["target"]
    values = "\n".join(f"mov.u32 %r{i}, %tid.x;" for i in range(1, 6))
    uses = "\n".join(f"add.s32 %r6, %r6, %r{i};" for i in range(1, 6))
    body = f"{values}\nmov.u32 %r6, 0;\n{uses}"
    assert pressure(load(kernel(body)).kernel("k")) == 6
    assert rules(kernel(body), registers=5) == ["registers"]


def test_report_of_ptxas_is_read():
    output = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'gemm' for 'sm_80'
ptxas info    : Function properties for gemm
    8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 2048 bytes smem, 388 bytes cmem[0]
ptxas warning : something
"""
    kernels, warnings = ptxas.read(output)
    assert kernels == {"gemm": ptxas.Usage(40, 2048, 8, 12, 16, 1)}
    assert warnings == ["ptxas warning : something"]


@needs_ptxas
@pytest.mark.parametrize("arch", ptxas.ARCHITECTURES)
def test_ptxas_takes_the_kernels(arch):
    found = ptxas.assemble(text("blocks"), arch)
    assert found.kernels["gemm"].registers > 8 and found.kernels["gemm"].shared == 2048
    assert not found.spills and len(found.cubin) > 1000


@needs_ptxas
def test_ptxas_refuses_an_unknown_instruction():
    with pytest.raises(ptxas.PtxasError, match="frobnicate"):
        ptxas.assemble(kernel("frobnicate.b32 %r1, %r1;"))
