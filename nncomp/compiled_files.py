"""The files of an export: content by path, for each format."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from .backends.cpu.aot import javascript, wasm
from .backends.cpu.aot.archive import static_library
from .backends.cpu.aot.example import example_text
from .backends.cpu.aot.header import header_text
from .backends.cpu.aot.levels import levels_of, platform_name
from .backends.cpu.aot.linker import find_linker
from .backends.cpu.aot.object_file import Made, make_object
from .backends.ptx.target import FEATURES as GPU_TARGETS
from .cli import version
from .compiled_export import Export

Files = dict[str, "bytes | Callable[[str], None]"]


def make_files(
    export: Export,
    path: str,
    kind: str,
    target: str,
    cpu: str | Sequence[str] | None,
    embed: bool,
    threads: int | None,
    prepare: bool,
) -> tuple[Files, dict[str, int]]:
    """Content by path, that of `path` first, and sizes in bytes."""
    if kind == "wasm" and target == "host":
        target = "wasm32"
    if kind == "wasm" and target != "wasm32":
        raise ValueError(f"a .wasm file is for the target wasm32, got target={target!r}")
    if target in GPU_TARGETS:
        return _gpu_files(export, path, kind, target, cpu, threads)
    levels = levels_of(target, cpu)
    if kind == "nnc":
        from .compiled_package import package

        data = package(export, levels, target, threads)
        return {path: data}, {"file": len(data)}
    linker = find_linker(target) if kind == "so" else None
    with export.settings():
        made = make_object(export.request, levels, embed, threads or 1, prepare)
    if kind == "wasm":
        return _wasm_files(made, path), _sizes(made)
    stem, name = os.path.splitext(path)[0], export.request.name
    folder = os.path.dirname(stem)
    header = f"{name}.h"
    files: Files = {}
    if kind == "so":
        assert linker is not None
        files[path] = linker(made.object, os.path.basename(path))
    else:
        data = made.object
        if kind == "a":
            apple = "macos" in platform_name(target)
            data = static_library(f"{name}.o", data, made.symbols, apple)
        files[path] = data
    words = _words(made, target)
    if made.weights is not None:
        files[os.path.join(folder, f"{name}.weights")] = made.weights
    pthread = " -pthread" if made.threads > 1 else ""
    build = f"cc{pthread} {name}_example.c {os.path.basename(path)} -o {name}_example -lm"
    files[os.path.join(folder, header)] = header_text(made, words).encode()
    example = example_text(made, header, build).encode()
    files[os.path.join(folder, f"{name}_example.c")] = example
    return files, _sizes(made)


def _gpu_files(
    export: Export, path: str, kind: str, target: str, cpu: Any, threads: int | None
) -> tuple[Files, dict[str, int]]:
    """The package with PTX, which is the only format for a GPU."""
    if kind != "nnc":
        raise ValueError(
            f"target={target!r} is a GPU, whose code goes into packages alone: expected a path "
            f"with the suffix .nnc, got the format {kind!r}"
        )
    if cpu is not None or threads is not None:
        raise ValueError(f"cpu= and threads= are for CPUs; leave them out with target={target!r}")
    from .compiled_package_gpu import gpu_package

    data = gpu_package(export, target)
    return {path: data}, {"file": len(data)}


def _words(made: Made, target: str) -> str:
    """One line that says what the files are."""
    names = ", ".join(level.name for level in made.levels)
    made_by = f"made by nncomp {version('nncomp')} for {platform_name(target)} ({names})"
    return f"{made.layout.request.name}: {made_by}"


def _wasm_files(made: Made, path: str) -> Files:
    """The module and the JavaScript beside it."""
    name = made.layout.request.name
    unknown = sorted(wasm.undefined(made.object) - set(javascript.HOST))
    if unknown:
        raise ValueError(
            f"the model calls {', '.join(unknown)}, which WebAssembly's hosts do not have: float64 "
            "and float16 need them, float32 does not"
        )
    folder = os.path.dirname(path)
    module = javascript.module_text(made.layout, _words(made, "wasm32"))
    return {
        path: wasm.link(made.object, made.symbols),
        os.path.join(folder, f"{name}.mjs"): module.encode(),
        os.path.join(folder, f"{name}_example.mjs"): javascript.example_text(made.layout).encode(),
    }


def _sizes(made: Any) -> dict[str, int]:
    return {
        "code": made.code_bytes,
        "constants": len(made.weights or made.object) - (0 if made.weights else made.code_bytes),
        "workspace": made.layout.workspace,
        "state": made.layout.state_bytes,
    }
