"""Writing LLVM IR as text.

An `Emitter` collects the instructions of one function. Values are (ref, type) pairs, both plain
text, so a kernel author sees exactly what LLVM sees. Text is used because it is about 85 times
cheaper to build than objects (docs/performance.md), and it knows every type LLVM has.

    e = Emitter()
    x = e.load("float", ptr)
    y = e.fma(x, x, e.const("float", 1.0))
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

import ml_dtypes
import numpy as np

# Loop counters pass through a `freeze`, behind which LLVM sees no induction: its loop strength
# reduction takes most of the compile time of long kernels, and no measurable time off their runs.
# Short functions keep it.
_OPAQUE = "freeze i64 "
LONG = 160  # lines


class Value(NamedTuple):
    """An LLVM operand: its spelling (`%x.3`, `0`, `splat (float 1.0)`) and its type."""

    ref: str
    type: str

    @property
    def lanes(self) -> int:
        """Number of vector lanes, 0 for a scalar."""
        return _lanes_of(self.type)

    @property
    def scalar_type(self) -> str:
        return self.type.split(" x ", 1)[1][:-1] if self.type[0] == "<" else self.type

    def __str__(self) -> str:
        return f"{self.type} {self.ref}"


@lru_cache(maxsize=1024)
def _lanes_of(type: str) -> int:
    return int(type[1:].split(" ", 1)[0]) if type[0] == "<" else 0


def vector_type(scalar: str, lanes: int) -> str:
    """`float`, 16 -> `<16 x float>`; 0 lanes keep the scalar type."""
    return f"<{lanes} x {scalar}>" if lanes else scalar


def literal(scalar: str, number) -> str:
    """The spelling of a number as a constant of an LLVM scalar type, exact to the bit."""
    if scalar in ("float", "double"):
        bits = struct.pack(">d", float(np.float32(number)) if scalar == "float" else float(number))
        return "0x" + bits.hex().upper()
    if scalar == "half":
        return f"0xH{np.float16(number).view(np.uint16):04X}"
    if scalar == "bfloat":
        return f"0xR{np.asarray(number, ml_dtypes.bfloat16).view(np.uint16).item():04X}"
    if scalar == "i1":
        return "true" if number else "false"
    return str(int(number))


class Loop:
    """An open counted loop; `index` and `carry` are its phi values, `next` goes before its end."""

    def __init__(self, index: Value, carry: list[Value]):
        self.index, self.carry = index, carry
        self.following: list[Value] = list(carry)
        self.result: list[Value] = carry  # phis of the header dominate the exit block

    def next(self, *values: Value) -> None:
        """Give each carried value its content for the next iteration."""
        self.following = list(values)


class Emitter:
    """The instructions of one LLVM function body, in order, and the declarations it needs."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.declarations: dict[str, str] = {}  # symbol -> 'declare ...' line
        self.globals: dict[str, str] = {}  # symbol -> '@x = private constant ...' line
        self.block = "entry"
        self._count = 0
        self._known: dict[str, Value] = {}  # text -> value, of this block
        self._sums: dict[str, tuple[Value, int]] = {}  # i64 ref -> what it adds a constant to

    # -- instructions ------------------------------------------------------------------------

    def name(self, hint: str) -> str:
        self._count += 1
        return f"{hint}.{self._count}"

    def emit(self, type: str, text: str, hint: str = "v") -> Value:
        """Append `%hint.N = text`; the result has LLVM type `type`."""
        ref = "%" + self.name(hint)
        self.lines.append(f"  {ref} = {text}")
        return Value(ref, type)

    def pure(self, type: str, text: str, hint: str = "v") -> Value:
        """`emit` for what depends on its operands alone: equal text in a block is written once."""
        value = self._known.get(text)
        if value is None:
            self._count += 1
            ref = f"%{hint}.{self._count}"
            self.lines.append(f"  {ref} = {text}")
            value = self._known[text] = Value(ref, type)
        return value

    def do(self, text: str) -> None:
        """Append an instruction that has no result."""
        self.lines.append("  " + text)

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")
        self.block = name
        self._known.clear()

    def branch(self, target: str) -> None:
        self.do(f"br label %{target}")

    def const(self, type: str, number) -> Value:
        """A constant of a scalar or (splat) vector type."""
        if type == "i64":
            return Value(str(int(number)), type)
        if type[0] != "<":
            return Value(literal(type, number), type)
        scalar = Value("", type).scalar_type
        return Value(f"splat ({scalar} {literal(scalar, number)})", type)

    def binary(self, opcode: str, a: Value, b: Value, hint: str = "v") -> Value:
        """`opcode` may carry flags: `fadd contract`, `fcmp olt`, `icmp slt`."""
        type = a.type
        if type == "i64":
            if opcode in ("add", "add nsw"):
                return self._add(a, b, hint)
            folded = _fold(opcode, a, b)
            if folded is not None:
                return folded
        if opcode.startswith(("fcmp", "icmp")):
            type = vector_type("i1", a.lanes)
        return self.pure(type, f"{opcode} {a.type} {a.ref}, {b.ref}", hint)

    def _add(self, a: Value, b: Value, hint: str) -> Value:
        """A sum of i64 with its constants added last, so that sums that differ by one share the
        rest."""
        (a, more), (b, constant) = self.apart(a), self.apart(b)
        constant += more
        total = a if b.ref == "0" else b
        if a.ref != "0" and b.ref != "0":
            total = self.pure("i64", f"add i64 {a.ref}, {b.ref}", hint)
        if constant == 0:
            return total
        if total.ref == "0":
            return Value(str(constant), "i64")
        value = self.pure("i64", f"add i64 {total.ref}, {constant}", hint)
        self._sums[value.ref] = total, constant
        return value

    def apart(self, x: Value) -> tuple[Value, int]:
        """An i64 as a value (0 for none) and a constant to be added."""
        if x.ref[0] != "%":
            return Value("0", "i64"), int(x.ref)
        return self._sums.get(x.ref, (x, 0))

    def unary(self, opcode: str, a: Value, hint: str = "v") -> Value:
        return self.pure(a.type, f"{opcode} {a.type} {a.ref}", hint)

    def convert(self, opcode: str, a: Value, scalar: str, hint: str = "c") -> Value:
        """sext, sitofp, fptrunc, bitcast ... to `scalar`, keeping the number of lanes."""
        to = vector_type(scalar, a.lanes)
        return self.pure(to, f"{opcode} {a.type} {a.ref} to {to}", hint)

    def select(self, condition: Value, a: Value, b: Value, hint: str = "s") -> Value:
        return self.pure(a.type, f"select {condition}, {a}, {b}", hint)

    def call(self, type: str, symbol: str, *args: Value, hint: str = "v") -> Value:
        """Call a function or intrinsic (`llvm.sqrt.v16f32`), declaring it on first use."""
        self._declare(type, symbol, args)
        return self.emit(type, f"call {type} @{symbol}({', '.join(map(str, args))})", hint)

    def call_void(self, symbol: str, *args: Value) -> None:
        self._declare("void", symbol, args)
        self.do(f"call void @{symbol}({', '.join(map(str, args))})")

    def _declare(self, type: str, symbol: str, args) -> None:
        types = ", ".join(a.type for a in args)
        self.declarations[symbol] = f"declare {type} @{symbol}({types})"

    def intrinsic(self, name: str, *args: Value, hint: str = "v") -> Value:
        """An overloaded intrinsic without side effects on one type: `fma`, `sqrt`, `floor`; the
        suffix is added."""
        type = args[0].type
        symbol = f"llvm.{name}.{suffix(type)}"
        self._declare(type, symbol, args)
        return self.pure(type, f"call {type} @{symbol}({', '.join(map(str, args))})", hint)

    def fence(self, a: Value) -> Value:
        """`a`, of which LLVM is to know nothing."""
        return self.intrinsic("arithmetic.fence", a)

    def fma(self, a: Value, b: Value, c: Value, hint: str = "f") -> Value:
        return self.intrinsic("fma", a, b, c, hint=hint)

    def splat(self, scalar: Value, lanes: int) -> Value:
        """A vector with `scalar` in every lane; 0 lanes give the scalar back."""
        if not lanes:
            return scalar
        if not scalar.ref.startswith("%"):
            return self.const(vector_type(scalar.type, lanes), _number(scalar))
        type = vector_type(scalar.type, lanes)
        one = self.pure(type, f"insertelement {type} poison, {scalar}, i64 0", "b")
        return self.pure(
            type,
            f"shufflevector {type} {one.ref}, {type} poison, <{lanes} x i32> zeroinitializer",
            "b",
        )

    # -- memory ------------------------------------------------------------------------------

    def gep(self, element: str, base: Value, index: Value | int, hint: str = "p") -> Value:
        """Address of `base[index]` counted in `element`s."""
        at = index if isinstance(index, Value) else Value(str(index), "i64")
        if at.ref == "0":
            return base
        return self.pure("ptr", f"getelementptr inbounds {element}, {base}, {at}", hint)

    def load(self, type: str, address: Value, align: int = 0, hint: str = "l") -> Value:
        tail = f", align {align}" if align else ""
        return self.emit(type, f"load {type}, {address}{tail}", hint)

    def store(self, value: Value, address: Value, align: int = 0) -> None:
        tail = f", align {align}" if align else ""
        self.do(f"store {value}, {address}{tail}")

    def masked_load(
        self, type: str, address: Value, mask: Value, align: int, other: Value
    ) -> Value:
        symbol = f"llvm.masked.load.{suffix(type)}.p0"
        return self.call(
            type, symbol, Value(address.ref, f"ptr align {align}"), mask, other, hint="l"
        )

    def masked_store(self, value: Value, address: Value, mask: Value, align: int) -> None:
        symbol = f"llvm.masked.store.{suffix(value.type)}.p0"
        self.call_void(symbol, value, Value(address.ref, f"ptr align {align}"), mask)

    # -- control -----------------------------------------------------------------------------

    @contextmanager
    def loop(self, begin: Value | int, end: Value | int, step: int = 1, carry=(), hint: str = "i"):
        """`for index in range(begin, end, step)`, with values carried from turn to turn.

        with e.loop(0, n, carry=[zero]) as loop:
            loop.next(e.binary("fadd", loop.carry[0], x))
        total = loop.result[0]
        """
        begin, end = (v if isinstance(v, Value) else Value(str(v), "i64") for v in (begin, end))
        head, body, done = (self.name(hint + part) for part in ("_head", "_body", "_done"))
        before = self.block
        index = Value("%" + self.name(hint), "i64")
        carried = [Value("%" + self.name("carry"), v.type) for v in carry]
        self.branch(head)
        self.label(head)
        hole = len(self.lines)  # the phis: written when the latch values are known
        inside = self.emit("i1", f"icmp slt i64 {index.ref}, {end.ref}", "in")
        self.do(f"br {inside}, label %{body}, label %{done}")
        self.label(body)
        loop = Loop(index, carried)
        yield loop
        following = self.emit("i64", f"add nsw i64 {index.ref}, {step}", hint)
        following = self.emit("i64", _OPAQUE + following.ref, hint)
        latch = self.block
        self.branch(head)
        phis = [(index, begin, following), *zip(carried, carry, loop.following, strict=True)]
        self.lines[hole:hole] = [
            f"  {phi.ref} = phi {phi.type} [ {first.ref}, %{before} ], [ {later.ref}, %{latch} ]"
            for phi, first, later in phis
        ]
        self.label(done)

    @contextmanager
    def when(self, condition: Value, hint: str = "if"):
        """Run the block only where the i1 `condition` holds (no values come out of it)."""
        body, done = self.name(hint), self.name(hint + "_done")
        self.do(f"br {condition}, label %{body}, label %{done}")
        self.label(body)
        yield
        self.branch(done)
        self.label(done)

    # -- whole function ----------------------------------------------------------------------

    def function(self, head: str, attributes: str = "#0") -> str:
        """The finished `define` text; `head` is everything up to the body: `void @k(ptr %a)`."""
        lines = self.lines
        if len(lines) < LONG:  # `x + 0` says nothing, so LLVM may reduce the strengths
            lines = [
                line.replace(_OPAQUE, "add i64 ") + ", 0" if _OPAQUE in line else line
                for line in lines
            ]
        return "\n".join([f"define {head} {attributes} {{", "entry:", *lines, "}"])


