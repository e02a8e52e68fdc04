"""Exact fused multiply-add for numpy arrays, which numpy itself has not: one small LLVM loop.

`fma(a, b, c)` takes float32 or float64 arrays that broadcast and rounds once.
"""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np

LOOP = """
define void @fma_{t}(ptr noalias %a, ptr noalias %b, ptr noalias %c, ptr noalias %o, i64 %n) {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %pa = getelementptr {t}, ptr %a, i64 %i
  %pb = getelementptr {t}, ptr %b, i64 %i
  %pc = getelementptr {t}, ptr %c, i64 %i
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


@cache
def functions() -> dict[np.dtype, object]:
    """The two loops as C functions."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3)
    text = LOOP.format(t="float", s="f32") + LOOP.format(t="double", s="f64")
    module = llvm.parse_assembly(text)
    module.data_layout = str(machine.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    llvm.create_pass_builder(machine, options).getModulePassManager().run(
        module, llvm.create_pass_builder(machine, options))
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, ctypes.c_int64)
    found = {
        np.dtype(np.float32): kind(engine.get_function_address("fma_float")),
        np.dtype(np.float64): kind(engine.get_function_address("fma_double")),
    }
    KEEP.append(engine)
    return found


KEEP: list[object] = []  # the engine owns the machine code


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a * b + c, rounded once; arrays of one dtype, float32 or float64, that broadcast."""
    shape = np.broadcast_shapes(a.shape, b.shape, c.shape)
    out = np.empty(shape, a.dtype)
    if out.size:
        inputs = [plain(x, shape) for x in (a, b, c)]
        call = functions()[a.dtype]
        call(*(x.ctypes.data for x in inputs), out.ctypes.data, out.size)  # type: ignore
    return out


def plain(x: np.ndarray, shape: tuple) -> np.ndarray:
    if x.shape != shape:
        x = np.broadcast_to(x, shape)
    return x if x.flags.c_contiguous else np.ascontiguousarray(x)
