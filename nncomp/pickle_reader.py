"""A reader of pickles that makes data and never runs code.

It interprets the opcodes of protocols 0 to 5 itself and knows a fixed table of globals; any other
global, and any opcode that could reach objects by other means, is refused by name.
"""

from __future__ import annotations

import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

_MARK = object()
_DAMAGE = (ValueError, IndexError, KeyError, TypeError, OverflowError, RecursionError)


class Allowed:
    """What a global of the table stands for: data, or `make(*arguments)` when it is called."""

    def __init__(self, name: str, make: Callable[..., Any] | None = None, value: Any = None):
        self.name, self.make, self.value = name, make, value


def _key(value: Any, depth: int = 8) -> Any:
    """A dict key or set member: numbers, strings and shallow tuples, as hashing recurses in C."""
    if isinstance(value, tuple):
        if depth == 0:
            raise pickle.UnpicklingError("the file has a dict key of deeply nested tuples")
        for item in value:
            _key(item, depth - 1)
    return value


def _set(items: Any = ()) -> set:
    return set(map(_key, _expect(items, (list, tuple))))


def _ordered(items: Any = ()) -> OrderedDict:
    return OrderedDict((_key(key), value) for key, value in _expect(items, (list, tuple)))


def _pairs(items: list) -> Any:
    return zip(map(_key, items[::2]), items[1::2], strict=True)


def _encode(text: Any = "", encoding: Any = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes are stored with encoding latin1, got {encoding!r}")
    return _expect(text, str).encode("latin1")


def _expect(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise pickle.UnpicklingError(f"the file has a misplaced {type(value).__name__}")
    return value


BUILTINS = {
    ("collections", "OrderedDict"): Allowed("OrderedDict", _ordered),
    ("builtins", "set"): Allowed("set", _set),
    ("__builtin__", "set"): Allowed("set", _set),
    ("_codecs", "encode"): Allowed("encode", _encode),
}


class PickleReader:
    """Reads one object. `table` maps (module, name) to Allowed; `persistent` resolves ids."""

    def __init__(self, table: dict[tuple[str, str], Allowed], persistent: Callable[[Any], Any]):
        self.table = {**BUILTINS, **table}
        self.persistent = persistent
        self.stack: list = []
        self.memo: dict[int, Any] = {}

    def load(self, data: bytes) -> Any:
        """The object in `data`; UnpicklingError, with a reason, if it is damaged or not allowed."""
        try:
            for opcode, argument, _ in pickletools.genops(data):
                if opcode.name == "STOP":
                    return self._plain(self._pop())
                handler = _HANDLERS.get(opcode.name)
                if handler is not None:
                    handler(self, argument)
                elif opcode.name in _VALUES:
                    self.stack.append(argument)
                else:
                    raise pickle.UnpicklingError(
                        f"load() does not allow the pickle opcode {opcode.name}: only tensors and "
                        "plain containers can be read"
                    )
        except pickle.UnpicklingError:
            raise
        except _DAMAGE as error:
            raise pickle.UnpicklingError(f"the pickle in the file is damaged: {error}") from error
        raise pickle.UnpicklingError("the pickle in the file ends too early")

    # -- stack

    def _pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise pickle.UnpicklingError("the pickle in the file is damaged: unexpected mark")
        return value

    def _plain(self, value: Any) -> Any:
        """A value that may become part of the result: globals only if they are data."""
        if isinstance(value, Allowed):
            if value.value is None:
                raise pickle.UnpicklingError(f"the file holds the function {value.name}, not data")
            return value.value
        return value

    def _above_mark(self) -> list:
        for at in range(len(self.stack) - 1, -1, -1):
            if self.stack[at] is _MARK:
                items = [self._plain(v) for v in self.stack[at + 1 :]]
                del self.stack[at:]
                return items
        raise pickle.UnpicklingError("the pickle in the file is damaged: no mark")

    # -- opcodes

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def put(self, slot: int) -> None:
        self.memo[slot] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, slot: int) -> None:
        self.stack.append(self.memo[slot])

    def tuple_of(self, n: int) -> None:
        items = tuple(self._plain(self._pop()) for _ in range(n))[::-1]
        self.stack.append(items)

    def tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._above_mark()))

    def list(self, _: Any) -> None:
        self.stack.append(self._above_mark())

    def dict(self, _: Any) -> None:
        items = self._above_mark()
        self.stack.append(dict(_pairs(items)))

    def append(self, _: Any) -> None:
        value = self._plain(self._pop())
        _expect(self.stack[-1], list).append(value)

    def appends(self, _: Any) -> None:
        items = self._above_mark()
        _expect(self.stack[-1], list).extend(items)

    def setitem(self, _: Any) -> None:
        value, key = self._plain(self._pop()), self._plain(self._pop())
        _expect(self.stack[-1], dict)[_key(key)] = value

    def setitems(self, _: Any) -> None:
        items = self._above_mark()
        _expect(self.stack[-1], dict).update(_pairs(items))

    def additems(self, _: Any) -> None:
        items = self._above_mark()
        _expect(self.stack[-1], set).update(map(_key, items))

    def find(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._push_global(module, name)

    def stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        self._push_global(_expect(module, str), _expect(name, str))

    def _push_global(self, module: str, name: str) -> None:
        found = self.table.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(
                f"load() refuses the global {module}.{name}: files may hold tensors, numbers, "
                "strings and plain containers, as they are read without running code. Store the "
                "state_dict() instead of objects of your own classes."
            )
        self.stack.append(found)

    def reduce(self, _: Any) -> None:
        arguments, function = self._pop(), self._pop()
        _expect(arguments, tuple)
        if not isinstance(function, Allowed) or function.make is None:
            raise pickle.UnpicklingError(
                f"the file calls a {type(function).__name__}, which is not a function"
            )
        self.stack.append(function.make(*arguments))

    def newobj(self, _: Any) -> None:
        self.reduce(None)

    def build(self, _: Any) -> None:
        state, target = self._pop(), self.stack[-1]
        if type(target) is not OrderedDict or not isinstance(state, dict):
            raise pickle.UnpicklingError(
                f"the file sets attributes of a {type(target).__name__}; only an OrderedDict may "
                "have any"
            )
        if set(state) - {"_metadata"}:
            raise pickle.UnpicklingError(f"unexpected attributes of an OrderedDict: {list(state)}")
        target.__dict__.update(state)

    def persistent_id(self, _: Any) -> None:
        self.stack.append(self.persistent(self._pop()))


_VALUES = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
})  # fmt: skip

