"""`NAME_prepare(memory)`: packs the constants for the chosen level when the program starts.

With prepare="start" a file holds its constants once, as they were given, instead of packed for each
level. The memory belongs to the caller; its address is kept for the runs that follow.
"""

from __future__ import annotations

from ..pool_ir import RESTORE_MODE, SAVE_MODE, SET_MODE
from .blob import LINE
from .tables import Layout

_ARGUMENT, _CPU, _WEIGHTS, PREPARED = 1, 2, 4, 6


def prepare_text(layout: Layout, table_lines, arch: str) -> str:
    """The function, and `@prepared(level)` for runs; `table_lines(places, tag)` fill a table."""
    levels = layout.levels
    cases = "\n".join(f"    i32 {i}, label %level{i}" for i in range(len(levels)))
    parts = []
    for i, level in enumerate(levels):
        lines = table_lines(level.prepare, f"q{i}")
        if level.prepare:
            parts.append(f"declare void @prepare.{level.name}(ptr, i64, i64, ptr)")
            lines.append(f"  call void @prepare.{level.name}(ptr %table, i64 0, i64 1, ptr null)")
        parts.append(_pack_text(level.name, lines))
    calls = "\n".join(
        f"level{i}:\n  call void @pack.{level.name}(ptr %prepared, ptr %weights)\n"
        "  br label %done"
        for i, level in enumerate(levels)
    )
    name = layout.request.name
    return "\n".join([*parts, _KEPT, f"""define i32 @{name}_prepare(ptr %memory) #0 {{
  %absent = icmp eq ptr %memory, null
  br i1 %absent, label %argument, label %given
argument:
  ret i32 {_ARGUMENT}
given:
  %weights = call ptr @weights()
  %none = icmp eq ptr %weights, null
  br i1 %none, label %no_weights, label %choose
no_weights:
  ret i32 {_WEIGHTS}
choose:
  %address = ptrtoint ptr %memory to i64
  %above = add i64 %address, {LINE - 1}
  %aligned = and i64 %above, {-LINE}
  %prepared = inttoptr i64 %aligned to ptr
  %level = call i32 @level()
{SAVE_MODE[arch]}
{SET_MODE[arch]}
  switch i32 %level, label %no_code [
{cases}
  ]
{calls}
no_code:
{RESTORE_MODE[arch]}
  ret i32 {_CPU}
done:
{RESTORE_MODE[arch]}
  store atomic i32 %level, ptr @prepared_for monotonic, align 4
  store atomic ptr %prepared, ptr @prepared_at release, align 8
  ret i32 0
}}"""])


_KEPT = """@prepared_at = internal global ptr null
@prepared_for = internal global i32 -1
define internal ptr @prepared(i32 %level) #0 {
  %at = load atomic ptr, ptr @prepared_at acquire, align 8
  %for = load atomic i32, ptr @prepared_for monotonic, align 4
  %same = icmp eq i32 %for, %level
  %found = select i1 %same, ptr %at, ptr null
  ret ptr %found
}"""


def _pack_text(level: str, lines: list[str]) -> str:
    head = f"define internal void @pack.{level}(ptr %prepared, ptr %weights) #0 {{"
    return "\n".join([head, "  %table = getelementptr i8, ptr %prepared, i64 0", *lines,
                      "  ret void", "}"])  # fmt: skip
