"""compile_train_step: forward, loss, backward and optimizer update as one compiled program.

The step is traced from the ordinary code: the loss, `autograd.grad` of it (the ops' own gradient
rules), and `optimizer.step()`. Parameters and optimizer state are updated in place by the program;
hyper-parameters are inputs of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import autograd, backends
from .autograd.modes import enable_grad, no_grad
from .compiled_call import Binding, _wrap, why_stale
from .hyper_number import COMPARE, HyperNumber
from .signature import describe_difference, signature
from .tensor import Tensor
from .tracing import trace_call

SKIPPED = {"params", "param_names"}


def compile_train_step(
    model: Any,
    loss_fn: Callable,
    optimizer: Any,
    *,
    backend: str = "cpu",
    threads: int | None = None,
) -> TrainStep:
    """`step(*inputs, target) -> loss` (a 0-d tensor) that also updates the model's parameters.

    One call does what eager code does with `loss = loss_fn(model(*inputs), target)`,
    `loss.backward()`, `optimizer.step()`, `optimizer.zero_grad()`. Parameters, buffers and optimizer
    state are updated in place, so `state_dict()` of both stays true; `.grad` is not filled. Learning
    rates and other float hyper-parameters are inputs: schedulers never cause a recompile.
    """
    backends.get(backend)
    return TrainStep(model, loss_fn, optimizer, backend, threads)


class TrainStep:
    """A compiled training step; see `compile_train_step`."""

    def __init__(self, model, loss_fn, optimizer, backend: str, threads: int | None):
        self.model, self.loss_fn, self.optimizer = model, loss_fn, optimizer
        self.backend, self.threads = backend, threads
        self.programs: dict[Any, list[_StepProgram]] = {}
        self.reasons: list[str] = []
        self._lock = threading.RLock()

    def __call__(self, *args: Any) -> Tensor:
        if len(args) < 2:
            raise TypeError(f"a train step takes inputs and a target, got {len(args)} argument(s)")
        with enable_grad():
            leaves, key = signature(args, {})
        with self._lock:
            program = self._find(key) or self._compile(key, args, leaves)
            return program(leaves)

    def _find(self, key: Any) -> _StepProgram | None:
        return next((p for p in self.programs.get(key, ()) if p.stale() is None), None)

    def _compile(self, key: Any, args: tuple, leaves: list) -> _StepProgram:
        same = self.programs.get(key)
        if same:
            self.reasons.append(str(same[-1].stale()))
        elif self.programs:
            self.reasons.append(describe_difference(list(self.programs)[-1], key))
        else:
            self.reasons.append("first call")
        made = _StepProgram(self, args, leaves)
        self.programs.setdefault(key, []).append(made)
        return made

    def explain(self) -> str:
        """Why each program was compiled, and what it consists of."""
        lines = [f"train step: {sum(map(len, self.programs.values()))} program(s)"]
        lines += [f"  {i}: {reason}" for i, reason in enumerate(self.reasons)]
        lines += [p.summary() for ps in self.programs.values() for p in ps]
        return "\n".join(lines)

    @property
    def last(self) -> _StepProgram:
        programs = [p for ps in self.programs.values() for p in ps]
        if not programs:
            raise RuntimeError("the train step was not called yet, so nothing is compiled")
        return programs[-1]

    @property
    def graph(self) -> Any:
        """The traced Graph (forward, backward and update) of the program compiled last."""
        return self.last.graph

    @property
    def fused_graph(self) -> Any:
        """The Graph of kernels of the program compiled last."""
        return self.last.runner.fused_graph


class _StepProgram:
    """One traced and compiled step."""

    def __init__(self, step: TrainStep, args: tuple, leaves: list):
        start = time.perf_counter()
        self.optimizer = step.optimizer
        self.threads = step.threads
        self.hypers = _hyper_parameters(step.optimizer)
        self.comparisons: list[tuple[int, str, float, bool]] = []
        self.statics = _static_options(step.optimizer)
        step.optimizer.init_state()
        values = [Tensor._wrap(np.array(v, np.float64)) for _, _, _, v in self.hypers]
        body = _StepBody(step, self.hypers, self._note)
        self.traced = trace_call(body.run, (values, *args), {}, root=step.model)
        self.graph = self.traced.graph
        self.binding = Binding(self.traced)
        traced_at = time.perf_counter()
        self.runner = backends.get(step.backend).compile(self.graph)
        self.seconds = traced_at - start, time.perf_counter() - traced_at

    def _note(self, number: int):
        def note(symbol: str, other: float, outcome: bool) -> None:
            self.comparisons.append((number, symbol, other, outcome))

        return note

    def stale(self) -> str | None:
        """Why this program does not fit any more; None if it does."""
        if _static_options(self.optimizer) != self.statics:
            return "an option of the optimizer changed"
        values = [v for *_, v in _hyper_parameters(self.optimizer)]
        for number, symbol, other, outcome in self.comparisons:
            if COMPARE[symbol](values[number], other) != outcome:
                _, name, _, _ = self.hypers[number]
                return f"{name} {symbol} {other} is {not outcome} now"
        return why_stale(self.traced)

    def __call__(self, leaves: list) -> Tensor:
        values = [_wrap(np.array(v, np.float64)) for *_, v in _hyper_parameters(self.optimizer)]
        tensors = self.binding.tensors([*values, *leaves])
        arrays = self.binding.arrays(tensors)
        with no_grad():
            self.binding.before_writes(tensors)
            results = self.runner(arrays, (), self.threads)
            self.binding.after_writes(tensors, arrays)
        plain = [_wrap(v) for v in results if v is not None]
        self.optimizer._opt_called = True
        return self.traced.rebuild(plain, [*values, *leaves])

    def summary(self) -> str:
        kernels = sum(n.name == "fused" for n in self.runner.fused_graph.nodes)
        trace, compile = self.seconds
        return (
            f"  {len(self.graph.nodes)} nodes -> {kernels} kernels "
            f"(trace {trace * 1e3:.0f} ms, compile {compile * 1e3:.0f} ms)"
        )


class _StepBody:
    """The function that is traced: one eager training step on symbolic hyper-parameters."""

    def __init__(self, step: TrainStep, hypers: list, note: Callable):
        self.step, self.hypers, self.note = step, hypers, note

    def run(self, hyper_values: list, *args: Any) -> Tensor:
        *inputs, target = args
        step = self.step
        with enable_grad():
            loss = step.loss_fn(step.model(*inputs), target)
        params = [p for g in step.optimizer.param_groups for p in g["params"] if p.requires_grad]
        grads = autograd.grad(loss, params, allow_unused=True)
        saved = [(p, p._grad) for p in params]
        options = [dict(g) for g in step.optimizer.param_groups]
        try:
            for p, g in zip(params, grads, strict=True):
                p._grad = g
            self._symbolic(hyper_values)
            step.optimizer.step()
        finally:
            for p, g in saved:
                p._grad = g
            for group, old in zip(step.optimizer.param_groups, options, strict=True):
                group.update(old)
        return loss.detach()

    def _symbolic(self, values: list) -> None:
        """Put symbolic numbers where the optimizer finds its hyper-parameters."""
        groups = self.step.optimizer.param_groups
        for number, ((g, name, place, value), x) in enumerate(zip(self.hypers, values, strict=True)):
            made = HyperNumber.make(value, x, self.note(number))
            if place is None:
                groups[g][name] = made
            else:
                old = groups[g][name]
                groups[g][name] = (*old[:place], made, *old[place + 1 :])


def _hyper_parameters(optimizer: Any) -> list[tuple[int, str, int | None, float]]:
    """(group, option, place in a tuple, value) of every float option."""
    found: list[tuple[int, str, int | None, float]] = []
    for g, group in enumerate(optimizer.param_groups):
        for name, value in group.items():
            if name in SKIPPED:
                continue
            if name == "lr" and isinstance(value, Tensor):
                found.append((g, name, None, value.item()))
            elif name == "lr" or type(value) is float:
                found.append((g, name, None, float(value)))
            elif isinstance(value, tuple):
                found += [(g, name, i, v) for i, v in enumerate(value) if type(v) is float]
    return found


def _static_options(optimizer: Any) -> tuple:
    """Everything in the groups that is baked into a program."""
    rows: list[Any] = []
    for group in optimizer.param_groups:
        rows.append(tuple(map(id, group["params"])))
        rows += [
            (name, value)
            for name, value in group.items()
            if name not in SKIPPED and isinstance(value, (bool, int, str, type(None)))
            and not (name == "lr")
        ]
    return tuple(rows)
