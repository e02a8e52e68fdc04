"""A kernel as one flat list of instructions whose operands are registers, numbers and addresses."""

from __future__ import annotations

from dataclasses import dataclass, field

from .syntax import Variable


@dataclass(frozen=True)
class Reg:
    index: int
    bits: int
    name: str


@dataclass(frozen=True)
class Special:
    name: str


@dataclass(frozen=True)
class Place:
    """The address of a variable: `offset` from the start of its space, or from its `symbol`."""

    space: str
    offset: int
    symbol: str = ""  # of .global and .const variables, which the memory places


@dataclass(frozen=True)
class Mem:
    base: Reg | Place | None
    offset: int


@dataclass(frozen=True)
class Inverted:
    reg: Reg


@dataclass(frozen=True)
class Both:
    """d|p"""

    first: object
    second: object


@dataclass(frozen=True)
class Many:
    items: tuple


@dataclass(slots=True)
class Op:
    """One instruction of a flat kernel; `targets` are positions to branch to."""

    opcode: str
    mods: tuple[str, ...]
    operands: tuple
    guard: tuple[int, bool] | None
    line: int
    text: str
    targets: tuple[int, ...] = ()


@dataclass
class Flat:
    """A kernel ready for decoding."""

    name: str
    ops: list[Op]
    registers: list[tuple[str, int]]  # name, bits
    params: list[tuple[Variable, int]]  # with their offsets
    param_bytes: int
    shared_bytes: int
    local_bytes: int
    directives: dict[str, tuple[int, ...]]
    implicit: frozenset[int]
    shared: dict[str, tuple[int, int]] = field(default_factory=dict)  # name: offset, bytes
