"""Loads ELF objects for x86-64 into this process: a small linker for the code that we generate.

A start from the disk cache needs no LLVM then, which would take 45 MB and a tenth of a second just
to link. Sections of one kind lie together: code, constants, data. What another library or the
process defines is reached through a stub, because it may be farther away than a call can reach.
Whatever is not plain (other machines, thread-local data, symbols that are missing or defined
twice, damage) is `Unfit`, and the caller lets LLVM link or say what is wrong.

Formats: System V ABI, chapter "Object Files"; its AMD64 supplement, section 4.4 "Relocation".
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from .code_memory import PAGE, READ, RUN, CodeMemory

X86_64, RELOCATABLE = 62, 1
PROGBITS, SYMTAB, RELA, NOBITS = 1, 2, 4, 8
UNWIND = 0x70000001  # for exceptions and debuggers; not loaded
PLAIN = frozenset({PROGBITS, NOBITS, UNWIND})
WRITE, ALLOC, EXEC, TLS = 1, 2, 4, 0x400
UNDEFINED, ABSOLUTE, RESERVED = 0, 0xFFF1, 0xFF00
ABS64, PC32, PLT32 = 1, 2, 4
THROUGH_TABLE = frozenset({9, 41, 42})  # GOTPCREL, GOTPCRELX, REX_GOTPCRELX
STUB = b"\x66\x90\xff\x25\x00\x00\x00\x00"  # nop; jmp to the address in the 8 bytes that follow
LINE, LARGEST = 64, 1 << 30


class Unfit(Exception):
    """Objects that only LLVM can link, or refuse."""


class Section(NamedTuple):
    """A section header."""

    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry: int

    @property
    def is_loaded(self) -> bool:
        """Whether it becomes memory of the process."""
        return bool(self.flags & ALLOC) and self.type != UNWIND


class Symbol(NamedTuple):
    """A symbol: `at` is the number of its section."""

    name: str
    binding: int
    at: int
    value: int


class ElfObject:
    """The tables of one object file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        if data[:6] != b"\x7fELF\x02\x01":
            raise Unfit("not an ELF object of 64 bits")
        try:
            self._read()
        except (struct.error, ValueError, IndexError, UnicodeDecodeError) as error:
            raise Unfit(f"a damaged object: {error}") from None

    def _read(self) -> None:
        data = self.data
        kind, machine = struct.unpack_from("<HH", data, 16)
        (start,) = struct.unpack_from("<Q", data, 40)
        size, count = struct.unpack_from("<HH", data, 58)
        if (kind, machine, size) != (RELOCATABLE, X86_64, 64):
            raise Unfit("an object of another kind")
        rows = struct.iter_unpack("<IIQQQQIIQQ", data[start : start + count * size])
        self.sections = [Section(*row) for row in rows]
        if len(self.sections) != count:
            raise Unfit("section headers behind the end")
        for s in self.sections:
            is_plain = s.type in PLAIN and not s.flags & TLS
            if s.flags & ALLOC and not is_plain:
                raise Unfit("a section of another kind")
            if s.type != NOBITS and s.offset + s.size > len(data):
                raise Unfit("a section behind the end")
            if s.size > LARGEST or s.align > PAGE:
                raise Unfit("a section of unlikely size")
        self.symbols: list[Symbol] = []
        for s in self.sections:
            if s.type == SYMTAB:
                self.symbols += self._symbols(s)

    def _symbols(self, table: Section) -> list[Symbol]:
        names = self.sections[table.link].offset
        found = []
        rows = struct.iter_unpack("<IBBHQQ", self.data[table.offset : table.offset + table.size])
        for name, info, _, at, value, _ in rows:
            text = ""
            if name:
                end = self.data.index(b"\0", names + name)
                text = self.data[names + name : end].decode()
            if RESERVED <= at != ABSOLUTE or (at < RESERVED and at >= len(self.sections)):
                raise Unfit(f"symbol {text!r} lies in no section")
            found.append(Symbol(text, info >> 4, at, value))
        return found


