"""Object files that run without Python: `make_object(request, levels)`.

request -> one LevelProgram per level -> layout of workspace, state and constants -> one LLVM module
with all levels and the C interface -> object file, into which the constants are written
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .blob import Blob, data_text, fill
from .interface import Interface, exported, interface_text
from .levels import Level, levels_of
from .merge import Piece, defined, merge
from .program import Entry, LevelProgram, Request, compile_level
from .tables import Layout, lay_out

DATA = "nncomp_weights"


@dataclass
class Made:
    """An object file and what its users must know of it."""

    object: bytes
    layout: Layout
    symbols: list[str]
    levels: list[Level]
    code_bytes: int  # without constants


def make_object(request: Request, levels: Sequence[Level]) -> Made:
    """The object file of a graph for some levels of one platform.

    CodegenError for what LLVM refuses, ValueError for constants too large for an object file.
    """
    programs = [compile_level(request, level) for level in levels]
    blob = Blob()
    layout = lay_out(request, programs, blob, 0)
    data = blob.data()
    base = levels[0].target
    face = Interface(layout, base, data_text(DATA, data))
    symbols = exported(layout, True)
    pieces = [Piece(interface_text(face), {}, base)]
    for program in programs:
        pieces += _pieces(program)
    made = merge(pieces, base, symbols)
    return Made(fill(made, [data]), layout, symbols, list(levels), len(made) - len(data))


def _pieces(program: LevelProgram) -> list[Piece]:
    """The modules of one level, each kernel once, with the level in every name."""
    level = program.level
    names: dict[str, str] = {}
    texts: dict[str, str] = {}
    runs = []
    parts = [("main", program.stages)]
    if program.stages.checker is not None:
        parts.append(("check", program.stages.checker))
    for tag, stages in parts:
        for code in stages.codes.values():
            for name in defined(code.text):
                names[name] = f"{name}.{level.name}"
                texts[name] = code.text
        runs.append((stages.modules[-1], f"{tag}.{level.name}"))
    pieces = [Piece(text, names, level.target) for text in dict.fromkeys(texts.values())]
    for text, name in runs:
        pieces.append(Piece(text, {**names, "run": name}, level.target))
    return pieces


__all__ = ["Entry", "Level", "Made", "Request", "levels_of", "make_object"]
