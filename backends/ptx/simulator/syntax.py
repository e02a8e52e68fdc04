"""What PTX text says, as plain data: modules, functions, variables, instructions, operands."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache


class PtxError(ValueError):
    """PTX text that the parser or decoder does not accept; the message names the line."""

    def __init__(self, message: str, line: int = 0):
        super().__init__(f"line {line}: {message}" if line else message)
        self.line = line


@dataclass(frozen=True)
class Name:
    """A register, special register, label, variable or function."""

    text: str


@dataclass(frozen=True)
class Number:
    """A literal; `kind` is "int", "f32" (0f...) or "f64" (0d... and decimal fractions)."""

    value: int | float
    kind: str = "int"


@dataclass(frozen=True)
class Address:
    """[base + offset]; base None is an absolute address."""

    base: Name | None
    offset: int = 0


@dataclass(frozen=True)
class Shifted:
    """symbol + offset as a value."""

    base: Name
    offset: int


@dataclass(frozen=True)
class Group:
    """{a, b, ...}: registers of a vector access or a matrix fragment."""

    items: tuple


@dataclass(frozen=True)
class Pair:
    """d|p: a result and a predicate beside it."""

    first: object
    second: object


@dataclass(frozen=True)
class Not:
    """!p."""

    base: Name


@dataclass(frozen=True)
class Listed:
    """(a, b): arguments or results of a call."""

    items: tuple


Operand = Name | Number | Address | Shifted | Group | Pair | Not | Listed


@dataclass(frozen=True)
class Instruction:
    """`@guard opcode.mods operands;` as written in line `line`."""

    opcode: str
    mods: tuple[str, ...]
    operands: tuple
    guard: tuple[str, bool] | None  # register, negated
    line: int
    text: str


@dataclass(frozen=True)
class Variable:
    """A declaration in some state space: `count` elements of `type`; 0 is an open array."""

    space: str
    type: str
    name: str
    count: int
    align: int
    init: tuple | None = None  # of Number, Name (an address), Shifted
    scalar: bool = False

    @property
    def nbytes(self) -> int:
        return self.count * type_bits(self.type) // 8


@dataclass(frozen=True)
class Registers:
    """`.reg .b32 %r<10>` gives ("b32", "%r", 10), a single name has count None."""

    type: str
    name: str
    count: int | None


@dataclass(frozen=True)
class Label:
    name: str


@dataclass(frozen=True)
class Targets:
    """label: .branchtargets a, b, c;"""

    name: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Scope:
    """`{` (opens) or `}`."""

    opens: bool


@dataclass
class Function:
    """An .entry or a .func; `body` is None for a declaration."""

    name: str
    entry: bool
    params: list[Variable]
    results: list[Variable]
    body: list | None
    line: int
    directives: dict[str, tuple[int, ...]] = field(default_factory=dict)
    implicit: frozenset[str] = frozenset()  # registers LLVM marks as left undefined


@dataclass
class PtxModule:
    """A whole translation unit."""

    version: str
    target: str
    variables: list[Variable]
    functions: dict[str, Function]


@cache
def type_bits(name: str) -> int:
    """Width of a PTX type, "pred" is 1."""
    if name == "pred":
        return 1
    known = {"f16x2": 32, "bf16x2": 32, "bf16": 16, "tf32": 32, "e4m3x2": 16, "e5m2x2": 16,
             "u16x2": 32, "s16x2": 32}  # fmt: skip
    if name in known:
        return known[name]
    digits = name.lstrip("bsuf")
    if not digits.isdigit():
        raise PtxError(f"{name!r} is no PTX type.")
    return int(digits)
