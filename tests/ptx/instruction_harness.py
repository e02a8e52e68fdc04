"""Runs single PTX instructions on arrays, and rounds exact fractions as IEEE 754 says."""

from __future__ import annotations

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
from nncomp.backends.ptx.simulator import Memory, load

BITS = {"float16": 16, "bfloat16": 16, "float32": 32, "float64": 64}
# bits of the significand, smallest exponent, largest exponent
FORMATS = {"f16": (11, -14, 15), "bf16": (8, -126, 127), "f32": (24, -126, 127),
           "f64": (53, -1022, 1023), "tf32": (11, -126, 127)}  # fmt: skip
NUMPY = {"f16": np.float16, "bf16": ml_dtypes.bfloat16, "f32": np.float32, "f64": np.float64}


def simulated(text: str) -> tuple:
    """(module, memory) on the simulator."""
    return load(text), Memory()


def run(code: str, inputs: list[np.ndarray], result: np.dtype, on=simulated) -> np.ndarray:
    """Execute `code` once per element: it reads %a0, %a1, ... and writes %out.

    Registers are .b16, .b32 or .b64 as the arrays' item sizes say; %p0 to %p3, %t0 to %t7 (.b32),
    %u0 to %u7 (.b64) and %h0 to %h7 (.b16) are free to use.
    """
    result = np.dtype(result)
    n = inputs[0].size
    lines = [".version 8.0", ".target sm_90", ".address_size 64"]
    params = ", ".join(f".param .b64 p{i}" for i in range(len(inputs) + 1))
    lines += [f".visible .entry k({params})", "{", ".reg .b64 %q<20>, %u<8>;", ".reg .b32 %t<8>;",
              ".reg .b16 %h<8>;", ".reg .pred %p<4>;"]  # fmt: skip
    kinds = [8 * a.dtype.itemsize for a in (*inputs, np.empty(0, result))]
    names = [*(f"%a{i}" for i in range(len(inputs))), "%out"]
    lines += [f".reg .b{max(16, bits)} {name};" for bits, name in zip(kinds, names, strict=True)]
    lines += ["mov.u32 %t7, %tid.x;", "mov.u32 %t6, %ctaid.x;", "mad.lo.s32 %t7, %t6, 64, %t7;"]
    for i, bits in enumerate(kinds):
        lines += [f"ld.param.b64 %q{i}, [p{i}];", f"mul.wide.u32 %q19, %t7, {bits // 8};",
                  f"add.s64 %q{i}, %q{i}, %q19;"]  # fmt: skip
        if i < len(inputs):
            lines.append(f"ld.global.b{bits} {names[i]}, [%q{i}];")
    lines += [code, f"st.global.b{kinds[-1]} [%q{len(inputs)}], %out;", "ret;", "}"]
    module, memory = on("\n".join(lines))
    pad = -n % 64
    args = [memory.put(np.r_[a.reshape(-1), a.reshape(-1)[:1].repeat(pad)]) for a in inputs]
    out = memory.alloc((n + pad) * result.itemsize)
    module.launch("k", (n + pad) // 64, 64, [*args, out], memory=memory)
    return memory.get(out, result, n + pad)[:n]


def exact(x: object) -> Fraction:
    return Fraction(float(x))  # type: ignore[arg-type]


def round_to(value: Fraction, name: str, mode: str) -> float:
    """The neighbour of `value` in a format: rn, rna (halves away), rz, rm, rp."""
    digits, lowest, highest = FORMATS[name]
    if value == 0:
        return 0.0
    size = abs(value)
    exponent = max(floor_log2(size), lowest)
    unit = Fraction(2) ** (exponent - digits + 1)
    count, rest = divmod(size, unit)
    up = {
        "rn": rest > unit / 2 or (rest == unit / 2 and count % 2 == 1),
        "rna": rest >= unit / 2,
        "rz": False,
        "rm": value < 0 and rest > 0,
        "rp": value > 0 and rest > 0,
    }[mode]
    result = (count + up) * unit
    largest = (2 - Fraction(2) ** (1 - digits)) * Fraction(2) ** highest
    if result > largest:
        toward = {"rz": True, "rm": value > 0, "rp": value < 0}.get(mode, False)
        result = largest if toward else math.inf  # type: ignore[assignment]
    return math.copysign(float(result), float(value) if value else 0.0) if result else (
        math.copysign(0.0, -1.0 if value < 0 else 1.0))  # fmt: skip


def floor_log2(value: Fraction) -> int:
    guess = value.numerator.bit_length() - value.denominator.bit_length()
    return guess if Fraction(2) ** guess <= value else guess - 1


def samples(name: str, count: int, seed: int) -> np.ndarray:
    """Numbers of a format over all exponents, with edges and near-halves of narrower formats."""
    kind = NUMPY[name]
    rng = np.random.default_rng(seed)
    digits, lowest, highest = FORMATS[name]
    spread = rng.integers(max(lowest - digits, -140), min(highest, 120) + 1, count)
    wide = rng.uniform(1, 2, count) * 2.0**spread * rng.choice([-1, 1], count)
    near = rng.uniform(1, 2, count) * rng.choice([-1, 1], count)
    halves = (rng.integers(0, 2048, count) + 0.5) / 1024 * 2.0 ** rng.integers(-20, 15, count)
    edges = [0.0, -0.0, 1.0, -1.0, 2.0**lowest, 2.0 ** (lowest - digits + 1), 65519.9, 65504.0]
    with np.errstate(over="ignore"):
        values = np.r_[wide, near, halves, edges].astype(kind)
    return values[np.isfinite(values.astype(np.float64))]
