"""Native functions that Python calls directly, made without a C compiler: see `entry_ir.py`.

A METH_FASTCALL builtin on code from `jit.py` costs tens of nanoseconds where ctypes costs a
microsecond. Its `__self__` is an array with the plan, its `__module__` object a tuple that keeps
alive everything the plan points to. Where `python_layout.layout()` finds nothing to rely on,
`make_entry`, `make_watch` and `pointer_writer` give None and callers go the long way.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from .entry_ir import PYTHON, entry_text
from .entry_plan import PLAN
from .jit import CodegenError, Library, compile_many, link
from .pool import get_pool
from .python_layout import WORD, layout
from .target import host_target

UNLOCK_NS = 10_000.0  # a longer run lets other Python threads go on meanwhile
_FASTCALL, _NOARGS = 0x0080, 0x0004
_FUNCTIONS = {"nncomp_call": _FASTCALL, "nncomp_point": _FASTCALL, "nncomp_same": _NOARGS}


ABSENT = object()  # the value of a name that must not be in the dict


@dataclass
class Watch:
    """What must be as it is now: words of memory, 32-bit halves of words, entries of dicts.

    `keep` holds the objects that the addresses belong to, and those that are compared by identity.
    """

    words: list[tuple[int, int]] = field(default_factory=list)  # address, value
    halves: list[tuple[int, int]] = field(default_factory=list)
    names: list[tuple[dict, str, Any]] = field(default_factory=list)  # dict, key, value
    keep: list[Any] = field(default_factory=list)


@dataclass
class Mode:
    """The state of the calling thread, an object with attributes, that a call must find."""

    state: Any
    grad_enabled: bool
    autocast: Any = None


@dataclass
class TensorClass:
    """What the entry must know of the front end's tensors: their class and `object.__new__`."""

    cls: type
    new: Callable = object.__new__


class _Method(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("function", ctypes.c_void_p),
                ("flags", ctypes.c_int), ("doc", ctypes.c_char_p)]  # fmt: skip


@functools.cache
def _methods() -> dict[str, _Method] | None:
    """The compiled functions as CPython wants them; they live as long as the process."""
    at = layout()
    if at is None:
        return None
    api = ctypes.pythonapi
    try:
        imports = {name: ctypes.cast(getattr(api, name), ctypes.c_void_p).value for name in PYTHON}
        target = host_target()
        library = link(compile_many([entry_text(at)], target), imports)
        found = {name: library.address(name) for name in _FUNCTIONS}
    except (AttributeError, CodegenError):
        return None
    _keep_for_ever(library)
    return {n: _Method(n.encode(), found[n], flags, None) for n, flags in _FUNCTIONS.items()}


def _keep_for_ever(library: Library) -> None:
    """Builtins on this code may be called until the last moment of the process."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(library))


@functools.cache
def _new_function() -> Callable:
    types = [ctypes.POINTER(_Method), ctypes.py_object, ctypes.py_object]
    address = ctypes.cast(ctypes.pythonapi.PyCFunction_NewEx, ctypes.c_void_p).value
    return ctypes.PYFUNCTYPE(ctypes.py_object, *types)(address)


class _Plan:
    """The words that a native function reads, and what they point to."""

    def __init__(self) -> None:
        self.words = np.zeros(len(PLAN), np.int64)
        self.keep: list[Any] = []

    def put(self, **values: int) -> None:
        for name, value in values.items():
            self.words[PLAN[name] // WORD] = value

    def objects(self, **values: Any) -> None:
        """Fields that are objects."""
        self.keep.extend(values.values())
        self.put(**{name: id(value) for name, value in values.items()})

    def rows(self, rows: Sequence[Sequence[int]]) -> int:
        """The address of a table of words."""
        flat = list(chain.from_iterable(rows))  # numpy takes three times as long for nested rows
        table = np.array(flat, np.uint64) if flat else np.zeros(1, np.uint64)
        self.keep.append(table)
        return table.__array_interface__["data"][0]

    def watch(self, watch: Watch) -> None:
        names = [(id(d), id(k), 0 if v is ABSENT else id(v)) for d, k, v in watch.names]
        self.put(n_words=len(watch.words), words=self.rows(watch.words))
        self.put(n_halves=len(watch.halves), halves=self.rows(watch.halves))
        self.put(n_names=len(names), names=self.rows(names))
        self.keep += [watch.keep, watch.names]

    def builtin(self, name: str) -> Any:
        """The native function on this plan."""
        methods = _methods()
        assert methods is not None
        return _new_function()(ctypes.byref(methods[name]), self.words, tuple(self.keep))


def available() -> bool:
    """Whether native functions can be made in this process."""
    return _methods() is not None


def make_watch(watch: Watch) -> Callable[[], bool] | None:
    """A function that says whether everything watched is as it is now; None where impossible."""
    if not available():
        return None
    plan = _Plan()
    plan.watch(watch)
    return plan.builtin("nncomp_same")


@functools.cache
def pointer_writer() -> Callable[[list, int], bool] | None:
    """`write(arrays, address)`: the arrays' addresses, one word each; False if one is no array."""
    if not available():
        return None
    plan = _Plan()
    plan.objects(ndarray=np.ndarray)
    return plan.builtin("nncomp_point")


