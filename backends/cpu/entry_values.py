"""The native entry's code for arguments and results, as LLVM IR text: arrays in, Tensors out."""

from __future__ import annotations

from nncomp.backends.cpu.entry_plan import ARGUMENT, OUTPUT, PLAN, loop, read, row
from nncomp.backends.cpu.python_layout import Layout


def values_text(at: Layout) -> str:
    """The functions between Python objects and the table of pointers."""
    parts = [_attribute_text(), _array_text(at), _arguments_text(at), _made_text(at)]
    return "\n".join([*parts, _tensor_text(), _results_text()])


def _attribute_text() -> str:
    """Whether an attribute of an object is this very object."""
    return """define internal i1 @nncomp_attribute(ptr %x, ptr %name, ptr %wanted) #0 {
  %now = call ptr @PyObject_GetAttr(ptr %x, ptr %name)
  %none = icmp eq ptr %now, null
  br i1 %none, label %clear, label %found
clear:
  call void @PyErr_Clear()
  ret i1 false
found:
  call void @Py_DecRef(ptr %now)
  %same = icmp eq ptr %now, %wanted
  ret i1 %same
}"""


def _array_text(at: Layout) -> str:
    """A new reference to the array of a tensor if it is the one expected; else null, no error."""
    dim = """  %d.at = getelementptr i64, ptr %dims, i64 %dim.i
  %d.now = load i64, ptr %d.at, align 8
  %d.wanted.at = getelementptr i64, ptr %row.dims, i64 %dim.i
  %d.wanted = load i64, ptr %d.wanted.at, align 8
  %d.same = icmp eq i64 %d.now, %d.wanted
  br i1 %d.same, label %dim.next, label %drop"""
    return f"""define internal ptr @nncomp_array(ptr %plan, ptr %row, ptr %x) #0 {{
{read("plan", PLAN, "tensor", "data", "ndarray", "asks_grad", "requires_grad", "base")}
{read("plan", PLAN, "false", "none")}
{read("row", ARGUMENT, "descr", "ndim", "dims")}
  %class.at = getelementptr i8, ptr %x, i64 {at.type}
  %class = load ptr, ptr %class.at, align 8
  %is_tensor = icmp eq ptr %class, %plan.tensor
  br i1 %is_tensor, label %grad, label %no
grad:
  %asks = icmp ne i64 %plan.asks_grad, 0
  br i1 %asks, label %ask, label %get
ask:
  %plain = call i1 @nncomp_attribute(ptr %x, ptr %plan.requires_grad, ptr %plan.false)
  br i1 %plain, label %ask_base, label %no
ask_base:
  %own = call i1 @nncomp_attribute(ptr %x, ptr %plan.base, ptr %plan.none)
  br i1 %own, label %get, label %no
get:
  %array = call ptr @PyObject_GenericGetAttr(ptr %x, ptr %plan.data)
  %absent = icmp eq ptr %array, null
  br i1 %absent, label %clear, label %look
clear:
  call void @PyErr_Clear()
  br label %no
look:
  %kind.at = getelementptr i8, ptr %array, i64 {at.type}
  %kind = load ptr, ptr %kind.at, align 8
  %is_array = icmp eq ptr %kind, %plan.ndarray
  br i1 %is_array, label %inside, label %drop
inside:
  %descr.at = getelementptr i8, ptr %array, i64 {at.array_descr}
  %descr = load ptr, ptr %descr.at, align 8
  %descr.same = icmp eq ptr %descr, %row.descr
  %ndim.at = getelementptr i8, ptr %array, i64 {at.array_ndim}
  %ndim = load i32, ptr %ndim.at, align 4
  %ndim.wide = sext i32 %ndim to i64
  %ndim.same = icmp eq i64 %ndim.wide, %row.ndim
  %flags.at = getelementptr i8, ptr %array, i64 {at.array_flags}
  %flags = load i32, ptr %flags.at, align 4
  %flags.set = and i32 %flags, 257
  %dense = icmp eq i32 %flags.set, 257
  %both = and i1 %descr.same, %ndim.same
  %fits = and i1 %both, %dense
  br i1 %fits, label %shape, label %drop
shape:
  %dims.at = getelementptr i8, ptr %array, i64 {at.array_dims}
  %dims = load ptr, ptr %dims.at, align 8
{loop("dim", "%row.ndim", dim, "yes")}
yes:
  ret ptr %array
drop:
  call void @Py_DecRef(ptr %array)
  br label %no
no:
  ret ptr null
}}"""


