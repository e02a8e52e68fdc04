"""Where CPython and numpy keep what the native entry reads: offsets that are tested before use.

Version tags of dicts and types tell in one load that nothing in them changed (PEP 509; CPython
keeps them up to 3.12). They are private, as most offsets here: `layout()` tries each of them on
objects made for it and gives None where anything is not as expected. Then everything runs through
Python code instead.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

VERSIONS = ((3, 10), (3, 11), (3, 12))  # CPython versions whose dicts and types count their changes
WORD = 8


@dataclass(frozen=True)
class Layout:
    """Byte offsets into objects."""

    type: int = 8
    array_data: int = 16
    array_ndim: int = 24
    array_dims: int = 32
    array_descr: int = 56
    array_flags: int = 64
    dict_version: int = 24
    list_size: int = 16
    list_items: int = 24
    set_used: int = 24
    cell_value: int = 16
    type_version: int = 384  # 32 bits; 0 after a change, until something is looked up
    new_array: int = 0  # address of numpy's PyArray_NewFromDescr


@functools.cache
def layout() -> Layout | None:
    """The offsets that hold in this process, or None."""
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in VERSIONS:
        return None
    # Not from sysconfig, which reads a file of all build settings: 3 ms.
    if hasattr(sys, "gettotalrefcount") or "t" in getattr(sys, "abiflags", ""):
        return None  # built for debugging, or without the lock
    if ctypes.sizeof(ctypes.c_void_p) != WORD or object.__basicsize__ != 2 * WORD:
        return None
    try:
        found = Layout(new_array=_new_array_address())
        checks = (_arrays, _dicts, _types, _containers, _new_array)
        return found if all(check(found) for check in checks) else None
    except (AttributeError, ImportError, TypeError, ValueError):
        return None


def word(address: int) -> int:
    """The 64-bit word at an address."""
    return ctypes.c_uint64.from_address(address).value


def half(address: int) -> int:
    """The 32-bit word at an address."""
    return ctypes.c_uint32.from_address(address).value


def slot_offset(cls: type, name: str) -> int | None:
    """Where instances of `cls` keep the entry `name` of its `__slots__`; None if not found."""
    made, marker = cls(), object()
    setattr(made, name, marker)
    for offset in range(object.__basicsize__, cls.__basicsize__, WORD):
        if word(id(made) + offset) == id(marker):
            return offset
    return None


# -- the tests ------------------------------------------------------------------------------------


def _arrays(at: Layout) -> bool:
    plain = np.arange(30, dtype=np.float32).reshape(2, 3, 5)
    for array in (plain, plain.transpose(2, 0, 1), plain[:, 1:], np.zeros((), np.int64)):
        base = id(array)
        flags = array.flags
        wanted = (1 if flags.c_contiguous else 0) | (0x100 if flags.aligned else 0)
        dims = word(base + at.array_dims)
        if (
            word(base + at.type) != id(np.ndarray)
            or word(base + at.array_data) != array.__array_interface__["data"][0]
            or half(base + at.array_ndim) != array.ndim
            or tuple(word(dims + WORD * i) for i in range(array.ndim)) != array.shape
            or word(base + at.array_descr) != id(array.dtype)
            or half(base + at.array_flags) & 0x101 != wanted
        ):
            return False
    return True


def _new_array_address() -> int:
    core = getattr(np, "_core", None) or np.core
    api = core.multiarray._ARRAY_API
    take = ctypes.pythonapi.PyCapsule_GetPointer
    take = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ctypes.cast(take, ctypes.c_void_p).value
    )
    return word(take(api, None) + 94 * WORD)


def _new_array(at: Layout) -> bool:
    pointer, number = ctypes.c_void_p, ctypes.c_int
    types = [ctypes.py_object, ctypes.py_object, number, pointer, pointer, pointer, number, pointer]
    make = ctypes.PYFUNCTYPE(ctypes.py_object, *types)(at.new_array)
    dtype = np.dtype(np.float64)
    dims = (ctypes.c_int64 * 2)(3, 4)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(dtype))  # the call takes one reference over
    made = make(np.ndarray, dtype, 2, ctypes.addressof(dims), None, None, 0, None)
    flags = made.flags
    return made.shape == (3, 4) and made.dtype is dtype and flags.owndata and flags.c_contiguous


class _Owner:
    value = 0


def _dicts(at: Layout) -> bool:
    """True if every way to change a dict, and no way to read it, moves its version."""
    owner = _Owner()
    owner.value = 1

    def store() -> None:
        owner.value = object()

    for kind in (dict, OrderedDict):
        d = kind(a=1, b=2)
        tag = id(d) + at.dict_version
        reads = (lambda d=d: d["a"], lambda d=d: d.get("z"), lambda d=d: list(d.items()),
                 lambda d=d: dict(d), lambda d=d: d == {}, lambda d=d: "a" in d)  # fmt: skip
        writes = (lambda d=d: d.update(a=3), lambda d=d: d.__setitem__("c", 1),
                  lambda d=d: d.setdefault("e", 2), lambda d=d: d.pop("c"),
                  lambda d=d: d.__delitem__("a"), lambda d=d: d.popitem(),
                  lambda d=d: d.__ior__({"k": 2}), lambda d=d: d.clear())  # fmt: skip
        if not _moves(tag, reads, writes):
            return False
    tag = id(owner.__dict__) + at.dict_version
    reads = (lambda: owner.value, lambda: hasattr(owner, "none"), lambda: owner.__dict__)
    names = (lambda: setattr(owner, "value", 5), lambda: owner.__setattr__("other", 5),
             lambda: delattr(owner, "other"), lambda: vars(owner).update(value=7))  # fmt: skip
    return _moves(tag, reads, (*names, *[store] * 40))


def _moves(tag: int, reads: Any, writes: Any) -> bool:
    before = word(tag)
    for read in reads:
        read()
        if word(tag) != before:
            return False
    for write in writes:
        write()
        if word(tag) == before:
            return False
        before = word(tag)
    return True


def _types(at: Layout) -> bool:
    """True if every change of a class, or of a class it inherits from, moves its version."""
    base = type("Base", (), {"forward": 1})
    cls = type("Class", (base,), {})
    tag = id(cls) + at.type_version
    changes = (
        lambda: setattr(cls, "forward", 2), lambda: setattr(base, "forward", 3),
        lambda: delattr(cls, "forward"), lambda: setattr(base, "other", 1),
        lambda: setattr(cls, "__bases__", (type("Other", (base,), {}),)),
    )  # fmt: skip
    for change in changes:
        before = [cls.forward, half(tag)][1]
        if not before or [cls.forward, half(tag)][1] != before:
            return False
        change()
        if half(tag) == before:
            return False
    return True


def _containers(at: Layout) -> bool:
    items = [object(), object()]
    first = word(id(items) + at.list_items)
    if word(id(items) + at.list_size) != 2 or first < 4096:
        return False
    if [word(first), word(first + WORD)] != list(map(id, items)):
        return False
    for size in (0, 1, 9):
        made = set(range(size))
        made.discard(1)  # leaves a mark that counts as filled but not as used
        if word(id(made) + at.set_used) != len(made):
            return False
    value = object()
    cell = (lambda: value).__closure__[0]
    return word(id(cell) + at.cell_value) == id(value)
