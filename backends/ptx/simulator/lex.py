"""PTX text as tokens, without comments; literals as numbers."""

from __future__ import annotations

import re
import struct
from functools import cache

from .syntax import Name, Number, PtxError

TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<number>0[fF][0-9a-fA-F]{8}|0[dD][0-9a-fA-F]{16}|0[xX][0-9a-fA-F]+U?
      |\d+\.\d*(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\d+U?)
  | (?P<word>[A-Za-z_$%.][\w$%.]*(?:::[\w.]+)*)
  | (?P<string>"[^"\n]*")
  | (?P<mark>[{}()\[\],;:@!|<>=+\-*])
    """,
    re.X,
)


def strip_comments(text: str) -> str:
    """The text with comments blanked out, line numbers kept."""

    def blank(match: re.Match) -> str:
        return "\n" * match[0].count("\n") or " "

    return re.sub(r"/\*.*?\*/|//[^\n]*", blank, text, flags=re.S)


def tokenize(text: str) -> list[tuple[str, str, int]]:
    """(kind, text, line) of each token."""
    tokens, at, line = [], 0, 1
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match:
            raise PtxError(f"unexpected character {text[at]!r}.", line)
        kind = match.lastgroup or ""
        if kind != "space":
            tokens.append((kind, match[0], line))
        line += match[0].count("\n")
        at = match.end()
    return tokens


@cache
def named(text: str) -> Name:
    """A Name, made once."""
    return Name(text)


@cache
def number(text: str) -> Number:
    """The value of a literal as PTX writes it."""
    lower = text.lower()
    if lower.startswith("0f"):
        return Number(struct.unpack(">f", bytes.fromhex(text[2:]))[0], "f32")
    if lower.startswith("0d"):
        return Number(struct.unpack(">d", bytes.fromhex(text[2:]))[0], "f64")
    if lower.startswith("0x"):
        return Number(int(lower.rstrip("u"), 16))
    if not text[:1].isdigit():
        raise PtxError(f"expected a number but found {text!r}.")
    if "." in text or "e" in lower:
        return Number(float(text), "f64")
    digits = lower.rstrip("u")
    if not digits.isdigit() or (digits[0] == "0" and set(digits) & {"8", "9"}):
        raise PtxError(f"{text!r} is no number.")
    return Number(int(digits, 8) if len(digits) > 1 and digits[0] == "0" else int(digits))
