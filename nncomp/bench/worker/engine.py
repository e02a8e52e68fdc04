"""What the process can be asked to run: the interface of an engine, and the table of engines."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np


class Engine:
    """One way to run a model. `load` gets the job, `prepare` makes `call()` possible.

    `prepare` is timed together with the first call: it holds what compiles. `load` is not: it
    imports the library, builds the Module and reads weights.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job

    def load(self) -> None:
        """Import, build, read weights and inputs."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Compile; after this `call` works."""
        raise NotImplementedError

    def call(self) -> Any:
        """Run the model once, or make one training step; complete when it returns."""
        raise NotImplementedError

    def arrays(self, result: Any) -> list[np.ndarray]:
        """What `call` returned, as arrays that nobody else writes to."""
        raise NotImplementedError

    def meeting(self) -> float | None:
        """Nanoseconds that an empty barrier of the threads takes now; None where unknown."""
        return None

    def mode(self) -> AbstractContextManager:
        """Entered around each use of `call`."""
        return nullcontext()


CLASSES = {
    "nncomp": ("torch_like", "NncompEngine"),
    "torch": ("torch_like", "TorchEngine"),
    "torch-compile": ("torch_like", "TorchCompileEngine"),
    "onnxruntime": ("onnxruntime_engine", "OnnxRuntimeEngine"),
    "openvino": ("openvino_engine", "OpenVinoEngine"),
    "jax": ("jax_engine", "JaxEngine"),
}


CUDA_CLASSES = {
    "nncomp": ("cuda_engines", "NncompCudaEngine"),
    "torch": ("cuda_engines", "TorchCudaEngine"),
    "torch-compile": ("cuda_engines", "TorchCompileCudaEngine"),
    "torch-reduce-overhead": ("cuda_engines", "TorchReduceOverheadEngine"),
    "torch-max-autotune": ("cuda_engines", "TorchMaxAutotuneEngine"),
}


def make(job: dict[str, Any]) -> Engine:
    """The engine that a job names, on the job's device."""
    classes = CUDA_CLASSES if job.get("device") == "cuda" else CLASSES
    module, name = classes[job["engine"]]
    return getattr(importlib.import_module(f".{module}", __package__), name)(job)
