"""JAX: a twin of the model written as a function of (weights, *inputs), under jit.

For inference the weights are constants of the compiled function, as frozen ones are elsewhere: XLA
lays them out once. As arguments they would be transposed in every call.
"""

from __future__ import annotations

import functools
import importlib
import itertools
from typing import Any

import numpy as np

from . import source
from .engine import Engine


class JaxEngine(Engine):
    """jit of the twin on JAX's CPU device."""

    def load(self) -> None:
        self.library: Any = importlib.import_module("jax")
        self.library.config.update("jax_platforms", "cpu")
        put = self.library.device_put
        with np.load(self.job["weights"]) as stored:
            self.weights = {name: put(stored[name]) for name in stored.files}
        self.inputs = [put(x) for x in source.load_arrays(self.job["inputs"])]
        self.function = source.find(*self.job["twin"])

    def prepare(self) -> None:
        train = self.job.get("train")
        if train is None:
            self.run = self.library.jit(functools.partial(self.function, self.weights))
            return
        from .jax_training import make_step

        step = make_step(self.function, self.weights, train)
        batches = itertools.cycle(source.in_batches(self.inputs, train["batches"]))
        self.call = lambda: step(*next(batches))

    def call(self) -> Any:
        return self.library.block_until_ready(self.run(*self.inputs))

    def arrays(self, result: Any) -> list[np.ndarray]:
        return [np.array(x) for x in source.flatten(result)]