class Loaded:
    """Objects in memory; `symbols` are the addresses of what they define."""

    def __init__(self, objects: Sequence[bytes], imports: Mapping[str, int]) -> None:
        self.objects, self.imports = [ElfObject(data) for data in objects], imports
        self.offsets: list[dict[int, int]] = [{} for _ in objects]
        self.ends: list[int] = []
        self._place()
        self.memory = CodeMemory(self.size)
        self.base = self.memory.address
        self.symbols = self._defined()
        self.image = bytearray(self.size)
        self._fill()
        self.memory.write(self.image)
        code, constants = self.ends
        self.memory.protect(0, code, RUN)
        self.memory.protect(code, constants, READ)
        del self.objects, self.image, self.offsets

    def address(self, symbol: str) -> int:
        """Where a symbol lies; RuntimeError for one that no object defines."""
        try:
            return self.symbols[symbol]
        except KeyError:
            raise RuntimeError(f"no symbol {symbol!r}") from None

    # -- layout ------------------------------------------------------------------------------------

    def _place(self) -> None:
        """Offsets of all sections: what runs, then constants, then data, each from a page on."""
        at = self._room_for_stubs()
        for wanted in (EXEC, 0, WRITE):
            for offsets, o in zip(self.offsets, self.objects, strict=True):
                for number, s in enumerate(o.sections):
                    if s.is_loaded and s.flags & (WRITE | EXEC) == wanted:
                        at = -(-at // max(s.align, LINE)) * max(s.align, LINE)
                        offsets[number] = at
                        at += s.size
            at = -(-at // PAGE) * PAGE
            self.ends.append(at)
        placed = sum(map(len, self.offsets))
        total = sum(s.is_loaded for o in self.objects for s in o.sections)
        if placed != total:
            raise Unfit("memory that can be both written and run")
        self.size = self.ends.pop()

    def _room_for_stubs(self) -> int:
        """Bytes for a stub of each symbol that is elsewhere or is reached through a table."""
        names = {s.name for o in self.objects for s in o.symbols if s.at == UNDEFINED and s.name}
        for o in self.objects:
            for table in o.sections:
                for _, kind, number, _ in _relocations(o, table):
                    if kind in THROUGH_TABLE and number < len(o.symbols):
                        names.add(o.symbols[number].name)
        self.stubs = {name: 2 * len(STUB) * i for i, name in enumerate(sorted(names))}
        return 2 * len(STUB) * len(names)

    def _defined(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for offsets, o in zip(self.offsets, self.objects, strict=True):
            for s in o.symbols:
                if s.binding == 0 or s.at == UNDEFINED or not s.name:
                    continue
                if s.name in found or s.binding != 1:
                    raise Unfit(f"{s.name!r} is weak or defined twice")
                found[s.name] = self._position(offsets, s)
        return found

    def _position(self, offsets: dict[int, int], s: Symbol) -> int:
        if s.at == ABSOLUTE:
            return s.value
        if s.at not in offsets:
            raise Unfit(f"symbol {s.name!r} lies in a section that is not loaded")
        return self.base + offsets[s.at] + s.value

    # -- contents ----------------------------------------------------------------------------------

    def _fill(self) -> None:
        for offsets, o in zip(self.offsets, self.objects, strict=True):
            for number, at in offsets.items():
                s = o.sections[number]
                if s.type != NOBITS:
                    self.image[at : at + s.size] = o.data[s.offset : s.offset + s.size]
        for name, at in self.stubs.items():
            target = self.symbols.get(name)
            target = _outside(name, self.imports) if target is None else target
            self.image[at : at + 2 * len(STUB)] = STUB + struct.pack("<Q", target)
        for offsets, o in zip(self.offsets, self.objects, strict=True):
            for table in o.sections:
                if table.info in offsets:
                    self._relocate(o, offsets, table)

    def _relocate(self, o: ElfObject, offsets: dict[int, int], table: Section) -> None:
        start, limit = offsets[table.info], o.sections[table.info].size
        for offset, kind, number, addend in _relocations(o, table):
            if number >= len(o.symbols) or offset + (8 if kind == ABS64 else 4) > limit:
                raise Unfit("a relocation out of its section")
            symbol, at = o.symbols[number], start + offset
            if kind == ABS64:
                value = self._target(offsets, symbol, near=False) + addend
                struct.pack_into("<Q", self.image, at, value % (1 << 64))
                continue
            if kind in THROUGH_TABLE:
                if symbol.name not in self.symbols and symbol.at != UNDEFINED:
                    raise Unfit("a table entry for a symbol of its own")
                value = self.base + self.stubs[symbol.name] + len(STUB)
            elif kind in (PC32, PLT32):
                value = self._target(offsets, symbol, near=kind == PLT32)
            else:
                raise Unfit(f"a relocation of kind {kind}")
            value += addend - (self.base + at)
            if not -(1 << 31) <= value < 1 << 31:
                raise Unfit("a symbol that is too far away")
            struct.pack_into("<i", self.image, at, value)

    def _target(self, offsets: dict[int, int], s: Symbol, near: bool) -> int:
        """The address of a symbol; for a call, a stub of what lies elsewhere."""
        if s.at != UNDEFINED:
            return self._position(offsets, s)
        if s.name in self.symbols:
            return self.symbols[s.name]
        if near:
            return self.base + self.stubs[s.name]
        return _outside(s.name, self.imports)


def _relocations(o: ElfObject, table: Section) -> Iterator[tuple[int, int, int, int]]:
    """Rows of a relocation table (none for other sections): offset, kind, symbol, addend."""
    if table.type != RELA:
        return iter(())
    return struct.iter_unpack("<QIIq", o.data[table.offset : table.offset + table.size])


def _outside(name: str, imports: Mapping[str, int]) -> int:
    """The address of what the objects lack; Unfit if nobody has it."""
    found = imports.get(name)
    if found is None:
        try:
            found = ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value
        except AttributeError:
            found = None
    if not found:
        raise Unfit(f"nothing defines {name!r}")
    return found


def load(objects: Sequence[bytes], imports: Mapping[str, int]) -> Loaded:
    """The objects, ready to run; Unfit, or OSError without memory, where LLVM has to do it."""
    try:
        return Loaded(objects, imports)
    except struct.error as error:
        raise Unfit(f"a damaged object: {error}") from None


__all__ = ["Loaded", "Unfit", "load"]
