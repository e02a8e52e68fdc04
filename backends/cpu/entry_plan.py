"""The plan of a native entry, words that its code reads, and the text that reads them."""

from __future__ import annotations

from nncomp.backends.cpu.python_layout import WORD

WATCH = ("n_words", "words", "n_halves", "halves", "n_names", "names")
_FIELDS = (
    *WATCH, "busy", "hits", "none", "ndarray",
    "state", "tracer", "grad_enabled", "grad", "autocast", "cast", "n_args", "args", "held",
    "data", "asks_grad", "requires_grad", "base", "false",
    "n_outputs", "outputs", "made", "chosen", "tensor", "new", "type",
    "table", "run", "pool", "parallel", "threads", "unlock", "new_array",
)  # fmt: skip
PLAN = {name: WORD * i for i, name in enumerate(_FIELDS)}
# A row per argument (`kind` 1: a tensor, 0: the very same object) and per result.
ARGUMENT = {n: WORD * i for i, n in enumerate(("kind", "object", "slot", "descr", "ndim", "dims"))}
OUTPUT = {n: WORD * i for i, n in enumerate(("slot", "descr", "ndim", "dims", "type"))}


def read(base: str, table: dict[str, int], *names: str) -> str:
    """Lines that load fields of %base: those that count are i64, the others pointers."""
    lines = []
    for n in names:
        kind = "i64" if n in _NUMBERS else "ptr"
        lines.append(f"  %{base}.{n}.at = getelementptr i8, ptr %{base}, i64 {table[n]}")
        lines.append(f"  %{base}.{n} = load {kind}, ptr %{base}.{n}.at, align 8")
    return "\n".join(lines)


_NUMBERS = frozenset(
    "n_words n_halves n_names busy hits asks_grad n_args n_outputs chosen threads unlock kind slot "
    "ndim".split()
)


def loop(tag: str, count: str, body: str, done: str) -> str:
    """Run `body`, whose text jumps to `{tag}.next`, with %{tag}.i = 0 .. count-1."""
    return f"""  br label %{tag}.begin
{tag}.begin:
  br label %{tag}.head
{tag}.head:
  %{tag}.i = phi i64 [ 0, %{tag}.begin ], [ %{tag}.more, %{tag}.next ]
  %{tag}.left = icmp slt i64 %{tag}.i, {count}
  br i1 %{tag}.left, label %{tag}.body, label %{done}
{tag}.body:
{body}
{tag}.next:
  %{tag}.more = add i64 %{tag}.i, 1
  br label %{tag}.head"""


def row(tag: str, base: str, words: int) -> str:
    """Make %{tag}.row the address of the loop's row of a table."""
    return f"  %{tag}.row = getelementptr [{words} x i64], ptr {base}, i64 %{tag}.i"
