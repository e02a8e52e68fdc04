"""Whole programs on disk: a graph that was compiled before is not compiled again.

A warm start then runs no pass and writes no LLVM text. What is stored is a `Recipe` as JSON (sizes,
types, index checks) and the object files; what it was made from, such as the fused graph, is made
anew where someone asks for it. The key is everything that decides the result: the graph's text with
all attributes, the constant inputs, the target, the switches, and the compiler's own source.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from nncomp.ir.debug import PREFIX, debug
from nncomp.ir.digest import blake2b
from nncomp.ir.graph import Graph, Loc
from nncomp.ir.index_check import INDEXED, Check
from nncomp.ir.op import OPS
from nncomp.ir.types import DType, TensorType, dtype_of_name
from nncomp.ir.unpack import Steps

from ..cache import ObjectCache
from .sources import source_digest
from .target import Target, versions
from .threads import get_num_threads

VERSION = 4
SHOWING = ("debug", "print_after", "dump", "check")  # switches that need the passes to run
HARMLESS = ("CACHE", "CACHE_DIR", "CACHE_MB", "PIN", "PROGRESS", "SPIN_US", "THREADS")
POINTING = frozenset(INDEXED) | {"bounded"}  # their source lines are part of error messages


class Recipe(NamedTuple):
    """All that is needed to run a program besides its object files."""

    inputs: int
    arena: int
    is_parallel: bool
    nanoseconds: float  # estimate of a run on one thread
    types: tuple[TensorType | None, ...]  # of the results; None where an input is updated
    objects: int
    checks: tuple[Check, ...] = ()
    positions: tuple[int, ...] = ()  # of the inputs of `prepared` among this graph's
    checker: Recipe | None = None
    prepared: Recipe | None = None
    parts: tuple[tuple[int, ...], ...] = ()  # inputs not read after each part of the steps
    restore: tuple[tuple[int, int, Steps], ...] = ()  # input, result of `prepared`, the way back
    written: tuple[tuple[int, ...], ...] = ()  # results that each part is the first to write


# -- the key ---------------------------------------------------------------------------------------


class _Unknown(Exception):
    """A value that has no text of its own."""


def program_key(graph: Graph, constant: Sequence[str], target: Target) -> str | None:
    """The name under which a program is stored; None if it must be compiled from its source."""
    source = source_digest()
    switches = debug.values()
    if source is None or any(switches[name] for name in SHOWING):
        return None
    try:
        parts = [
            f"program {VERSION} {source} {versions()!r} {target!r}",
            repr((sorted(switches.items()), _environment(), get_num_threads())),  # plans cut work
            repr(tuple(constant)),
            *_lines(graph, _has_indices(graph)),
        ]
    except _Unknown:
        return None
    return blake2b("\n".join(parts).encode(), digest_size=32).hexdigest()


def _has_indices(graph: Graph) -> bool:
    """Whether an error of the program may name a line: bodies of loops and calls count."""
    bodies = (v for n in graph.nodes for v in n.attrs.values() if isinstance(v, Graph))
    return any(n.name in POINTING for n in graph.nodes) or any(map(_has_indices, bodies))


def _environment() -> list[tuple[str, str]]:
    """Our variables that may change machine code; one that nobody knows of yet counts as such."""
    harmless = {PREFIX + name for name in HARMLESS}
    ours = ((k, v) for k, v in os.environ.items() if k.startswith(PREFIX))
    return sorted((k, v) for k, v in ours if k not in harmless)


def _lines(graph: Graph, located: bool) -> Iterator[str]:
    """The graph as text that says all and no more: equal texts are equal programs."""
    numbers = {n: i for i, n in enumerate(graph.inputs)}
    for node in graph.inputs:
        yield f"{node.attrs['name']!r} {node.type}"
    for node in graph.nodes:
        if OPS.get(node.op.name) is not node.op or not _is_own(node.op):
            raise _Unknown(node.op.name)
        numbers[node] = len(numbers)
        attrs = " ".join(f"{k}={_value(v, located)}" for k, v in sorted(node.attrs.items()))
        where = repr(tuple(node.loc)) if located else ""
        yield f"{node.op.name} {[numbers[x] for x in node.inputs]} {attrs} {where}"
    yield f"return {[numbers[x] for x in graph.outputs]} {graph.output_names!r}"


def _is_own(op: Any) -> bool:
    """Whether the op's rules are in the source that `source_digest` reads."""
    return type(op).__module__.startswith("nncomp.ir.")


def _value(v: Any, located: bool) -> str:
    if isinstance(v, float):
        return v.hex()
    if v is None or type(v) in (bool, int, str):
        return repr(v)
    if isinstance(v, DType):
        return v.name
    if isinstance(v, tuple):
        return f"{type(v).__name__}({','.join(_value(x, located) for x in v)})"
    if isinstance(v, Graph):
        return "{" + "\n".join(_lines(v, located)) + "}"
    raise _Unknown(type(v).__name__)


# -- entries ---------------------------------------------------------------------------------------


def load(cache: ObjectCache, key: str) -> tuple[Recipe, list[bytes]] | None:
    """The recipe and the objects stored under `key`; None without a whole entry."""
    entry = cache.get_many(key)
    if not entry:
        return None
    try:
        recipe = recipe_from_json(json.loads(entry[0]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if recipe is None or count_objects(recipe) != len(entry) - 1:
        return None
    return recipe, entry[1:]


def save(cache: ObjectCache, key: str, recipe: Recipe, objects: Sequence[bytes]) -> None:
    """Store a program."""
    cache.put_many(key, [json.dumps(recipe_to_json(recipe)).encode(), *objects])


def count_objects(recipe: Recipe | None) -> int:
    """Objects of a recipe and of those inside it."""
    if recipe is None:
        return 0
    return recipe.objects + count_objects(recipe.checker) + count_objects(recipe.prepared)


def recipe_to_json(recipe: Recipe | None) -> dict[str, Any] | None:
    """The recipe as JSON values."""
    if recipe is None:
        return None
    types = [None if t is None else [t.dtype.name, *t.shape] for t in recipe.types]
    checks = [[c.length, *c.loc] for c in recipe.checks]
    inner = {"checker": recipe_to_json(recipe.checker), "prepared": recipe_to_json(recipe.prepared)}
    return {**recipe._asdict(), "types": types, "checks": checks, **inner}


def recipe_from_json(fields: dict[str, Any] | None) -> Recipe | None:
    """The recipe back; ValueError, TypeError or KeyError for values that are none."""
    if fields is None:
        return None
    types = tuple(
        None if t is None else TensorType(tuple(map(int, t[1:])), dtype_of_name(t[0]))
        for t in fields["types"]
    )
    checks = tuple(Check(int(n), Loc(str(scope), str(line))) for n, scope, line in fields["checks"])
    return Recipe(
        int(fields["inputs"]), int(fields["arena"]), bool(fields["is_parallel"]),
        float(fields["nanoseconds"]), types, int(fields["objects"]), checks,
        tuple(map(int, fields["positions"])),
        recipe_from_json(fields["checker"]), recipe_from_json(fields["prepared"]),
        _tuples(fields["parts"]), _tuples(fields["restore"]), _tuples(fields["written"]),
    )  # fmt: skip


def _tuples(value: Any) -> Any:
    """Lists of JSON as the tuples that they were."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
