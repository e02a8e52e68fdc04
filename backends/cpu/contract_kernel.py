"""Code for contraction kernels: the micro-kernel, with the group's other nodes as epilogue."""

from __future__ import annotations

from itertools import islice

from nncomp.ir.cost import scalar_cost
from nncomp.ir.index import Index, Quotient, Remainder, Var
from nncomp.ir.loops import (
    Accumulator,
    Buffer,
    Call,
    Const,
    Contract,
    Expr,
    Kernel,
    Load,
    index_reads,
    roots_of,
    walk,
)

from ..arg_reductions import ArgExpressions
from ..expressions import Isa, Lanes, Scope
from ..llvm import Emitter, Value
from ..map_kernel import store_value
from ..scalar import memory_type
from .contract import PAIR, Contraction, Dim, Plan, make_plan
from .contract_emit import emit_contraction
from .contract_parts import one_part
from .contract_strassen import Quadrants, quadrant_of

LONG = 12  # vector instructions of an epilogue that becomes a function
FAR = 1 << 20  # bytes read and written by an epilogue that are no longer in the near caches


def contraction_of(extra: Contract) -> Contraction:
    """The strides of a kernel's contraction in the form the micro-kernel generator takes."""
    g = extra.geometry
    if g.get("paired"):
        return _paired_contraction(g)
    scalar_a, scalar_b = (memory_type(x.type.dtype.name) for x in (extra.a, extra.b))
    whole = Contraction(
        batch=tuple(Dim(*d) for d in g["batch"]),
        m=tuple(Dim(e, s) for e, s in g["m"]),
        n=g["n"],
        k=tuple(Dim(*d) for d in g["k"]),
        panel=g["panel"],
        panel_stride=g["panel_stride"],
        a_type=scalar_a,
        b_type=scalar_b,
        looped=g.get("looped", False),
    )
    if g.get("half"):
        return quadrant_of(whole, g["half"])
    return one_part(whole, g["parts"]) if g.get("parts") else whole


