"""The functions of an exported file, as LLVM text: checks, tables of pointers, queries.

`NAME_run(inputs, outputs[, state], workspace)` checks its pointers, chooses the level, fills a
table in the workspace and calls that level's program. Nothing here allocates or does input or
output. `header.py` writes the C declarations of the same functions.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..pool_ir import POOL, RESTORE_MODE, SAVE_MODE, SET_MODE
from ..target import Target
from .constants import weights_text
from .cpuid import dispatch_text
from .prepare import PREPARED, prepare_text
from .queries import query_text
from .tables import Layout, LevelTables, Place
from .threads import aligned, threads_text

OK, ERROR_ARGUMENT, ERROR_CPU, ERROR_INDEX, ERROR_WEIGHTS, ERROR_THREADS = range(6)

_MODE_DECLARED = {
    "x86_64": "declare void @llvm.x86.sse.stmxcsr(ptr)\ndeclare void @llvm.x86.sse.ldmxcsr(ptr)",
    "aarch64": "declare i64 @llvm.aarch64.get.fpcr()\ndeclare void @llvm.aarch64.set.fpcr(i64)",
}


@dataclass
class Interface:
    """What the functions of one file are made from."""

    layout: Layout
    target: Target  # of the lowest level: of the functions themselves
    data: bytes  # the constants
    embedded: bool = True
    threads: int = 1
    parallel: frozenset[str] = frozenset()  # programs with a step that is worth sharing

    @property
    def name(self) -> str:
        """What every exported symbol begins with."""
        return self.layout.request.name

    @property
    def size(self) -> str:
        """LLVM's word for size_t."""
        return "i32" if "32" in self.target.arch else "i64"


def interface_text(face: Interface) -> str:
    """The LLVM module of the interface."""
    arch = self_arch(face.target)
    parts = [
        _threads_text(face) or f"{_MODE_DECLARED.get(arch, '')}\n{_NO_BARRIER}",
        "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)",
        weights_text(face.name, face.data, face.embedded, face.size),
        dispatch_text(face.name, [level.name for level in face.layout.levels], arch),
        prepare_text(face.layout, _table_lines, arch) if face.layout.prepared_bytes else "",
        *(_level_text(face, level) for level in face.layout.levels),
        _run_text(face, arch),
        query_text(face.layout, face.name, face.size),
    ]
    if face.layout.state_bytes:
        parts.append(_init_text(face))
    return "\n\n".join([*filter(None, parts), "attributes #0 = { nounwind }", ""])


def self_arch(target: Target) -> str:
    """The architecture if its floating-point modes are known, else nothing."""
    return target.arch if target.arch in SAVE_MODE else ""


def exported(layout: Layout, embedded: bool, threads: int) -> list[str]:
    """The names of the functions that a file shows."""
    names = ["run", "workspace_bytes", "input", "output", "error_text", "isa", "set_isa"]
    if layout.state_bytes:
        names += ["state", "state_bytes", "init"]
    if layout.prepared_bytes:
        names += ["prepare", "prepared_bytes"]
    if not embedded:
        names += ["set_weights"]
    if threads > 1:
        names += ["threads_start", "threads_stop"]
    return [f"{layout.request.name}_{n}" for n in names]


_NO_BARRIER = "define void @nncomp_barrier(ptr %barrier, i64 %nthreads) #0 {\n  ret void\n}"


def _threads_text(face: Interface) -> str:
    if face.threads == 1:
        return ""
    return threads_text(face.name, face.target, face.threads, ERROR_ARGUMENT, ERROR_THREADS)


# -- running ---------------------------------------------------------------------------------------