def module_text(functions: list[str], emitters: list[Emitter], attributes: str = "nounwind") -> str:
    """One LLVM module from finished functions and the declarations their emitters collected."""
    declarations: dict[str, str] = {}
    for e in emitters:
        declarations |= e.globals | e.declarations
    return "\n\n".join(
        ["\n".join(declarations.values()), *functions, f"attributes #0 = {{ {attributes} }}", ""]
    )


def joined(texts: Sequence[str], most: int = 16) -> list[str]:
    """Modules of up to `most` modules of `module_text`, all with the same attributes: LLVM takes
    as long to begin and end a module as to compile a small function."""
    modules: list[str] = []
    for begin in range(0, len(texts), most):
        known: dict[str, str] = {}
        functions: list[str] = []
        attributes = ""
        for text in texts[begin : begin + most]:
            head, *parts, attributes, _ = text.split("\n\n")
            lines = {_symbol(line): line for line in head.split("\n") if line}
            if any(known.get(symbol, line) != line for symbol, line in lines.items()):
                modules.append(text)  # a constant of its own under a name that others use
                continue
            known |= lines
            functions += parts
        if functions:
            modules.append("\n\n".join(["\n".join(known.values()), *functions, attributes, ""]))
    return modules


def _symbol(line: str) -> str:
    """What a declaration declares: `declare float @f(float)`, `@x = private constant ...`."""
    return line[line.index("@") :].split("(", 1)[0].split(" ", 1)[0]