@dataclass
class Entry:
    """A native function for one program in one state of the world.

    `call(*arguments)` gives the result, or None where the long way must be gone.
    """

    call: Callable
    plan: _Plan
    holds: Callable[[], bool]  # whether everything watched is as it was

    @property
    def hits(self) -> int:
        """How often it ran."""
        return int(self.plan.words[PLAN["hits"] // WORD])


class _Lease:
    """A frame that belongs to an entry, and goes back to its program with it."""

    def __init__(self, executable: Any):
        self.executable, self.frame = executable, executable.take_frame()

    def __del__(self) -> None:
        self.executable.give_back(self.frame)


def make_entry(
    runner: Any,
    arguments: Sequence[Any],
    arrays: Sequence[np.ndarray | None],
    prepared: Sequence[np.ndarray],
    types: Sequence[Any],
    chosen: int | None,
    watch: Watch,
    mode: Mode,
    tensor: TensorClass,
    threads: int,
) -> Entry | None:
    """A native function that runs `runner` while `watch` and `mode` hold.

    `arguments` are those of the call that it is made for: tensors, whose arrays may change from
    call to call, or other objects, which must be the very same. `arrays` are the inputs of the
    program: those that stay, then None for each tensor among the arguments. `types` are those of
    the results, of which number `chosen` is returned (None: a list of all).
    """
    if not available() or runner.checker is not None or None in runner.executable.output_types:
        return None
    plan, executable = _Plan(), runner.executable
    lease = _Lease(executable)
    plan.keep += [lease, runner, list(prepared), list(arrays)]
    table = lease.frame.table
    for slot, array in enumerate((*arrays, *prepared)):
        if array is not None:
            table[slot] = array.__array_interface__["data"][0]
    first = next((i for i, a in enumerate(arrays) if a is None), len(arrays))
    rows = _argument_rows(plan, arguments, tensor.cls, first)
    if rows is None:
        return None
    plan.put(n_args=len(rows), args=plan.rows(rows), held=plan.rows([(0,)] * max(1, len(rows))))
    outputs = _output_rows(plan, executable, types)
    plan.put(n_outputs=len(outputs), outputs=plan.rows(outputs))
    plan.put(made=plan.rows([(0,)] * max(1, len(outputs))), chosen=-1 if chosen is None else chosen)
    plan.watch(watch)
    plan.objects(
        none=None, ndarray=np.ndarray, state=mode.state, tracer="tracer", false=False,
        grad_enabled="grad_enabled", grad=mode.grad_enabled, data="_data", type="_type",
        autocast="autocast", cast=mode.autocast,
        requires_grad="_requires_grad", base="_base", tensor=tensor.cls, new=tensor.new,
    )  # fmt: skip
    _put_run(plan, runner, lease.frame.address, threads)
    plan.put(asks_grad=int(mode.grad_enabled), new_array=layout().new_array)
    return Entry(plan.builtin("nncomp_call"), plan, plan.builtin("nncomp_same"))


def _argument_rows(plan: _Plan, arguments: Sequence, cls: type, slot: int) -> list | None:
    """One row per argument; None for a tensor that is no plain C-contiguous array."""
    rows = []
    for x in arguments:
        if type(x) is cls:
            array = x._data
            flags = array.flags
            if type(array) is not np.ndarray or not (flags.c_contiguous and flags.aligned):
                return None
            plan.keep.append(array.dtype)
            shape = plan.rows([array.shape])
            rows.append((1, 0, slot, id(array.dtype), array.ndim, shape))
            slot += 1
        else:
            plan.keep.append(x)
            rows.append((0, id(x), 0, 0, 0, 0))
    return rows


def _output_rows(plan: _Plan, executable: Any, types: Sequence[Any]) -> list:
    rows = []
    for number, type_ in enumerate(types):
        descr = type_.dtype.numpy
        plan.keep += [type_, descr]
        shape = plan.rows([type_.shape])
        slot = executable.program.inputs + number
        rows.append((slot, id(descr), len(type_.shape), shape, id(type_)))
    return rows


def _put_run(plan: _Plan, runner: Any, context: int, threads: int) -> None:
    executable, pool = runner.executable, get_pool()
    count = pool.grow(threads) if executable.is_parallel and threads > 1 else 1
    plan.keep.append(pool)
    time = runner.nanoseconds / count
    plan.put(
        table=context, run=executable.entry, pool=pool.address or 0, threads=count,
        parallel=pool.parallel_address, unlock=int(time > UNLOCK_NS),
    )  # fmt: skip
