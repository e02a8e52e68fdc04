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
    request = export.request
    parts = common_parts(export)
    recipes, objects = {}, {}
    with export.settings():
        for level in levels:
            recipes[level.name], files = level_parts(request, level)
            objects[level.name] = [f"code/{level.name}/{i:03d}.o" for i in range(len(files))]
            parts |= dict(zip(objects[level.name], files, strict=True))
    code = {"recipes": recipes, "objects": objects}
    return pack({**manifest_of(export, platform_name(target), threads), **code}, parts)


def common_parts(export: Export) -> dict[str, bytes]:
    """The graph's text, and constants and state."""
    request = export.request
    kept = [e for e in request.entries if e.array is not None]
    tensors = {e.name: Tensor._wrap(np.array(e.array)) for e in kept}  # each with its own memory
    return {GRAPH: f"{request.graph}\n".encode(), WEIGHTS: safetensors.save(tensors)}


def manifest_of(export: Export, target: str, threads: int | None) -> dict[str, Any]:
    """What a manifest says of every package: names, types and trees of a call, and who made it."""
    from .cli import version

    request = export.request
    outputs = zip(request.outputs, map(type_words, request.output_types), strict=True)
    return {
        "name": request.name,
        "producer": {
            "nncomp": version("nncomp"), "llvm": versions()[1], "llvmlite": versions()[0],
            "python": platform.python_version(),
        },
        "target": target,
        "inputs": [[e.name, type_words(e.type)] for e in request.of_role("input")],
        "outputs": list(map(list, outputs)),
        "state": [[e.name, type_words(e.type)] for e in request.of_role("state")],
        "order": [[e.role, e.name] for e in request.entries],
        "draws": request.draws,
        "threads": threads,
        "parameters": export.parameters,
        "arguments": export.arguments,
        "result": export.result,
    }  # fmt: skip


def gpu_program_of(
    manifest: Mapping[str, Any], parts: Mapping[str, Any]
) -> tuple[Any, str, Callable[[], Graph]]:
    """As `program_of`, for a package of PTX, which needs a device that can run it."""
    from .compiled_package_gpu import gpu_runner

    return gpu_runner(manifest, parts), manifest["target"], graph_reader(parts)


def program_of(
    manifest: Mapping[str, Any], parts: Mapping[str, Any]
) -> tuple[Any, str, Callable[[], Graph]]:
    """The program of a package for this machine, its level, and what reads the graph's text."""
    if "plan" in manifest:
        return gpu_program_of(manifest, parts)
    level = choose_level(manifest["target"], list(manifest["recipes"]))
    objects = [bytes(parts[name]) for name in manifest["objects"][level]]
    graph = graph_reader(parts)
    return make_runner(manifest["recipes"][level], objects, graph), level, graph


def graph_reader(parts: Mapping[str, Any]) -> Callable[[], Graph]:
    """What reads the graph's text when it is asked for."""
    text = bytes(parts[GRAPH]).decode()

    def graph() -> Graph:
        from .ir.parser import parse_graph

        return parse_graph(text)

    return graph


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

    if not available() or not hasattr(runner, "executable"):  # a GPU's has none
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
