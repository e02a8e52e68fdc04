"""Structural checks of PTX text that need no device and no assembler.

`lint(text)` gives findings as sentences: a wrong target, calls that LLVM left because it had no
instruction, memory accesses without a space, arrays in local memory, double precision and
approximations nobody asked for, too much shared memory, and too many live registers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from .simulator.blocks import Block, Kernel, build
from .simulator.flat import Flat, Op
from .simulator.flatten import flatten
from .simulator.parse import parse
from .simulator.syntax import Instruction, PtxError, PtxModule

STATIC_SHARED = 48 * 1024  # more needs an opt-in at launch
PARAMETERS = 4352 - 256  # bytes of .param that every target takes
REGISTERS = 255  # of a thread
MEMORY_OPS = ("ld", "st", "atom", "red")
SPACES = ("global", "shared", "local", "param", "const", "shared::cta")


@dataclass(frozen=True)
class Finding:
    """One complaint; `rule` is what `allow` names."""

    rule: str
    kernel: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.kernel}, line {self.line}: {self.message} [{self.rule}]"


def lint(text: str, target: str = "sm_80", allow: Collection[str] = (),
         registers: int = REGISTERS) -> list[Finding]:  # fmt: skip
    """What is wrong with a module's text; `allow` names rules to leave out.

    Rules: target, call, unsupported, generic, local, double, approx, ftz, shared, params,
    registers. `registers` bounds the 32-bit registers alive at once in any kernel, which is a lower
    bound of what an assembler needs.
    """
    return [f for f in findings(text, target, registers) if f.rule not in allow]


def findings(text: str, target: str, registers: int) -> list[Finding]:
    """Findings of all rules."""
    try:
        module = parse(text)
    except PtxError as error:
        return [Finding("unsupported", "module", error.line, str(error))]
    found = check_target(module, target)
    for function in module.functions.values():
        if not function.entry:
            continue
        calls = check_calls(module, function.name, function.body or [])
        found += calls
        if calls:
            continue
        try:
            flat = flatten(module, function.name)
            found += check_text(flat)
            found += check_registers(build(flat), registers)
        except PtxError as error:
            found.append(Finding("unsupported", function.name, error.line, str(error)))
    return found


def check_target(module: PtxModule, target: str) -> list[Finding]:
    found = []
    if module.target != target:
        message = f".target is {module.target}, expected {target}."
        found.append(Finding("target", "module", 0, message))
    if not module.version:
        found.append(Finding("target", "module", 0, "has no .version."))
    if not any(f.entry for f in module.functions.values()):
        found.append(Finding("target", "module", 0, "has no kernel."))
    return found


def check_calls(module: PtxModule, kernel: str, body: list) -> list[Finding]:
    """Calls of functions that are not defined here: intrinsics without an instruction."""
    found = []
    for item in body:
        if not isinstance(item, Instruction) or item.opcode != "call":
            continue
        names = [getattr(o, "text", "") for o in item.operands]
        name = next((n for n in names if n), "?")
        callee = module.functions.get(name)
        if callee is None or callee.body is None:
            message = f"calls {name!r}, which is not defined."
            found.append(Finding("call", kernel, item.line, message))
    return found


def check_text(flat: Flat) -> list[Finding]:
    """Findings from single instructions, and from sizes."""
    found = [f for op in flat.ops for f in check_op(flat.name, op)]
    if flat.shared_bytes > STATIC_SHARED:
        message = f"{flat.shared_bytes} bytes of static shared memory, more than {STATIC_SHARED}."
        found.append(Finding("shared", flat.name, 0, message))
    if flat.param_bytes > PARAMETERS:
        message = f"{flat.param_bytes} bytes of parameters, more than {PARAMETERS}."
        found.append(Finding("params", flat.name, 0, message))
    if flat.local_bytes:
        message = f"{flat.local_bytes} bytes of local memory per thread."
        found.append(Finding("local", flat.name, 0, message))
    return found


def check_op(kernel: str, op: Op) -> list[Finding]:
    rules = []
    mods = set(op.mods)
    if op.opcode in MEMORY_OPS and not mods & set(SPACES):
        rules.append(("generic", "accesses memory without naming its space"))
    if "f64" in mods and op.opcode not in ("ld", "st", "mov"):
        rules.append(("double", "computes in double precision"))
    if mods & {"approx", "full"}:
        rules.append(("approx", "is an approximation"))
    if "ftz" in mods:
        rules.append(("ftz", "flushes subnormal numbers"))
    return [Finding(rule, kernel, op.line, f"{op.text} {says}.") for rule, says in rules]


def check_registers(kernel: Kernel, limit: int) -> list[Finding]:
    found = pressure(kernel)
    if found <= limit:
        return []
    message = f"{found} registers of 32 bits are alive at once, more than {limit}."
    return [Finding("registers", kernel.name, 0, message)]


def pressure(kernel: Kernel) -> int:
    """The most 32-bit registers that are alive at once; predicates are not counted."""
    words = [0 if bits == 1 else max(1, bits // 32) for _, bits in kernel.flat.registers]
    most = 0
    for block in kernel.blocks:
        alive: set[int] = set()
        for successor in block.successors():
            if successor >= 0:
                alive |= kernel.blocks[successor].live_in
        most = max(most, alive_most(block, alive, words))
    return most


def alive_most(block: Block, alive: set[int], words: list[int]) -> int:
    """The peak inside of a block, walking it backwards from the registers alive at its end."""
    most = sum(words[r] for r in alive)
    for reads, writes, partial in reversed(block.effects):
        if not partial:
            alive = alive - writes
        alive = alive | reads
        most = max(most, sum(words[r] for r in alive | writes))
    return most
