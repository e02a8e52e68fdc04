"""What is left of compiled stages in a package: PTX texts and a launch plan of JSON values.

`plan_of` writes it down. `SavedStages` reads it and stands where the Runner and the program on a
device expect Stages, so that a loaded package runs by the same code as a compiled graph, with
nothing traced or compiled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

from nncomp.ir.graph import Loc
from nncomp.ir.index_check import Check
from nncomp.ir.loops import Kernel
from nncomp.ir.program import LoopStep, Place, Program, Step
from nncomp.ir.types import TensorType, dtype_of_name

from .device import Device, DeviceError
from .kernel import Code, Launch
from .runner import Runner
from .stages import Stages
from .target import target_of

Json = dict[str, Any]


def plan_of(stages: Stages, texts: dict[str, str], label: str = "") -> Json:
    """The launch plan of `stages`; the PTX of its kernels goes into `texts`, by a unique name."""
    texts |= {f"{label}{name}": text for name, text in stages.ptx.items()}
    launches = {n: [_launch_words(x) for x in c.launches] for n, c in stages.codes.items()}
    inner = {
        kind: None if part is None else plan_of(part, texts, f"{label}{kind}_")
        for kind, part in (("checker", stages.checker), ("prepared", stages.prepared))
    }
    return {
        "names": list(stages.graph.input_names),
        "inputs": [_type_words(n.type) for n in stages.fused_graph.inputs],
        "outputs": [None if t is None else _type_words(t) for t in stages.output_types],
        "arena": stages.program.arena,
        "kernels": {n: f"{label}{n}" for n in stages.ptx},
        "launches": launches,
        "steps": [_step_words(s) for s in stages.program.steps],
        "checks": [[c.length, *c.loc] for c in stages.checks],
        **inner,
    }


def _type_words(type: TensorType) -> list:
    return [type.dtype.name, *type.shape]


def _launch_words(launch: Launch) -> list:
    return [launch.function, list(launch.grid), list(launch.block), launch.shared]


def _step_words(item: Step | LoopStep) -> Json:
    if isinstance(item, LoopStep):
        steps = [_step_words(s) for s in item.steps]
        return {"loop": item.number, "length": item.length, "reverse": item.reverse, "steps": steps}
    places = [[p.base, p.index, p.offset, [list(s) for s in p.strides]] for p in item.places]
    return {
        "kernel": item.kernel.name, "results": item.kernel.outputs, "places": places,
        "sizes": list(item.sizes),
    }  # fmt: skip


class SavedStages:
    """The part of Stages that running needs, from a plan.

    KeyError, TypeError or ValueError for a plan that is none.
    """

    def __init__(self, plan: Json, texts: Mapping[str, str]):
        self._names = [str(n) for n in plan["names"]]
        self.ptx = {str(k): texts[name] for k, name in plan["kernels"].items()}
        self.codes = {n: Code("", tuple(map(_launch, x))) for n, x in plan["launches"].items()}
        self.output_types = [None if t is None else _type(t) for t in plan["outputs"]]
        inputs = [SimpleNamespace(type=_type(t)) for t in plan["inputs"]]
        self.fused_graph = SimpleNamespace(inputs=inputs)
        steps = tuple(_step(s) for s in plan["steps"])
        count = len(self.output_types)
        self.program = Program(steps, len(inputs), count, int(plan["arena"]))
        self.checks = [Check(int(n), Loc(str(s), str(line))) for n, s, line in plan["checks"]]
        self.checker, self.prepared = (
            None if plan[kind] is None else SavedStages(plan[kind], texts)
            for kind in ("checker", "prepared")
        )

    @property
    def graph(self) -> Any:
        """The names of the inputs, which is all that a run asks of the graph."""
        return SimpleNamespace(input_names=self._names, inputs=self._names)


def _type(words: Sequence) -> TensorType:
    return TensorType(tuple(map(int, words[1:])), dtype_of_name(words[0]))


def _launch(words: Sequence) -> Launch:
    function, grid, block, shared = words
    x, y, z = map(int, grid)
    a, b, c = map(int, block)
    return Launch(str(function), (x, y, z), (a, b, c), int(shared))


def _step(words: Json) -> Step | LoopStep:
    if "loop" in words:
        steps = tuple(_step(s) for s in words["steps"])
        return LoopStep(int(words["loop"]), int(words["length"]), bool(words["reverse"]), steps)
    places = tuple(
        Place(str(base), int(index), int(offset), tuple((int(n), int(s)) for n, s in strides))
        for base, index, offset, strides in words["places"]
    )
    kernel = SimpleNamespace(name=str(words["kernel"]), outputs=int(words["results"]))
    return Step(cast(Kernel, kernel), places, tuple(map(int, words["sizes"])))


def make_runner(
    plan: Json, texts: Mapping[str, str], constant: Sequence[str]
) -> Runner:
    """The program of a package, for the device of this process."""
    return Runner(cast(Stages, SavedStages(plan, texts)), constant)


def check_device(target: str, device: Device) -> None:
    """DeviceError where the device cannot run code for `target`; the interpreter runs all of it."""
    capability = getattr(device, "capability", None)
    if capability is None:
        return
    wanted, here = target_of(target).sm, 10 * capability[0] + capability[1]
    exact = target.endswith("a")
    if here < wanted or (exact and here != wanted):
        only = "that architecture alone" if exact else "it and later ones"
        raise DeviceError(
            f"the package holds code for {target}, which runs on {only}, but the device "
            f"{device.name} is sm_{here}; export the model again with a target up to 'sm_{here}'"
        )


__all__ = ["SavedStages", "check_device", "make_runner", "plan_of"]
