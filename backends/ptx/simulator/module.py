"""Loading PTX text and launching its kernels.

    module = load(text)
    memory = Memory()
    report = module.launch("saxpy", grid=4, block=256, args=[n, 2.0, x, y], memory=memory)
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .blocks import Kernel, build
from .execute import Run
from .flatten import align_up, flatten
from .memory import Memory
from .parse import parse
from .state import Fault, State
from .syntax import Name, Number, PtxError, PtxModule, Shifted, Variable, type_bits
from .watch import Watchers

LANES = 8192  # about as many run together
SHARED_LIMIT = 227 * 1024
Size = int | Sequence[int]


class SimulationError(RuntimeError):
    """A kernel did something wrong; the message says what, where, and which thread did it."""

    def __init__(self, message: str, kernel: str = "", line: int = 0, instruction: str = "",
                 thread: str = ""):  # fmt: skip
        super().__init__(message)
        self.kernel, self.line = kernel, line
        self.instruction, self.thread = instruction, thread


@dataclass
class Report:
    """What a launch did: steps taken, and counters if they were asked for."""

    kernel: str
    blocks: int
    threads: int  # per block
    shared_bytes: int
    steps: int = 0  # basic blocks executed, by groups of lanes
    instructions: dict[str, int] = field(default_factory=dict)  # per warp, by opcode
    lines: frozenset[int] = frozenset()  # of the text that some thread executed
    accesses: list = field(default_factory=list)  # counters.AccessCount of each instruction

    @property
    def moved(self) -> int:
        """Bytes of global memory that all requests of the launch move, caches left out."""
        return sum(access.moved for access in self.accesses)

    @property
    def conflicts(self) -> int:
        """Wavefronts of shared memory beyond those of conflict-free accesses."""
        return sum(access.conflicts for access in self.accesses)


class Module:
    """Parsed PTX text; kernels are decoded when they are first launched."""

    def __init__(self, syntax: PtxModule):
        self.syntax = syntax
        self.kernels: dict[str, Kernel] = {}

    @property
    def names(self) -> list[str]:
        """Kernels there are."""
        return [f.name for f in self.syntax.functions.values() if f.entry]

    def kernel(self, name: str) -> Kernel:
        """The decoded kernel; PtxError if it uses what is not supported."""
        if name not in self.kernels:
            self.kernels[name] = build(flatten(self.syntax, name))
        return self.kernels[name]

    def launch(self, name: str, grid: Size, block: Size, args: Sequence = (), *,
               memory: Memory, shared_bytes: int = 0, race: bool = False, count: bool = False,
               uninitialised: bool = True, limit: int = 10_000_000, noise: int | None = None,
               lanes: int = LANES) -> Report:  # fmt: skip
        """Run a kernel to its end.

        `args` are numbers or raw bytes, one per parameter; addresses come from `memory`.
        `shared_bytes` is the dynamic shared memory. `race` reports conflicts between threads
        without a barrier and undefined values; `count` fills the report's counters;
        `uninitialised=False` allows reading bytes that nobody wrote; `limit` bounds the steps;
        `noise` seeds small errors of approximate instructions; about `lanes` threads run together.
        Raises SimulationError for whatever the kernel does wrong, PtxError for unsupported text.
        """
        kernel = self.kernel(name)
        dims = size3(grid, "grid"), size3(block, "block")
        check_block(kernel, dims[1])
        shared = kernel.flat.shared_bytes + shared_bytes
        if shared > SHARED_LIMIT:
            raise SimulationError(f"kernel {name!r} needs {shared} bytes of shared memory, more "
                                  f"than {SHARED_LIMIT}.", name)  # fmt: skip
        params = pack_params(kernel, args)
        symbols = self.link(memory)
        total = dims[0][0] * dims[0][1] * dims[0][2]
        threads = dims[1][0] * dims[1][1] * dims[1][2]
        report = Report(name, total, threads, shared)
        width = align_up(threads, 32)
        watchers = Watchers(kernel, race, count, total, width) if race or count else None
        per_chunk = max(1, lanes // width)
        rng = None if noise is None else np.random.default_rng(noise)
        for first in range(0, total, per_chunk):
            ids = np.arange(first, min(total, first + per_chunk))
            state = State(memory, len(kernel.flat.registers), ids, *dims, shared,
                          kernel.flat.local_bytes)  # fmt: skip
            state.params, state.symbols, state.noise = params, symbols, rng
            state.check_written, state.strict = uninitialised, race
            state.observer = watchers
            run_chunk(kernel, state, limit, watchers)
            report.steps += state.steps
        if watchers is not None:
            watchers.report(report)
        return report

    def link(self, memory: Memory) -> dict[str, int]:
        """Addresses of the module's variables in a memory, placed there on first use."""
        found = memory.linked.get(id(self))
        if found is None:
            found = memory.linked[id(self)] = {}
            memory.modules.append(self)
            placed = [v for v in self.syntax.variables if v.space in ("global", "const")]
            for v in placed:
                found[v.name] = memory.alloc(v.nbytes, max(v.align, 256), v.name)
            for v in placed:
                memory.write(found[v.name], initial_bytes(v, found))
        return found


