"""A WebAssembly module from the one object file of an export, without a linker.

LLVM's object has its memory, stack pointer and table as imports, and addresses as if its data began
at 0. The module defines them: the stack lies below the data, so that an overflow traps, and every
address moves up by the size of the stack. Section numbers and relocation kinds are those of the
WebAssembly core specification and of the tool conventions' Linking document.
"""

from __future__ import annotations

from collections.abc import Sequence

STACK = 1 << 20
PAGE = 1 << 16
MAGIC = b"\0asm\x01\0\0\0"

_CUSTOM, _IMPORT, _TABLE, _MEMORY, _GLOBAL, _EXPORT, _CODE, _DATA = 0, 2, 4, 5, 6, 7, 10, 11
_FUNC_KIND, _TABLE_KIND, _MEMORY_KIND, _GLOBAL_KIND = range(4)
_ADDRESS_LEB, _ADDRESS_SLEB, _ADDRESS_I32 = 3, 4, 5  # relocations that move
_WITH_ADDEND = {3, 4, 5, 8, 9, 11, 14, 15, 16, 17, 22, 23}
_STAYING = {0, 1, 2, 6, 7, 20}  # indices, which the object has right already
_SYMBOLS = 8  # the subsection of `linking`
_ORDER = (1, 2, 3, 4, 5, 6, 7, 9, 12, 10, 11)


class WasmError(RuntimeError):
    """An object file of another shape than an export's."""


class Reader:
    """Numbers and strings of a byte string, one after the other."""

    def __init__(self, data: bytes, at: int = 0):
        self.data, self.at = data, at

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        """An unsigned LEB128."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def signed(self) -> int:
        """A signed LEB128."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value - (1 << shift) if byte & 64 else value

    def take(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]

    def name(self) -> str:
        return self.take(self.number()).decode()

    @property
    def more(self) -> bool:
        return self.at < len(self.data)


def number(value: int) -> bytes:
    """An unsigned LEB128."""
    out = bytearray()
    while True:
        byte, value = value & 127, value >> 7
        out.append(byte | (128 if value else 0))
        if not value:
            return bytes(out)


def signed(value: int) -> bytes:
    """A signed LEB128."""
    out = bytearray()
    while True:
        byte, value = value & 127, value >> 7
        done = value == (-1 if byte & 64 else 0)
        out.append(byte | (0 if done else 128))
        if done:
            return bytes(out)


def vector(items: Sequence[bytes]) -> bytes:
    """A count and the items."""
    return number(len(items)) + b"".join(items)


def text(value: str) -> bytes:
    """A name."""
    return number(len(value.encode())) + value.encode()


