"""Integer and bool operations, conversions and errors of the scalar table, as machine code."""

from __future__ import annotations

import math
import operator

import llvmlite.binding as llvm
import numpy as np
import pytest
from nncomp.backends.llvm import Emitter, Value, module_text
from nncomp.backends.scalar import (
    UnsupportedScalar,
    compute_type,
    convert,
    emit_scalar,
    from_memory,
    memory_type,
    result_dtype,
    supported_scalars,
    to_memory,
)
from scalar_harness import (
    INTS,
    NUMPY,
    SAMPLE,
    SPECIALS,
    WIDTHS,
    apply,
    cross,
    kernel_text,
    machine,
    operand_dtypes,
    run,
    same_bits,
)

# -- integers and bools -------------------------------------------------------------------------


def truncated(a, b):
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) if b else 0


def int_power(a, b):
    if b >= 0:
        return pow(a, b, 1 << 64)
    return a ** (b % 2) if a in (1, -1) else 0


def shifted_right(a, b, width):
    return a >> b if 0 <= b < width else (-1 if a < 0 else 0)


INT_BINARY = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": truncated,
    "fmod": lambda a, b: a - b * truncated(a, b) if b else 0,
    "remainder": lambda a, b: a % b if b else 0,
    "floor_divide": lambda a, b: a // b if b else 0,
    "pow": int_power,
    "maximum": max,
    "minimum": min,
    "bitwise_and": operator.and_,
    "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
}
INT_UNARY = {
    "neg": operator.neg,
    "abs": abs,
    "sign": lambda a: (a > 0) - (a < 0),
    "bitwise_not": operator.invert,
    "floor": int,
    "ceil": int,
    "round": int,
    "trunc": int,
}


def edges(dtype):
    info = np.iinfo(NUMPY[dtype])
    near = {0, 1, 2, 3, 5, 7, 8, 31, 63, 100, info.max, info.max - 1, info.min, info.min + 1}
    signed = {-1, -2, -3, -7, -100} if info.min else set()
    return np.array(sorted(near | signed), NUMPY[dtype])


def wrapped(values, dtype):
    """Python integers reduced to a dtype."""
    mask = (1 << 8 * NUMPY[dtype].itemsize) - 1
    unsigned = np.dtype(f"u{NUMPY[dtype].itemsize}")
    return np.array([int(v) & mask for v in values], unsigned).view(NUMPY[dtype])


@pytest.mark.parametrize("dtype", INTS)
def test_integer_operations_wrap_and_never_trap(dtype):
    a, b = cross(edges(dtype), edges(dtype))
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    widths = (0, 4, 16)
    for name, of in INT_BINARY.items():
        want = wrapped([of(*p) for p in pairs], dtype)
        assert np.array_equal(apply(name, [a, b], dtype, widths=widths), want), name
    for name, of in INT_UNARY.items():
        want = wrapped([of(v) for v in a.tolist()], dtype)
        assert np.array_equal(apply(name, [a], dtype, widths=widths), want), name
    width = 8 * NUMPY[dtype].itemsize
    left = wrapped([x << y if 0 <= y < width else 0 for x, y in pairs], dtype)
    assert np.array_equal(apply("shift_left", [a, b], dtype, widths=widths), left)
    right = wrapped([shifted_right(x, y, width) for x, y in pairs], dtype)
    assert np.array_equal(apply("shift_right", [a, b], dtype, widths=widths), right)
    third = wrapped([x * y + x for x, y in pairs], dtype)
    assert np.array_equal(apply("fma", [a, b, a], dtype, widths=widths), third)


@pytest.mark.parametrize("dtype", (*INTS, "bool"))
def test_integer_and_bool_comparisons(dtype):
    values = np.array([False, True]) if dtype == "bool" else edges(dtype)
    a, b = cross(values, values)
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        assert np.array_equal(apply(name, [a, b], dtype), getattr(operator, name)(a, b))
    assert np.array_equal(apply("logical_not", [a], dtype), ~a.astype(bool))
    assert np.array_equal(apply("select", [a != b, a, b], dtype), np.where(a != b, a, b))
    for name in ("isnan", "isinf", "isfinite"):
        assert np.array_equal(apply(name, [a], dtype), getattr(np, name)(a))


def test_bool_operations():
    a, b = cross([False, True], [False, True])
    names = {"add": "or", "mul": "and", "maximum": "or", "minimum": "and", "bitwise_and": "and",
             "bitwise_or": "or", "bitwise_xor": "xor"}
    for name, of in names.items():
        want = getattr(np, "bitwise_" + of)(a, b)
        assert np.array_equal(apply(name, [a, b], "bool"), want), name
    assert np.array_equal(apply("bitwise_not", [a], "bool"), ~a)


# -- conversions --------------------------------------------------------------------------------


def values_of(dtype):
    if dtype == "bool":
        return np.array([False, True])
    if dtype in INTS:
        return edges(dtype)
    more = [0.49, -0.99, 127.5, -128.9, 255.9, 65504, 65519.9, 65520, 6e-8, 3e-8, 1.00390625, 2**31]
    with np.errstate(all="ignore"):
        return np.concatenate([SPECIALS, -SPECIALS, more]).astype(NUMPY[dtype])


