"""What reaches LLVM's PTX target: known intrinsics only, each of which it really translates."""

from __future__ import annotations

import os
import sys

import pytest
from nncomp.backends.ptx import assemble, guard
from nncomp.backends.ptx.assemble import ptx_text
from nncomp.backends.ptx.guard import UnsupportedOnGpu, check_text, is_allowed
from nncomp.backends.ptx.target import Target, default_target, target_of

UNARY = {  # intrinsic: type
    "fabs": "float", "sqrt": "double", "floor": "float", "ceil": "double", "trunc": "float",
    "roundeven": "double", "rint": "float", "ctpop": "i64", "bitreverse": "i32",
    "canonicalize": "float",
}  # fmt: skip
BINARY = {
    "copysign": "double", "minnum": "float", "maxnum": "float", "minimum": "float",
    "maximum": "float", "minimumnum": "float", "maximumnum": "float", "smax": "i64", "umin": "i8",
    "usub.sat": "i64", "uadd.sat": "i32", "ssub.sat": "i32", "sadd.sat": "i64",
}  # fmt: skip
SUFFIX = {"float": "f32", "double": "f64"}


def module(body: str, declare: str = "") -> str:
    return f"{declare}\ndefine ptx_kernel void @k(ptr %a, ptr %b) {{\n{body}\nret void\n}}\n"


def calling(name: str, type: str, count: int) -> str:
    symbol = f"@llvm.{name}.{SUFFIX.get(type, type)}"
    args = ", ".join([f"{type} %x"] * count)
    body = f"%x = load {type}, ptr %a\n%y = call {type} {symbol}({args})\nstore {type} %y, ptr %b"
    return module(body, f"declare {type} {symbol}({', '.join([type] * count)})")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a child process dies where LLVM gives up")
@pytest.mark.parametrize("name", sorted([*UNARY, *BINARY]))
def test_what_is_allowed_is_translated(name):
    type = UNARY.get(name) or BINARY[name]
    text = calling(name, type, 1 if name in UNARY else 2)
    child = os.fork()
    if not child:
        sys.stderr = open(os.devnull, "w")
        made = assemble._translated(text, default_target())
        os._exit(0 if ".visible .entry k" in made and "call" not in made else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    "call",
    ["float @llvm.exp.f32(float %x)", "float @llvm.sin.f32(float %x)", "float @expf(float %x)",
     "float @llvm.pow.f32(float %x, float %x)", "float @llvm.nvvm.what.ever(float %x)"],
    ids=["exp", "sin", "expf", "pow", "unknown"],
)  # fmt: skip
def test_what_would_end_the_process_is_an_error(call):
    declare = "declare " + call.replace(" %x", "")
    with pytest.raises(UnsupportedOnGpu, match="k calls .* compile this function with backend"):
        ptx_text(module(f"%x = load float, ptr %a\n%y = call {call}", declare), default_target())


def test_remainders_of_floats_are_refused():
    with pytest.raises(UnsupportedOnGpu, match="inexact in PTX"):
        check_text(module("%x = load float, ptr %a\n%y = frem float %x, 2.0"))


def test_text_that_llvm_refuses_is_an_error():
    with pytest.raises(UnsupportedOnGpu, match="LLVM refuses the code of a kernel"):
        ptx_text(module("%y = fadd float %missing, 1.0"), default_target())


def test_names_that_only_begin_like_allowed_ones():
    assert is_allowed("llvm.fma.v4f32") and is_allowed("llvm.nvvm.barrier0")
    assert not is_allowed("llvm.fmax") and not is_allowed("llvm.nvvm.barrier0.red")
    assert not is_allowed("sqrt")


def test_targets():
    assert target_of("sm_90a") == Target("sm_90a", "+ptx83") and target_of("sm_90a").sm == 90
    with pytest.raises(ValueError, match="unknown GPU target 'sm_1': expected one of sm_75"):
        target_of("sm_1")


def test_ptx_is_kept_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("NNCOMP_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("NNCOMP_CACHE", "1")
    text = calling("fabs", "float", 1)
    ptx_text.cache_clear()
    first = ptx_text(text, default_target())
    ptx_text.cache_clear()
    monkeypatch.setattr(assemble, "_translated", None)  # not needed any more
    assert ptx_text(text, default_target()) == first
    ptx_text.cache_clear()
    assert guard.ALLOWED
