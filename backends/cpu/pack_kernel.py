"""One function that packs weights of any size, for programs that run once.

A weight is packed by a transposition: rows of the source become lanes of panels. Code for each
shape would take LLVM 15 ms a kernel, half the time of compiling a deep net, to run for a
millisecond. So sizes and strides are arguments here:

    y[dp*p + ra*a + rb*b + l] = x[sp*p + sl*l + E*a + b],  p panels, l < 16*blocks, E*a + b < Q

and zero where row 16*blocks*p + l is not below `valid`. Squares of 16 x 16 numbers are transposed
through a buffer on the stack, by code in loops: it is short, and memory is what the time goes for.
"""

from __future__ import annotations

from dataclasses import dataclass

from nncomp.ir.index import Index, Var
from nncomp.ir.loops import Call, Const, Expr, InRange, Kernel, Load

from ..llvm import Emitter, Value, module_text

SIDE = 16
FUNCTION = "pack_any"
ROW = f"<{SIDE} x float>"
SIZES = ("blocks", "valid", "sp", "sl", "dp", "q", "e", "ra", "rb")


@dataclass(frozen=True)
class Pack:
    """A kernel as arguments of the function: buffers by slot, then SIZES in order."""

    source: int
    target: int
    units: int
    sizes: tuple[int, ...]


def make_pack(kernel: Kernel) -> Pack | None:
    """The arguments for a kernel that packs numbers of 4 bytes; None for other kernels."""
    if kernel.kind != "map" or len(kernel.stores) != 1:
        return None
    store = kernel.stores[0]
    load, guard = _moved(store.value)
    if load is None or load.dtype.itemsize != 4 or store.buffer.type.dtype is not load.dtype:
        return None
    to, source = _strides(store.offset), _strides(load.offset)
    loops = [v for v in kernel.domain if v.extent > 1]
    if to is None or source is None or not (to.keys() | source.keys()) <= set(loops):
        return None
    lane = next((v for v in loops if to.get(v) == 1), None)
    if lane is None or lane.extent % SIDE or any(v not in to or v not in source for v in loops):
        return None
    walked, panels = _walked([v for v in loops if v is not lane], source)
    levels = _levels(walked, to)
    length = 1
    for v in walked:
        length *= v.extent
    if len(panels) > 1 or len(levels) > 2 or length < SIDE:
        return None
    panel = panels[0] if panels else None
    count = panel.extent if panel else 1
    valid = _valid(guard, panel, lane)
    if valid is None:
        return None
    (inner, rb), (_, ra) = levels[0], (levels[1] if len(levels) > 1 else (1, 0))
    blocks = lane.extent // SIDE
    steps = (source[panel], to[panel]) if panel else (0, 0)
    sizes = (blocks, valid, steps[0], source[lane], steps[1], length, inner, ra, rb)
    return Pack(load.buffer.slot, store.buffer.slot, count * blocks, sizes)


def _moved(value: Expr) -> tuple[Load | None, InRange | None]:
    """The load whose value is stored as it is, and where: elsewhere a zero is stored."""
    if isinstance(value, Load):
        return (value, None) if value.guard is None else (None, None)
    if isinstance(value, Call) and value.name == "select":
        guard, load, other = value.args
        is_zero = isinstance(other, Const) and other.value == 0
        if isinstance(guard, InRange) and isinstance(load, Load) and load.guard is guard:
            return (load, guard) if is_zero else (None, None)
    return None, None


def _strides(offset: Index) -> dict[Var, int] | None:
    """Strides by loop of an offset that is nothing but strides."""
    if offset.const or not all(isinstance(v, Var) and c > 0 for v, c in offset.terms):
        return None
    return dict(offset.terms)


def _walked(loops: list[Var], source: dict[Var, int]) -> tuple[list[Var], list[Var]]:
    """The loops that walk the source without gaps, innermost first, and the others."""
    walked: list[Var] = []
    reach = 1
    for v in sorted(loops, key=lambda v: source[v]):
        if source[v] != reach:
            break
        walked.append(v)
        reach *= v.extent
    return walked, [v for v in loops if v not in walked]


def _levels(walked: list[Var], to: dict[Var, int]) -> list[tuple[int, int]]:
    """(length, stride in the target) of the walk, neighbours with one stride joined."""
    levels: list[tuple[int, int]] = []
    for v in walked:
        if levels and to[v] == levels[-1][0] * levels[-1][1]:
            levels[-1] = (levels[-1][0] * v.extent, levels[-1][1])
        else:
            levels.append((v.extent, to[v]))
    return levels