def _paired_contraction(g: dict) -> Contraction:
    """A contraction whose elements are pairs of bfloat16, of which each product adds two terms."""
    whole = Contraction(
        batch=tuple(Dim(e, a // 2, b // 2) for e, a, b in g["batch"]),
        m=tuple(Dim(e, s // 2) for e, s in g["m"]),
        n=g["n"],
        k=tuple(Dim(e, a // 2, b // 2) for e, a, b in g["k"]),
        panel=g["panel"],
        panel_stride=g["panel_stride"] // 2,
        a_type=PAIR,
        b_type=PAIR,
    )
    return one_part(whole, g["parts"]) if g.get("parts") else whole


class ContractKernel(ArgExpressions):
    """Writes one contraction kernel; units of work are the plan's.

    The epilogue is written behind each vector of sums; a long one is a function of its own, called
    from there, because a tile has dozens of vectors. What is the same everywhere is computed first,
    and functions find it in a frame: the addresses of the buffers, then such values.
    """

    def __init__(self, e: Emitter, kernel: Kernel, plan: Plan, isa: Isa):
        super().__init__(e, kernel, isa)
        self.kernel, self.plan, self.extra = kernel, plan, kernel.extra
        values = walk(roots_of(kernel.stores))
        self.accumulators = [x for x in values if isinstance(x, Accumulator)]
        cost = sum(scalar_cost(x.name) if isinstance(x, Call) else 1 for x in values)
        # the epilogue of parts is a loop: it is written once in any case
        self.is_long = cost > LONG and plan.spec.parts == 1
        self.is_heavy = cost > LONG
        self.fixed = _fixed(values)
        self.streams = [(s.buffer, s.offset, 1) for s in kernel.stores]
        loads = [x for x in values if isinstance(x, Load) and not index_reads(x.offset)]
        self.streams += [(x.buffer, x.offset, 0) for x in loads if len(x.offset.vars) > 1]
        self.frame = Value("null", "ptr")
        self._functions: dict[str, str] = {}  # text by the vector and the mask it is for

    def write(self) -> None:
        begin, end = Value("%begin", "i64"), Value("%end", "i64")
        a = self._operand(self.extra.a, self.extra.geometry["a_offset"])
        b = self._operand(self.extra.b, self.extra.geometry["b_offset"])
        quadrants = None
        if self.extra.sums:
            more_a, more_b = (self.pointers[x.slot] for x in self.extra.sums)
            columns = self.extra.geometry["n"]
            sum_up = self._place_of_sums if self.extra.made else None
            quadrants = Quadrants(self.e, self.plan, columns, (a, more_a), (b, more_b), sum_up)
        self.hoist(self.fixed)
        if self.is_long:
            self.fill_frame()
        finish = self._call_finisher if self.is_long else self._finish
        fetch = self._fetch if self.wants_fetch() else None
        emit_contraction(self.e, self.plan, a, b, begin, end, finish, fetch, quadrants)

    def wants_fetch(self) -> bool:
        """Whether a tile asks for the lines that its epilogue will touch: where they are far."""
        if self.extra.loops[-1] is None:
            return False
        buffers = {x.slot: x.type for x, _, _ in self.streams}
        return self.is_heavy or sum(t.size * t.dtype.itemsize for t in buffers.values()) >= FAR

    def place(self, buffer, index: Index) -> Value:
        """Where lanes lie; they start at multiples of their number, so that none of them crosses
        the end of a panel, and the panel is the same for all."""
        lanes = self.lanes
        if lanes is None or not _in_one_panel(index, lanes):
            return super().place(buffer, index)
        base = Var(f"{lanes.var.name}_base", lanes.var.extent)
        self.enter({base: lanes.base})
        place = super().place(buffer, index.substitute({lanes.var: Index.of(base)}))
        self.leave()
        return place

    def finishers(self) -> list[str]:
        """The functions that `write` calls."""
        return list(self._functions.values())

    def _operand(self, buffer: Buffer, offset: int) -> Value:
        pointer = self.pointers[buffer.slot]
        if not offset:
            return pointer
        return self.e.gep(memory_type(buffer.type.dtype.name), pointer, offset)

    def _fetch(self, e, batch, m, n: Value) -> None:
        """Prefetch what the epilogue reads and writes of tensors as large as the result."""
        self.enter({**self._bound(batch, m), self.extra.loops[-1]: n})
        for buffer, offset, write in self.streams:
            place = self.place(buffer, offset)
            hints = (Value(str(k), "i32") for k in (write, 3, 1))  # for writing, keep near, data
            e.call_void("llvm.prefetch.p0", place, *hints)
        self.leave()

    def _place_of_sums(self, batch, m, n: Value) -> tuple[Value, Value]:
        """Addresses of a stored result and of the sum of quadrants that goes beside it."""
        store = self.kernel.stores[0]
        self.enter({**self._bound(batch, m), self.extra.loops[-1]: n})
        found = self.place(store.buffer, store.offset), self.place(self.extra.made, store.offset)
        self.leave()
        return found

    def _bound(self, batch: list[Value], m: list[Value]) -> dict[Var, Value]:
        """The loops around a vector of results."""
        g = self.extra.geometry
        if g.get("merged"):
            row, *inner = m
            for (extent, _), index in zip(g["m"][1:], inner, strict=True):
                row = self.e.binary("mul", row, self.e.const("i64", extent), "row")
                row = self.e.binary("add", row, index, "row")
            m = [row]
        outer = self.extra.loops[:-1]
        return {v: x for v, x in zip(outer, [*batch, *m], strict=True) if v is not None}

    def _finish(self, e, sums: list[Value], batch, m, n: Value, mask: Value | None) -> None:
        """One vector of finished sums (of each part): run the epilogue on it and store."""
        column, bound = self.extra.loops[-1], self._bound(batch, m)
        if column is None:
            sums = [e.emit(x.scalar_type, f"extractelement {x}, i64 0", "acc") for x in sums]
            self.enter(bound)
        else:
            self.enter(bound, Lanes(column, sums[0].lanes, n, mask))
        for x in self.accumulators:
            self.scope.known[id(x)] = sums[x.part]
        for s in self.kernel.stores:
            store_value(self, s, self.value(s.value))
        self.leave()

    def fill_frame(self) -> None:
        """Store what the functions behind the sums find in their frame."""
        values = [*self.pointers.values(), *map(self.value, self.fixed)]
        self.frame = self.e.emit("ptr", f"alloca [{len(values)} x i64], align 64", "frame")
        for place, value in enumerate(values):
            self.e.store(value, self.e.gep("i64", self.frame, place), 8)

    def _read_frame(self, frame: Value) -> None:
        """In a function: the buffers and the fixed values from the frame."""
        e, types = self.e, [self.scope.known[id(x)].type for x in self.fixed]
        places = [e.gep("i64", frame, k) for k in range(len(self.pointers) + len(types))]
        for slot, place in zip(self.pointers, places, strict=False):
            self.pointers[slot] = e.load("ptr", place, 8, "b")
        self.scope = Scope()
        for x, type, place in zip(self.fixed, types, places[len(self.pointers) :], strict=True):
            self.scope.known[id(x)] = e.load(type, place, 8, "fixed")

    def _call_finisher(self, e, sums: list[Value], batch, m, n: Value, mask: Value | None) -> None:
        """The same by calling a function."""
        key = f"{sums[0].type} {mask.ref if mask else ''}"
        given = [*sums, *batch, *m, n, self.frame]
        if key not in self._functions:
            self._functions[key] = ""  # takes its number
            name = f"@{self.kernel.name}_finish{len(self._functions)}"
            counts = len(sums), len(batch), len(m)
            self._functions[key] = self._finisher(name, given, counts, mask)
        name = self._functions[key].split("(", 1)[0].rsplit(" ", 1)[1]
        e.do(f"call void {name}({', '.join(map(str, given))})")

    def _finisher(
        self, name: str, given: list[Value], counts: tuple[int, int, int], mask: Value | None
    ) -> str:
        """The text of such a function; `given` are so many sums and indices of batch and m dims."""
        inside = [Value(f"%a{k}", v.type) for k, v in enumerate(given)]
        rest, (n, frame) = iter(inside[:-2]), inside[-2:]
        sums, batch, m = (list(islice(rest, count)) for count in counts)
        e, before = type(self.e)(), (self.e, self.scope, self.pointers)
        self.e, self.pointers = e, dict(self.pointers)
        self._read_frame(frame)
        self._finish(e, sums, batch, m, n, mask)
        self.e, self.scope, self.pointers = before
        e.do("ret void")
        self.e.declarations |= e.declarations
        self.e.globals |= e.globals
        return e.function(f"internal void {name}({', '.join(map(str, inside))})")


def _in_one_panel(index: Index, lanes: Lanes) -> bool:
    """Whether an index is j // w and j % w of the lanes' variable j and neighbours go up by one."""
    column, step = Index.of(lanes.var), 0
    for atom, factor in index.terms:
        if lanes.var not in atom.vars:
            continue
        if not isinstance(atom, (Quotient, Remainder)):
            return False
        if atom.of != column or atom.by % lanes.count:
            return False
        step += factor if isinstance(atom, Remainder) else 0
    return step == 1


def _fixed(values: list[Expr]) -> list[Expr]:
    """What does not vary but is an operand of something that does."""
    used = (x for y in values if y.vars for x in y.operands if not x.vars)
    return [x for x in dict.fromkeys(used) if not isinstance(x, Const)]


def plan_of(kernel: Kernel, target) -> Plan:
    """The plan of a kernel; ValueError for pairs where the target has no instruction for them."""
    if kernel.extra.geometry.get("paired") and not target.bf16_pairs:
        raise ValueError(
            f"{kernel.name} adds products of bfloat16 in pairs, but {target.cpu} has no vdpbf16ps; "
            "compile the graph for this target from its beginning"
        )
    return make_plan(contraction_of(kernel.extra), target)
