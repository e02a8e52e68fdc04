"""What this machine can do at most: fused multiply-adds per second of one core, measured.

The probe keeps enough independent accumulators in registers to hide the latency of an FMA and
touches no memory, so it is the ceiling that matmul and convolution kernels are compared with.
"""

from __future__ import annotations

import ctypes
import time

from ..llvm import Emitter, Value, module_text, vector_type
from .codegen import attributes
from .jit import compile_to_object, link
from .target import Target, host_target

TURNS = 200_000


def fma_ceiling(target: Target | None = None, repeats: int = 7) -> float:
    """Peak of one core in GFLOP/s (float32, two operations per FMA): the best of `repeats` runs."""
    target = target or host_target()
    accumulators = 24 if target.vector_registers >= 32 else 12
    library = link([compile_to_object(probe_text(target, accumulators), target)])
    probe = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(library.address("probe"))
    sink = (ctypes.c_float * 64)()
    lanes = target.vector_bits // 32
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        probe(ctypes.addressof(sink), TURNS)
        best = min(best, time.perf_counter() - start)
    return 2.0 * lanes * accumulators * TURNS / best / 1e9


def probe_text(target: Target, accumulators: int) -> str:
    """x = x * a + b on every accumulator, `turns` times; the sum is stored so that nothing is
    dropped.
    """
    e = Emitter()
    lanes = target.vector_bits // 32
    type = vector_type("float", lanes)
    a = e.splat(e.load("float", Value("%sink", "ptr"), 4), lanes)
    start = [e.const(type, float(k + 1)) for k in range(accumulators)]
    with e.loop(0, Value("%turns", "i64"), carry=start) as loop:
        loop.next(*(e.fma(x, a, a) for x in loop.carry))
    total = loop.result[0]
    for x in loop.result[1:]:
        total = e.binary("fadd", total, x)
    e.store(total, Value("%sink", "ptr"), 4)
    e.do("ret void")
    return module_text([e.function("void @probe(ptr %sink, i64 %turns)")], [e], attributes(target))