_HANDLERS: dict[str, Callable[[PickleReader, Any], None]] = {
    "PROTO": lambda r, a: None,
    "FRAME": lambda r, a: None,
    "MARK": lambda r, a: r.push(_MARK),
    "NONE": lambda r, a: r.push(None),
    "NEWTRUE": lambda r, a: r.push(True),
    "NEWFALSE": lambda r, a: r.push(False),
    "EMPTY_TUPLE": lambda r, a: r.push(()),
    "EMPTY_LIST": lambda r, a: r.push([]),
    "EMPTY_DICT": lambda r, a: r.push({}),
    "EMPTY_SET": lambda r, a: r.push(set()),
    "TUPLE": PickleReader.tuple,
    "TUPLE1": lambda r, a: r.tuple_of(1),
    "TUPLE2": lambda r, a: r.tuple_of(2),
    "TUPLE3": lambda r, a: r.tuple_of(3),
    "LIST": PickleReader.list,
    "DICT": PickleReader.dict,
    "APPEND": PickleReader.append,
    "APPENDS": PickleReader.appends,
    "SETITEM": PickleReader.setitem,
    "SETITEMS": PickleReader.setitems,
    "ADDITEMS": PickleReader.additems,
    "GLOBAL": PickleReader.find,
    "STACK_GLOBAL": PickleReader.stack_global,
    "REDUCE": PickleReader.reduce,
    "NEWOBJ": PickleReader.newobj,
    "BUILD": PickleReader.build,
    "BINPERSID": PickleReader.persistent_id,
    "PUT": PickleReader.put,
    "BINPUT": PickleReader.put,
    "LONG_BINPUT": PickleReader.put,
    "MEMOIZE": PickleReader.memoize,
    "GET": PickleReader.get,
    "BINGET": PickleReader.get,
    "LONG_BINGET": PickleReader.get,
    "POP": lambda r, a: r.stack.pop() and None,
    "POP_MARK": lambda r, a: r._above_mark() and None,
}
