"""Caps on the size of files and functions; run with -s to see the table."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILE_LINES = 500
FUNCTION_LINES = 80


def table() -> list[tuple[int, int, str, str]]:
    """(lines, lines of the longest function, its name, path) of each source file."""
    rows = []
    for folder in ("ir", "backends", "nncomp"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text()
            length, name = longest_function(text)
            rows.append((len(text.splitlines()), length, name, str(path.relative_to(ROOT))))
    assert len(rows) > 50
    return sorted(rows, reverse=True)


def longest_function(text: str) -> tuple[int, str]:
    """Lines and name of the longest function of a source text, (0, "") without any."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [
        (node.end_lineno - node.lineno + 1, node.name)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, functions)
    ]
    return max(found, default=(0, ""))


def test_files_and_functions_stay_small():
    rows = table()
    print(f"\n{'lines':>6} {'longest function':>40}  file")
    for lines, length, name, path in rows:
        print(f"{lines:6} {f'{name} ({length})' if name else '':>40}  {path}")
    print(f"{sum(row[0] for row in rows):6} {'':>40}  in {len(rows)} files")
    too_long = [f"{path}: {n} lines, cap {FILE_LINES}" for n, _, _, path in rows if n > FILE_LINES]
    too_long += [
        f"{path}: {name} has {length} lines, cap {FUNCTION_LINES}"
        for _, length, name, path in rows
        if length > FUNCTION_LINES
    ]
    assert not too_long, "\n".join(too_long)


def test_the_longest_function_is_found():
    method = "class C:\n    async def long(self):\n        a = 1\n        b = 2\n"
    text = "def short():\n    pass\n\n\n" + method
    assert longest_function(text) == (3, "long")
    assert longest_function("x = 1") == (0, "")
