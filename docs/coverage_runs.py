"""Running sample rows for make_coverage: what of a name works eagerly, compiled and backward."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent / "tests")]

import coverage_samples as samples  # noqa: E402
import function_table  # noqa: E402
import more_table  # noqa: E402

import nncomp as m  # noqa: E402
from nncomp import nn  # noqa: E402

INPUTS = {**more_table.INPUTS, **samples.INPUTS}
KINDS = ("eager", "compiled", "gradient")
NOT_A_CALL = "a container or a class to derive from, which is not called in a graph"
NO_GRADIENT = "no float result depends on a float input"
NO_GRADIENT_OF = {
    "nn.init": "it fills a tensor, which has no gradient",
    "optim": "an update has no gradient",
}


def rows_of(text: str) -> list[str]:
    """The rows of a table, which are separated by semicolons and lines."""
    return [row.strip() for row in text.replace("\n", ";").split(";") if row.strip()]


class Marks:
    """What was seen of each name, and why the rest was not."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], set[str]] = {}
        self.why: dict[tuple[str, str], str] = {}

    def add(self, section: str, name: str, found: set[str], why: str) -> None:
        """Note the marks that one row earned."""
        marks = self.seen.setdefault((section, name), set())
        marks |= found
        if why:
            self.why.setdefault((section, name), why)

    def full(self, section: str, name: str) -> bool:
        """True if nothing is left to see."""
        return len(self.seen.get((section, name), ())) == len(KINDS)


def fresh(grad: bool = False) -> dict[str, Any]:
    """All inputs as new tensors; floats require a gradient on demand."""
    made = {}
    for name, array in INPUTS.items():
        x = m.from_numpy(np.array(array))
        made[name] = x.requires_grad_() if grad and array.dtype.kind == "f" else x
    return made


def leaves(value: Any) -> list:
    """The tensors of a result."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [x for item in value for x in leaves(item)]
    return [value] if isinstance(value, m.Tensor) else []


def used(row: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs that a row names."""
    return {n: inputs[n] for n in dict.fromkeys(re.findall(r"\b[a-z]\w*_?\b", row)) if n in inputs}


def same(ours: Any, eager: Any) -> bool:
    """True if two results hold the same tensors."""
    a, b = leaves(ours), leaves(eager)
    if [(x.dtype, x.shape) for x in a] != [(x.dtype, x.shape) for x in b]:
        return False
    pairs = zip(a, b, strict=True)
    return all(
        np.allclose(
            x.detach().double().numpy(), y.detach().double().numpy(), 1e-3, 1e-4, equal_nan=True
        )
        for x, y in pairs
    )


def differentiable(results: list, targets: list) -> bool:
    """True if a target gets a gradient from the results."""
    floats = [y for y in results if y.requires_grad and y.dtype.is_floating_point]
    if not floats:
        return False
    total = sum((y.double() * 0.37).sum() for y in floats)
    found = m.autograd.grad(total, targets, allow_unused=True)
    return any(g is not None for g in found)


