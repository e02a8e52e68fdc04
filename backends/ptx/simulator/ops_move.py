"""mov, ld, st, cvta and what only hints: moving values between registers and memory."""

from __future__ import annotations

import numpy as np

from .decode import UNSIGNED, Decoder, Put, Run, np_type, opcode, window
from .flat import Both, Many, Special
from .spaces import load, store
from .state import State
from .syntax import type_bits

SPACES = ("global", "shared", "local", "param", "const", "shared::cta")
CACHING = ("ca", "cg", "cs", "cv", "wb", "wt", "lu", "L1::evict_first", "L1::evict_last",
           "L1::no_allocate", "L1::evict_normal", "L1::evict_unchanged", "L2::64B", "L2::128B",
           "L2::256B", "L2::evict_first", "L2::evict_last", "L2::evict_normal")  # fmt: skip
ORDERS = ("volatile", "weak", "relaxed", "acquire", "release")
SCOPES = ("cta", "cluster", "gpu", "sys")
MEMORY = {"global": "globals", "const": "globals", "shared::cta": "shared", "": "generic"}


@opcode("mov")
def decode_mov(d: Decoder) -> Run:
    first, second = d.operand(0), d.operand(1)
    type_ = d.type()
    if isinstance(first, Many):
        return unpack(d, type_)
    if isinstance(second, Many):
        return pack(d, type_)
    if isinstance(second, Special) and type_bits(type_) not in (32, 64):
        raise d.error("special registers have 32 or 64 bits.")
    put, a = d.put(0, type_), d.get(1, type_)
    return lambda s: put(s, a(s))


def pack(d: Decoder, type_: str) -> Run:
    """mov.b64 %rd, {%r1, %r2}: the first register is the lowest part."""
    items = d.items(1)
    bits = type_bits(type_) // len(items)
    gets = [d.getter(item, f"b{bits}") for item in items]
    put, kind = d.put(0, type_), UNSIGNED[type_bits(type_)]

    def run(s: State) -> None:
        result = np.zeros((1, 1), kind)
        for i, get in enumerate(gets):
            result = result | (get(s).astype(kind) << kind.type(bits * i))
        put(s, result)

    return run


def unpack(d: Decoder, type_: str) -> Run:
    """mov.b64 {%r1, %r2}, %rd."""
    items = d.items(0)
    bits = type_bits(type_) // len(items)
    puts: list[Put] = [d.putter(item, f"b{bits}") for item in items]
    get, kind = d.get(1, f"b{type_bits(type_)}"), UNSIGNED[type_bits(type_)]

    def run(s: State) -> None:
        value = get(s)
        for i, put in enumerate(puts):
            put(s, (value >> kind.type(bits * i)).astype(UNSIGNED[bits]))

    return run


def access(d: Decoder, at: int) -> tuple[str, str, int]:
    """(space, element type, elements) of an ld or st, from its modifiers."""
    type_ = d.type()
    count = int(d.pick("v2", "v4", "v8", default="v1")[1:])
    order = d.pick(*ORDERS)
    if order in ("relaxed", "acquire", "release"):
        d.need(*SCOPES)
    d.pick(*CACHING)
    d.pick(*CACHING)
    space = d.pick(*SPACES)
    if len(d.items(at)) != count:
        raise d.error(f"{count} registers are expected.")
    return space, type_, count


@opcode("ld", "ldu")
def decode_ld(d: Decoder) -> Run:
    unified = d.has("nc")
    space, type_, count = access(d, 0)
    named, address = d.address(1)
    if unified and space != "global":
        raise d.error(".nc loads are from .global.")
    if not space and named:
        raise d.error("expected the space of the variable.")
    width = type_bits(type_) // 8
    puts = [d.putter(item, type_, wide=True) for item in d.items(0)]
    place, kind = MEMORY.get(space, space), np_type(type_)

    def run(s: State) -> None:
        values = load(s, place, address(s), width, count)
        for put, value in zip(puts, values, strict=True):
            put(s, value.view(kind))

    return run


@opcode("st")
def decode_st(d: Decoder) -> Run:
    space, type_, count = access(d, 1)
    _, address = d.address(0)
    if space in ("param", "const"):
        raise d.error(f"cannot store to .{space}.")
    unsigned = f"b{type_bits(type_)}"
    gets = [d.getter(item, unsigned, wide=True) for item in d.items(1)]
    place = MEMORY.get(space, space)

    def run(s: State) -> None:
        store(s, place, address(s), [get(s) for get in gets])

    return run


@opcode("cvta")
def decode_cvta(d: Decoder) -> Run:
    """Between an address of a space and a generic address."""
    type_ = d.type("u64", "u32")
    back = d.has("to")
    space = d.need("global", "shared", "local", "param", "const", "shared::cta")
    put, a = d.put(0, type_), d.get(1, type_)
    start = window(MEMORY.get(space, space))
    shift = np.uint64(-start % (1 << 64) if back else start)
    if not start:
        return lambda s: put(s, a(s))
    if type_ == "u32":
        raise d.error("generic addresses have 64 bits.")
    return lambda s: put(s, a(s) + shift)


@opcode("isspacep")
def decode_isspacep(d: Decoder) -> Run:
    space = MEMORY.get(d.need(*SPACES), d.op.mods[0])
    put, a = d.put(0, "pred"), d.get(1, "u64")
    start = np.uint64(window(space) >> 48)
    if not start:
        return lambda s: put(s, (a(s) >> np.uint64(48)) == 0)
    return lambda s: put(s, (a(s) >> np.uint64(48)) == start)


@opcode("prefetch", "prefetchu", "discard", "applypriority", "nanosleep", "pmevent")
def decode_hint(d: Decoder) -> Run:
    d.mods.clear()
    for operand in d.op.operands:
        if isinstance(operand, Both):
            raise d.error("unexpected operand.")
    return lambda s: None
