"""A kernel as one flat list of instructions: names resolved, device functions put inline.

Registers become numbers, labels become positions, parameters of device functions become registers.
Inlining keeps barriers and warp operations inside of functions exact; recursion is not supported.
"""

from __future__ import annotations

import re

from .flat import Both, Flat, Inverted, Many, Mem, Op, Place, Reg, Special
from .syntax import (
    Address,
    Function,
    Group,
    Instruction,
    Label,
    Listed,
    Name,
    Not,
    Number,
    Pair,
    PtxError,
    PtxModule,
    Registers,
    Scope,
    Shifted,
    Targets,
    Variable,
    type_bits,
)  # fmt: skip

SPECIAL = re.compile(
    r"%(tid|ntid|ctaid|nctaid)\.[xyz]|%(laneid|warpid|nwarpid|smid|nsmid|gridid|clock|clock_hi|"
    r"clock64|globaltimer|globaltimer_lo|globaltimer_hi|lanemask_(eq|lt|le|gt|ge)|"
    r"dynamic_smem_size|total_smem_size)$|%(cluster_ctaid|cluster_nctaid|clusterid|nclusterid)"
    r"\.[xyz]$|%(cluster_ctarank|cluster_nctarank|is_explicit_cluster)$|WARP_SZ$"
)


def align_up(value: int, align: int) -> int:
    return (value + align - 1) // align * align


class Names:
    """One `{ }`: registers, variables and labels declared in it."""

    def __init__(self, outer: Names | None):
        self.outer = outer
        self.known: dict[str, object] = {}
        self.ranges: dict[str, tuple[int, int, int]] = {}  # prefix: first index, count, bits
        self.labels: dict[str, int] = {}  # label: number of a mark
        self.tables: dict[str, tuple[str, ...]] = {}

    def find(self, name: str) -> object | None:
        if name in self.known:
            return self.known[name]
        prefix = name.rstrip("0123456789")
        if prefix in self.ranges and prefix != name:
            first, count, bits = self.ranges[prefix]
            number = int(name[len(prefix) :])
            if number < count:
                self.known[name] = Reg(first + number, bits, name)
                return self.known[name]
        return self.outer.find(name) if self.outer else None

    def label(self, name: str, line: int) -> int:
        if name in self.labels:
            return self.labels[name]
        if self.outer is None:
            raise PtxError(f"no label {name!r}.", line)
        return self.outer.label(name, line)

    def table(self, name: str, line: int) -> tuple[str, ...]:
        if name in self.tables:
            return self.tables[name]
        if self.outer is None:
            raise PtxError(f"no .branchtargets named {name!r}.", line)
        return self.outer.table(name, line)


class Slots:
    """A .param variable of a call: one register per (offset, width) it is used with."""

    def __init__(self, name: str):
        self.name = name
        self.parts: dict[int, Reg] = {}


