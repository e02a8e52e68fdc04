"""OpenVINO on the CPU: the exported model, tuned for latency, in float32.

Inputs and outputs share memory with the caller, which is its quickest way: there are no copies.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from . import source
from .engine import Engine


class OpenVinoEngine(Engine):
    """One infer request; compiling the model counts as part of the first call."""

    def load(self) -> None:
        self.library: Any = importlib.import_module("openvino")
        self.inputs = dict(enumerate(source.load_arrays(self.job["inputs"])))

    def prepare(self) -> None:
        options = {
            "INFERENCE_NUM_THREADS": self.job["threads"],
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the CPU has it
            "CACHE_DIR": self.job["cache"],
        }
        core = self.library.Core()
        compiled = core.compile_model(self.job["onnx"], "CPU", options)
        self.request = compiled.create_infer_request()

    def call(self) -> Any:
        return self.request.infer(self.inputs, share_inputs=True, share_outputs=True)

    def arrays(self, result: Any) -> list[np.ndarray]:
        return [np.array(result[i]) for i in range(len(result))]
