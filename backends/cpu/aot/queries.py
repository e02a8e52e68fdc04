"""What an exported file says about itself: sizes, names, shapes and error texts, as LLVM text.

    const nncomp_tensor *NAME_input(size_t number);      null past the last one
"""

from __future__ import annotations

from collections.abc import Sequence

from nncomp.ir.types import TensorType

from .tables import Layout

ERRORS = (
    "ok",
    "a pointer is null, or not aligned to the size of the elements",
    "the file holds no code for this CPU",
    "an index tensor points outside of its axis; nothing was written",
    "the weights file was not given, or it belongs to another model",
    "the threads of this workspace were not started, or cannot be",
    "the constants were not prepared for the chosen instruction set",
)


def query_text(layout: Layout, name: str, size: str) -> str:
    """The LLVM text of all query functions; `size` is the word for size_t."""
    request = layout.request
    inputs = [(e.name, e.type, 0) for e in request.of_role("input")]
    outputs = [(n, t, 0) for n, t in zip(request.outputs, request.output_types, strict=True)]
    parts = [
        f"define {size} @{name}_workspace_bytes() #0 {{\n  ret {size} {layout.workspace}\n}}",
        _tensors_text(f"{name}_input", inputs, size),
        _tensors_text(f"{name}_output", outputs, size),
        _errors_text(name),
    ]
    if layout.prepared_bytes:
        head = f"define {size} @{name}_prepared_bytes() #0"
        parts.append(f"{head} {{\n  ret {size} {layout.prepared_bytes}\n}}")
    if layout.state_bytes:
        state = [(e.name, e.type, e.offset) for e in layout.state]
        parts.append(_tensors_text(f"{name}_state", state, size))
        head = f"define {size} @{name}_state_bytes() #0"
        parts.append(f"{head} {{\n  ret {size} {layout.state_bytes}\n}}")
    return "\n".join(parts)


def _tensors_text(symbol: str, rows: Sequence[tuple[str, TensorType, int]], size: str) -> str:
    """A table of tensor descriptions, and the function that gives the address of one."""
    row = f"{{ ptr, ptr, ptr, {size}, {size}, {size} }}"
    lines, values = [], []
    for i, (name, type, offset) in enumerate(rows):
        lines.append(string_text(f"{symbol}.name.{i}", name))
        lines.append(string_text(f"{symbol}.dtype.{i}", type.dtype.name))
        dims = ", ".join(f"i64 {n}" for n in type.shape)
        value = f"[{dims}]" if dims else "zeroinitializer"
        lines.append(f"@{symbol}.shape.{i} = private constant [{len(type.shape)} x i64] {value}")
        values.append(
            f"{row} {{ ptr @{symbol}.name.{i}, ptr @{symbol}.dtype.{i}, ptr @{symbol}.shape.{i}, "
            f"{size} {len(type.shape)}, {size} {type.nbytes}, {size} {offset} }}"
        )
    table = f"[{', '.join(values)}]" if values else "zeroinitializer"
    lines.append(f"@{symbol}.table = private constant [{len(rows)} x {row}] {table}")
    lines.append(_indexed(symbol, f"@{symbol}.table", row, len(rows), size))
    return "\n".join(lines)


def _indexed(symbol: str, table: str, row: str, count: int, size: str) -> str:
    return f"""define ptr @{symbol}({size} %number) #0 {{
  %there = icmp ult {size} %number, {count}
  br i1 %there, label %give, label %none
give:
  %at = getelementptr {row}, ptr {table}, {size} %number
  ret ptr %at
none:
  ret ptr null
}}"""


def _errors_text(name: str) -> str:
    lines = [string_text(f"error.{i}", text) for i, text in enumerate(ERRORS)]
    lines.append(string_text("error.unknown", "unknown error"))
    cases = "\n".join(f"    i32 {i}, label %e{i}" for i in range(len(ERRORS)))
    ends = "\n".join(f"e{i}:\n  ret ptr @error.{i}" for i in range(len(ERRORS)))
    lines.append(f"""define ptr @{name}_error_text(i32 %code) #0 {{
  switch i32 %code, label %unknown [
{cases}
  ]
{ends}
unknown:
  ret ptr @error.unknown
}}""")
    return "\n".join(lines)


def string_text(symbol: str, text: str) -> str:
    """A private constant with a C string."""
    data = text.encode()
    escaped = "".join(
        chr(b) if 32 <= b < 127 and b not in (0x22, 0x5C) else f"\\{b:02X}" for b in data
    )
    return f'@{symbol} = private constant [{len(data) + 1} x i8] c"{escaped}\\00"'
