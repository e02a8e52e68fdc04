"""Static libraries: `ar` files, with the table of symbols of System V or, for macOS, of BSD.

A library is a header, the table of symbols, and its members, each at an even offset. Times, owners
and modes are the same for all, so that equal content is an equal file.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

_MAGIC = b"!<arch>\n"
_HEAD = 60  # bytes before each member


def static_library(
    member: str, content: bytes, symbols: Sequence[str], apple: bool = False
) -> bytes:
    """A library with one object file; `symbols` are those that it offers to linkers."""
    if len(member) > 15 or "/" in member:
        member = "model.o"
    if apple:
        return _apple_library(member, content, symbols)
    names = b"".join(name.encode() + b"\0" for name in symbols)
    size = 4 + 4 * len(symbols) + len(names)
    at = len(_MAGIC) + _HEAD + _up(size, 2)
    table = struct.pack(f">{1 + len(symbols)}I", len(symbols), *[at] * len(symbols)) + names
    return _MAGIC + _member("/", table, 2) + _member(f"{member}/", content, 2)


def _apple_library(member: str, content: bytes, symbols: Sequence[str]) -> bytes:
    """The table is a member of its own name, with the offsets of names and members."""
    spelled = [f"_{name}".encode() + b"\0" for name in symbols]
    starts = [sum(map(len, spelled[:i])) for i in range(len(spelled))]
    names = b"".join(spelled)
    names += b"\0" * (_up(len(names), 8) - len(names))
    size = 4 + 8 * len(symbols) + 4 + len(names)
    at = len(_MAGIC) + _HEAD + _up(size, 8)
    pairs = [word for start in starts for word in (start, at)]
    table = struct.pack(f"<{2 + len(pairs)}I", 8 * len(symbols), *pairs, len(names)) + names
    return _MAGIC + _member("__.SYMDEF", table, 8) + _member(member, content, 8)


def _up(size: int, step: int) -> int:
    return -(-size // step) * step


def _member(name: str, content: bytes, step: int) -> bytes:
    content += b"\n" * (_up(len(content), step) - len(content))
    fields = f"{name:<16}{0:<12}{0:<6}{0:<6}{644:<8}{len(content):<10}`\n"
    return fields.encode() + content
