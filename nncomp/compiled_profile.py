"""`compiled.profile(*inputs)`: from a compiled callable to the report of one of its programs.

Programs run on copies of what they write, so a profile changes neither parameters, statistics,
optimizer state nor the random stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .autograd.modes import enable_grad, state
from .bench.machine import cpu_name
from .profile.build import machine_of, make_report
from .profile.report import Report
from .profile.sources import Sources
from .profile.words import origins_of
from .random_state import default_generator
from .signature import signature


def profile_call(
    compiled: Any, args: tuple, kwargs: dict, repeat: int | None, threads: int | None
) -> Report:
    """The report of the program that a call of a CompiledFunction with these arguments runs."""
    check_options(repeat, threads)
    if state.tracer is not None:
        raise RuntimeError("profile() cannot be called while a function is traced")
    leaves, key = signature(args, kwargs)
    program = compiled.find(key, leaves)
    if program is None:
        program = compiled._compile(key, args, kwargs, leaves)
    tensors = program.binding.tensors(leaves)
    return profile_program(program, tensors, program.graph.name, repeat, threads or program.threads)


def profile_step(step: Any, args: tuple, repeat: int | None, threads: int | None) -> Report:
    """The report of a TrainStep on one batch: forward, loss, backward and update, on copies."""
    from .train_step import _StepProgram

    check_options(repeat, threads)
    with enable_grad():
        leaves, key = signature(args, {})
    with step._lock:
        program = step.find(key, leaves)
        if program is None:
            program = step.find_or_make(key, leaves, lambda: _StepProgram(step, args))
        for array, value in zip(program.numbers, program.current.numbers, strict=True):
            array[()] = value
        tensors = program.binding.tensors([*program.hypers, *leaves])
        return profile_program(program, tensors, step.title, repeat, threads or step.threads)


def check_options(repeat: int | None, threads: int | None) -> None:
    """ValueError for counts that are none."""
    for name, value in (("repeat", repeat), ("threads", threads)):
        ok = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if value is not None and not ok:
            raise ValueError(f"{name} must be a positive integer or None, got {value!r}")


def profile_program(
    program: Any, tensors: Sequence[Any], title: str, repeat: int | None, threads: int | None
) -> Report:
    """The report of one compiled program on these input tensors; ValueError without kernels."""
    check_options(repeat, threads)
    runner = program.runner
    if not hasattr(runner, "executable"):
        raise ValueError(
            "profile() times the kernels of compiled code, and this backend has none: "
            'compile with backend="cpu"'
        )
    from .backends.cpu.bandwidth import roof
    from .backends.cpu.profile_run import time_steps
    from .backends.cpu.target import host_target

    arrays = _arrays(program.binding, tensors)
    cached = getattr(program, "prepared", None)
    prepared = () if cached is None else cached.arrays(arrays)
    timing = time_steps(runner, arrays, prepared, threads, repeat)
    target = host_target()
    counts = dict.fromkeys((1, timing.threads))
    words = f"{target.cpu}, vectors of {target.vector_bits} bits"
    machine = machine_of(cpu_name(), words, [roof(n) for n in counts])
    texts = {name: code.text for name, code in runner.codes.items()}
    sources = Sources(runner.fused_graph, texts, _assembler(target))
    return make_report(title, timing, machine, origins_of(program.graph), sources)


def _arrays(binding: Any, tensors: Sequence[Any]) -> list[np.ndarray]:
    """The program's input arrays, copies of those that it writes."""
    state = default_generator.get_state()
    arrays = list(binding.arrays(tensors))
    default_generator.set_state(state)
    for i in binding.updated:
        arrays[i] = arrays[i].copy()
    return arrays


def _assembler(target: Any) -> Callable[[str], str]:
    """LLVM text to assembly of this machine."""

    def assembly(text: str) -> str:
        from .backends.cpu.assembly import assembly_of

        return assembly_of(text, target)

    return assembly
