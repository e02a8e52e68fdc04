"""The engines that can be compared, what each needs to be installed, and how it is switched."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

THREAD_VARIABLES = (
    "NNCOMP_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
)  # fmt: skip


@dataclass(frozen=True)
class EngineKind:
    """`modules` must be importable; `source` is what it runs: Module code, ONNX or a JAX twin.

    `devices` are those that it can be measured on here.
    """

    name: str
    modules: tuple[str, ...]
    source: str = "module"
    trains: bool = False
    devices: tuple[str, ...] = ("cpu",)


BOTH, CUDA = ("cpu", "cuda"), ("cuda",)
_KINDS = (
    EngineKind("nncomp", (), trains=True, devices=BOTH),
    EngineKind("torch", ("torch",), trains=True, devices=BOTH),
    EngineKind("torch-compile", ("torch",), trains=True, devices=BOTH),
    EngineKind("torch-reduce-overhead", ("torch",), trains=True, devices=CUDA),
    EngineKind("torch-max-autotune", ("torch",), trains=True, devices=CUDA),
    EngineKind("onnxruntime", ("onnxruntime",), source="onnx"),
    EngineKind("openvino", ("openvino",), source="onnx"),
    EngineKind("jax", ("jax",), source="jax", trains=True),
)
ENGINES = {kind.name: kind for kind in _KINDS}
OURS = "nncomp"
DEVICES = ("cpu", "cuda")


def names_for(device: str) -> list[str]:
    """The engines that are measured on a device."""
    return [name for name, kind in ENGINES.items() if device in kind.devices]


def is_installed(module: str) -> bool:
    """Whether a module can be found; nothing is imported."""
    return importlib.util.find_spec(module) is not None


def why_missing(name: str, train: bool, twin: str | None) -> str | None:
    """Why an engine has no figure for a model, before anything runs; None if it can be tried."""
    kind = ENGINES[name]
    absent = [module for module in kind.modules if not is_installed(module)]
    if absent:
        return f"{absent[0]} is not installed"
    if train and not kind.trains:
        return "does not take part in training"
    if kind.source == "jax" and twin is None:
        return "no JAX version of this model"
    if kind.source == "onnx":
        absent = [m for m in ("torch", "onnx", "onnxscript") if not is_installed(m)]
        if absent:
            return f"making its ONNX file needs {absent[0]}, which is not installed"
    return None


def check_names(names: list[str], device: str = "cpu") -> None:
    """ValueError for an engine that does not exist or does not run there, or twice the same."""
    for name in names:
        if name not in ENGINES:
            raise ValueError(f"unknown engine {name!r}; there are: {', '.join(ENGINES)}")
        if device not in ENGINES[name].devices:
            there = ", ".join(names_for(device))
            raise ValueError(f"engine {name!r} is not measured on {device}; there are: {there}")
        if names.count(name) > 1:
            raise ValueError(f"engine {name!r} is named twice")


def environment(threads: int, cache: Path) -> dict[str, str]:
    """Variables of an engine's process: threads, and every compiler's cache below `cache`."""
    return {
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "NNCOMP_CACHE": "1",
        "NNCOMP_CACHE_DIR": str(cache / "nncomp"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
