"""What code generation hands on: LLVM text of a kernel's functions, and how to launch them.

A function takes one pointer per buffer of the kernel, in their order, and nothing else: shapes,
strides and offsets are constants of the code. Launches of one kernel run one after the other, all
with the same pointers.
"""

from __future__ import annotations

from dataclasses import dataclass

Size = tuple[int, int, int]


@dataclass(frozen=True)
class Launch:
    """A function started over a grid of blocks; `shared` is the dynamic shared memory in bytes."""

    function: str
    grid: Size
    block: Size
    shared: int = 0


@dataclass(frozen=True)
class Code:
    """One LLVM module (without target lines, which assemble.py adds) and its launches."""

    text: str
    launches: tuple[Launch, ...]


@dataclass(frozen=True)
class Facts:
    """What holds wherever a kernel is used.

    `aligned`: every buffer begins at a multiple of 16 bytes. `disjoint`: what it writes shares no
    memory with what it reads, so that reads may be cached and done again.
    """

    aligned: bool = True
    disjoint: bool = False