def link(data: bytes, exported: Sequence[str]) -> bytes:
    """The module of an object file; it exports the functions, `memory` and `__heap_base`.

    WasmError for an object that needs more than its own memory and functions of the host.
    """
    sections, customs = _sections(data)
    symbols, functions = _functions(customs.get("linking", b""))
    missing = [name for name in exported if name not in functions]
    if missing:
        raise WasmError(f"the object does not define {', '.join(missing)}")
    numbers = list(sections)
    for name, content in customs.items():
        if name.startswith("reloc."):
            _relocate(sections, numbers, content)
    kept, needed = _imports(sections.get(_IMPORT, b"\0"))
    sections[_DATA], end = _moved_data(sections.get(_DATA, b"\0"))
    sections[_IMPORT] = vector(kept)
    if _TABLE_KIND in needed:
        sections[_TABLE] = vector([needed[_TABLE_KIND]])
    sections[_MEMORY] = vector([b"\0" + number(-(-end // PAGE))])
    has_stack = _GLOBAL_KIND in needed
    heap = -(-end // 64) * 64
    globals_ = [b"\x7f\x01\x41" + signed(STACK) + b"\x0b"] if has_stack else []
    globals_.append(b"\x7f\x00\x41" + signed(heap) + b"\x0b")
    sections[_GLOBAL] = vector(globals_)
    exports = [text(name) + b"\0" + number(functions[name]) for name in exported]
    exports.append(text("memory") + bytes([_MEMORY_KIND]) + b"\0")
    exports.append(text("__heap_base") + bytes([_GLOBAL_KIND]) + number(len(globals_) - 1))
    sections[_EXPORT] = vector(exports)
    return MAGIC + b"".join(
        bytes([n]) + number(len(sections[n])) + sections[n] for n in _ORDER if n in sections
    )


def undefined(data: bytes) -> set[str]:
    """Functions that an object needs from elsewhere."""
    sections, customs = _sections(data)
    reader = Reader(sections.get(_IMPORT, b"\0"))
    return {field for _, field, kind, _ in _entries(reader) if kind == _FUNC_KIND}


def _sections(data: bytes) -> tuple[dict[int, bytes], dict[str, bytes]]:
    """Content of the sections by number, in order, and of the custom ones by name."""
    if not data.startswith(MAGIC):
        raise WasmError("no WebAssembly object")
    reader = Reader(data, len(MAGIC))
    sections: dict[int, bytes] = {}
    customs: dict[str, bytes] = {}
    while reader.more:
        kind, size = reader.byte(), reader.number()
        content = reader.take(size)
        if kind == _CUSTOM:
            inner = Reader(content)
            name = inner.name()
            customs[name] = content[inner.at :]
        else:
            sections[kind] = content
    return sections, customs


def _functions(linking: bytes) -> tuple[int, dict[str, int]]:
    """How many symbols there are, and the numbers of the functions that are defined."""
    reader = Reader(linking)
    if reader.number() != 2:
        raise WasmError("an unknown version of the `linking` section")
    found: dict[str, int] = {}
    count = 0
    while reader.more:
        kind, size = reader.byte(), reader.number()
        content = Reader(reader.take(size))
        if kind != _SYMBOLS:
            continue
        count = content.number()
        for _ in range(count):
            name, index = _symbol(content)
            if name is not None:
                found[name] = index
    return count, found


def _symbol(content: Reader) -> tuple[str | None, int]:
    """Name and number of the next symbol if it is a defined function."""
    kind, flags = content.byte(), content.number()
    defined, named = not flags & 0x10, bool(flags & 0x40)
    if kind == 1:  # data
        content.name()
        if defined:
            for _ in range(3):
                content.number()
        return None, 0
    index = content.number()
    if kind == 3:  # a section
        return None, 0
    name = content.name() if defined or named else None
    return (name, index) if kind == 0 and defined else (None, 0)


def _relocate(sections: dict[int, bytes], numbers: list[int], content: bytes) -> None:
    """Move the addresses that a `reloc` section lists."""
    reader = Reader(content)
    target = numbers[reader.number()]
    patched = bytearray(sections[target])
    for _ in range(reader.number()):
        kind, at = reader.byte(), reader.number()
        reader.number()  # the symbol: the value in place is right but for the move
        if kind in _WITH_ADDEND:
            reader.signed()
        if kind in _STAYING:
            continue
        if kind == _ADDRESS_I32:
            value = int.from_bytes(patched[at : at + 4], "little") + STACK
            patched[at : at + 4] = value.to_bytes(4, "little")
        elif kind in (_ADDRESS_LEB, _ADDRESS_SLEB):
            value = Reader(bytes(patched[at : at + 5])).number() + STACK
            patched[at : at + 5] = _padded(value)
        else:
            raise WasmError(f"the object has a relocation of the unknown kind {kind}")
    sections[target] = bytes(patched)


def _padded(value: int) -> bytes:
    """A LEB128 of five bytes; of values below 2^31 the signed and the unsigned form are one."""
    return bytes([value >> 7 * i & 127 | 128 for i in range(4)] + [value >> 28 & 127])


def _entries(reader: Reader):
    """(module, field, kind, bytes of the description) of each import."""
    for _ in range(reader.number()):
        module, field, kind = reader.name(), reader.name(), reader.byte()
        start = reader.at
        if kind == _FUNC_KIND:
            reader.number()
        elif kind == _GLOBAL_KIND:
            reader.take(2)
        else:
            if kind == _TABLE_KIND:
                reader.byte()
            flags = reader.byte()
            reader.number()
            if flags & 1:
                reader.number()
        yield module, field, kind, reader.data[start : reader.at]


def _imports(content: bytes) -> tuple[list[bytes], dict[int, bytes]]:
    """The functions that the host must give, and what the module defines itself, by kind."""
    kept, needed = [], {}
    for module, field, kind, about in _entries(Reader(content)):
        if kind == _FUNC_KIND:
            kept.append(text(module) + text(field) + bytes([kind]) + about)
        elif field in ("__linear_memory", "__stack_pointer", "__indirect_function_table"):
            needed[kind] = about
        else:
            raise WasmError(f"the object needs {module}.{field}")
    return kept, needed


def _moved_data(content: bytes) -> tuple[bytes, int]:
    """The data section behind the stack, and where it ends."""
    reader, parts, end = Reader(content), [], STACK
    for _ in range(reader.number()):
        if reader.number() != 0 or reader.byte() != 0x41:
            raise WasmError("the object has data of an unknown kind")
        at = reader.signed() + STACK
        reader.byte()
        data = reader.take(reader.number())
        end = max(end, at + len(data))
        parts.append(b"\0\x41" + signed(at) + b"\x0b" + number(len(data)) + data)
    return vector(parts), end