def _fold(opcode: str, a: Value, b: Value) -> Value | None:
    """The i64 result that needs no instruction: of constants, or an operand itself."""
    known = _FOLDED.get(opcode.split(" ", 1)[0])
    if known is None:
        return None
    compute, neutral = known
    if a.ref[0] != "%" and b.ref[0] != "%":
        result = compute(int(a.ref), int(b.ref))
        return Value(str(result), "i64") if abs(result) < 1 << 62 else None
    if b.ref == neutral:
        return a
    return b if a.ref == neutral and opcode[0] == "m" else None


_FOLDED: dict[str, tuple[Callable[[int, int], int], str]] = {
    "sub": (lambda a, b: a - b, "0"),
    "mul": (lambda a, b: a * b, "1"),
}


def suffix(type: str) -> str:
    """The intrinsic-name suffix of a type: `<16 x float>` -> `v16f32`."""
    names = {"float": "f32", "double": "f64", "half": "f16", "bfloat": "bf16"}
    value = Value("", type)
    scalar = names.get(value.scalar_type, value.scalar_type)
    return f"v{value.lanes}{scalar}" if value.lanes else scalar


def _number(constant: Value):
    """The number behind a scalar constant's spelling."""
    text = constant.ref
    if text in ("true", "false"):
        return text == "true"
    if text.startswith("0xH"):
        return np.uint16(int(text[3:], 16)).view(np.float16)
    if text.startswith("0xR"):
        return np.uint16(int(text[3:], 16)).view(ml_dtypes.bfloat16)
    if text.startswith("0x"):
        return struct.unpack(">d", bytes.fromhex(text[2:]))[0]
    return int(text)
