"""Running scalar operations as machine code over arrays, for the tests of backends/scalar.py."""

from __future__ import annotations

import ctypes
import itertools

import llvmlite.binding as llvm
import ml_dtypes
import numpy as np
from nncomp.backends.llvm import Emitter, Value, module_text, vector_type
from nncomp.backends.scalar import (
    emit_scalar,
    from_memory,
    memory_type,
    operand_count,
    result_dtype,
    to_memory,
)

NUMPY = {
    name: np.dtype(getattr(np, name))
    for name in "float16 float32 float64 int8 int16 int32 int64 uint8".split()
} | {"bool": np.dtype(bool), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
INTS = ("int8", "int16", "int32", "int64", "uint8")
WIDTHS = (0, 4, 8, 16)
MAX = 3.4028234663852886e38
SPECIALS = np.array(
    [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1.17549435e-38, -1e-38, 1.0, -1.0]
    + [MAX, -MAX, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 1.5, -2.5]
    + [1e10, -1e10, 16777217.0, 88.8, -104.5],
    np.float32,
)


def machine(triple=None, cpu="", features=""):
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    if triple:
        target = llvm.Target.from_triple(triple)
        return target.create_target_machine(cpu=cpu, features=features, opt=1)
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2
    )


def kernel_text(body, dtypes, out, lanes, name="k"):
    """A function that maps `body(e, values)` over arrays, `lanes` elements at a time."""
    e = Emitter()
    pointers = [Value(f"%p{i}", "ptr") for i in range(len(dtypes) + 1)]
    with e.loop(0, Value("%n", "i64"), lanes or 1) as loop:
        values = []
        for pointer, dtype in zip(pointers, dtypes, strict=False):
            at = e.gep(memory_type(dtype), pointer, loop.index)
            loaded = e.load(vector_type(memory_type(dtype), lanes), at, 1)
            values.append(from_memory(e, loaded, dtype))
        result = to_memory(e, body(e, values), out)
        e.store(result, e.gep(memory_type(out), pointers[-1], loop.index), 1)
    e.do("ret void")
    parameters = ", ".join(str(p) for p in pointers)
    return e.function(f"void @{name}({parameters}, i64 %n)"), e


def run(body, arrays, dtypes, out, widths=WIDTHS):
    """The results of `body` over the arrays, one array per width."""
    texts = [kernel_text(body, dtypes, out, lanes, f"k{lanes}") for lanes in widths]
    module = llvm.parse_assembly(module_text([t for t, _ in texts], [e for _, e in texts]))
    module.verify()
    engine = llvm.create_mcjit_compiler(module, machine())
    engine.finalize_object()
    count = len(arrays[0])
    padded = [np.resize(np.asarray(a, NUMPY[d]), -(-count // 32) * 32)
              for a, d in zip(arrays, dtypes, strict=True)]
    results = []
    for lanes in widths:
        result = np.zeros(len(padded[0]), NUMPY[out])
        pointers = [a.ctypes.data for a in (*padded, result)]
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(pointers), ctypes.c_int64)
        kind(engine.get_function_address(f"k{lanes}"))(*pointers, len(result))
        results.append(result[:count])
    return results


def same_bits(a, b):
    """True if equal to the bit, any nan being equal to any other."""
    if a.dtype.kind in "biu":
        return np.array_equal(a, b)
    nan = np.isnan(a)
    unsigned = np.dtype(f"u{a.dtype.itemsize}")
    return np.array_equal(nan, np.isnan(b)) and np.array_equal(
        a[~nan].view(unsigned), b[~nan].view(unsigned)
    )


def operand_dtypes(name, dtype):
    dtypes = [dtype] * operand_count(name)
    return ["bool", *dtypes[1:]] if name == "select" else dtypes


def apply(name, arrays, dtype, widths=WIDTHS, has_fma=True):
    """The result of one operation; asserts that all widths agree to the bit."""
    results = run(
        lambda e, xs: emit_scalar(e, name, xs, dtype, has_fma),
        arrays, operand_dtypes(name, dtype), result_dtype(name, dtype), widths,
    )
    for lanes, result in zip(widths[1:], results[1:], strict=True):
        assert same_bits(results[0], result), f"{name} on {dtype}: {lanes} lanes differ from scalar"
    return results[0]


def ulps(got, want, digits=24, lowest=-149):
    """|got - want| in units of the last place of a float32 (or float64); nan and inf must match."""
    unit = np.ldexp(want.dtype.type(1), np.maximum(np.frexp(want)[1] - digits, lowest))
    with np.errstate(invalid="ignore", over="ignore"):
        rounded = want.astype(got.dtype)
        error = np.abs(got.astype(np.result_type(want, np.float64)) - want) / unit
    odd = ~(np.isfinite(got) & np.isfinite(rounded))
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    error[odd] = np.where(same[odd], 0.0, np.inf)
    return error


def cross(*values):
    """All combinations, as one array per operand."""
    return [np.array(a) for a in zip(*itertools.product(*values), strict=True)]


def sample():
    """Both signs of the whole range, evenly in exponent, and the ranges where functions bend."""
    random = np.random.default_rng(3)
    step = 1 << 14
    bits = np.arange(0, 1 << 32, step, dtype=np.uint64) + random.integers(0, step, 1 << 18).astype(
        np.uint64
    )
    near = [random.uniform(-w, w, 1 << 15) for w in (1.0, 10.0, 105.0, 1e5)]
    whole = bits.astype(np.uint32).view(np.float32)
    with np.errstate(invalid="ignore"):
        return np.concatenate([SPECIALS, whole, *near]).astype(np.float32)


SAMPLE = sample()
