"""Jobs done before engines run: weights for a model, and its ONNX file.

Batch normalization is given the statistics of the benched input. With the initial ones, values in a
deep net shrink layer by layer until nothing of the input is left to compare.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from typing import Any

from . import aliases, source


def make_weights(job: dict[str, Any]) -> None:
    """Build the model with `library`, seeded, and write its weights."""
    library = load_library(job)
    library.manual_seed(job["seed"])
    model = source.build(job["file"], job["model"])
    if job["calibrate"]:
        inputs = [source.to_tensor(x, library) for x in source.load_arrays(job["inputs"])]
        calibrate(model, inputs, library)
    source.save_weights(model, job["weights"])


def load_library(job: dict[str, Any]) -> Any:
    """Import torch or nncomp, under both names."""
    aliases.install(job["library"])
    library = importlib.import_module(job["library"])
    library.set_num_threads(job["threads"])
    return library


def calibrate(model: Any, inputs: list[Any], library: Any) -> None:
    """Let each BatchNorm remember the statistics of `inputs`; others are left alone."""
    model.eval()
    norms = [m for m in model.modules() if getattr(m, "running_mean", None) is not None]
    before = [m.momentum for m in norms]
    for module in norms:
        module.train()
        module.momentum = 1.0
    if norms:
        with library.no_grad():
            model(*inputs)
    for module, momentum in zip(norms, before, strict=True):
        module.momentum = momentum


def export(job: dict[str, Any]) -> str:
    """Write the model as ONNX; returns which of torch's two exporters could do it."""
    library = load_library({**job, "library": "torch"})
    model = source.build(job["file"], job["model"])
    source.load_weights(model, job["weights"], library)
    model.eval().requires_grad_(False)
    inputs = tuple(source.to_tensor(x, library) for x in source.load_arrays(job["inputs"]))
    errors = []
    for dynamo in (True, False):
        try:
            with library.no_grad():
                library.onnx.export(model, inputs, job["onnx"], dynamo=dynamo)
            return "torch.export" if dynamo else "TorchScript"
        except Exception as error:  # the other exporter may know the operation
            errors.append(f"{type(error).__name__}: {error}")
            with contextlib.suppress(FileNotFoundError):
                os.remove(job["onnx"])
    raise RuntimeError("; ".join(errors))
