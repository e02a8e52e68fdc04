"""From an instruction to a Python function that executes it on all active lanes.

Each opcode has a decoder, registered by `opcode`; it takes the modifiers it understands from the
Decoder and builds the function from getters and setters of operands. Modifiers that are left over
are an error: nothing is ignored in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from .flat import Both, Inverted, Many, Mem, Op, Place, Reg, Special
from .legal import problem
from .state import LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, Fault, State
from .syntax import Number, PtxError, type_bits

Run = Callable[[State], None]
Get = Callable[[State], np.ndarray]
Put = Callable[[State, np.ndarray], None]

UNSIGNED: dict[int, np.dtype] = {
    1: np.dtype(bool), **{bits: np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)}
}  # fmt: skip
SIGNED: dict[int, np.dtype] = {bits: np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)}
FLOATS: dict[str, np.dtype] = {f"f{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)}
DECODERS: dict[str, Callable[[Decoder], Run]] = {}
TYPES = frozenset(
    "pred b8 b16 b32 b64 b128 u8 u16 u32 u64 s8 s16 s32 s64 f16 f32 f64 bf16 f16x2 bf16x2 tf32 "
    "u16x2 s16x2".split()
)


@cache
def np_type(name: str) -> np.dtype:
    """How values of a PTX type are held: bf16 and packed pairs as unsigned bits."""
    if name in FLOATS:
        return FLOATS[name]
    bits = type_bits(name)
    if bits not in UNSIGNED:
        raise PtxError(f"type .{name} is not supported here.")
    return SIGNED[bits] if name[0] == "s" and name != "s16x2" else UNSIGNED[bits]


@cache
def held(name: str) -> tuple[np.dtype, int]:
    """(numpy type, bits) of a PTX type."""
    kind = np_type(name)
    return kind, 8 * kind.itemsize if kind.kind != "b" else 1


def opcode(*names: str) -> Callable[[Callable[[Decoder], Run]], Callable[[Decoder], Run]]:
    """Register the decoder of some opcodes."""

    def register(decoder: Callable[[Decoder], Run]) -> Callable[[Decoder], Run]:
        for name in names:
            assert name not in DECODERS, name
            DECODERS[name] = decoder
        return decoder

    return register


class Decoder:
    """One instruction while it is decoded; collects the registers it reads and writes."""

    def __init__(self, op: Op, implicit: frozenset[int] = frozenset()):
        self.op, self.implicit = op, implicit
        self.mods = list(op.mods)
        self.members: Get | str = "warp"  # of a warp operation: the lanes that take part
        self.reads: set[int] = set()
        self.writes: set[int] = set()
        if op.guard:
            self.reads.add(op.guard[0])

    def error(self, message: str) -> PtxError:
        return PtxError(f"{self.op.text}: {message}", self.op.line)

    # -- modifiers ------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Take modifier `name` if it is there."""
        if name in self.mods:
            self.mods.remove(name)
            return True
        return False

    def pick(self, *names: str, default: str = "") -> str:
        """Take one of `names`; `default` if none is there."""
        for mod in self.mods:
            if mod in names:
                self.mods.remove(mod)
                return mod
        return default

    def need(self, *names: str) -> str:
        """Take one of `names`, of which one has to be there."""
        found = self.pick(*names)
        if not found:
            raise self.error(f"expected one of .{', .'.join(names)}.")
        return found

    def type(self, *allowed: str) -> str:
        """Take the last modifier, which has to be a type (one of `allowed`)."""
        if not self.mods or self.mods[-1] not in (allowed or TYPES):
            raise self.error(f"type .{self.mods[-1] if self.mods else '?'} is not supported here.")
        return self.mods.pop()

    # -- operands -------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        return len(self.op.operands)

    def operand(self, at: int) -> object:
        if at >= self.count:
            raise self.error(f"has {self.count} operands, too few.")
        return self.op.operands[at]

    def get(self, at: int, type_: str, wide: bool = False) -> Get:
        """Function that gives operand `at` as values of a type; `wide`: a wider register may be
        cut, as ld, st and cvt do."""
        return self.getter(self.operand(at), type_, wide)

    def getter(self, operand: object, type_: str, wide: bool = False) -> Get:
        kind, bits = held(type_)
        if isinstance(operand, Reg):
            return self.get_register(operand, kind, bits, wide)
        if isinstance(operand, Inverted) and kind.kind == "b":
            inner = self.getter(operand.reg, type_)
            return lambda s: ~inner(s)
        if isinstance(operand, Number):
            value = literal(operand, type_, kind, self)
            return lambda s: value
        if isinstance(operand, Special):
            return self.get_special(operand, kind)
        if isinstance(operand, Place):
            return self.get_place(operand, kind)
        raise self.error(f"operand {operand!r} is not supported here.")

    def get_register(self, reg: Reg, kind: np.dtype, bits: int, wide: bool) -> Get:
        index, name = reg.index, reg.name
        self.reads.add(index)
        if reg.bits != bits and not (wide and reg.bits > bits > 1):
            raise self.error(f"{name} has {reg.bits} bits but {bits} are expected.")
        cut = reg.bits != bits
        allowed = index in self.implicit

        def get(s: State) -> np.ndarray:
            value = s.regs[index]
            if value is None:
                value = unset(reg, allowed)
            if cut:
                return value.view(UNSIGNED[reg.bits]).astype(UNSIGNED[bits]).view(kind)
            return value if value.dtype is kind else value.view(kind)

        return get

    def get_special(self, operand: Special, kind: np.dtype) -> Get:
        name = operand.name

        def get(s: State) -> np.ndarray:
            value = s.special(name)
            return value if value.dtype is kind else value.astype(UNSIGNED[8 * kind.itemsize])

        return get

    def get_place(self, place: Place, kind: np.dtype) -> Get:
        if place.symbol:
            symbol, offset = place.symbol, place.offset
            return lambda s: np.full((1, 1), s.symbols[symbol] + offset, np.uint64).astype(kind)
        value = np.full((1, 1), place.offset, np.int64).astype(kind)
        return lambda s: value

    def put(self, at: int, type_: str, wide: bool = False) -> Put:
        """Function that gives register operand `at` a value; `wide`: a wider register is filled
        by sign or zero extension."""
        return self.putter(self.operand(at), type_, wide)

    def putter(self, operand: object, type_: str, wide: bool = False) -> Put:
        if operand is None:  # the sink "_"
            return lambda s, value: None
        if not isinstance(operand, Reg):
            raise self.error(f"operand {operand!r} cannot be written.")
        kind, bits = held(type_)
        index = operand.index
        self.writes.add(index)
        if operand.bits == bits:
            return lambda s, value: s.assign(index, value)
        if not (wide and operand.bits > bits > 1):
            raise self.error(f"{operand.name} has {operand.bits} bits but {bits} are expected.")
        target = (SIGNED if kind.kind == "i" else UNSIGNED)[operand.bits]
        plain = kind if kind.kind in "iu" else UNSIGNED[bits]
        return lambda s, value: s.assign(index, value.view(plain).astype(target))

    def pair(self, at: int) -> tuple[object, object]:
        """The operand d|p as (d, p); p is None where there is none."""
        operand = self.operand(at)
        return (operand.first, operand.second) if isinstance(operand, Both) else (operand, None)

    def items(self, at: int) -> tuple:
        """The registers of {a, b, ...}, or of a single operand."""
        operand = self.operand(at)
        return operand.items if isinstance(operand, Many) else (operand,)

    def address(self, at: int) -> tuple[str, Get]:
        """The space a memory operand names by itself ("" for a register) and its address."""
        operand = self.operand(at)
        if not isinstance(operand, Mem):
            raise self.error("expected an address in [ ].")
        base, offset = operand.base, operand.offset
        if isinstance(base, Place):
            get = self.get_place(Place(base.space, base.offset + offset, base.symbol),
                                 UNSIGNED[64])  # fmt: skip
            return base.space, get
        if base is None:
            fixed = np.full((1, 1), offset, np.uint64)
            return "", lambda s: fixed
        inner = self.getter(base, f"u{base.bits}")
        if base.bits == 32:
            return "", lambda s: inner(s).astype(np.int64) + offset
        if offset == 0:
            return "", inner
        shift = np.uint64(offset & 0xFFFF_FFFF_FFFF_FFFF)
        return "", lambda s: inner(s) + shift