class Flattener:
    """Builds a Flat from an entry and the functions it calls."""

    def __init__(self, module: PtxModule, entry: Function):
        self.module, self.entry = module, entry
        self.ops: list[Op] = []
        self.registers: list[tuple[str, int]] = []
        self.marks: list[int] = []  # position of each label
        self.implicit: set[int] = set()
        self.globals = Names(None)
        self.shared: dict[str, tuple[int, int]] = {}
        self.open_shared: list[str] = []
        self.shared_at = self.local_at = 0
        self.calls: list[str] = []
        for variable in module.variables:
            self.globals.known[variable.name] = variable

    def flatten(self) -> Flat:
        names = Names(self.globals)
        offset, params = 0, []
        for param in self.entry.params:
            offset = align_up(offset, param.align)
            params.append((param, offset))
            names.known[param.name] = Place("param", offset)
            offset += param.nbytes
        self.inline(self.entry, names, None)
        shared = align_up(self.shared_at, 16)
        for op in self.ops:
            op.targets = tuple(self.marks[t] for t in op.targets)
            op.operands = tuple(place_open(operand, shared) for operand in op.operands)
        return Flat(self.entry.name, self.ops, self.registers, params, offset, shared,
                    self.local_at, self.entry.directives, frozenset(self.implicit), self.shared)

    # -- bodies ---------------------------------------------------------------------------------

    def inline(self, function: Function, names: Names, end: int | None) -> None:
        """Append a function's body; `ret` jumps to mark `end`, or ends the thread without one."""
        if function.body is None:
            raise PtxError(f"function {function.name!r} is declared but not defined.", self.line)
        self.calls.append(function.name)
        stack = [names]
        self.declare_labels(function.body, 0, names)
        for at, item in enumerate(function.body):
            here = stack[-1]
            if isinstance(item, Scope):
                if item.opens:
                    stack.append(Names(here))
                    self.declare_labels(function.body, at + 1, stack[-1])
                else:
                    stack.pop()
            elif isinstance(item, Registers):
                self.declare_registers(item, here, function.implicit)
            elif isinstance(item, Variable):
                here.known[item.name] = self.place_local(item)
            elif isinstance(item, Label):
                self.marks[here.labels[item.name]] = len(self.ops)
            elif isinstance(item, Instruction):
                self.instruction(item, here, end)
        self.calls.pop()

    @property
    def line(self) -> int:
        return self.ops[-1].line if self.ops else self.entry.line

    def mark(self) -> int:
        self.marks.append(-1)
        return len(self.marks) - 1

    def declare_labels(self, body: list, start: int, names: Names) -> None:
        depth = 0
        for item in body[start:]:
            if isinstance(item, Scope):
                depth += 1 if item.opens else -1
                if depth < 0:
                    return
            elif depth == 0 and isinstance(item, Label):
                names.labels[item.name] = self.mark()
            elif depth == 0 and isinstance(item, Targets):
                names.tables[item.name] = item.labels

    def new_register(self, name: str, bits: int) -> Reg:
        self.registers.append((name, bits))
        return Reg(len(self.registers) - 1, bits, name)

    def declare_registers(self, item: Registers, names: Names, implicit: frozenset[str]) -> None:
        bits = type_bits(item.type)
        if item.count is None:
            names.known[item.name] = self.new_register(item.name, bits)
            return
        names.ranges[item.name] = (len(self.registers), item.count, bits)
        for i in range(item.count):
            reg = self.new_register(f"{item.name}{i}", bits)
            if reg.name in implicit:
                self.implicit.add(reg.index)

    def place_local(self, item: Variable) -> object:
        if item.space == "local":
            self.local_at = align_up(self.local_at, item.align)
            self.local_at += item.nbytes
            return Place("local", self.local_at - item.nbytes)
        if item.space == "param":
            return Slots(item.name)
        return item if item.space != "shared" else self.place_shared(item)

    def place_shared(self, item: Variable) -> Place:
        if item.nbytes == 0:  # dynamic shared memory starts after all others
            return Place("open_shared", 0)
        if item.name not in self.shared:
            self.shared_at = align_up(self.shared_at, item.align)
            self.shared[item.name] = (self.shared_at, item.nbytes)
            self.shared_at += item.nbytes
        return Place("shared", self.shared[item.name][0])

    # -- instructions ---------------------------------------------------------------------------

    def instruction(self, item: Instruction, names: Names, end: int | None) -> None:
        count = {"bra": 1, "brx": 2}.get(item.opcode)
        plain = all(isinstance(o, Name) for o in item.operands)
        if count is not None and (len(item.operands) != count or not plain):
            raise PtxError(f"{item.text}: expected {count} names.", item.line)
        if item.opcode == "call":
            return self.call(item, names)
        if item.opcode == "ret" and end is not None:
            return self.emit(item, "bra", ("uni",), (), names, (end,))
        if item.opcode == "bra":
            target = names.label(item.operands[0].text, item.line)
            return self.emit(item, "bra", item.mods, (), names, (target,))
        if item.opcode == "brx":
            index, table = item.operands
            labels = names.table(table.text, item.line)
            targets = tuple(names.label(label, item.line) for label in labels)
            return self.emit(item, "brx", item.mods, (index,), names, targets)
        slot = self.slot_access(item, names)
        if slot is not None:
            return self.move(item, slot, names)
        self.emit(item, item.opcode, item.mods, item.operands, names)

    def emit(self, item: Instruction, opcode: str, mods: tuple, operands: tuple, names: Names,
             targets: tuple[int, ...] = ()) -> None:  # fmt: skip
        resolved = tuple(self.operand(o, names, item.line) for o in operands)
        guard = None
        if item.guard:
            reg = names.find(item.guard[0])
            if not isinstance(reg, Reg) or reg.bits != 1:
                raise PtxError(f"guard {item.guard[0]!r} is no predicate register.", item.line)
            guard = (reg.index, item.guard[1])
        self.ops.append(Op(opcode, mods, resolved, guard, item.line, item.text, targets))

    def operand(self, operand: object, names: Names, line: int) -> object:
        if isinstance(operand, Name):
            return self.named(operand.text, names, line)
        if isinstance(operand, Number):
            return operand
        if isinstance(operand, Address):
            if operand.base is None:
                return Mem(None, operand.offset)
            base = self.named(operand.base.text, names, line)
            if not isinstance(base, Reg | Place):
                raise PtxError(f"{operand.base.text!r} is no register or variable.", line)
            return Mem(base, operand.offset)
        return self.rare_operand(operand, names, line)

    def rare_operand(self, operand: object, names: Names, line: int) -> object:
        if isinstance(operand, Shifted):
            base = self.named(operand.base.text, names, line)
            if not isinstance(base, Place):
                raise PtxError(f"{operand.base.text!r} is no variable.", line)
            return Place(base.space, base.offset + operand.offset, base.symbol)
        if isinstance(operand, Group):
            return Many(tuple(self.operand(o, names, line) for o in operand.items))
        if isinstance(operand, Pair):
            both = (self.operand(o, names, line) for o in (operand.first, operand.second))
            return Both(*both)
        if isinstance(operand, Not):
            reg = self.operand(operand.base, names, line)
            if not isinstance(reg, Reg):
                raise PtxError(f"{operand.base!r} after '!' is no predicate register.", line)
            return Inverted(reg)
        raise PtxError(f"operand {operand!r} is not supported.", line)

    def named(self, text: str, names: Names, line: int) -> object:
        if text == "_":
            return None
        found = names.find(text)
        if found is None and SPECIAL.match(text):
            return Special(text)
        if isinstance(found, Variable):
            if found.space == "shared":
                return self.place_shared(found)
            return Place(found.space, 0, found.name)
        if found is None or isinstance(found, Slots):
            raise PtxError(f"{text!r} is not known here.", line)
        return found

    # -- calls ----------------------------------------------------------------------------------

    def slot_access(self, item: Instruction, names: Names) -> Slots | None:
        if item.opcode not in ("ld", "st") or "param" not in item.mods:
            return None
        address = item.operands[1 if item.opcode == "ld" else 0]
        found = names.find(address.base.text) if address.base else None
        return found if isinstance(found, Slots) else None

    def move(self, item: Instruction, slots: Slots, names: Names) -> None:
        """ld.param and st.param of a call's parameter: moves between registers."""
        load = item.opcode == "ld"
        address, value = item.operands[1 if load else 0], item.operands[0 if load else 1]
        parts = value.items if isinstance(value, Group) else (value,)
        bits = max(8, type_bits(item.mods[-1]))
        for i, part in enumerate(parts):
            at = address.offset + i * bits // 8
            width = 16 if bits == 8 else bits
            slot = slots.parts.get(at) or self.new_register(f"{slots.name}+{at}", width)
            slots.parts[at] = slot
            if slot.bits != width:
                raise PtxError(f"parameter {slots.name!r} is read in another width.", item.line)
            reg = self.operand(part, names, item.line)
            if isinstance(reg, Reg) and reg.bits != width:
                mods: tuple[str, ...] = (f"u{reg.bits}", f"u{width}")
                mods, opcode = (mods if load else mods[::-1]), "cvt"
            else:
                mods, opcode = (f"b{width}",), "mov"
            operands = (reg, slot) if load else (slot, reg)
            guard = None
            if item.guard:
                raise PtxError("guarded parameter accesses are not supported.", item.line)
            self.ops.append(Op(opcode, mods, operands, guard, item.line, item.text))

    def call(self, item: Instruction, names: Names) -> None:
        operands = list(item.operands)
        results = operands.pop(0).items if isinstance(operands[0], Listed) else ()
        target = operands.pop(0)
        arguments = operands.pop(0).items if operands else ()
        function = self.module.functions.get(getattr(target, "text", ""))
        if function is None or operands:
            raise PtxError(f"call of {target!r}: only defined functions can be called.", item.line)
        if function.body is None:
            raise PtxError(f"function {function.name!r} is not defined in this text.", item.line)
        if function.name in self.calls:
            raise PtxError(f"{function.name!r} is recursive, which is not supported.", item.line)
        if len(results) != len(function.results) or len(arguments) != len(function.params):
            raise PtxError(f"{function.name!r} is called with a wrong number of operands.",
                           item.line)  # fmt: skip
        inner = Names(self.globals)
        formal = [*function.results, *function.params]
        for variable, actual in zip(formal, [*results, *arguments], strict=True):
            found = names.find(actual.text)
            if not isinstance(found, Slots):
                raise PtxError(f"argument {actual.text!r} is no .param variable.", item.line)
            inner.known[variable.name] = found
        end, skip = self.mark(), None
        if item.guard:
            skip = (item.guard[0], not item.guard[1])
            jump = Instruction("bra", (), (), skip, item.line, item.text)
            self.emit(jump, "bra", (), (), names, (end,))
        self.inline(function, inner, end)
        self.marks[end] = len(self.ops)


def opened_place(place: Place, shared: int) -> Place:
    """The place, which may be in dynamic shared memory."""
    if place.space == "open_shared":
        return Place("shared", shared + place.offset)
    return place


def place_open(operand: object, shared: int) -> object:
    """Give dynamic shared memory its start."""
    if isinstance(operand, Reg | Number):
        return operand
    if isinstance(operand, Place):
        return opened_place(operand, shared)
    if isinstance(operand, Mem) and isinstance(operand.base, Place):
        return Mem(opened_place(operand.base, shared), operand.offset)
    if isinstance(operand, Many):
        return Many(tuple(place_open(item, shared) for item in operand.items))
    return operand


def flatten(module: PtxModule, name: str) -> Flat:
    """Kernel `name` of a module as a flat list; PtxError for what is not supported."""
    function = module.functions.get(name)
    if function is None or not function.entry:
        known = ", ".join(f.name for f in module.functions.values() if f.entry) or "none"
        raise PtxError(f"no kernel named {name!r}; there are: {known}.")
    return Flattener(module, function).flatten()
