"""A writer of pickles (protocol 2) for the few types that checkpoints consist of.

Python's own pickler can only name what it can import; files for torch must name torch's functions.
The format is documented in CPython's pickletools.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .device import device
from .ir import DType
from .size import Size

MARK, STOP, TUPLE_END, REDUCE, BUILD = b"(", b".", b"t", b"R", b"b"
EMPTY_TUPLE, EMPTY_LIST, EMPTY_DICT = b")", b"]", b"}"
APPENDS, SETITEMS, PERSISTENT, NONE, TRUE, FALSE = b"e", b"u", b"Q", b"N", b"\x88", b"\x89"
SMALL_TUPLES = {1: b"\x85", 2: b"\x86", 3: b"\x87"}
BATCH = 1000


class Global(NamedTuple):
    """A function or class by module and name."""

    module: str
    name: str


class Call(NamedTuple):
    """The result of a global called with arguments."""

    function: Global
    arguments: tuple


class Persistent(NamedTuple):
    """An object that lies outside of the pickle, by its id."""

    id: tuple


class PickleWriter:
    """Writes one object. `convert(x)` turns objects of other types into Calls, or returns None."""

    def __init__(self, convert: Callable[[Any], Call | None]):
        self.convert = convert
        self.out = bytearray(b"\x80\x02")
        self.memo: dict[Any, int] = {}
        self.alive: list = []  # memo keys are ids, so what they belong to must not die

    def dump(self, obj: Any) -> bytes:
        """The pickle of `obj`; TypeError, with the place, for a type that cannot be stored."""
        self.write(obj, "the object")
        return bytes(self.out + STOP)

    def write(self, obj: Any, where: str) -> None:
        if isinstance(obj, DType):
            obj = Global("torch", obj.name)
        if self._simple(obj):
            return
        key = (type(obj), obj) if isinstance(obj, (str, Global)) else id(obj)
        if key in self.memo:
            self._get(self.memo[key])
        elif isinstance(obj, (str, Global)):
            self._name(obj)
            self._remember(key, obj)
        else:
            self._compound(obj, key, where)

    def _simple(self, obj: Any) -> bool:
        """Write None, bools, numbers (numpy's as Python's) and persistent ids."""
        if isinstance(obj, np.generic):
            obj = obj.item()
        if obj is None:
            self.out += NONE
        elif obj is True or obj is False:
            self.out += TRUE if obj else FALSE
        elif isinstance(obj, int):
            self._int(obj)
        elif isinstance(obj, float):
            self.out += b"G" + struct.pack(">d", obj)
        elif isinstance(obj, Persistent):
            self.write(obj.id, "a storage")
            self.out += PERSISTENT
        else:
            return False
        return True

    def _int(self, value: int) -> None:
        if 0 <= value < 256:
            self.out += b"K" + bytes([value])
        elif -(2**31) <= value < 2**31:
            self.out += b"J" + struct.pack("<i", value)
        else:
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            if len(data) > 255:
                raise TypeError("save() cannot store an integer of more than 2000 bits")
            self.out += b"\x8a" + bytes([len(data)]) + data

    def _name(self, obj: Any) -> None:
        if isinstance(obj, Global):
            self.out += f"c{obj.module}\n{obj.name}\n".encode()
        else:
            data = obj.encode("utf-8", "surrogatepass")
            self.out += b"X" + struct.pack("<I", len(data)) + data

    def _get(self, slot: int) -> None:
        self.out += b"h" + bytes([slot]) if slot < 256 else b"j" + struct.pack("<I", slot)

    def _remember(self, key: Any, obj: Any) -> None:
        slot = self.memo[key] = len(self.memo)
        self.alive.append(obj)
        self.out += b"q" + bytes([slot]) if slot < 256 else b"r" + struct.pack("<I", slot)

    def _compound(self, obj: Any, key: int, where: str) -> None:
        kind = type(obj)
        if kind is tuple:
            self._tuple(obj, where)
            self._remember(key, obj)
        elif kind is list:
            self.out += EMPTY_LIST
            self._remember(key, obj)
            self._items(obj, where)
        elif isinstance(obj, dict) and kind in (dict, OrderedDict):
            self._dict(obj, key, where)
        else:
            self._call(obj, where)
            self._remember(key, obj)

    def _tuple(self, obj: tuple, where: str) -> None:
        if not obj:
            self.out += EMPTY_TUPLE
            return
        small = SMALL_TUPLES.get(len(obj))
        self.out += b"" if small else MARK
        for i, x in enumerate(obj):
            self.write(x, f"{where}[{i}]")
        self.out += small or TUPLE_END

    def _items(self, obj: list, where: str) -> None:
        for start in range(0, len(obj), BATCH):
            self.out += MARK
            for i, x in enumerate(obj[start : start + BATCH], start):
                self.write(x, f"{where}[{i}]")
            self.out += APPENDS

    def _dict(self, obj: dict, key: int, where: str) -> None:
        if type(obj) is OrderedDict:
            self.write(Global("collections", "OrderedDict"), where)
            self.out += EMPTY_TUPLE + REDUCE
        else:
            self.out += EMPTY_DICT
        self._remember(key, obj)
        pairs = list(obj.items())
        for start in range(0, len(pairs), BATCH):
            self.out += MARK
            for k, value in pairs[start : start + BATCH]:
                self.write(k, f"a key of {where}")
                self.write(value, f"{where}[{k!r}]")
            self.out += SETITEMS
        attributes = getattr(obj, "__dict__", None)
        if attributes:  # state_dict() keeps versions in the attribute _metadata
            self.write(dict(attributes), f"the attributes of {where}")
            self.out += BUILD

    def _call(self, obj: Any, where: str) -> None:
        call = _known(obj) or self.convert(obj)
        if call is None:
            kind = type(obj)
            raise TypeError(
                f"save() got {where} of type {kind.__module__}.{kind.__qualname__}, expected "
                "tensors, numbers, strings, lists, tuples, dicts and sets of these; store a module "
                "as its state_dict(), and an array as from_numpy(array)"
            )
        self.write(call.function, where)
        self._tuple(call.arguments, where)
        self.out += REDUCE


def _known(obj: Any) -> Call | None:
    """The Calls for the small types that files may hold."""
    if isinstance(obj, Size):
        return Call(Global("torch", "Size"), (tuple(obj),))
    if isinstance(obj, device):
        return Call(Global("torch", "device"), (str(obj),))
    if type(obj) is set:
        return Call(Global("__builtin__", "set"), (sorted(obj, key=repr),))
    if type(obj) is bytes:
        return Call(Global("_codecs", "encode"), (obj.decode("latin1"), "latin1"))
    return None