def _arguments_text(at: Layout) -> str:
    """Whether all arguments are as expected; fills `held` with references, and the table.

    `held` has null for arguments that are no tensors; after a false it holds nothing.
    """
    drop = """  %u.at = getelementptr ptr, ptr %plan.held, i64 %undo.i
  %u.array = load ptr, ptr %u.at, align 8
  call void @Py_DecRef(ptr %u.array)
  br label %undo.next"""
    other = """  %o.at = getelementptr ptr, ptr %args, i64 %other.i
  %o = load ptr, ptr %o.at, align 8
  %o.same = icmp eq ptr %o, %x
  br i1 %o.same, label %wrong, label %other.next"""
    body = f"""{row("arg", "%plan.args", 6)}
{read("arg.row", ARGUMENT, "kind", "object", "slot")}
  %x.at = getelementptr ptr, ptr %args, i64 %arg.i
  %x = load ptr, ptr %x.at, align 8
  %held.at = getelementptr ptr, ptr %plan.held, i64 %arg.i
  %is_tensor = icmp ne i64 %arg.row.kind, 0
  br i1 %is_tensor, label %seen, label %same
same:
  store ptr null, ptr %held.at, align 8
  %identical = icmp eq ptr %x, %arg.row.object
  br i1 %identical, label %arg.next, label %wrong
seen:
{loop("other", "%arg.i", other, "take")}
take:
  %array = call ptr @nncomp_array(ptr %plan, ptr %arg.row, ptr %x)
  %absent = icmp eq ptr %array, null
  br i1 %absent, label %wrong, label %keep
keep:
  store ptr %array, ptr %held.at, align 8
  %memory.at = getelementptr i8, ptr %array, i64 {at.array_data}
  %memory = load ptr, ptr %memory.at, align 8
  %place = getelementptr ptr, ptr %plan.table, i64 %arg.row.slot
  store ptr %memory, ptr %place, align 8
  br label %arg.next"""
    return f"""define internal void @nncomp_drop(ptr %plan, i64 %count) #0 {{
{read("plan", PLAN, "held")}
{loop("undo", "%count", drop, "done")}
done:
  ret void
}}
define internal i1 @nncomp_arguments(ptr %plan, ptr %args) #0 {{
{read("plan", PLAN, "n_args", "args", "held", "table")}
{loop("arg", "%plan.n_args", body, "yes")}
yes:
  ret i1 true
wrong:
  call void @nncomp_drop(ptr %plan, i64 %arg.i)
  ret i1 false
}}"""


def _made_text(at: Layout) -> str:
    """New arrays for the results in `made` and in the table; false with an error set if not."""
    undo = """  %u.at = getelementptr ptr, ptr %plan.made, i64 %undo.i
  %u.array = load ptr, ptr %u.at, align 8
  call void @Py_DecRef(ptr %u.array)
  br label %undo.next"""
    body = f"""{row("out", "%plan.outputs", 5)}
{read("out.row", OUTPUT, "slot", "descr", "ndim", "dims")}
  %ndim = trunc i64 %out.row.ndim to i32
  call void @Py_IncRef(ptr %out.row.descr)
  %array = call ptr %plan.new_array(ptr %plan.ndarray, ptr %out.row.descr, i32 %ndim,
    ptr %out.row.dims, ptr null, ptr null, i32 0, ptr null)
  %failed = icmp eq ptr %array, null
  br i1 %failed, label %undo_all, label %keep
keep:
  %made.at = getelementptr ptr, ptr %plan.made, i64 %out.i
  store ptr %array, ptr %made.at, align 8
  %memory.at = getelementptr i8, ptr %array, i64 {at.array_data}
  %memory = load ptr, ptr %memory.at, align 8
  %place = getelementptr ptr, ptr %plan.table, i64 %out.row.slot
  store ptr %memory, ptr %place, align 8
  br label %out.next"""
    return f"""define internal void @nncomp_free(ptr %plan, i64 %count) #0 {{
{read("plan", PLAN, "made")}
{loop("undo", "%count", undo, "done")}
done:
  ret void
}}
define internal i1 @nncomp_make(ptr %plan) #0 {{
{read("plan", PLAN, "n_outputs", "outputs", "made", "ndarray", "new_array", "table")}
{loop("out", "%plan.n_outputs", body, "yes")}
yes:
  ret i1 true
undo_all:
  call void @nncomp_free(ptr %plan, i64 %out.i)
  ret i1 false
}}"""


def _tensor_text() -> str:
    """A new Tensor on result number %i; null with an error set if memory is short."""
    return f"""define internal ptr @nncomp_tensor(ptr %plan, i64 %i) #0 {{
{read("plan", PLAN, "tensor", "new", "data", "type", "made", "outputs")}
  %made.at = getelementptr ptr, ptr %plan.made, i64 %i
  %array = load ptr, ptr %made.at, align 8
  %row = getelementptr [5 x i64], ptr %plan.outputs, i64 %i
{read("row", OUTPUT, "type")}
  %x = call ptr (ptr, ...) @PyObject_CallFunctionObjArgs(ptr %plan.new, ptr %plan.tensor, ptr null)
  %absent = icmp eq ptr %x, null
  br i1 %absent, label %no, label %fill
fill:
  %first = call i32 @PyObject_SetAttr(ptr %x, ptr %plan.data, ptr %array)
  %bad = icmp ne i32 %first, 0
  br i1 %bad, label %drop, label %second
second:
  %last = call i32 @PyObject_SetAttr(ptr %x, ptr %plan.type, ptr %row.type)
  %worse = icmp ne i32 %last, 0
  br i1 %worse, label %drop, label %yes
yes:
  ret ptr %x
drop:
  call void @Py_DecRef(ptr %x)
  br label %no
no:
  ret ptr null
}}"""


def _results_text() -> str:
    """The Tensor that is chosen, or a list of all."""
    body = """  %x = call ptr @nncomp_tensor(ptr %plan, i64 %out.i)
  %absent = icmp eq ptr %x, null
  br i1 %absent, label %drop, label %put
put:
  %status = call i32 @PyList_SetItem(ptr %list, i64 %out.i, ptr %x)
  br label %out.next"""
    return f"""define internal ptr @nncomp_results(ptr %plan) #0 {{
{read("plan", PLAN, "n_outputs", "chosen")}
  %single = icmp sge i64 %plan.chosen, 0
  br i1 %single, label %one, label %all
one:
  %y = call ptr @nncomp_tensor(ptr %plan, i64 %plan.chosen)
  ret ptr %y
all:
  %list = call ptr @PyList_New(i64 %plan.n_outputs)
  %none = icmp eq ptr %list, null
  br i1 %none, label %no, label %fill
fill:
{loop("out", "%plan.n_outputs", body, "yes")}
yes:
  ret ptr %list
drop:
  call void @Py_DecRef(ptr %list)
  br label %no
no:
  ret ptr null
}}"""
