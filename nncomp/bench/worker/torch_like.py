"""nncomp, torch and torch.compile: the same Module code, the same calls around it.

Training makes the steps of the job's batches in turn: forward, loss, backward, update.
"""

from __future__ import annotations

import functools
import importlib
import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from . import aliases, source
from .engine import Engine


class TorchLikeEngine(Engine):
    """A library with torch's interface; subclasses say how it compiles."""

    library_name: str

    def load(self) -> None:
        job = self.job
        aliases.install(self.library_name)
        self.library: Any = importlib.import_module(self.library_name)
        self.library.set_num_threads(job["threads"])
        self.model = source.build(job["file"], job["model"])
        source.load_weights(self.model, job["weights"], self.library)
        tensors = [source.to_tensor(x, self.library) for x in source.load_arrays(job["inputs"])]
        self.train = job.get("train")
        if self.train is None:
            self.model.eval().requires_grad_(False)
            self.inputs = tensors
        else:
            self.model.train()
            self.batches = itertools.cycle(source.in_batches(tensors, self.train["batches"]))

    def prepare(self) -> None:
        if self.train is None:
            self.call = functools.partial(self.compiled(self.model), *self.inputs)
        else:
            step, batches = self.step(self.loss_function(), self.optimizer()), self.batches
            self.call = lambda: step(*next(batches))

    def loss_function(self) -> Callable:
        """The function of that name in the model's file, or the loss Module of `nn`."""
        name = self.train["loss"]
        own = getattr(source.load_file(self.job["file"]), name, None)
        return own if own is not None else getattr(self.library.nn, name)()

    def optimizer(self) -> Any:
        """The optimizer of that name over all parameters."""
        made = getattr(self.library.optim, self.train["optimizer"])
        return made(self.model.parameters(), **self.train["options"])

    def mode(self) -> AbstractContextManager:
        return self.library.inference_mode() if self.train is None else nullcontext()

    def arrays(self, result: Any) -> list[np.ndarray]:
        return [source.to_array(x).copy() for x in source.flatten(result)]

    def compiled(self, model: Any) -> Callable:
        """The model as it is called."""
        raise NotImplementedError

    def step(self, loss_function: Callable, optimizer: Any) -> Callable:
        """`step(*inputs, target) -> loss`, which also updates the model."""
        raise NotImplementedError


class NncompEngine(TorchLikeEngine):
    """nncomp.compile and nncomp.compile_train_step."""

    library_name = "nncomp"

    def meeting(self) -> float | None:
        if self.job.get("device") == "cuda":
            return None
        meeting = importlib.import_module("nncomp.backends.cpu.meeting")
        return meeting.meeting_nanoseconds(self.job["threads"])

    def compiled(self, model: Any) -> Callable:
        return self.library.compile(model)

    def step(self, loss_function: Callable, optimizer: Any) -> Callable:
        return self.library.compile_train_step(self.model, loss_function, optimizer)


class TorchEngine(TorchLikeEngine):
    """torch, operation by operation; optimizers with `fused=True`, their quickest form."""

    library_name = "torch"

    def load(self) -> None:
        super().load()
        self.library.set_num_interop_threads(1)

    def compiled(self, model: Any) -> Callable:
        return model

    def optimizer(self) -> Any:
        made = getattr(self.library.optim, self.train["optimizer"])
        try:
            return made(self.model.parameters(), fused=True, **self.train["options"])
        except (TypeError, RuntimeError, ValueError):  # this optimizer has no such form
            return super().optimizer()

    def step(self, loss_function: Callable, optimizer: Any) -> Callable:
        def loss_of(*batch: Any) -> Any:
            *inputs, target = batch
            return loss_function(self.model(*inputs), target)

        return self.whole_step(loss_of, optimizer.step, optimizer.zero_grad)

    def whole_step(self, loss_of: Callable, update: Callable, zero_grad: Callable) -> Callable:
        """The parts of a step in order."""

        def step(*batch: Any) -> Any:
            loss = loss_of(*batch)
            loss.backward()
            update()
            zero_grad()
            return loss.detach()

        return step


class TorchCompileEngine(TorchEngine):
    """torch.compile: with frozen weights for inference; loss and update compiled for training."""

    def compiled(self, model: Any) -> Callable:
        return self.library.compile(model, options={"freezing": True})

    def optimizer(self) -> Any:
        return TorchLikeEngine.optimizer(self)  # the compiler fuses the plain form

    def whole_step(self, loss_of: Callable, update: Callable, zero_grad: Callable) -> Callable:
        compile = self.library.compile
        return super().whole_step(compile(loss_of), compile(update), zero_grad)