def _run_text(face: Interface, arch: str) -> str:
    name, layout = face.name, face.layout
    state = ", ptr %state" if layout.state_bytes else ""
    checks = [f"ptr %{p}" for p in ("workspace", *(["state"] if state else []))]
    lines = [f"define i32 @{name}_run(ptr %inputs, ptr %outputs{state}, ptr %workspace) #0 {{"]
    lines += [
        f"  %whole = call i1 @whole_arguments(ptr %inputs, ptr %outputs, {', '.join(checks)})"
        if state
        else "  %whole = call i1 @whole_arguments(ptr %inputs, ptr %outputs, ptr %workspace, "
        "ptr null)",
        "  br i1 %whole, label %constants, label %argument",
        f"argument:\n  ret i32 {ERROR_ARGUMENT}",
        "constants:\n  %weights = call ptr @weights()",
        "  %absent = icmp eq ptr %weights, null",
        "  br i1 %absent, label %no_weights, label %choose",
        f"no_weights:\n  ret i32 {ERROR_WEIGHTS}",
        "choose:\n  %level = call i32 @level()",
        aligned("%workspace", "%scratch"),
        *_pool_lines(face),
        *_prepared_lines(layout),
        SAVE_MODE[arch],
        SET_MODE[arch],
        "  switch i32 %level, label %no_code [",
        *(f"    i32 {i}, label %level{i}" for i in range(len(layout.levels))),
        "  ]",
    ]
    names = ("%inputs", "%outputs", "%state" if state else "null", "%scratch", "%weights",
             "%prepared" if layout.prepared_bytes else "null")  # fmt: skip
    given = ", ".join(f"ptr {name}" for name in names)
    ends = []
    for i, level in enumerate(layout.levels):
        lines.append(f"level{i}:")
        lines.append(f"  %code{i} = call i32 @run.{level.name}({given})")
        lines.append("  br label %done")
        ends.append(f"[ %code{i}, %level{i} ]")
    lines.append("no_code:\n  br label %done")
    ends.append(f"[ {ERROR_CPU}, %no_code ]")
    lines.append(f"done:\n  %code = phi i32 {', '.join(ends)}")
    lines += [RESTORE_MODE[arch], "  ret i32 %code\n}"]
    return "\n".join([_whole_text(face), "\n".join(filter(None, lines))])


def _pool_lines(face: Interface) -> list[str]:
    """With threads, a run needs their pool."""
    if face.threads == 1:
        return []
    return [
        "  %pool = call ptr @pool_of(ptr %workspace)",
        "  %pool_absent = icmp eq ptr %pool, null",
        f"  br i1 %pool_absent, label %no_pool, label %pooled\nno_pool:\n  ret i32 {ERROR_THREADS}",
        "pooled:",
    ]


def _prepared_lines(layout: Layout) -> list[str]:
    """Where constants are packed at the start, a run needs them as its level reads them."""
    if not layout.prepared_bytes:
        return []
    return [
        "  %prepared = call ptr @prepared(i32 %level)",
        "  %unprepared = icmp eq ptr %prepared, null",
        "  br i1 %unprepared, label %not_prepared, label %packed",
        f"not_prepared:\n  ret i32 {PREPARED}\npacked:",
    ]


def _whole_text(face: Interface) -> str:
    """Whether every pointer is there, and aligned like its elements."""
    request = face.layout.request
    inputs = [e.type for e in request.of_role("input")]
    outputs = request.output_types
    lines = [
        "define internal i1 @whole_arguments(ptr %inputs, ptr %outputs, ptr %workspace, "
        "ptr %state) #0 {",
        "entry:",
    ]
    tables = [("inputs", inputs), ("outputs", outputs)]

    def refuse(value: str, label: str) -> None:
        lines.append(f"  br i1 {value}, label %bad, label %{label}\n{label}:")

    for name in ["workspace", *(n for n, types in tables if types)]:
        lines.append(f"  %no.{name} = icmp eq ptr %{name}, null")
        refuse(f"%no.{name}", f"has.{name}")
    if face.layout.state_bytes:
        lines.append("  %at.state = ptrtoint ptr %state to i64")
        lines.append("  %low.state = and i64 %at.state, 7")
        lines.append("  %no.state = icmp eq ptr %state, null")
        refuse("%no.state", "has.state")
        lines.append("  %odd.state = icmp ne i64 %low.state, 0")
        refuse("%odd.state", "even.state")
    for name, types in tables:
        for i, type in enumerate(types):
            at = f"{name}.{i}"
            lines.append(f"  %slot.{at} = getelementptr ptr, ptr %{name}, i64 {i}")
            lines.append(f"  %p.{at} = load ptr, ptr %slot.{at}")
            if type.nbytes:
                lines.append(f"  %no.{at} = icmp eq ptr %p.{at}, null")
                refuse(f"%no.{at}", f"has.{at}")
            if type.dtype.itemsize > 1:
                lines.append(f"  %a.{at} = ptrtoint ptr %p.{at} to i64")
                lines.append(f"  %low.{at} = and i64 %a.{at}, {type.dtype.itemsize - 1}")
                lines.append(f"  %odd.{at} = icmp ne i64 %low.{at}, 0")
                refuse(f"%odd.{at}", f"even.{at}")
    return "\n".join([*lines, "  ret i1 true", "bad:", "  ret i1 false", "}"])


