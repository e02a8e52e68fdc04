"""setp, set, selp, slct: comparing and choosing."""

from __future__ import annotations

import numpy as np

from .decode import Decoder, Get, Run, np_type, opcode
from .ops_float import FLOAT_TYPES, Rule
from .rounding import FORMATS, flush, pack2
from .state import State

ORDERED = {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
           "gt": np.greater, "ge": np.greater_equal, "lo": np.less, "ls": np.less_equal,
           "hi": np.greater, "hs": np.greater_equal}  # fmt: skip
COMPARES = (*ORDERED, "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan")
BOOLEANS = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}


def float_rule(name: str) -> Rule:
    """Ordered comparisons are false where an operand is NaN, those with a u are true."""
    if name == "num":
        return lambda a, b: ~(np.isnan(a) | np.isnan(b))
    if name == "nan":
        return lambda a, b: np.isnan(a) | np.isnan(b)
    if name == "ne":
        return lambda a, b: (a != b) & ~(np.isnan(a) | np.isnan(b))
    if name in ORDERED:
        return ORDERED[name]
    inner = ORDERED[name[:2]]
    return lambda a, b: inner(a, b) | np.isnan(a) | np.isnan(b)


def comparison(d: Decoder, type_: str, first: int) -> Get:
    """Function of the state that compares operands `first` and the next."""
    name = d.need(*COMPARES)
    ftz = d.has("ftz")
    a, b = d.get(first, type_), d.get(first + 1, type_)
    if type_ not in FLOAT_TYPES:
        if name not in ORDERED or (type_[0] == "s" and name in ("lo", "ls", "hi", "hs")):
            raise d.error(f"comparison .{name} is not for .{type_}.")
        ordered = ORDERED[name]
        return lambda s: ordered(a(s), b(s))
    form, rule = FORMATS[type_], float_rule(name)

    def compare(s: State) -> np.ndarray:
        x, y = form.open(a(s)), form.open(b(s))
        if ftz:
            x, y = flush(x), flush(y)
        return rule(x, y)

    return compare


@opcode("setp")
def decode_setp(d: Decoder) -> Run:
    type_ = d.type()
    boolean = d.pick(*BOOLEANS)
    compare = comparison(d, type_, 1)
    first, second = d.pair(0)
    third = d.get(3, "pred") if boolean else None
    join = BOOLEANS.get(boolean)
    if type_.endswith("x2"):
        if boolean:
            raise d.error("packed comparisons with a third operand are not supported.")
        low, high = d.putter(first, "pred"), d.putter(second, "pred")

        def packed(s: State) -> None:
            found = compare(s)
            low(s, found[..., 0])
            high(s, found[..., 1])

        return packed
    put = d.putter(first, "pred")
    other = d.putter(second, "pred") if second is not None else None

    def run(s: State) -> None:
        found = compare(s)
        opposite = ~found
        if third and join:
            extra = third(s)
            found, opposite = join(found, extra), join(opposite, extra)
        put(s, found)
        if other:
            other(s, opposite)

    if not boolean and not other:
        return lambda s: put(s, compare(s))
    return run


@opcode("set")
def decode_set(d: Decoder) -> Run:
    """A comparison whose result is a number: 1.0, or all ones."""
    type_ = d.type()
    target = d.type("u32", "s32", "f32", "f16", "bf16", "f16x2", "bf16x2")
    boolean = d.pick(*BOOLEANS)
    compare = comparison(d, type_, 1)
    third = d.get(3, "pred") if boolean else None
    put, packed = d.put(0, target), type_.endswith("x2")

    def run(s: State) -> None:
        found = compare(s)
        if third:
            found = BOOLEANS[boolean](found, third(s))
        if target in FLOAT_TYPES:
            put(s, FORMATS[target].close(found.astype(np.float32)))
        elif packed:
            put(s, pack2(np.where(found, np.uint16(0xFFFF), np.uint16(0))))
        else:
            put(s, np.where(found, -1, 0).astype(np.int32).view(np_type(target)))

    return run


@opcode("selp")
def decode_selp(d: Decoder) -> Run:
    type_ = d.type()
    put, a, b, p = d.put(0, type_), d.get(1, type_), d.get(2, type_), d.get(3, "pred")
    return lambda s: put(s, np.where(p(s), a(s), b(s)))


@opcode("slct")
def decode_slct(d: Decoder) -> Run:
    chooser, type_ = d.type("s32", "f32"), d.type()
    d.has("ftz")
    put, a, b, c = d.put(0, type_), d.get(1, type_), d.get(2, type_), d.get(3, chooser)
    return lambda s: put(s, np.where(c(s) >= 0, a(s), b(s)))
