"""Several LLVM modules made one object file that shows nothing but its interface.

Functions of different instruction sets can be in one module, because each carries its own as
attributes. What is not exported becomes internal, so that two exported models never clash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..jit import CodegenError, compiling, parse_module, raw_emitter
from ..target import Target, binding, machine

_DEFINED = re.compile(r"^define [^@\n]*@([\w.]+)\(", re.M)
_ATTRIBUTES = re.compile(r"^attributes #0 = \{ nounwind", re.M)


class Piece(NamedTuple):
    """One module: its text, what its functions are called in the file, for which instructions."""

    text: str
    names: Mapping[str, str]
    target: Target


def defined(text: str) -> list[str]:
    """The functions that a module defines."""
    return _DEFINED.findall(text)


def merge(pieces: Sequence[Piece], base: Target, exported: Sequence[str]) -> bytes:
    """The object file of all pieces for `base`'s platform, with the symbols `exported`.

    CodegenError for text that LLVM refuses.
    """
    llvm = binding()
    with compiling():
        worker, context = machine(base), llvm.create_context()
        try:
            whole = None
            for piece in pieces:
                module = parse_module(llvm, _finished(piece), base, context)
                if whole is None:
                    whole = module
                else:
                    whole.link_in(module)
            assert whole is not None
            try:
                _hide(whole, set(exported))
                whole.verify()
                emit = raw_emitter()
                return worker.emit_object(whole) if emit is None else emit(worker, whole)
            finally:
                whole.close()
        except RuntimeError as error:
            if isinstance(error, CodegenError):
                raise
            raise CodegenError(f"LLVM cannot join the modules of an export: {error}") from None
        finally:
            context.close()


def _finished(piece: Piece) -> str:
    """The text with the names of the file and the instruction set of its functions."""
    # Rounding is to nearest during a run, so that C99's rint does what roundeven does, which some
    # C libraries lack.
    text = piece.text.replace("@llvm.roundeven.", "@llvm.rint.")
    if piece.names:
        pattern = "|".join(re.escape(n) for n in sorted(piece.names, key=len, reverse=True))
        text = re.sub(rf"@({pattern})\(", lambda m: f"@{piece.names[m[1]]}(", text)
    cpu, features = piece.target.cpu, piece.target.features
    words = f'attributes #0 = {{ nounwind "target-cpu"="{cpu}" "target-features"="{features}"'
    return _ATTRIBUTES.sub(words, text)


def _hide(module, exported: set[str]) -> None:
    for function in module.functions:
        if not function.is_declaration and function.name not in exported:
            function.linkage = "internal"
