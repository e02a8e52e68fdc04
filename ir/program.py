"""A Program: kernels in order, where every value lives, and how much memory that takes.

This is what a fused graph becomes before any device code exists: flat steps over places, so that
a JIT, an ahead-of-time exporter and a GPU driver can all run it.

    step 0  contract relu_3f2a(in 0, in 1, in 2 -> arena+0)        units 8
    step 1  map      sum_91bc(arena+0 -> out 0)                    units 1
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from .graph import Node
from .loops import Kernel


@dataclass(frozen=True)
class Place:
    """Where a value starts: `base` is in (index), out (index) or arena; `offset` is in bytes.

    Inside a loop step, `strides` move it on: (loop number, bytes per turn).
    """

    base: str
    index: int = 0
    offset: int = 0
    strides: tuple[tuple[int, int], ...] = ()

    def moved(self, bytes: int) -> Place:
        return replace(self, offset=self.offset + bytes)

    def __str__(self) -> str:
        text = f"{self.base} {self.index}" if self.base != "arena" else "arena"
        text += f"+{self.offset}" if self.offset or self.base == "arena" else ""
        return text + "".join(f"+{s}*t{n}" for n, s in self.strides)


@dataclass(frozen=True)
class Step:
    """One kernel on places, in the order of the kernel's buffers."""

    kernel: Kernel
    places: tuple[Place, ...]
    sizes: tuple[int, ...]  # bytes of each buffer
    scope: str = ""
    line: str = ""
    part_of: int = 0  # steps with one number write different parts of one result
    backwards: bool = False  # the last part of the work first: what is read is still near then
    node: Node | None = field(default=None, compare=False, repr=False)  # None: a plain copy

    @property
    def reads(self) -> list[tuple[Place, int]]:
        split = len(self.places) - self.kernel.outputs
        return list(zip(self.places[:split], self.sizes[:split], strict=True))

    @property
    def writes(self) -> list[tuple[Place, int]]:
        split = len(self.places) - self.kernel.outputs
        return list(zip(self.places[split:], self.sizes[split:], strict=True))

    def __str__(self) -> str:
        split = len(self.places) - self.kernel.outputs
        reads, writes = (", ".join(map(str, p)) for p in (self.places[:split], self.places[split:]))
        return f"{self.kernel.kind:8} {self.kernel.name}({reads} -> {writes})"


@dataclass(frozen=True)
class LoopStep:
    """`steps` run `length` times, one after the other; loop `number` counts up, or down if reverse.
    """

    number: int
    length: int
    reverse: bool
    steps: tuple[Step | LoopStep, ...]

    @property
    def reads(self):
        return [r for s in self.steps for r in s.reads]

    @property
    def writes(self):
        return [w for s in self.steps for w in s.writes]

    def __str__(self) -> str:
        order = f"{self.length - 1}..0" if self.reverse else f"0..{self.length - 1}"
        body = "\n".join(f"  {line}" for s in self.steps for line in str(s).splitlines())
        return f"for t{self.number} in {order}:\n{body}"


@dataclass(frozen=True)
class Program:
    """Steps over numbered inputs and outputs and one arena of `arena` bytes."""

    steps: tuple[Step | LoopStep, ...]
    inputs: int
    outputs: int
    arena: int

    def kernels(self) -> list[Kernel]:
        """Every distinct kernel."""
        found: dict[str, Kernel] = {}
        stack: list[Step | LoopStep] = list(reversed(self.steps))
        while stack:
            step = stack.pop()
            if isinstance(step, LoopStep):
                stack.extend(reversed(step.steps))
            else:
                found.setdefault(step.kernel.name, step.kernel)
        return list(found.values())

    def __str__(self) -> str:
        head = f"program: {self.inputs} inputs, {self.outputs} outputs, arena {self.arena} bytes"
        return "\n".join([head, *(f"step {i:3} {s}" for i, s in enumerate(self.steps))])


def steps_of(items: Sequence[Step | LoopStep]) -> Iterator[Step]:
    """All steps, those inside of loops once."""
    for item in items:
        if isinstance(item, LoopStep):
            yield from steps_of(item.steps)
        else:
            yield item


def overlap(a: tuple[Place, int], b: tuple[Place, int]) -> bool:
    """Whether two pieces of memory, (start, bytes), may have bytes in common."""
    (p, n), (q, m) = a, b
    if (p.base, p.index) != (q.base, q.index):
        return False
    if p.strides or q.strides:
        return True
    return p.offset < q.offset + m and q.offset < p.offset + n
