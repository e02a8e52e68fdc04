"""Small mistakes put into PTX text, one at a time: would the simulator notice?

Run as a script it prints the table of docs/gpu.md: mutants of each kind, and what caught them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from kernel_cases import CASES, module, text
from nncomp.backends.ptx.simulator import PtxError, SimulationError, load


@dataclass(frozen=True)
class Mutant:
    """One changed line of a kernel; "" where it was deleted."""

    kind: str
    kernel: str
    line: int
    old: str
    new: str


SWAPPED = {"sub", "div", "rem", "shl", "shr", "setp", "selp", "fma", "mad", "min", "max"}
BARRIERS = ("bar.sync", "barrier.sync", "barrier.cta")
OTHER = {"add": "sub", "sub": "add", "and": "or", "or": "and", "min": "max", "max": "min"}


def kernel_lines(source: str, kernel: str) -> range:
    """The lines of one kernel's body, counted from 0."""
    lines = source.split("\n")
    head = f".visible .entry {kernel}("
    start = next(i for i, line in enumerate(lines) if line.startswith(head))
    end = next(i for i in range(start, len(lines)) if lines[i] == "}")
    return range(start, end)


@cache
def executed(kernel: str) -> frozenset[int]:
    """Lines that the case of a kernel executes; changes elsewhere cannot be noticed."""
    file, run = CASES[kernel]
    return run(module(file), count=True).lines


def mutants(source: str, kernel: str) -> Iterator[Mutant]:
    """Every mutant of a kernel in the lines that its case executes."""
    lines = source.split("\n")
    for at in kernel_lines(source, kernel):
        if at + 1 not in executed(kernel):
            continue
        line = lines[at]
        for kind, new in changes(line):
            yield Mutant(kind, kernel, at, line.strip(), new)


def changes(line: str) -> Iterator[tuple[str, str]]:
    """(kind, changed line) for one line."""
    words = line.replace("@%", "@").split()
    opcode = next((w for w in words if not w.startswith(("@", "{"))), "")
    name = opcode.split(".")[0]
    if opcode.startswith(BARRIERS):
        yield "barrier deleted", ""
    if opcode.startswith("bar.warp"):
        yield "warp barrier deleted", ""
    if opcode.startswith("cp.async.wait"):
        yield "wait deleted", ""
    if opcode.startswith(("st.global", "st.shared", "atom", "red", "cp.async.ca", "cp.async.cg")):
        yield "store deleted", ""
    if re.match(r"(ld|st)\.(global|shared)", opcode):
        width = int(re.search(r"[bufs](\d+) ", line.replace("\t", " "))[1]) // 8  # type: ignore
        yield "address shifted", shift_address(line, width)
    if name in SWAPPED:
        swapped = swap(line)
        if swapped != line:
            yield "operands swapped", swapped
    if name in OTHER and ".pred" not in opcode:
        yield "other opcode", re.sub(rf"\b{name}\.", OTHER[name] + ".", line, count=1)
    if name == "setp":
        for a, b in (("lt", "le"), ("le", "lt"), ("gt", "ge"), ("ge", "gt"), ("eq", "ne"),
                     ("ne", "eq")):  # fmt: skip
            if f"setp.{a}." in line:
                yield "comparison changed", line.replace(f"setp.{a}.", f"setp.{b}.")
                break


def shift_address(line: str, width: int) -> str:
    def shifted(match: re.Match) -> str:
        offset = int(match[2] or 0) + width
        return f"[{match[1]}+{offset}]"

    return re.sub(r"\[([^\]+]+)(?:\+(-?\d+))?\]", shifted, line, count=1)


def swap(line: str) -> str:
    """The two operands after the result, exchanged (for fma and mad: the last two)."""
    head, tail = line.rstrip().rstrip(";").split("\t")[-2:] if "\t" in line else (line, "")
    parts = [p.strip() for p in tail.split(",")]
    if len(parts) < 3 or re.search(r"setp\.(eq|ne)", head):
        return line
    i, j = (2, 3) if len(parts) == 4 and ("fma" in head or "mad" in head) else (1, 2)
    if parts[i] == parts[j] or head.split(".")[0].strip() in ("min", "max"):
        return line
    parts[i], parts[j] = parts[j], parts[i]
    return line[: line.rindex(tail)] + ", ".join(parts) + ";"


def outcome(mutant: Mutant, source: str) -> str:
    """What catches a mutant: "race", "bounds", "value", ..., or "" if nothing does."""
    lines = source.split("\n")
    lines[mutant.line] = mutant.new
    _, run = CASES[mutant.kernel]
    try:
        run(load("\n".join(lines)), race=True, limit=20_000)
    except PtxError:
        return "parser"
    except SimulationError as error:
        return classify(str(error))
    except AssertionError:
        return "value"
    return ""


def classify(message: str) -> str:
    for words, name in (
        ("race:", "race"), ("not a multiple", "alignment"), ("nobody wrote", "uninitialised"),
        ("still writing", "uninitialised"), ("never written", "uninitialised"),
        ("barrier", "barrier"), ("never get here", "barrier"), ("steps", "endless"),
        ("bytes at", "bounds"), ("not active", "lanes"), ("past the end of its table", "bounds"),
    ):  # fmt: skip
        if words in message:
            return name
    return "other"


def all_mutants() -> list[tuple[str, Mutant]]:
    """(file, mutant) of all kernels of the cases."""
    return [(file, m) for name, (file, _) in CASES.items() for m in mutants(text(file), name)]


def main() -> None:
    table: dict[str, Counter] = {}
    survivors = []
    for file, mutant in all_mutants():
        found = outcome(mutant, text(file))
        table.setdefault(mutant.kind, Counter())[found or "survived"] += 1
        if not found:
            survivors.append(mutant)
    causes = sorted({cause for row in table.values() for cause in row} - {"survived"})
    print("| mistake | mutants | " + " | ".join(causes) + " | survived |")
    print("|---" * (len(causes) + 3) + "|")
    for kind, row in table.items():
        cells = [kind, sum(row.values()), *(row[c] for c in causes), row["survived"]]
        print("| " + " | ".join(str(c) for c in cells) + " |")
    for mutant in survivors:
        print(f"survived: {mutant.kernel} {mutant.line + 1}: {mutant.old}  ->  "
              f"{mutant.new.strip() or '(deleted)'}")  # fmt: skip


if __name__ == "__main__":
    main()