def _level_text(face: Interface, level: LevelTables) -> str:
    """`@run.LEVEL`: index checks, table, program."""
    layout = face.layout
    head = (
        f"define internal i32 @run.{level.name}(ptr %inputs, ptr %outputs, ptr %state, "
        "ptr %scratch, ptr %weights, ptr %prepared) #0 {"
    )
    types = "ptr, i64, i64, ptr"
    parts = [f"declare void @main.{level.name}({types})"]
    lines = [head, f"  %table = getelementptr i8, ptr %scratch, i64 {layout.pool}"]
    if level.check:
        parts.append(f"declare void @check.{level.name}({types})")
        lines += _table_lines(level.check, "c")
        lines += _program_lines(face, f"check.{level.name}")
        lines += _check_lines(level, layout.results)
    lines += _table_lines(level.main, "m")
    lines += _program_lines(face, f"main.{level.name}")
    lines += _draw_lines(layout)
    lines.append(f"  ret i32 {OK}")
    if level.check:
        lines.append(f"outside:\n  ret i32 {ERROR_INDEX}")
    return "\n".join([*parts, *lines, "}"])


def _program_lines(face: Interface, symbol: str) -> list[str]:
    """Call a program, on all threads of the pool where that is worth it."""
    if symbol not in face.parallel:
        return [f"  call void @{symbol}(ptr %table, i64 0, i64 1, ptr null)"]
    tag = symbol.split(".")[0]
    return [  # the pool lies at the front of the workspace
        f"  %at.{tag} = getelementptr i8, ptr %scratch, i64 {POOL['workers']}",
        f"  %workers.{tag} = load atomic i64, ptr %at.{tag} acquire, align 8",
        f"  %count.{tag} = add i64 %workers.{tag}, 1",
        f"  call void @nncomp_parallel(ptr %scratch, ptr @{symbol}, ptr %table, i64 %count.{tag})",
    ]


def _table_lines(places: list[Place | None], tag: str) -> list[str]:
    """Fill the table of pointers."""
    lines = []
    bases = {n: f"%{n}" for n in ("state", "weights", "scratch", "prepared")}
    for slot, place in enumerate(places):
        if place is None:
            continue
        kind, number = place
        at = f"{tag}.{slot}"
        if kind in bases:
            lines.append(f"  %p.{at} = getelementptr i8, ptr {bases[kind]}, i64 {number}")
        else:
            lines.append(f"  %from.{at} = getelementptr ptr, ptr %{kind}s, i64 {number}")
            lines.append(f"  %p.{at} = load ptr, ptr %from.{at}")
        lines.append(f"  %to.{at} = getelementptr ptr, ptr %table, i64 {slot}")
        lines.append(f"  store ptr %p.{at}, ptr %to.{at}")
    return lines


def _check_lines(level: LevelTables, results: int) -> list[str]:
    """Go to `outside` unless every lowest and highest index is on its axis."""
    lines = []
    for i, (length, type) in enumerate(level.lengths):
        bits = 8 * type.dtype.itemsize
        word = f"i{bits}"
        for j, part in enumerate(("low", "high")):
            name = f"{part}.{i}"
            at = results + 8 * (2 * i + j)
            lines.append(f"  %at.{name} = getelementptr i8, ptr %scratch, i64 {at}")
            lines.append(f"  %{name} = load {word}, ptr %at.{name}")
            wide = f"%{name}"
            if bits < 64:
                extend = "zext" if type.dtype.kind == "u" else "sext"
                wide = f"%wide.{name}"
                lines.append(f"  {wide} = {extend} {word} %{name} to i64")
            lines.append(f"  %bad.{name} = icmp uge i64 {wide}, {length}")
            lines.append(f"  br i1 %bad.{name}, label %outside, label %fine.{name}\nfine.{name}:")
    return lines


def _draw_lines(layout: Layout) -> list[str]:
    """Move the random key of the state on by the draws of a run."""
    if not layout.request.draws:
        return []
    return [  # the key is the last input of a graph that draws
        f"  %drawn = getelementptr i8, ptr %state, i64 {layout.state[-1].offset + 8}",
        "  %offset = load i64, ptr %drawn",
        f"  %following = add i64 %offset, {layout.request.draws}",
        "  store i64 %following, ptr %drawn",
    ]


def _init_text(face: Interface) -> str:
    """`NAME_init(state)`: the values that the state had at the export."""
    name, layout = face.name, face.layout
    return f"""define i32 @{name}_init(ptr %state) #0 {{
  %absent = icmp eq ptr %state, null
  br i1 %absent, label %argument, label %constants
argument:
  ret i32 {ERROR_ARGUMENT}
constants:
  %weights = call ptr @weights()
  %none = icmp eq ptr %weights, null
  br i1 %none, label %no_weights, label %copy
no_weights:
  ret i32 {ERROR_WEIGHTS}
copy:
  %from = getelementptr i8, ptr %weights, i64 {layout.state_image}
  call void @llvm.memcpy.p0.p0.i64(ptr %state, ptr %from, i64 {layout.state_bytes}, i1 false)
  ret i32 {OK}
}}"""
