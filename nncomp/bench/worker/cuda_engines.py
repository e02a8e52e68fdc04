"""The engines with `--device cuda`: parameters and inputs are on the GPU before the clock starts.

A call is complete when it returns: every engine waits for the GPU. float32 products are in float32
for all unless `--precision tf32` says otherwise; torch's own defaults differ between products and
convolutions. In training all engines copy each batch from the host.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from . import source
from .torch_like import TorchEngine, TorchLikeEngine


class NncompCudaEngine(TorchLikeEngine):
    """nncomp.compile with backend="ptx"; inference is one CUDA graph per call."""

    library_name = "nncomp"

    def prepare(self) -> None:
        if self.train is not None:
            super().prepare()
            return
        compiled = self.compiled(self.model)
        compiled(*self.inputs)
        self.program = compiled._compiled_forward.last.runner.device_program()
        self.call = self._run

    def compiled(self, model: Any) -> Callable:
        return self.library.compile(model, backend="ptx", options=self._options())

    def step(self, loss_function: Callable, optimizer: Any) -> Callable:
        options = {"backend": "ptx", "options": self._options()}
        step = self.library.compile_train_step(self.model, loss_function, optimizer, **options)
        self.block = step.on_device()
        self.block.__enter__()
        return step

    def _options(self) -> dict[str, str]:
        return {"matmul_precision": self.job["precision"]}

    def _run(self) -> None:
        self.program.run()
        self.program.device.synchronize()

    def arrays(self, result: Any) -> list[np.ndarray]:
        """Results of inference are fetched from the GPU; a loss is here already."""
        if self.train is None:
            return [x for x in self.program.results() if x is not None]
        return super().arrays(result)


class TorchCudaEngine(TorchEngine):
    """torch on the GPU, operation by operation."""

    options: dict[str, Any] = {}

    def load(self) -> None:
        super().load()
        torch = self.library
        tf32 = self.job["precision"] == "tf32"
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32
        self.model = self.model.cuda()
        if self.train is None:
            self.inputs = [x.cuda() for x in self.inputs]

    def prepare(self) -> None:
        if self.train is None:
            run = functools.partial(self.compiled(self.model), *self.inputs)
        else:
            step = self.step(self.loss_function(), self.optimizer())
            batches = self.batches

            def run() -> Any:
                return step(*(x.cuda(non_blocking=True) for x in next(batches)))

        self.call = functools.partial(self._complete, run)

    def _complete(self, run: Callable) -> Any:
        result = run()
        self.library.cuda.synchronize()
        return result

    def loss_function(self) -> Callable:
        made = super().loss_function()
        return made.cuda() if hasattr(made, "cuda") else made

    def arrays(self, result: Any) -> list[np.ndarray]:
        return [x.detach().cpu().numpy().copy() for x in source.flatten(result)]


class TorchCompileCudaEngine(TorchCudaEngine):
    """torch.compile in its default mode."""

    mode_name: str | None = None

    def compiled(self, model: Any) -> Callable:
        return self.library.compile(model, mode=self.mode_name)

    def optimizer(self) -> Any:
        return TorchLikeEngine.optimizer(self)  # the compiler fuses the plain form

    def whole_step(self, loss_of: Callable, update: Callable, zero_grad: Callable) -> Callable:
        compile = functools.partial(self.library.compile, mode=self.mode_name)
        return super().whole_step(compile(loss_of), compile(update), zero_grad)


class TorchReduceOverheadEngine(TorchCompileCudaEngine):
    """torch.compile with CUDA graphs."""

    mode_name = "reduce-overhead"

    def _complete(self, run: Callable) -> Any:
        self.library.compiler.cudagraph_mark_step_begin()
        return super()._complete(run)


class TorchMaxAutotuneEngine(TorchReduceOverheadEngine):
    """torch.compile with CUDA graphs and kernels chosen by trial."""

    mode_name = "max-autotune"