def run_chunk(kernel: Kernel, state: State, limit: int, watchers: Watchers | None) -> None:
    """Run some blocks, with errors told as SimulationError."""
    run = Run(kernel, state, limit)
    if watchers is not None:
        watchers.start(state)
        run.counter = watchers.counter
    try:
        with np.errstate(all="ignore"):
            run.run()
    except Fault as fault:
        raise explain(kernel, state, str(fault), fault.lane) from None


def explain(kernel: Kernel, state: State, what: str, lane: tuple | None) -> SimulationError:
    op = state.op
    thread = state.name_lane(lane) if lane is not None else ""
    line = getattr(op, "line", 0)
    text = getattr(op, "text", "")
    where = f"kernel {kernel.name!r}, line {line}: {text}"
    return SimulationError(f"{where}\n  {thread + ': ' if thread else ''}{what}.", kernel.name,
                           line, text, thread)  # fmt: skip


def size3(size: Size, what: str) -> tuple[int, int, int]:
    items = (size,) if isinstance(size, int) else tuple(int(x) for x in size)
    if not 1 <= len(items) <= 3 or min(items) < 1:
        raise ValueError(f"{what} {size!r}: expected one to three positive numbers.")
    x, y, z = (*items, 1, 1)[:3]
    return x, y, z


def check_block(kernel: Kernel, block: tuple[int, int, int]) -> None:
    """The limits a launch has on a device, and those the kernel states."""
    threads = block[0] * block[1] * block[2]
    if threads > 1024 or block[2] > 64:
        raise SimulationError(f"a block of {block} has more threads than a device takes.")
    exact = kernel.flat.directives.get("reqntid")
    most = kernel.flat.directives.get("maxntid")
    if exact and (*exact, 1, 1)[:3] != block:
        raise SimulationError(f"kernel {kernel.name!r} requires blocks of {exact}, not {block}.")
    if most and threads > int(np.prod(most)):
        raise SimulationError(f"kernel {kernel.name!r} takes at most {most} threads, "
                              f"not {block}.")  # fmt: skip


def pack_params(kernel: Kernel, args: Sequence) -> np.ndarray:
    """The bytes of a launch's parameters."""
    flat = kernel.flat
    if len(args) != len(flat.params):
        raise ValueError(f"kernel {kernel.name!r} takes {len(flat.params)} arguments, "
                         f"not {len(args)}.")  # fmt: skip
    raw = bytearray(align_up(flat.param_bytes, 16))
    for (variable, offset), value in zip(flat.params, args, strict=True):
        item = param_bytes(variable, value)
        if len(item) != variable.nbytes:
            raise ValueError(f"parameter {variable.name!r} has {variable.nbytes} bytes, "
                             f"not {len(item)}.")  # fmt: skip
        raw[offset : offset + len(item)] = item
    return np.frombuffer(bytes(raw), np.uint8)


def param_bytes(variable: Variable, value: object) -> bytes:
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tobytes()
    bits = type_bits(variable.type)
    if isinstance(value, float):
        return struct.pack({16: "<e", 32: "<f", 64: "<d"}[bits], value)
    if isinstance(value, int):
        return (int(value) & ((1 << bits) - 1)).to_bytes(bits // 8, "little")
    raise TypeError(f"parameter {variable.name!r} cannot be {value!r}.")


def initial_bytes(variable: Variable, symbols: dict[str, int]) -> np.ndarray:
    """The bytes a variable starts with; zeros where the text gives none."""
    bits = type_bits(variable.type)
    raw = bytearray(variable.nbytes)
    for i, item in enumerate(variable.init or ()):
        if isinstance(item, Number):
            if isinstance(item.value, float):
                part = struct.pack({16: "<e", 32: "<f", 64: "<d"}[bits], item.value)
            else:
                part = (int(item.value) & ((1 << bits) - 1)).to_bytes(bits // 8, "little")
        elif isinstance(item, Name | Shifted):
            name = item.text if isinstance(item, Name) else item.base.text
            shift = 0 if isinstance(item, Name) else item.offset
            if name not in symbols:
                raise PtxError(f"initial value {name!r} of {variable.name!r} is not known.")
            part = (symbols[name] + shift).to_bytes(bits // 8, "little")
        else:
            raise PtxError(f"initial value {item!r} of {variable.name!r} is not supported.")
        raw[i * bits // 8 : (i + 1) * bits // 8] = part
    return np.frombuffer(bytes(raw), np.uint8)


def load(text: str) -> Module:
    """Parse PTX text; PtxError names the line of what is not understood."""
    return Module(parse(text))