def _valid(guard: InRange | None, panel: Var | None, lane: Var) -> int | None:
    """How many rows the source has; None for a guard on anything else."""
    if guard is None:
        return (panel.extent if panel else 1) * lane.extent
    strides = _strides(guard.index)
    expected = {lane: 1} if panel is None else {lane: 1, panel: lane.extent}
    return guard.high if guard.low == 0 and strides == expected else None


def member_text(head: str, pack: Pack) -> str:
    """The function of a kernel, with the signature `head`."""
    sizes = "".join(f", i64 {n}" for n in pack.sizes)
    buffers = f"ptr %b{pack.source}, ptr %b{pack.target}"
    call = f"  call void @{FUNCTION}({buffers}, i64 %begin, i64 %end{sizes})"
    return f"define {head} #0 {{\nentry:\n{call}\n  ret void\n}}"


def pack_module(members: list[str], attributes: str) -> str:
    """The module of several kernels."""
    e = Emitter()
    _Writer(e).write()
    sizes = "".join(f", i64 %{name}" for name in SIZES)
    head = f"internal void @{FUNCTION}(ptr %x, ptr %y, i64 %begin, i64 %end{sizes})"
    return module_text([e.function(head), *members], [e], attributes)


def _number(name: str) -> Value:
    return Value(f"%{name}", "i64")


class _Writer:
    """Writes the function."""

    def __init__(self, e: Emitter) -> None:
        self.e = e

    def write(self) -> None:
        e = self.e
        size = f"alloca [{SIDE} x {ROW}], align 64"
        self.half, self.tile = e.emit("ptr", size, "half"), e.emit("ptr", size, "tile")
        side = e.const("i64", SIDE)
        with e.loop(_number("begin"), _number("end"), hint="unit") as unit:
            panel = e.binary("udiv", unit.index, _number("blocks"), "panel")
            block = e.binary("urem", unit.index, _number("blocks"), "block")
            first = e.binary("mul", unit.index, side, "first")
            lane = e.binary("mul", block, side, "lane")
            self.x = self._moved("%x", (panel, "sp"), (lane, "sl"))
            self.y = e.gep("float", self._moved("%y", (panel, "dp")), lane)
            behind = e.binary("add", first, side, "behind")
            full = e.binary("icmp sle", behind, _number("valid"), "full")
            with e.when(full, "whole"):
                self._tiles()
            with e.when(e.binary("icmp sgt", behind, _number("valid"), "cut"), "part"):
                self._lanes(first)
        e.do("ret void")

    def _moved(self, base: str, *steps: tuple[Value, str]) -> Value:
        address = Value(base, "ptr")
        for number, stride in steps:
            moved = self.e.binary("mul", number, _number(stride), "at")
            address = self.e.gep("float", address, moved)
        return address

    # -- 16 whole rows of the source ---------------------------------------------------------------

    def _tiles(self) -> None:
        """Squares from the first number of the rows on; the last one ends where they end."""
        e, side = self.e, self.e.const("i64", SIDE)
        last = e.binary("sub", _number("q"), side, "last")
        with e.loop(0, _number("q"), SIDE, hint="square") as square:
            at = e.call("i64", "llvm.smin.i64", square.index, last, hint="q")
            self._first_half(at)
            self._second_half()
            with self._walk(at, SIDE) as (number, target):
                row = e.load(ROW, e.gep(ROW, self.tile, number), 64, "row")
                e.store(row, target, 4)

    def _first_half(self, at: Value) -> None:
        """Quarter g of vector 4*q + j: numbers 4*g + j of the rows 4*q to 4*q + 3."""
        e = self.e
        with e.loop(0, SIDE, 4, hint="quad") as quad:
            rows = []
            for k in range(4):
                row = e.binary("add", quad.index, e.const("i64", k), "row")
                address = self._from(self.x, row, "sl")
                rows.append(e.load(ROW, e.gep("float", address, at), 4, "row"))
            a, c = (self._shuffle(rows[k], rows[k + 1], _pairs(0)) for k in (0, 2))
            b, d = (self._shuffle(rows[k], rows[k + 1], _pairs(2)) for k in (0, 2))
            made = [(a, c, 0), (a, c, 2), (b, d, 0), (b, d, 2)]
            for j, (low, high, start) in enumerate(made):
                place = e.binary("add", quad.index, e.const("i64", j), "place")
                mixed = self._shuffle(low, high, _halves(start))
                e.store(mixed, e.gep(ROW, self.half, place), 64)

    def _second_half(self) -> None:
        """Vector 4*g + j of the tile: quarters g of the vectors j, 4 + j, 8 + j, 12 + j."""
        e = self.e
        with e.loop(0, 4, hint="column") as column:
            def place(k: int) -> Value:
                return e.binary("add", column.index, e.const("i64", 4 * k), "place")

            v = [e.load(ROW, e.gep(ROW, self.half, place(k)), 64, "v") for k in range(4)]
            for odd in (0, 1):
                low = self._shuffle(v[0], v[1], _quarters(odd))
                high = self._shuffle(v[2], v[3], _quarters(odd))
                for k in (0, 1):
                    made = self._shuffle(low, high, _quarters(k))
                    e.store(made, e.gep(ROW, self.tile, place(odd + 2 * k)), 64)

    def _from(self, base: Value, number: Value, stride: str) -> Value:
        return self.e.gep("float", base, self.e.binary("mul", number, _number(stride), "at"))

    def _shuffle(self, a: Value, b: Value, picks: list[int]) -> Value:
        order = ", ".join(f"i32 {p}" for p in picks)
        return self.e.emit(ROW, f"shufflevector {a}, {b}, <{SIDE} x i32> <{order}>", "t")

    # -- fewer rows --------------------------------------------------------------------------------

    def _lanes(self, first: Value) -> None:
        """Number by number, zeros for rows that the source does not have."""
        e = self.e
        with e.loop(0, SIDE, hint="lane") as lane:
            row = e.binary("add", first, lane.index, "row")
            inside = e.binary("icmp slt", row, _number("valid"), "inside")
            source = self._from(self.x, lane.index, "sl")
            source = e.emit("ptr", f"select {inside}, {source}, ptr %x", "source")
            with self._walk(e.const("i64", 0), _number("q")) as (number, target):
                at = e.select(inside, number, e.const("i64", 0))
                x = e.load("float", e.gep("float", source, at), 4, "x")
                x = e.select(inside, x, e.const("float", 0.0))
                e.store(x, e.gep("float", target, lane.index), 4)

    # -- where a row of the target lies ------------------------------------------------------------

    def _walk(self, at: Value, count: Value | int) -> _Walk:
        return _Walk(self, at, count)


