"""Exact fused multiply-add for numpy arrays, which numpy itself has not: small LLVM loops.

`fma(a, b, c)` takes float32 or float64 arrays that broadcast and rounds once. There is one loop for
each choice of operands that are single numbers.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

LOOP = """
define void @fma(ptr noalias %a, ptr noalias %b, ptr noalias %c, ptr noalias %o, i64 %n) {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %pa = getelementptr {t}, ptr %a, i64 {a}
  %pb = getelementptr {t}, ptr %b, i64 {b}
  %pc = getelementptr {t}, ptr %c, i64 {c}
  %po = getelementptr {t}, ptr %o, i64 %i
  %x = load {t}, ptr %pa
  %y = load {t}, ptr %pb
  %z = load {t}, ptr %pc
  %r = call {t} @llvm.fma.{s}({t} %x, {t} %y, {t} %z)
  store {t} %r, ptr %po
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}}
declare {t} @llvm.fma.{s}({t}, {t}, {t})
"""
NAMES = {np.dtype(np.float32): ("float", "f32"), np.dtype(np.float64): ("double", "f64")}
CALL = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, ctypes.c_int64)
KEEP: list[object] = []  # engines own the machine code


@cache
def machine() -> Any:
    """LLVM's code generator for this computer."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=3)


@cache
def loop(kind: np.dtype, single: tuple[bool, bool, bool]) -> Any:
    """The loop for a type and a choice of operands that are single numbers."""
    import llvmlite.binding as llvm

    type_, suffix = NAMES[kind]
    index = ["0" if one else "%i" for one in single]
    text = LOOP.format(t=type_, s=suffix, a=index[0], b=index[1], c=index[2])
    module = llvm.parse_assembly(text)
    module.data_layout = str(machine().target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    builder = llvm.create_pass_builder(machine(), options)
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, machine())
    engine.finalize_object()
    KEEP.append(engine)
    return CALL(engine.get_function_address("fma"))


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a * b + c, rounded once; arrays of one dtype, float32 or float64, that broadcast."""
    shape = a.shape if a.shape == b.shape == c.shape else np.broadcast_shapes(
        a.shape, b.shape, c.shape)  # fmt: skip
    out = np.empty(shape, a.dtype)
    if out.size:
        inputs = [x if x.size == 1 else plain(x, shape) for x in (a, b, c)]
        single = (inputs[0].size == 1, inputs[1].size == 1, inputs[2].size == 1)
        call = loop(a.dtype, single)
        places = [x.__array_interface__["data"][0] for x in (*inputs, out)]
        call(*places, out.size)  # type: ignore[operator]
    return out


def plain(x: np.ndarray, shape: tuple) -> np.ndarray:
    """Contiguous and of the whole shape."""
    if x.shape == shape and x.flags.c_contiguous:
        return x
    full = np.empty(shape, x.dtype)
    full[...] = x
    return full
