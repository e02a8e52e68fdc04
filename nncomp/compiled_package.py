"""Packages from recorded calls, and running them: the side of `nncomp.aot` next to the backend."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import safetensors
from .aot.archive import pack
from .aot.loaded import type_words
from .autograd.modes import state
from .backends.cpu.aot.levels import Level, platform_name
from .backends.cpu.aot.package import choose_level, level_parts, make_runner
from .backends.cpu.target import versions
from .ir.graph import Graph
from .ir.types import TensorType
from .tensor import Tensor

if TYPE_CHECKING:
    from .compiled_export import Export

WEIGHTS, GRAPH = "weights.safetensors", "graph.txt"


def package(export: Export, levels: Sequence[Level], target: str, threads: int | None) -> bytes:
    """The bytes of a package with code for these levels."""
    from .cli import version

    request = export.request
    parts: dict[str, bytes] = {GRAPH: f"{request.graph}\n".encode()}
    kept = [e for e in request.entries if e.array is not None]
    tensors = {e.name: Tensor._wrap(np.array(e.array)) for e in kept}  # each with its own memory
    parts[WEIGHTS] = safetensors.save(tensors)
    recipes, objects = {}, {}
    with export.settings():
        for level in levels:
            recipes[level.name], files = level_parts(request, level)
            objects[level.name] = [f"code/{level.name}/{i:03d}.o" for i in range(len(files))]
            parts |= dict(zip(objects[level.name], files, strict=True))
    outputs = zip(request.outputs, map(type_words, request.output_types), strict=True)
    manifest = {
        "name": request.name,
        "producer": {
            "nncomp": version("nncomp"), "llvm": versions()[1], "llvmlite": versions()[0],
            "python": platform.python_version(),
        },
        "target": platform_name(target),
        "inputs": [[e.name, type_words(e.type)] for e in request.of_role("input")],
        "outputs": list(map(list, outputs)),
        "state": [[e.name, type_words(e.type)] for e in request.of_role("state")],
        "order": [[e.role, e.name] for e in request.entries],
        "draws": request.draws,
        "threads": threads,
        "parameters": export.parameters,
        "arguments": export.arguments,
        "result": export.result,
        "recipes": recipes,
        "objects": objects,
    }  # fmt: skip
    return pack(manifest, parts)


def program_of(
    manifest: Mapping[str, Any], parts: Mapping[str, Any]
) -> tuple[Any, str, Callable[[], Graph]]:
    """The program of a package for this machine, its level, and what reads the graph's text."""
    level = choose_level(manifest["target"], list(manifest["recipes"]))
    objects = [bytes(parts[name]) for name in manifest["objects"][level]]
    text = bytes(parts[GRAPH]).decode()

    def graph() -> Graph:
        from .ir.parser import parse_graph

        return parse_graph(text)

    return make_runner(manifest["recipes"][level], objects, graph), level, graph


def make_shortcut(
    runner: Any,
    args: Sequence[Tensor],
    constants: Sequence[np.ndarray],
    prepared: Sequence[np.ndarray],
    types: Sequence[TensorType],
    chosen: int,
    limit: int | None,
) -> Callable | None:
    """A native function that repeats a call with tensors like `args`; None where there is none.

    It answers None when the process is not as it was: another grad mode, other threads.
    """
    from .backends.cpu import pool, threads
    from .backends.cpu.entry import Mode, TensorClass, Watch, available, make_entry

    if not available():
        return None
    names: list = [(vars(pool), "_pool", pool.get_pool())]
    names.append((vars(threads), "_threads", threads.get_num_threads()))
    entry = make_entry(
        runner, args, [*constants, *(None for _ in args)], prepared, types, chosen,
        Watch(names=names), Mode(state, state.grad_enabled, state.autocast), TensorClass(Tensor),
        limit or threads.get_num_threads(),
    )  # fmt: skip
    return None if entry is None else entry.call


def tensors_of(manifest: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Constants and state by name, in place; ValueError for a damaged table of tensors."""
    data = memoryview(parts[WEIGHTS])
    size = int.from_bytes(data[:8], "little")
    table, body = json.loads(bytes(data[8 : 8 + size])), data[8 + size :]
    found = {}
    for role, name in manifest["order"]:
        if role == "input":
            continue
        dtype, shape = safetensors.CODES[table[name]["dtype"]], tuple(table[name]["shape"])
        begin, end = table[name]["data_offsets"]
        found[name] = np.frombuffer(body[begin:end], dtype.numpy).reshape(shape)
    return found
