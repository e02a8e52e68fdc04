"""Object files that run without Python: `make_object(request, levels)`.

request -> one LevelProgram per level -> layout of workspace, state and constants -> one LLVM module
with all levels and the C interface -> object file, into which the constants are written
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..stages import Stages
from ..target import is_posix
from .blob import Blob, fill, side_file
from .interface import Interface, exported, interface_text
from .levels import Level
from .merge import Piece, defined, merge
from .program import LevelProgram, Request, compile_level
from .tables import Layout, lay_out
from .threads import pool_bytes

MOST = 1 << 30  # bytes of constants in an object file: code reaches two gigabytes around it


@dataclass
class Made:
    """An object file and what its users must know of it."""

    object: bytes
    weights: bytes | None  # content of the file beside it, None where they are embedded
    layout: Layout
    symbols: list[str]
    levels: list[Level]
    threads: int
    code_bytes: int  # without constants


def make_object(
    request: Request,
    levels: Sequence[Level],
    embed: bool = True,
    threads: int = 1,
    prepare: bool = True,
) -> Made:
    """The object file of a graph for some levels of one platform.

    Constants are embedded, or in a file of their own; packed for each level (`prepare`), or as they
    are, to be packed when the program starts.

    CodegenError for what LLVM refuses, ValueError for constants too large for an object file and
    for threads where the platform has none.
    """
    base = levels[0].target
    if threads > 1 and not is_posix(base):
        raise ValueError(f"threads={threads}: files for {base.triple} run on one thread")
    programs = [compile_level(request, level, prepare) for level in levels]
    _refuse(programs)
    blob = Blob()
    layout = lay_out(request, programs, blob, pool_bytes(threads))
    data = blob.data()
    if embed and len(data) > MOST:
        raise ValueError(
            f"{len(data) >> 20} MB of constants are too many for an object file (at most "
            f"{MOST >> 20}): export with weights='file' or prepare='start', or name one cpu="
        )
    parallel = frozenset(name for p in programs for name in _parallel(p)) if threads > 1 else ()
    face = Interface(layout, base, data, embed, threads, frozenset(parallel))
    symbols = exported(layout, embed, threads)
    pieces = [Piece(interface_text(face), {}, base)]
    for program in programs:
        pieces += _pieces(program)
    made = merge(pieces, base, symbols)
    code = len(made) - (len(data) if embed else 0)
    made, side = (fill(made, [data]), None) if embed else (made, side_file(data))
    return Made(made, side, layout, symbols, list(levels), threads, code)


def _refuse(programs: Sequence[LevelProgram]) -> None:
    """ValueError for code that LLVM would end the process over."""
    for program in programs:
        texts = (m for _, stages in _programs(program) for m in stages.modules)
        if program.level.target.arch == "wasm32" and any("bfloat" in text for text in texts):
            raise ValueError("bfloat16 has no code for WebAssembly: convert the model with float()")


def _programs(program: LevelProgram) -> list[tuple[str, Stages]]:
    """The programs of a level and their names in the file."""
    found = [(f"main.{program.level.name}", program.stages)]
    if program.stages.checker is not None:
        found.append((f"check.{program.level.name}", program.stages.checker))
    if program.prepared is None and program.stages.prepared is not None:
        found.append((f"prepare.{program.level.name}", program.stages.prepared))
    return found


def _parallel(program: LevelProgram) -> list[str]:
    return [name for name, stages in _programs(program) if stages.recipe.is_parallel]


def _pieces(program: LevelProgram) -> list[Piece]:
    """The modules of one level, each kernel once, with the level in every name."""
    level = program.level
    names: dict[str, str] = {}
    texts: dict[str, str] = {}
    runs = []
    for run_name, stages in _programs(program):
        for code in stages.codes.values():
            for name in defined(code.text):
                names[name] = f"{name}.{level.name}"
                texts[name] = code.text
        runs.append((_only_run(stages.modules[-1]), run_name))
    pieces = [Piece(text, names, level.target) for text in dict.fromkeys(texts.values())]
    for text, name in runs:
        pieces.append(Piece(text, {**names, "run": name}, level.target))
    return pieces


def _only_run(text: str) -> str:
    """A program's last module without the parts of `run`, which only Python calls."""
    blocks = text.split("\n\n")
    return "\n\n".join(b for b in blocks if not b.startswith("define ") or defined(b) == ["run"])
