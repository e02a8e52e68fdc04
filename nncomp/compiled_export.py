"""From a Module, a function or a training step to what `nncomp.aot` writes into a file.

The call is recorded once, without gradients. Captured tensors are constants of the file, or state
if a run changes them; the random key is state too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .aot.trees import encode
from .autograd.modes import enable_grad, no_grad, state
from .backends.cpu.aot.program import Entry, Request
from .compiled_call import trace_guarded
from .compiled_fast import is_unhooked
from .compiled_module import original
from .compiler import CompiledFunction
from .ir.debug import debug
from .ir.graph import Graph, inline, input_node
from .optimizer_options import place_name
from .random_state import default_generator
from .signature import signature
from .tensor import Tensor
from .trace_result import Output, Traced
from .trace_values import map_leaves, named_arguments
from .train_step import TrainStep, _StepProgram


@dataclass
class Export:
    """A recorded call: the request to the backend, and how Python arguments and results look."""

    request: Request
    parameters: list[str]  # names of the arguments, those by position first
    arguments: Any  # trees as JSON values, with tensors as numbers
    result: Any
    options: dict[str, Any]  # of `compile`

    @contextlib.contextmanager
    def settings(self) -> Any:
        """The block compiles with the options."""
        with debug(**self.options):
            yield


# -- Modules and functions -------------------------------------------------------------------------


def export_call(model: Any, args: tuple, kwargs: dict, name: str) -> Export:
    """Record `model(*args, **kwargs)` without gradients.

    TypeError for what cannot be called, TraceError for code that depends on tensor values,
    ValueError for what a file cannot express: a changed argument, a result that is the Module's
    own tensor.
    """
    _refuse_tracing()
    function, root, options = _function_of(model)
    with no_grad():
        traced, _ = trace_guarded([function], function, args, kwargs, root, False)
    _check(traced)
    entries = _entries(traced)
    request = Request(name, traced.graph, entries, _output_names(traced), traced.draws)
    names = named_arguments(function, args, kwargs)
    tree = encode([*args, *kwargs.values()], _numbered())["list"]
    return Export(request, names, tree, _result_tree(traced), options)


def _function_of(model: Any) -> tuple[Callable, Any, dict[str, Any]]:
    """What to record, the Module that names its tensors, and options of an earlier `compile`."""
    options: dict[str, Any] = {}
    compiled = getattr(model, "_compiled_forward", None)
    if isinstance(compiled, CompiledFunction):
        options, model = dict(compiled.options or {}), original(model)
    elif isinstance(model, CompiledFunction):
        options, model = dict(model.options or {}), model.fn
    if hasattr(model, "named_modules"):
        return (model.forward if is_unhooked(model) else model.__call__), model, options
    if not callable(model):
        raise TypeError(f"export() takes a Module or a function, got {type(model).__name__}")
    owner = getattr(model, "__self__", None)
    return model, owner if hasattr(owner, "named_modules") else None, options


def _refuse_tracing() -> None:
    if state.tracer is not None:
        raise RuntimeError("export() cannot be called while a function is traced")


def _check(traced: Traced) -> None:
    """ValueError for effects that a file has no place for."""
    changed = [n for n in traced.arguments if n in traced.graph.output_names]
    if changed:
        raise ValueError(
            f"the exported function writes into its argument '{changed[0]}'; an exported model "
            "reads its inputs only: work on a clone() and return it"
        )
    if any(number is not None for _, number in traced.grads):
        raise ValueError(
            "the exported function fills .grad of a tensor; export a training step with "
            "train_step=compile_train_step(...), or return the gradients"
        )

    def visit(leaf: Any, path: str) -> Any:
        if isinstance(leaf, Output) and leaf.number is None:
            raise ValueError(
                "the exported function returns a tensor that it did not make, one of the Module "
                "or from outside; return a clone() of it"
            )
        return leaf

    map_leaves(traced.structure, visit)


def _entries(traced: Traced, roles: dict[str, tuple[str, np.ndarray]] | None = None) -> tuple:
    """One Entry for each input of the graph; `roles` names those that are no plain argument."""
    graph, roles = traced.graph, roles or {}
    updated = {name for name in graph.output_names if name}
    entries = []
    for number, node in enumerate(graph.inputs):
        name = node.attrs["name"]
        if name in roles:
            role, array = roles[name]
            entries.append(Entry(name, node.type, role, array))
        elif number < len(traced.captures):
            array = np.ascontiguousarray(_values(traced.captures[number]))
            role = "state" if name in updated else "constant"
            entries.append(Entry(name, node.type, role, array))
        elif name in traced.arguments:
            entries.append(Entry(name, node.type, "input"))
        else:
            entries.append(Entry(name, node.type, "state", _random_key()))
    return tuple(entries)


def _values(x: Tensor) -> np.ndarray:
    """A tensor's array; one that compiled code holds packed stays given up."""
    if x._released is not None:
        return x._released.values()
    return x.detach().numpy_array("exporting")