def sentence(error: Exception) -> str:
    """The first line of an error, without where it happened."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    text = re.sub(r"^[\w<>.]+:\d+: ", "", text).replace("|", "/")
    return re.split(r"(?<=[a-z)])[.;] ", text)[0][:200].rstrip(".")


def attempt(eager: Callable, compiled: Callable, gradient: Callable) -> tuple[set[str], str]:
    """The marks that three functions earn, and the first reason for a missing one."""
    found, why = set(), ""
    for kind, run in zip(KINDS, (eager, compiled, gradient), strict=True):
        try:
            if run():
                found.add(kind)
            elif not why:
                why = NO_GRADIENT if kind == "gradient" else "compiled values differ"
        except Exception as error:  # a row that fails is what is to be found out
            why = why or sentence(error)
            if kind == "eager":
                return found, why
    return found, why


def run_row(row: str) -> tuple[set[str], str]:
    """Run an expression eagerly, compiled and backward."""
    def evaluate(values: dict[str, Any]) -> Any:
        return eval(row, {"m": m, "nn": nn, **values})

    results: list = []

    def eager() -> bool:
        m.manual_seed(0)
        results.append(evaluate(fresh()))
        return True

    def compiled() -> bool:
        inputs = used(row, fresh())

        def function(*tensors: Any) -> Any:
            return evaluate(dict(zip(inputs, tensors, strict=True)))

        m.manual_seed(0)
        return same(m.compile(function)(*inputs.values()), results[0])

    def gradient() -> bool:
        inputs = fresh(True)
        targets = [x for x in used(row, inputs).values() if x.requires_grad]
        return bool(targets) and differentiable(leaves(evaluate(inputs)), targets)

    return attempt(eager, compiled, gradient)


def run_layer(row: str) -> tuple[set[str], str]:
    """Run a row `constructor | inputs` of the table of layers."""
    constructor, _, call = row.partition("|")
    made: list = []

    def build() -> Any:
        m.manual_seed(0)
        return eval(f"nn.{constructor}", {"m": m, "nn": nn, **fresh()})

    def arguments(grad: bool) -> tuple:
        return eval(f"({call},)", {"m": m, "nn": nn, **fresh(grad)})

    def eager() -> bool:
        module = build()
        if call:
            m.manual_seed(1)
            made.append(module(*arguments(False)))
        return True

    def compiled() -> bool:
        module = build()
        if "Lazy" in constructor:
            module(*arguments(False))
        reference = build()
        if "Lazy" in constructor:
            reference(*arguments(False))
        m.manual_seed(1)
        expected = reference(*arguments(False))
        m.manual_seed(1)
        return same(m.compile(module)(*arguments(False)), expected)

    def gradient() -> bool:
        module, inputs = build(), arguments(True)
        results = leaves(module(*inputs))
        targets = [x for x in inputs if x.requires_grad]
        targets += [p for p in module.parameters() if p.requires_grad]
        return differentiable(results, targets)

    if not call:
        found, why = attempt(eager, lambda: True, lambda: True)
        return found & {"eager"}, why or NOT_A_CALL
    return attempt(eager, compiled, gradient)


# -- all rows -------------------------------------------------------------------------------------


def calls(row: str) -> list[tuple[str, str, ast.Call]]:
    """(section, name, node) of the functions and methods that a row calls, outermost first."""
    try:
        tree = ast.parse(row, mode="eval")
    except SyntaxError:
        return []
    found = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        base = ast.unparse(node.func.value)
        if base in ("m", "nn") or base.startswith(("m.linalg", "m.special", "m.nn")):
            section = "nn.functional" if base == "m.nn.functional" else "" if base == "m" else "-"
            if section != "-":
                found.append((section, node.func.attr, node))
        else:
            found.append(("Tensor", node.func.attr, node))
    return found


def as_methods(name: str, node: ast.Call) -> list[tuple[str, str]]:
    """(method, row) for the methods that do what a function does: x.exp() and x.exp_()."""
    if not node.args or not all(isinstance(k.arg, str) for k in node.keywords):
        return []
    first, rest = ast.unparse(node.args[0]), [ast.unparse(a) for a in node.args[1:]]
    rest += [f"{k.arg}={ast.unparse(k.value)}" for k in node.keywords]
    rows = []
    for method, start in ((name, f"({first})"), (f"{name}_", f"({first}).clone()")):
        if hasattr(m.Tensor, method):
            rows.append((method, f"{start}.{method}({', '.join(rest)})"))
    return rows


def run_tables(marks: Marks) -> None:
    """The rows of the tests' tables of functions, and the methods of the same names."""
    families = (*function_table.FAMILIES.values(), *more_table.FAMILIES.values())
    rows = [row for family in families for row in family]
    rows += more_table.STATEMENTS
    for row in rows:
        named = calls(row)
        if not named:
            continue
        section, name, node = named[0]
        if section and not marks.full(section, name):
            marks.add(section, name, *run_row(row))
        for method, derived in as_methods(name, node) if section == "" else ():
            if not marks.full("Tensor", method):
                marks.add("Tensor", method, *run_row(derived))


def run_samples(marks: Marks) -> None:
    """The rows of coverage_samples."""
    for row in rows_of(samples.NN):
        marks.add("nn", re.match(r"\w+", row)[0], *run_layer(row))
    for row in rows_of(samples.FUNCTIONAL):
        name = re.match(r"\w+", row)[0]
        marks.add("nn.functional", name, *run_row(f"m.nn.functional.{row}"))
    for row in rows_of(samples.INIT):
        name = re.match(r"\w+", row)[0]
        found, why = run_row(f"m.nn.init.{row}")
        why = NO_GRADIENT_OF["nn.init"] if "compiled" in found else why
        marks.add("nn.init", name, found - {"gradient"}, why)
    for row in rows_of(samples.METHODS):
        section, name, node = calls(row)[0]
        if name.endswith("_"):  # a leaf may not be written
            node.func.value = ast.parse(f"({ast.unparse(node.func.value)}).clone()").body[0].value
            row = ast.unparse(node)
        if section == "Tensor" and not marks.full("Tensor", name):
            marks.add("Tensor", name, *run_row(row))


def run_properties(marks: Marks) -> None:
    """Read the attributes of Tensor that are no methods."""
    for name in dir(m.Tensor):
        value = inspect.getattr_static(m.Tensor, name)
        if name.startswith("_") or inspect.isroutine(value):
            continue
        try:
            getattr(m.ones(2, 2), name)
        except Exception as error:
            marks.add("Tensor", name, set(), sentence(error))
            continue
        found, why = {"eager"}, "an attribute of the tensor object"
        if name in ("T", "mT", "H", "mH", "real", "data"):
            found, why = run_row(f"x.{name}")
        elif name in ("shape", "ndim", "dtype", "device", "is_leaf", "requires_grad"):
            m.compile(lambda x, name=name: x * (getattr(x, name) is not None))(m.ones(2, 2))
            found = {"eager", "compiled"}
        marks.add("Tensor", name, found, why)
