"""compile_train_step: forward, loss, backward and optimizer update as one compiled program.

The step is traced from the ordinary code: the loss, `autograd.grad` of it (the ops' own gradient
rules), and `optimizer.step()`. Parameters and optimizer state are updated in place by the program;
hyper-parameters are inputs of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import is_
from typing import Any

import numpy as np

from . import autograd, dispatch
from .accumulation import Accumulation
from .amp.compiled_step import Scaling, without_autocast
from .amp.grad_scaler import GradScaler
from .autograd.modes import enable_grad, no_grad, state
from .backends import expect_compile
from .backends.options import check
from .binding import Binding, Source
from .compiled_call import all_guards, only_output, slot_sources, trace_guarded, wrap_all
from .compiler import check_options
from .cuda.running import backend_for
from .hyper_number import Condition
from .ir.types import TensorType, float64
from .optimizer_options import FIXED, Options
from .program_cache import ProgramCache
from .signature import signature
from .tensor import Tensor
from .trace_error import TraceError
from .trace_values import map_leaves
from .train_arguments import check_gradients, check_step_arguments, count_targets
from .train_resident import OnDevice


def compile_train_step(
    model: Any,
    loss_fn: Callable | None,
    optimizer: Any,
    *,
    outputs: bool = False,
    before_update: Callable[[], Any] | None = None,
    backend: str = "cpu",
    threads: int | None = None,
    options: Mapping[str, Any] | None = None,
    memory_limit: int | str | None = None,
    scaler: GradScaler | None = None,
    accumulate: int = 1,
) -> TrainStep:
    """`step(*inputs, target) -> loss` (a 0-d tensor) that also updates the model's parameters.

    One call does what eager code does with `loss = loss_fn(model(*inputs), target)`,
    `loss.backward()`, `optimizer.step()`, `optimizer.zero_grad()`. Parameters, buffers and
    optimizer state are updated in place, so `state_dict()` of both stays true; `.grad` is not
    filled. Learning rates and other float hyper-parameters are inputs: schedulers never cause a
    recompile.

    A `loss_fn` that only takes the output has no target: `step(*inputs)`; and without one (None)
    the model returns the loss itself. With `outputs=True` a step returns `(loss, output)`, the
    output detached, so that an accuracy needs no second forward.

    `before_update()` runs between backward and update, where eager code would clip gradients:
    `lambda: nn.utils.clip_grad_norm_(model.parameters(), 1.0)`. It finds them in `.grad`, is
    recorded with the rest and must not depend on their values in Python. `options` are those of
    `compile`. `memory_limit` (bytes, or a text like "512MB") bounds the memory of intermediate
    values: what does not fit is computed again where the backward part needs it, cheapest first,
    with the same numbers bit for bit. MemoryLimitError (a RuntimeError) at the first call names the
    smallest size that can be reached.

    With `scaler`, an `amp.GradScaler("cpu")`, the loss is scaled, `before_update` finds unscaled
    gradients, a step with an inf or nan among them changes no parameter and no state, and the scale
    is updated. Under `autocast` around the call, forward and loss run in its mode.

    With `accumulate`, that many calls add up their gradients, and the last of them updates; divide
    the loss by it for the gradient of a mean.

    Raises TypeError for a model that is no Module and other arguments of a wrong kind, and
    ValueError at the first call if the loss depends on no parameter of the optimizer.
    """
    check_step_arguments(model, loss_fn, optimizer, before_update)
    if not isinstance(outputs, bool):
        raise TypeError(f"outputs must be True or False, got {outputs!r}")
    check_options(backend, threads)
    options = dict(options or {})
    if memory_limit is not None:
        if backend != "cpu":
            raise ValueError(f"memory_limit is for the backend 'cpu', got backend={backend!r}")
        options["memory_limit"] = memory_limit
    return TrainStep(
        model, loss_fn, optimizer, before_update, backend, threads, check(options), scaler,
        accumulate, outputs,
    )  # fmt: skip


class TrainStep(ProgramCache):
    """A compiled training step; see `compile_train_step`."""

    title = "train step"

    def __init__(
        self, model: Any, loss_fn: Callable | None, optimizer: Any,
        before_update: Callable[[], Any] | None, backend: str, threads: int | None,
        options: dict[str, Any], scaler: GradScaler | None = None, accumulate: int = 1,
        outputs: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.model, self.loss_fn, self.optimizer = model, loss_fn, optimizer
        self.outputs, self.targets = outputs, count_targets(loss_fn)
        self.before_update, self.options = before_update, options
        self.scaler, self.accumulation = scaler, Accumulation(accumulate)
        self.backend, self.threads = backend, threads
        self.resident: OnDevice | None = None

    def on_device(self) -> OnDevice:
        """A `with` block in which parameters, buffers and optimizer state stay on the GPU.

        Inside, a step copies only its arguments there and its loss back; the tensors keep their old
        values until the block ends. Writing them in between is a RuntimeError at the next step.
        Other backends than "ptx" run as always.
        """
        return OnDevice(self)

    def __call__(self, *args: Any) -> Any:
        if len(args) < 1 + self.targets:
            takes = "inputs and a target" if self.targets else "the model's inputs"
            raise TypeError(f"this train step takes {takes}, got {len(args)} argument(s)")
        if self.optimizer._optimizer_step_pre_hooks:
            raise RuntimeError(
                "the optimizer has a step pre-hook, which cannot run inside of a compiled step; "
                "remove it, or train eagerly"
            )
        before = state.grad_enabled
        state.grad_enabled = True  # quicker than the context manager
        try:
            leaves, key = signature(args, {})
        finally:
            state.grad_enabled = before
        with self._lock:
            program = self.find(key, leaves)
            if program is None:
                program = self.find_or_make(key, leaves, lambda: _StepProgram(self, args))
            loss = program(leaves)
            self.accumulation.advance()
        if not program.is_last:
            return loss
        for hook in tuple(self.optimizer._optimizer_step_post_hooks.values()):
            hook(self.optimizer, (), {})
        return loss

    def profile(
        self, *args: Any, repeat: int | None = None, threads: int | None = None
    ) -> Any:
        """Time each kernel of the step on this batch: a Report, as `profile` of compiled Modules.

        Parameters, buffers and optimizer state keep their values: the step runs on copies.
        """
        from .compiled_profile import profile_step

        return profile_step(self, args, repeat, threads)


class _StepProgram:
    """One traced and compiled step."""

    def __init__(self, step: TrainStep, args: tuple):
        start = time.perf_counter()
        expect_compile(step.backend)
        self.step, self.optimizer = step, step.optimizer
        with _state_unless_error(self.optimizer):
            self.optimizer.init_state()
            self.is_last = step.accumulation.is_last
            step.accumulation.prepare(list(self._parameters()))
            self.options = self.current = Options(self.optimizer)
            self.numbers = [np.zeros(()) for _ in self.options.numbers]
            scalar = TensorType((), float64)
            self.hypers = [dispatch.wrap(x, scalar) for x in self.numbers]
            self.scaling = Scaling(step.scaler)
            body = _StepBody(step, self.options, self.scaling)
            functions = [step.loss_fn, step.model, step.before_update]
            functions = [f for f in functions if f is not None]
            with _frozen_state(self.optimizer):
                run_args = (self.hypers, *args)
                self.traced, names = trace_guarded(functions, body.run, run_args, {}, step.model)
            self.conditions = body.conditions
            groups = self.optimizer.param_groups
            options = [v for group in groups for name, v in group.items() if name not in FIXED]
            self._mutable = any(isinstance(v, (list, Tensor)) for v in options)
            self._values: list[Any] = []
            self.hooks = self._tensor_hooks()
            sources = [*self._state_sources(), *slot_sources(self.traced)]
            self.graph = self.traced.graph
            self.binding = Binding(self.traced, sources)
            traced_at = time.perf_counter()
            tensors = [*self.traced.captures, *self._leaves(args)]
            backend, more = backend_for(step.backend, step.options, tensors)
            self.guards = all_guards(self.traced, names, sources, more)
            self.runner = backend.compile(self.graph)
        outputs = zip(self.graph.outputs, self.graph.output_names, strict=True)
        self.types = [node.type for node, name in outputs if not name]
        self.simple = only_output(self.traced.structure)
        self.seconds = traced_at - start, time.perf_counter() - traced_at

    @property
    def fused_graph(self) -> Any:
        """The Graph of kernels."""
        return self.runner.fused_graph

    @staticmethod
    def _leaves(args: tuple) -> list:
        return signature(args, {})[0]

    def _parameters(self) -> Iterator[Tensor]:
        return (p for group in self.optimizer.param_groups for p in group["params"])

    def _tensor_hooks(self) -> list[tuple]:
        hooks = (p._backward_hooks for p in self._parameters())
        return [tuple(map(id, h.values())) for h in hooks if h]

    def _state_sources(self) -> Iterator[Source]:
        """Where the optimizer keeps its tensors: load_state_dict puts others there."""
        optimizer = self.optimizer
        for number, p in enumerate(self._parameters()):
            for name, value in optimizer.state.get(p, {}).items():
                if isinstance(value, Tensor):

                    def find(leaves: Any, p: Tensor = p, name: str = name) -> Tensor | None:
                        return optimizer.state.get(p, {}).get(name)

                    words = f"state '{name}' of parameter {number} in the optimizer"
                    yield Source(value, find, words)

    def stale(self, leaves: list) -> str | None:
        """Why this program does not fit any more; None if it does."""
        if self.is_last != self.step.accumulation.is_last:
            return f"this call {'only adds' if self.is_last else 'updates with'} gradients"
        reason = self._options_changed() or self.binding.stale(leaves)
        if reason is not None and any(s.find(leaves) is None for _, s in self.binding.sources):
            self.optimizer.init_state()
            reason = self._options_changed() or self.binding.stale(leaves)
        if reason is None and self._tensor_hooks() != self.hooks:
            reason = "the hooks of a parameter changed"
        return reason or self.scaling.stale() or self.guards.check()

    def _options_changed(self) -> str | None:
        """Read the options again if one of them may be another one than at the last step."""
        groups = self.optimizer.param_groups
        values = [v for group in groups for name, v in group.items() if name not in FIXED]
        values += self._parameters()
        same = len(values) == len(self._values) and all(map(is_, values, self._values))
        if same and not self._mutable:
            return None
        self.current = Options(self.optimizer)
        reason = self.options.difference(self.current, self.conditions)
        self._values = [] if reason else values
        return reason

    def __call__(self, leaves: list) -> Tensor:
        """Run the step; `stale()` was asked just before, and read the options."""
        for array, value in zip(self.numbers, self.current.numbers, strict=True):
            array[()] = value
        arguments = [*self.hypers, *leaves]
        binding = self.binding
        tensors = binding.tensors(arguments)
        binding.before_writes(tensors)
        resident = self.step.resident
        if resident is not None and resident.holds(self):
            results = resident.run(self, tensors)
        else:
            arrays = binding.arrays(tensors)
            results = self.runner(arrays, (), self.step.threads)
            binding.after_writes(tensors, arrays)
        plain = wrap_all([v for v in results if v is not None], self.types)
        self.optimizer._opt_called = self.optimizer._opt_called or self.is_last
        if self.simple is not None:
            return plain[self.simple]
        return self.traced.rebuild(plain, arguments)

    def summary(self) -> list[str]:
        """Lines for explain(): sizes and times."""
        kernels = sum(n.name == "fused" for n in self.fused_graph.nodes)
        trace, compile = self.seconds
        size = f"{len(self.graph.nodes)} nodes -> {kernels} kernels"
        return [f"  {size} (trace {trace * 1e3:.0f} ms, compile {compile * 1e3:.0f} ms)"]


class _StepBody:
    """The function that is traced: one eager training step on symbolic hyper-parameters."""

    def __init__(self, step: TrainStep, options: Options, scaling: Scaling):
        self.step, self.options, self.scaling = step, options, scaling
        self.conditions: list[Condition] = []

    def run(self, hyper_values: list, *args: Any) -> Any:
        step, count = self.step, len(args) - self.step.targets
        with enable_grad():
            output = step.model(*args[:count])
            loss = output if step.loss_fn is None else step.loss_fn(output, *args[count:])
        if not isinstance(loss, Tensor):
            who = "loss_fn" if step.loss_fn is not None else "a model without loss_fn"
            raise TypeError(f"{who} must return a Tensor, got {type(loss).__name__}")
        with without_autocast():
            self._update(loss, hyper_values)
        if not step.outputs:
            return loss.detach()
        return loss.detach(), map_leaves(output, lambda x, _: _detached(x))

    def _update(self, loss: Tensor, hyper_values: list) -> None:
        """Gradients, and what the optimizer does with them."""
        step, groups, scaling = self.step, self.step.optimizer.param_groups, self.scaling
        params = [p for g in groups for p in g["params"] if p.requires_grad]
        with enable_grad():
            scaled = scaling.loss(loss)
        grads = autograd.grad(scaled, params, allow_unused=True)
        check_gradients(params, grads)
        totals = step.accumulation.add(params, grads)
        if not step.accumulation.is_last:
            return
        scaling.unscale(totals)
        saved = [(p, p._grad) for g in groups for p in g["params"]]
        options = [dict(g) for g in groups]
        try:
            for p, _ in saved:
                p._grad = None
            for p, g in zip(params, totals, strict=True):
                p._grad = g
            if step.before_update is not None:
                with no_grad():
                    step.before_update()
            self.options.put_symbols(step.optimizer, hyper_values, self.conditions)
            with _without_hooks(step.optimizer), scaling.update(step.optimizer):
                step.optimizer.step()
        finally:
            for p, g in saved:
                p._grad = g
            for group, old in zip(groups, options, strict=True):
                group.clear()
                group.update(old)


def _detached(x: Any) -> Any:
    return x.detach() if isinstance(x, Tensor) else x


@contextmanager
def _without_hooks(optimizer: Any) -> Iterator[None]:
    """Step hooks do not run while the step is recorded, but at each call."""
    hooks = optimizer._optimizer_step_post_hooks
    optimizer._optimizer_step_post_hooks = type(hooks)()
    try:
        yield
    finally:
        optimizer._optimizer_step_post_hooks = hooks


@contextmanager
def _state_unless_error(optimizer: Any) -> Iterator[None]:
    """Put the optimizer's state back if the step cannot be compiled."""
    saved = {p: dict(entries) for p, entries in optimizer.state.items()}
    called = optimizer._opt_called
    try:
        yield
    except BaseException:
        optimizer.state.clear()
        optimizer.state.update(saved)
        optimizer._opt_called = called
        raise


@contextmanager
def _frozen_state(optimizer: Any) -> Iterator[None]:
    """TraceError if a step does more to its state than write tensors that exist already."""
    before = {p: dict(entries) for p, entries in optimizer.state.items()}
    yield
    for p, entries in optimizer.state.items():
        for name, value in entries.items():
            old = before.get(p, {}).get(name)
            if old is not value and not (isinstance(old, (int, float, str)) and old == value):
                raise TraceError(
                    f"{type(optimizer).__name__}.step() puts a new '{name}' into its state, which "
                    "a compiled step cannot: create state in init_param() and update it in place; "
                    "count steps in a tensor"
                )


__all__ = ["TrainStep", "compile_train_step"]
