"""Static libraries: the `ar` format of System V, which linkers of ELF systems and Windows read.

A library is a header, the table of symbols, and its members, each at an even offset. Times, owners
and modes are the same for all, so that equal content is an equal file.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

_MAGIC = b"!<arch>\n"
_HEAD = 60  # bytes before each member


def static_library(member: str, content: bytes, symbols: Sequence[str]) -> bytes:
    """A library with one object file; `symbols` are those that it offers to linkers."""
    if len(member) > 15 or "/" in member:
        member = "model.o"
    names = b"".join(name.encode() + b"\0" for name in symbols)
    size = 4 + 4 * len(symbols) + len(names)
    at = len(_MAGIC) + _HEAD + _even(size)
    table = struct.pack(f">{1 + len(symbols)}I", len(symbols), *[at] * len(symbols)) + names
    return _MAGIC + _member("", table) + _member(member, content)


def _even(size: int) -> int:
    return size + size % 2


def _member(name: str, content: bytes) -> bytes:
    fields = f"{name + '/':<16}{0:<12}{0:<6}{0:<6}{644:<8}{len(content):<10}`\n"
    return fields.encode() + content + b"\n" * (len(content) % 2)
