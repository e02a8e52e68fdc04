"""Writing LLVM text for one GPU thread: 32-bit counters, thread numbers, shared memory,
shuffles.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager

from ..llvm import Emitter, Loop, Value, module_text

ALL = Value("-1", "i32")  # the lanes of a warp that take part in a shuffle
WARP = 32


class PtxEmitter(Emitter):
    """The instructions of one kernel; loops count in `index_type`."""

    def __init__(self, index_type: str = "i32") -> None:
        super().__init__()
        self.index_type = index_type

    def index(self, number: int) -> Value:
        """A constant of the type of counters."""
        return Value(str(number), self.index_type)

    def fence(self, a: Value) -> Value:
        """`a`: there are no masked loads, and so no lanes that LLVM knows to be zero."""
        return a

    def special(self, register: str) -> Value:
        """`tid.x`, `ctaid.x`, `laneid` ... as i32."""
        return self.call("i32", f"llvm.nvvm.read.ptx.sreg.{register}", hint=register[:3])

    def as_index(self, value: Value) -> Value:
        """A non-negative i32 in the type of counters."""
        if value.type == self.index_type:
            return value
        return self.convert("zext", value, self.index_type)

    def add(self, a: Value, b: Value | int, hint: str = "x") -> Value:
        return self._integer("add", a, b, hint)

    def mul(self, a: Value, b: Value | int, hint: str = "x") -> Value:
        return a if b == 1 else self._integer("mul", a, b, hint)

    def quotient(self, a: Value, b: int, hint: str = "q") -> Value:
        return a if b == 1 else self._integer("udiv", a, b, hint)

    def remainder(self, a: Value, b: int, hint: str = "q") -> Value:
        return self._integer("urem", a, b, hint)

    def _integer(self, opcode: str, a: Value, b: Value | int, hint: str) -> Value:
        b = b if isinstance(b, Value) else self.const(a.type, b)
        return self.binary(opcode, a, b, hint)

    def below(self, a: Value, b: int) -> Value:
        """a < b, both non-negative."""
        return self.binary("icmp ult", a, self.const(a.type, b), "in")

    # -- the threads of a block ------------------------------------------------------------------

    def barrier(self) -> None:
        """Wait for all threads of the block."""
        self.call_void("llvm.nvvm.barrier0")

    def shared(self, name: str, type: str, align: int = 16) -> Value:
        """A static array in shared memory; `name` must be new in the module."""
        symbol = f"@{name}"
        line = f"{symbol} = internal addrspace(3) global {type} poison, align {align}"
        self.globals[name] = line
        return Value(symbol, "ptr addrspace(3)")

    def element(self, type: str, base: Value, index: Value) -> Value:
        """The address of element `index` of an array anywhere in memory."""
        return self.emit(base.type, f"getelementptr inbounds {type}, {base}, {index}", "p")

    def shuffle_xor(self, value: Value, mask: int) -> Value:
        """The value that the lane with number `own xor mask` has."""
        type = value.type
        if type in ("i32", "float"):
            name = f"llvm.nvvm.shfl.sync.bfly.{'i32' if type == 'i32' else 'f32'}"
            lanes = Value(str(mask), "i32"), Value("31", "i32")
            return self.call(type, name, ALL, value, *lanes, hint="shfl")
        if type in ("i1", "i8", "i16"):
            wide = self.shuffle_xor(self.convert("zext", value, "i32"), mask)
            return self.convert("trunc", wide, type)
        if type == "double":
            bits = self.shuffle_xor(self.convert("bitcast", value, "i64"), mask)
            return self.convert("bitcast", bits, "double")
        high = self.convert("trunc", self.binary("lshr", value, self.const("i64", 32)), "i32")
        parts = [self.convert("trunc", value, "i32"), high]
        low, high = (self.convert("zext", self.shuffle_xor(p, mask), "i64") for p in parts)
        return self.binary("or", self.binary("shl", high, self.const("i64", 32)), low)

    # -- control ---------------------------------------------------------------------------------

    @contextmanager
    def loop(self, begin, end, step: int = 1, carry=(), hint: str = "i"):
        """As `Emitter.loop`, counting in the type of a bound that is no constant."""
        given = [v for v in (begin, end) if isinstance(v, Value) and v.ref.startswith("%")]
        type = given[0].type if given else self.index_type
        begin, end = (Value(v.ref if isinstance(v, Value) else str(v), type) for v in (begin, end))
        head, body, done = (self.name(hint + part) for part in ("_head", "_body", "_done"))
        before, index = self.block, Value("%" + self.name(hint), type)
        carried = [Value("%" + self.name("carry"), v.type) for v in carry]
        self.branch(head)
        self.label(head)
        hole = len(self.lines)  # the phis: written when the latch values are known
        inside = self.binary("icmp slt", index, end, "in")
        self.do(f"br {inside}, label %{body}, label %{done}")
        self.label(body)
        loop = Loop(index, carried)
        yield loop
        following = self.emit(type, f"add nsw {index}, {step}", hint)
        latch = self.block
        self.branch(head)
        phis = [(index, begin, following), *zip(carried, carry, loop.following, strict=True)]
        self.lines[hole:hole] = [
            f"  {phi.ref} = phi {phi.type} [ {first.ref}, %{before} ], [ {later.ref}, %{latch} ]"
            for phi, first, later in phis
        ]
        self.label(done)

    # -- the module ------------------------------------------------------------------------------

    def kernel(self, name: str, parameters: Sequence[str], threads: int, blocks: int = 1) -> str:
        """The module with this function as a kernel of `threads` threads per block.

        Registers are dealt so that `blocks` of them run on one multiprocessor.
        """
        self.do("ret void")
        head = f"ptx_kernel void @{name}({', '.join(parameters)})"
        return module_text([self.function(head)], [self], attributes(threads, blocks))


def attributes(threads: int, blocks: int = 1) -> str:
    """Of a kernel that is always launched with `threads` threads per block."""
    several = f' "nvvm.minctasm"="{blocks}"' if blocks > 1 else ""
    return f'nounwind "nvvm.maxntid"="{threads}"{several}'
