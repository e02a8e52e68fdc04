"""Packages from recorded calls, and running them: the side of `nncomp.aot` next to the backend."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import safetensors
from .aot.archive import pack
from .aot.loaded import type_words
from .backends.cpu.aot.levels import Level, platform_name
from .backends.cpu.aot.package import choose_level, level_parts, make_runner
from .backends.cpu.target import versions
from .ir.graph import Graph
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
    manifest: Mapping[str, Any], parts: Mapping[str, bytes]
) -> tuple[Any, str, Callable[[], Graph]]:
    """The program of a package for this machine, its level, and what reads the graph's text."""
    level = choose_level(manifest["target"], list(manifest["recipes"]))
    objects = [parts[name] for name in manifest["objects"][level]]
    text = parts[GRAPH].decode()

    def graph() -> Graph:
        from .ir.parser import parse_graph

        return parse_graph(text)

    return make_runner(manifest["recipes"][level], objects, graph), level, graph


def tensors_of(
    manifest: Mapping[str, Any], parts: Mapping[str, bytes], where: str
) -> dict[str, Tensor]:
    """Constants and state by name."""
    found = safetensors.load_from(parts[WEIGHTS], where)
    return {name: found[name] for role, name in manifest["order"] if role != "input"}
