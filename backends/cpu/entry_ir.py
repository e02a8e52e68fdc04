"""The native entry's code, as LLVM IR text (`entry.py` makes Python callables of it).

`nncomp_call` runs one compiled program straight from the vector of Python arguments: is the world
as it was, are the arguments as they were, then arrays for the results, the run, Tensors. Anything
unexpected gives None before anything was done, and the caller goes the long way. `nncomp_same`
only asks whether the world is as it was; `nncomp_point` writes the addresses of arrays to a table.
All they know comes from a plan (`entry_plan.py`), so that one text serves every program.
"""

from __future__ import annotations

from nncomp.backends.cpu.entry_plan import PLAN, WATCH, loop, read, row
from nncomp.backends.cpu.entry_values import values_text
from nncomp.backends.cpu.python_layout import Layout

# Functions of Python's C API, all of them public: symbol -> (result, parameters).
PYTHON = {
    "Py_IncRef": ("void", "ptr"),
    "Py_DecRef": ("void", "ptr"),
    "PyErr_Clear": ("void", ""),
    "PyBool_FromLong": ("ptr", "i64"),
    "PyLong_AsVoidPtr": ("ptr", "ptr"),
    "PyDict_GetItemWithError": ("ptr", "ptr, ptr"),
    "PyObject_GetAttr": ("ptr", "ptr, ptr"),
    "PyObject_GenericGetAttr": ("ptr", "ptr, ptr"),
    "PyObject_SetAttr": ("i32", "ptr, ptr, ptr"),
    "PyObject_CallFunctionObjArgs": ("ptr", "ptr, ..."),
    "PyList_New": ("ptr", "i64"),
    "PyList_SetItem": ("i32", "ptr, i64, ptr"),
    "PyEval_SaveThread": ("ptr", ""),
    "PyEval_RestoreThread": ("void", "ptr"),
}


def entry_text(at: Layout) -> str:
    """The module with `nncomp_call`, `nncomp_same` and `nncomp_point`."""
    declared = [f"declare {result} @{name}({p})" for name, (result, p) in PYTHON.items()]
    parts = [_holds_text(), values_text(at), _call_text(at), _same_text(at), _point_text(at)]
    return "\n".join([*declared, *parts, "attributes #0 = { nounwind }", ""])


def _holds_text() -> str:
    """Whether all watched words, halves of words, and names in dicts are what they were."""
    word = f"""{row("word", "%plan.words", 2)}
  %w.at = load ptr, ptr %word.row, align 8
  %w.wanted.at = getelementptr i8, ptr %word.row, i64 8
  %w.wanted = load i64, ptr %w.wanted.at, align 8
  %w.now = load i64, ptr %w.at, align 8
  %w.same = icmp eq i64 %w.now, %w.wanted
  br i1 %w.same, label %word.next, label %no"""
    half = f"""{row("half", "%plan.halves", 2)}
  %h.at = load ptr, ptr %half.row, align 8
  %h.wanted.at = getelementptr i8, ptr %half.row, i64 8
  %h.wanted = load i32, ptr %h.wanted.at, align 8
  %h.now = load i32, ptr %h.at, align 4
  %h.same = icmp eq i32 %h.now, %h.wanted
  br i1 %h.same, label %half.next, label %no"""
    name = f"""{row("name", "%plan.names", 3)}
  %n.dict = load ptr, ptr %name.row, align 8
  %n.key.at = getelementptr i8, ptr %name.row, i64 8
  %n.key = load ptr, ptr %n.key.at, align 8
  %n.wanted.at = getelementptr i8, ptr %name.row, i64 16
  %n.wanted = load ptr, ptr %n.wanted.at, align 8
  %n.now = call ptr @PyDict_GetItemWithError(ptr %n.dict, ptr %n.key)
  %n.same = icmp eq ptr %n.now, %n.wanted
  br i1 %n.same, label %name.next, label %clear"""
    return f"""define internal i1 @nncomp_holds(ptr %plan) #0 {{
{read("plan", PLAN, *WATCH)}
{loop("word", "%plan.n_words", word, "halves")}
halves:
{loop("half", "%plan.n_halves", half, "names")}
names:
{loop("name", "%plan.n_names", name, "yes")}
yes:
  ret i1 true
clear:
  call void @PyErr_Clear()
  br label %no
no:
  ret i1 false
}}"""