def unset(reg: Reg, allowed: bool) -> np.ndarray:
    """What a register without a value gives: poison where LLVM left it undefined, or an error."""
    if not allowed:
        raise Fault(f"reads register {reg.name}, which was never written")
    return np.full((1, 1), -1, np.int64).astype(UNSIGNED[reg.bits])


def literal(number: Number, type_: str, kind: np.dtype, d: Decoder) -> np.ndarray:
    """A constant operand as an array of shape (1, 1)."""
    if kind.kind == "b":
        return np.full((1, 1), bool(number.value))
    if kind.kind == "f":
        if number.kind == "int":
            raise d.error("a whole number cannot be a floating-point operand.")
        return np.full((1, 1), number.value, kind)
    if number.kind == "int":
        bits = 8 * kind.itemsize
        whole = int(number.value) & ((1 << bits) - 1)
        return np.full((1, 1), whole, UNSIGNED[bits]).view(kind)
    source = np.float32 if number.kind == "f32" else np.float64
    found = np.full((1, 1), number.value, source)
    if found.dtype.itemsize != kind.itemsize:
        raise d.error("a floating-point literal has another width than its operand.")
    return found.view(kind)


def decode(op: Op, implicit: frozenset[int] = frozenset()) -> tuple[Run, Decoder]:
    """The function of an instruction, and its decoder; PtxError if it is not supported."""
    decoder = DECODERS.get(op.opcode)
    d = Decoder(op, implicit)
    if decoder is None:
        raise d.error(f"opcode {op.opcode!r} is not supported.")
    wrong = problem(op.opcode, op.mods)
    if wrong:
        raise d.error(wrong)
    try:
        run = decoder(d)
    except PtxError as error:
        if error.line:
            raise
        raise d.error(str(error)) from None
    if d.mods:
        raise d.error(f"modifier .{d.mods[0]} of {op.opcode!r} is not supported.")
    return run, d


def window(space: str) -> int:
    """Start of the generic addresses of a space."""
    return {"shared": SHARED_WINDOW, "local": LOCAL_WINDOW, "param": PARAM_WINDOW}.get(space, 0)
