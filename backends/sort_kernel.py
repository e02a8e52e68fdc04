"""Code for argsort of long axes: a radix sort that moves indices, least significant digits first.

Every key becomes an unsigned number whose order is the one wanted, a byte of it is a digit, and one
stable pass per digit moves the indices between the result and a workspace of its size (Knuth, The
Art of Computer Programming 3, 5.2.5). Time is linear; threads share the rows.
"""

from __future__ import annotations

from math import prod

from nncomp.ir.loops import Kernel, Sort

from .llvm import Emitter, Value

DIGITS = 256
STEP_NS = 1.5  # of one element in one pass
_INFINITY = {"float16": 0x7C00, "bfloat16": 0x7F80, "float32": 0x7F80 << 16, "float64": 0x7FF << 52}


class SortKernel:
    """Writes one sort kernel; a unit of work is a row."""

    def __init__(self, e: Emitter, kernel: Kernel):
        assert isinstance(kernel.extra, Sort)
        self.e, self.extra = e, kernel.extra
        source, self.axis = kernel.extra.a, kernel.extra.axis
        self.dtype, shape = source.type.dtype, source.type.shape
        self.length, self.stride = shape[self.axis], prod(shape[self.axis + 1 :])
        self.units = prod(shape[: self.axis]) * self.stride
        self.passes = self.dtype.itemsize  # a digit per byte
        self.key_type = f"i{8 * self.passes}"
        self.pointers = [Value(f"%b{b.slot}", "ptr") for b in kernel.buffers]

    @property
    def nanoseconds(self) -> float:
        return self.units * (self.length * (self.passes + 1) + DIGITS * self.passes) * STEP_NS

    def write(self) -> None:
        e = self.e
        self.counts = e.emit("ptr", f"alloca [{DIGITS * self.passes} x i64], align 64", "counts")
        with e.loop(Value("%begin", "i64"), Value("%end", "i64"), hint="row") as loop:
            types = (self.key_type, "i64", "i64")
            first = self._first(loop.index)
            source, result, other = (
                e.gep(type, base, first) for type, base in zip(types, self.pointers, strict=True)
            )
            self._count(source)
            self._sum_up()
            order = None
            for number in range(self.passes):
                target = other if (self.passes - number) % 2 == 0 else result
                self._pass(number, source, order, target)
                order = target

    def _first(self, row: Value) -> Value:
        """Offset of a row's first element."""
        e, stride = self.e, Value(str(self.stride), "i64")
        if self.stride == 1:
            return e.binary("mul", row, Value(str(self.length), "i64"))
        block = e.binary("udiv", row, stride)
        skipped = e.binary("mul", block, Value(str((self.length - 1) * self.stride), "i64"))
        return e.binary("add", row, skipped)

    def _at(self, type: str, base: Value, index: Value) -> Value:
        """Address of an element of a row."""
        if self.stride != 1:
            index = self.e.binary("mul", index, Value(str(self.stride), "i64"))
        return self.e.gep(type, base, index)

    def _count(self, source: Value) -> None:
        """How often each value of each digit occurs."""
        e = self.e
        with e.loop(0, DIGITS * self.passes, hint="clear") as loop:
            e.store(Value("0", "i64"), e.gep("i64", self.counts, loop.index), 8)
        with e.loop(0, self.length, hint="count") as loop:
            key = self._key(source, loop.index)
            for number in range(self.passes):
                at = self._counter(key, number)
                e.store(e.binary("add", e.load("i64", at, 8), Value("1", "i64")), at, 8)

    def _sum_up(self) -> None:
        """From the counts to where the elements of each digit begin."""
        e = self.e
        zeros = [Value("0", "i64")] * self.passes
        with e.loop(0, DIGITS, carry=zeros, hint="digit") as loop:
            following = []
            for number, begin in enumerate(loop.carry):
                table = e.gep("i64", self.counts, number * DIGITS)
                at = e.gep("i64", table, loop.index)
                following.append(e.binary("add", begin, e.load("i64", at, 8)))
                e.store(begin, at, 8)
            loop.next(*following)

    def _pass(self, number: int, source: Value, order: Value | None, target: Value) -> None:
        e = self.e
        with e.loop(0, self.length, hint=f"pass{number}") as loop:
            index = loop.index
            if order is not None:
                index = e.load("i64", self._at("i64", order, index), 8)
            at = self._counter(self._key(source, index), number)
            place = e.load("i64", at, 8)
            e.store(e.binary("add", place, Value("1", "i64")), at, 8)
            e.store(index, self._at("i64", target, place), 8)

    def _counter(self, key: Value, number: int) -> Value:
        """Address of the counter for a digit of a key."""
        e = self.e
        if number:
            key = e.binary("lshr", key, Value(str(8 * number), key.type))
        if key.type != "i64":
            key = e.convert("zext", key, "i64")
        digit = e.binary("and", key, Value(str(DIGITS - 1), "i64"))
        return e.gep("i64", e.gep("i64", self.counts, number * DIGITS), digit)

    def _key(self, source: Value, index: Value) -> Value:
        """The element as an unsigned number in the order wanted."""
        e, type, kind = self.e, self.key_type, self.dtype.kind
        key = e.load(type, self._at(type, source, index), self.dtype.itemsize)
        top, ones = Value(str(-(1 << (8 * self.passes - 1))), type), Value("-1", type)
        if kind == "f":
            key = self._float_key(key, top, ones)
        elif kind == "i":
            key = e.binary("xor", key, top)
        return e.binary("xor", key, ones) if self.extra.descending else key

    def _float_key(self, bits: Value, top: Value, ones: Value) -> Value:
        """Both zeros are one number, every nan is the largest."""
        e, zero = self.e, Value("0", bits.type)
        size = e.binary("and", bits, Value(str((1 << (8 * self.passes - 1)) - 1), bits.type))
        negative = e.binary("icmp slt", bits, zero)
        key = e.select(negative, e.binary("xor", bits, ones), e.binary("or", bits, top))
        key = e.select(e.binary("icmp eq", size, zero), top, key)
        infinity = Value(str(_INFINITY[self.dtype.name]), bits.type)
        return e.select(e.binary("icmp ugt", size, infinity), ones, key)
