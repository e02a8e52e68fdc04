"""The short way from `compiled(x)` to the machine code: native entries, made and remade as needed.

After a call that went the long way, the program gets a native function that repeats it as long as
nothing it depends on was touched (`compiled_watch.py`). That covers calls without gradients whose
arguments are Tensors, or other objects that stay the very same; programs that write to tensors,
draw random numbers or check indices go the long way. Entries answer None when in doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .autograd.modes import state
from .backends.cpu import pool
from .backends.cpu.entry import Entry, Mode, TensorClass, available, make_entry
from .backends.cpu.threads import get_num_threads
from .compiled_watch import FEW_USES, LONGEST_WAIT, Unwatchable, watch_of
from .nn._hooks import GLOBAL
from .nn.module import Module
from .released import present
from .signature import signature
from .tensor import Tensor

MODULE_CALL = Module.__call__
MAX_ENTRIES = 4  # tried one after the other
_CONSTANTS = (type(None), bool, int, float, str)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Shortcut:
    """Makes native entries for one program."""

    def __init__(self, program: Any):
        self.program = program
        self.entry: Entry | None = None
        self.call: Callable | None = None
        self.lasted = True  # whether the last entry was worth its making
        self.wait, self.left = 0, 0  # calls to let pass before the next entry is made

    @classmethod
    def of(cls, program: Any) -> Shortcut | None:
        """For a program that can have native entries; None for others."""
        binding, runner = program.binding, program.runner
        fits = (
            program.gradient is None
            and not (binding.updated or binding.sources or binding.draws or program.traced.grads)
            and not any(program.graph.output_names)
            and getattr(runner, "executable", None) is not None
            and runner.checker is None
        )
        return cls(program) if fits and available() else None

    def holds(self) -> bool:
        """Whether the entry there is was only busy, or got arguments that it does not take."""
        return self.entry is not None and self.entry.holds()

    def due(self) -> bool:
        """Whether to make an entry at this call. Entries that never last are made rarely."""
        if self.entry is not None:
            self.lasted = self.entry.hits >= FEW_USES
            self.entry = self.call = None
        if self.left:
            self.left -= 1
            return False
        self.wait = 0 if self.lasted else min(2 * self.wait + 1, LONGEST_WAIT)
        self.left, self.lasted = self.wait, False
        return True

    def make(self, key: Any, args: tuple, modules: Sequence[Any]) -> Callable | None:
        """A function like the compiled one for arguments like `args`; None where impossible."""
        program = self.program
        binding = program.binding
        try:
            watch = watch_of(program.guards.inner, binding.captures, modules)
        except Unwatchable:
            return None
        watch.names.append((vars(pool), "_pool", pool.get_pool()))
        leaves, now = signature(args, {})  # what was checked before may have changed since
        if now != key or program.stale(leaves) is not None or not _is_plain(args):
            return None
        self.entry = self._entry(args, leaves, watch)
        if self.entry is not None:
            self.call = self._finished(self.entry.call)
        return self.call

    def _entry(self, args: tuple, leaves: list, watch: Any) -> Entry | None:
        program = self.program
        tensors = program.binding.tensors(leaves)
        arrays = program.binding.arrays(tensors)
        captures = len(program.binding.captures)
        if any(a is not present(x) for a, x in zip(arrays, tensors, strict=True)):
            return None
        prepared = program.prepared.arrays(arrays)
        return make_entry(
            program.runner,
            args,
            [*arrays[:captures], *(None for _ in leaves)],
            prepared,
            program.types,
            program.simple,
            watch,
            Mode(state, state.grad_enabled, state.autocast),
            TensorClass(Tensor),
            program.threads or get_num_threads(),
        )

    def _finished(self, call: Callable) -> Callable:
        """`call` with the function's own structure around its results."""
        program = self.program
        if program.simple is not None:
            return call

        def whole(*args: Any) -> Any:
            results = call(*args)
            if results is None:
                return None
            return program._finish(results, [x for x in args if isinstance(x, Tensor)])

        return whole


def _is_plain(args: tuple) -> bool:
    """Whether these are different Tensors, and values that cannot change."""
    tensors = [x for x in args if type(x) is Tensor]
    others = sum(type(x) in _CONSTANTS for x in args)
    return len(tensors) + others == len(args) and len(set(map(id, tensors))) == len(tensors)


def is_unhooked(module: Any) -> bool:
    """Whether calling a module is calling its forward(), with nothing around it."""
    if type(module).__call__ is not MODULE_CALL:
        return False
    return not (GLOBAL.around_call() or any(getattr(module, name) for name in _HOOKS))
