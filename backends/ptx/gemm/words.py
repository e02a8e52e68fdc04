"""The instructions that tiles are made of: asynchronous copies, shared memory, tensor cores."""

from __future__ import annotations

from collections.abc import Sequence

from ...llvm import Emitter, Value
from .places import number

GLOBAL, SHARED = "ptr addrspace(1)", "ptr addrspace(3)"


def shared_array(e: Emitter, name: str, nbytes: int) -> Value:
    """Static shared memory of the kernel."""
    e.globals[name] = f"@{name} = internal addrspace(3) global [{nbytes} x i8] poison, align 128"
    return Value(f"@{name}", SHARED)


def dynamic_array(e: Emitter, name: str) -> Value:
    """The shared memory whose size the launch says."""
    e.globals[name] = f"@{name} = external addrspace(3) global [0 x i8], align 128"
    return Value(f"@{name}", SHARED)


def element(e: Emitter, type: str, base: Value, index: Value) -> Value:
    """The address of an element, in the memory that `base` is in."""
    if index.ref == "0":
        return base
    return e.emit(base.type, f"getelementptr {type}, {base}, {index}", "p")


def to_global(e: Emitter, pointer: Value) -> Value:
    return e.emit(GLOBAL, f"addrspacecast {pointer} to {GLOBAL}", "g")


def copy_async(e: Emitter, to: Value, source: Value, nbytes: int, wanted: Value) -> None:
    """Copy `nbytes` (4, 8 or 16) to shared memory later; zeros where the i1 `wanted` is false."""
    kind = "cg" if nbytes == 16 else "ca"
    name = f"llvm.nvvm.cp.async.{kind}.shared.global.{nbytes}"
    if wanted.ref == "true":
        e.call_void(name, to, source)
        return
    size = e.select(wanted, number(nbytes), number(0), "size")
    e.call_void(f"{name}.s", to, source, size)


def commit(e: Emitter) -> None:
    """End a group of asynchronous copies."""
    e.call_void("llvm.nvvm.cp.async.commit.group")


def wait(e: Emitter, left: int) -> None:
    """Wait until at most `left` groups of this thread are under way."""
    e.declarations["llvm.nvvm.cp.async.wait.group"] = (
        "declare void @llvm.nvvm.cp.async.wait.group(i32 immarg)"
    )
    e.do(f"call void @llvm.nvvm.cp.async.wait.group(i32 {left})")


def barrier(e: Emitter) -> None:
    e.call_void("llvm.nvvm.barrier0")


def special(e: Emitter, register: str) -> Value:
    """`tid.x`, `ctaid.x` ..."""
    return e.call("i32", f"llvm.nvvm.read.ptx.sreg.{register}", hint=register[:3])


def parts(e: Emitter, vector: Value) -> list[Value]:
    """The elements of a vector."""
    scalar = vector.scalar_type
    return [e.emit(scalar, f"extractelement {vector}, i32 {k}", "x") for k in range(vector.lanes)]


def joined(e: Emitter, values: Sequence[Value]) -> Value:
    """A vector of the values."""
    type = f"<{len(values)} x {values[0].type}>"
    vector = Value("poison", type)
    for k, value in enumerate(values):
        vector = e.emit(type, f"insertelement {vector}, {value}, i32 {k}", "vec")
    return vector