def _random_key() -> np.ndarray:
    """The key of the next draw; the generator stays where it is."""
    return np.array(default_generator.advance(0), np.int64)


def _output_names(traced: Traced) -> tuple[str, ...]:
    """`output`, or a name from the place in the result for each of several."""
    names: dict[int, str] = {}

    def visit(leaf: Any, path: str) -> Any:
        if isinstance(leaf, Output) and leaf.number is not None:
            names.setdefault(leaf.number, f"output{path}")
        return leaf

    map_leaves(traced.structure, visit)
    return tuple(names.get(i, f"output_{i}") for i in range(traced.n_results))


def _result_tree(traced: Traced) -> Any:
    def number(leaf: Any) -> int | None:
        return leaf.number if isinstance(leaf, Output) else None

    return encode(traced.structure, number)


def _numbered() -> Callable[[Any], int | None]:
    """Numbers tensors in the order in which they are met."""
    met: list[Any] = []

    def number(leaf: Any) -> int | None:
        if not isinstance(leaf, Tensor):
            return None
        met.append(leaf)
        return len(met) - 1

    return number


# -- training steps --------------------------------------------------------------------------------


def export_step(step: Any, args: Sequence[Any], name: str) -> Export:
    """The program of a compiled training step for a batch like `args`.

    Parameters, buffers, optimizer state, hyper-parameters and the random key are state. The
    optimizer's state is created if there is none yet; nothing else changes.
    """
    _refuse_tracing()
    if not isinstance(step, TrainStep):
        raise TypeError(
            f"train_step= takes what nncomp.compile_train_step gives, got {type(step).__name__}"
        )
    if len(args) < 1 + step.targets:
        raise ValueError(
            "with train_step=, `inputs` are those of a step: the model's inputs"
            + ", then the target" * step.targets
        )
    if step.accumulation.calls > 1:
        raise ValueError(
            f"the step accumulates gradients over {step.accumulation.calls} calls, which are two "
            "programs; export one made with accumulate=1"
        )
    with enable_grad():
        leaves, key = signature(tuple(args), {})
    with step._lock:
        program = step.find(key, leaves)
        if program is None:
            program = step.find_or_make(key, leaves, lambda: _StepProgram(step, tuple(args)))
    traced, options = program.traced, program.current
    _check(traced)
    count = len(options.numbers)
    hypers = dict(zip(traced.arguments[:count], options.numbers, strict=True))
    roles = {n: ("state", np.array(v, np.float64)) for n, v in hypers.items()}
    names = dict(zip(hypers, map(place_name, options.places), strict=True))
    names |= _state_names(step, traced)
    names |= dict(zip(traced.arguments[count:], _batch_names(step, args), strict=False))
    results = ("loss", *_output_names(traced)[1:])
    request = Request(name, *_renamed(traced.graph, _entries(traced, roles), names), results,
                      traced.draws, prepare=False)  # fmt: skip
    tree = encode(list(args), _numbered())["list"]
    inputs = _argument_names(step, args)
    return Export(request, inputs, tree, _result_tree(traced), dict(step.options or {}))


def _batch_names(step: TrainStep, args: Sequence[Any]) -> list[str]:
    """The names of a step's arguments; nothing for nested ones."""
    return _argument_names(step, args) if all(isinstance(x, Tensor) for x in args) else []


def _argument_names(step: TrainStep, args: Sequence[Any]) -> list[str]:
    """The model's own names for its inputs, and `target` if there is one."""
    inputs = tuple(args[: len(args) - step.targets])
    return [*named_arguments(step.model.forward, inputs, {}), *["target"] * step.targets]


def _state_names(step: TrainStep, traced: Traced) -> dict[str, str]:
    """Names for the optimizer's tensors: `0.weight.exp_avg`."""
    known = {id(p): name for name, p in step.model.named_parameters()}
    found: dict[int, str] = {}
    for number, (p, entries) in enumerate(step.optimizer.state.items()):
        owner = known.get(id(p), f"parameter_{number}")
        found |= {id(x): f"{owner}.{key}" for key, x in entries.items() if isinstance(x, Tensor)}
    names = traced.graph.input_names
    captures = zip(traced.captures, names[: len(traced.captures)], strict=True)
    return {name: found[id(x)] for x, name in captures if id(x) in found}


def _renamed(
    graph: Graph, entries: Sequence[Entry], names: dict[str, str]
) -> tuple[Graph, tuple[Entry, ...]]:
    """The graph and its entries with other names for some inputs, each of them unique."""
    taken = {e.name for e in entries if e.name not in names}
    final: dict[str, str] = {}
    for old, new in names.items():
        made, number = new, 2
        while made in taken:
            made, number = f"{new}_{number}", number + 1
        taken.add(made)
        final[old] = made
    inputs = [input_node(final.get(e.name, e.name), e.type) for e in entries]
    outputs = inline(graph, inputs)
    purposes = tuple(final.get(n, n) for n in graph.output_names)
    renamed = [replace(e, name=final.get(e.name, e.name)) for e in entries]
    return Graph(graph.name, inputs, outputs, purposes), tuple(renamed)