class _Walk:
    """A loop over `count` rows of the target from row `at` on: (number, address) inside."""

    def __init__(self, writer: _Writer, at: Value, count: Value | int) -> None:
        self.writer, self.at, self.count = writer, at, count

    def __enter__(self) -> tuple[Value, Value]:
        e = self.writer.e
        outer = e.binary("udiv", self.at, _number("e"), "outer")
        inner = e.binary("urem", self.at, _number("e"), "inner")
        self.context = e.loop(0, self.count, carry=[outer, inner], hint="walk")
        self.loop = self.context.__enter__()
        outer, inner = self.loop.carry
        row = self.writer._from(self.writer.y, outer, "ra")
        return self.loop.index, self.writer._from(row, inner, "rb")

    def __exit__(self, *error: object) -> None:
        e = self.writer.e
        outer, inner = self.loop.carry
        following = e.binary("add", inner, e.const("i64", 1), "following")
        wraps = e.binary("icmp eq", following, _number("e"), "wraps")
        zero = e.const("i64", 0)
        further = e.binary("add", outer, e.emit("i64", f"zext {wraps} to i64", "carry"), "outer")
        self.loop.next(further, e.select(wraps, zero, following))
        self.context.__exit__(None, None, None)


def _pairs(start: int) -> list[int]:
    """Two numbers of each quarter from `start` on, those of both vectors in turn."""
    rows = range(0, SIDE, 4)
    return [p for g in rows for k in (0, 1) for p in (g + start + k, SIDE + g + start + k)]


def _halves(start: int) -> list[int]:
    """Two numbers of each quarter from `start` on, first those of the first vector."""
    firsts = [v + g + start for g in range(0, SIDE, 4) for v in (0, SIDE)]
    return [p for first in firsts for p in (first, first + 1)]


def _quarters(odd: int) -> list[int]:
    """The even or odd quarters of the first vector, then those of the second."""
    return [8 * g + 4 * odd + k for g in range(4) for k in range(4)]
