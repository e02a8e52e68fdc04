"""ONNX Runtime on the CPU: the exported model, all graph optimizations."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from . import source
from .engine import Engine


class OnnxRuntimeEngine(Engine):
    """An InferenceSession; making it counts as part of the first call."""

    def load(self) -> None:
        self.library: Any = importlib.import_module("onnxruntime")
        self.inputs = source.load_arrays(self.job["inputs"])

    def prepare(self) -> None:
        options = self.library.SessionOptions()
        options.intra_op_num_threads = self.job["threads"]
        options.inter_op_num_threads = 1
        options.graph_optimization_level = self.library.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        self.session = self.library.InferenceSession(
            self.job["onnx"], options, providers=["CPUExecutionProvider"]
        )
        names = [entry.name for entry in self.session.get_inputs()]
        self.feed = dict(zip(names, self.inputs, strict=True))

    def call(self) -> Any:
        return self.session.run(None, self.feed)

    def arrays(self, result: Any) -> list[np.ndarray]:
        return [np.array(x) for x in result]