def convert_by_machine(x, source, target, widths=WIDTHS, has_half=True):
    results = run(
        lambda e, v: convert(e, v[0], source, target, has_half), [x], [source], target, widths
    )
    assert all(same_bits(results[0], r) for r in results)
    return results[0]


def saturated(x, dtype):
    info = np.iinfo(NUMPY[dtype])
    clipped = [0 if math.isnan(v) else min(max(v, info.min), info.max) for v in x.tolist()]
    return np.array([int(v) for v in clipped], NUMPY[dtype])


@pytest.mark.parametrize("source", NUMPY)
def test_conversions_follow_torch(source):
    torch = pytest.importorskip("torch")
    x = values_of(source)
    kinds = {"bfloat16": np.int16}
    tensor = torch.from_numpy(x.view(kinds.get(source, x.dtype)))
    tensor = tensor.view(getattr(torch, source))
    for target in NUMPY:
        got = convert_by_machine(x, source, target, (0, 16))
        if target in INTS and x.dtype.kind not in "biu":
            assert np.array_equal(got, saturated(x.astype(np.float64), target)), target
            continue
        want = tensor.to(getattr(torch, target)).view(
            torch.int16 if target == "bfloat16" else getattr(torch, target)
        )
        assert same_bits(got, want.numpy().view(NUMPY[target])), target


def test_every_half_and_bfloat_survives_memory_with_and_without_instructions():
    pattern = np.arange(1 << 16, dtype=np.uint16)
    for dtype, has_half in (("float16", True), ("float16", False), ("bfloat16", True)):
        x = pattern.view(NUMPY[dtype])
        wide = convert_by_machine(x, dtype, "float32", (0, 16), has_half)
        with np.errstate(invalid="ignore"):
            assert same_bits(wide, x.astype(np.float32))

        def both_ways(e, values, dtype=dtype, has_half=has_half):
            stored = to_memory(e, values[0], dtype, has_half)
            return from_memory(e, stored, dtype, has_half)

        with np.errstate(all="ignore"):
            halfway = (wide + np.nextafter(wide, np.float32(0))) / 2
            many = np.concatenate([wide, halfway, SAMPLE, wide * np.float32(1.0005)])
            want = many.astype(NUMPY[dtype]).astype(np.float32)
        for got in run(both_ways, [many], ["float32"], "float32", (0, 16)):
            assert same_bits(got, want)


def test_any_bool_byte_is_true():
    x = np.array([0, 1, 2, 128, 255] * 8, np.uint8)
    got = run(lambda e, v: v[0], [x.view(bool)], ["bool"], "bool")
    assert all(np.array_equal(g.view(np.uint8), x != 0) for g in got)


# -- errors, other machines -------------------------------------------------------------


def test_unsupported_operations_name_themselves():
    e = Emitter()
    x, y = Value("%x", "float"), Value("%y", "<8 x float>")
    for name, args, dtype in (
        ("lgamma", [x], "float32"),
        ("exp", [Value("%i", "i32")], "int32"),
        ("exp", [x, x], "float32"),
        ("add", [x, y], "float32"),
        ("add", [x], "float64"),
        ("select", [x, x, x], "float32"),
        ("neg", [Value("%b", "i1")], "bool"),
        ("add", [], "float32"),
    ):
        with pytest.raises(UnsupportedScalar, match=f"'{name}' on {dtype}"):
            emit_scalar(e, name, args, dtype)
    for call in (memory_type, compute_type, supported_scalars):
        with pytest.raises(UnsupportedScalar, match="complex64"):
            call("complex64")
    with pytest.raises(UnsupportedScalar, match="convert of int8 needs .* i8"):
        convert(e, x, "int8", "float32")
    with pytest.raises(UnsupportedScalar, match="from_memory of bool needs .* i8"):
        from_memory(e, Value("%b", "i1"), "bool")
    assert e.lines == []


MACHINES = [
    ("aarch64-linux-gnu", "neoverse-n1", "", 4),
    ("nvptx64-nvidia-cuda", "sm_80", "", 0),
    ("wasm32-unknown-unknown", "", "+simd128", 4),
]


@pytest.mark.parametrize("triple,cpu,features,lanes", MACHINES)
def test_other_machines_need_no_library(triple, cpu, features, lanes):
    texts = []
    for dtype in ("float32", "int32", "int64", "uint8", "bool"):
        for name in sorted(supported_scalars(dtype)):
            texts.append(kernel_text(
                lambda e, xs, name=name, dtype=dtype: emit_scalar(e, name, xs, dtype, bool(cpu)),
                operand_dtypes(name, dtype), result_dtype(name, dtype), lanes, f"k_{dtype}_{name}",
            ))
    module = llvm.parse_assembly(module_text([t for t, _ in texts], [e for _, e in texts]))
    module.triple = triple
    module.verify()
    assembly = machine(triple, cpu, features).emit_assembly(module)
    words = [line.split() for line in assembly.splitlines() if line.split()]
    calls = [w for w in words if w[0] == "bl" or w[0].startswith("call")]
    assert len(texts) > 100 and not calls, calls