def _call_text(at: Layout) -> str:
    """nncomp_call(plan array, args, nargs): see the top of this file."""
    return f"""define ptr @nncomp_call(ptr %self, ptr %args, i64 %nargs) #0 {{
  %plan.at = getelementptr i8, ptr %self, i64 {at.array_data}
  %plan = load ptr, ptr %plan.at, align 8
{read("plan", PLAN, "n_args", "busy", "none", "hits", "state", "tracer", "grad_enabled", "grad")}
{read("plan", PLAN, "autocast", "cast")}
{read("plan", PLAN, "n_outputs", "table", "run", "pool", "parallel", "threads", "unlock")}
  %n.same = icmp eq i64 %nargs, %plan.n_args
  %free = icmp eq i64 %plan.busy, 0
  %may = and i1 %n.same, %free
  br i1 %may, label %watch, label %miss
watch:
  %holds = call i1 @nncomp_holds(ptr %plan)
  br i1 %holds, label %mode, label %miss
mode:
  %eager = call i1 @nncomp_attribute(ptr %plan.state, ptr %plan.tracer, ptr %plan.none)
  br i1 %eager, label %grad, label %miss
grad:
  %usual = call i1 @nncomp_attribute(ptr %plan.state, ptr %plan.grad_enabled, ptr %plan.grad)
  br i1 %usual, label %casts, label %miss
casts:
  %rounds = call i1 @nncomp_attribute(ptr %plan.state, ptr %plan.autocast, ptr %plan.cast)
  br i1 %rounds, label %enter, label %miss
enter:
  store i64 1, ptr %plan.busy.at, align 8
  %fit = call i1 @nncomp_arguments(ptr %plan, ptr %args)
  br i1 %fit, label %make, label %unfit
unfit:
  store i64 0, ptr %plan.busy.at, align 8
  br label %miss
make:
  %made = call i1 @nncomp_make(ptr %plan)
  br i1 %made, label %start, label %fail
fail:
  call void @nncomp_drop(ptr %plan, i64 %plan.n_args)
  store i64 0, ptr %plan.busy.at, align 8
  ret ptr null
start:
  %long = icmp ne i64 %plan.unlock, 0
  br i1 %long, label %unlocked, label %locked
unlocked:
  %thread = call ptr @PyEval_SaveThread()
  call void %plan.parallel(ptr %plan.pool, ptr %plan.run, ptr %plan.table, i64 %plan.threads)
  call void @PyEval_RestoreThread(ptr %thread)
  br label %finish
locked:
  call void %plan.parallel(ptr %plan.pool, ptr %plan.run, ptr %plan.table, i64 %plan.threads)
  br label %finish
finish:
  %result = call ptr @nncomp_results(ptr %plan)
  call void @nncomp_free(ptr %plan, i64 %plan.n_outputs)
  call void @nncomp_drop(ptr %plan, i64 %plan.n_args)
  %hits = add i64 %plan.hits, 1
  store i64 %hits, ptr %plan.hits.at, align 8
  store i64 0, ptr %plan.busy.at, align 8
  ret ptr %result
miss:
  call void @Py_IncRef(ptr %plan.none)
  ret ptr %plan.none
}}"""


def _same_text(at: Layout) -> str:
    """nncomp_same(plan array): whether everything that is watched is as it was, as a bool."""
    return f"""define ptr @nncomp_same(ptr %self, ptr %none) #0 {{
  %plan.at = getelementptr i8, ptr %self, i64 {at.array_data}
  %plan = load ptr, ptr %plan.at, align 8
  %holds = call i1 @nncomp_holds(ptr %plan)
  %wide = zext i1 %holds to i64
  %answer = call ptr @PyBool_FromLong(i64 %wide)
  ret ptr %answer
}}"""


def _point_text(at: Layout) -> str:
    """nncomp_point(list of arrays, address): their addresses, one word each, to `address`.

    An item that is no plain numpy array is skipped, and the answer is False then.
    """
    body = f"""  %item.at = getelementptr ptr, ptr %items, i64 %item.i
  %x = load ptr, ptr %item.at, align 8
  %class.at = getelementptr i8, ptr %x, i64 {at.type}
  %class = load ptr, ptr %class.at, align 8
  %is_array = icmp eq ptr %class, %plan.ndarray
  br i1 %is_array, label %write, label %no
write:
  %memory.at = getelementptr i8, ptr %x, i64 {at.array_data}
  %memory = load ptr, ptr %memory.at, align 8
  %place = getelementptr ptr, ptr %table, i64 %item.i
  store ptr %memory, ptr %place, align 8
  br label %item.next"""
    return f"""define ptr @nncomp_point(ptr %self, ptr %args, i64 %nargs) #0 {{
  %plan.at = getelementptr i8, ptr %self, i64 {at.array_data}
  %plan = load ptr, ptr %plan.at, align 8
{read("plan", PLAN, "ndarray")}
  %two = icmp eq i64 %nargs, 2
  br i1 %two, label %read, label %no
read:
  %list = load ptr, ptr %args, align 8
  %address.at = getelementptr ptr, ptr %args, i64 1
  %address = load ptr, ptr %address.at, align 8
  %table = call ptr @PyLong_AsVoidPtr(ptr %address)
  %null = icmp eq ptr %table, null
  br i1 %null, label %error, label %list_of
list_of:
  %size.at = getelementptr i8, ptr %list, i64 {at.list_size}
  %size = load i64, ptr %size.at, align 8
  %items.at = getelementptr i8, ptr %list, i64 {at.list_items}
  %items = load ptr, ptr %items.at, align 8
{loop("item", "%size", body, "yes")}
yes:
  %true = call ptr @PyBool_FromLong(i64 1)
  ret ptr %true
error:
  call void @PyErr_Clear()
  br label %no
no:
  %false = call ptr @PyBool_FromLong(i64 0)
  ret ptr %false
}}"""
