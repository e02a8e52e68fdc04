"""Writes coverage.md: which names of torch are there, and what of each was seen to work.

    python docs/make_coverage.py            # runs the sample rows and writes docs/coverage.md
    python docs/make_coverage.py --names    # with torch: writes docs/torch_names.json anew

A mark is set by running a row of coverage_samples or of the tests' tables: eagerly, compiled (the
values must be those of the eager run), and backward (an input must get a gradient).
"""

from __future__ import annotations

import inspect
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from coverage_runs import (  # noqa: E402
    DOCS,
    KINDS,
    NO_GRADIENT_OF,
    NOT_A_CALL,
    Marks,
    attempt,
    fresh,
    run_properties,
    run_samples,
    run_tables,
    sentence,
)

import nncomp as m  # noqa: E402
from nncomp import nn  # noqa: E402

SECTIONS = {
    "nn": "torch.nn",
    "nn.functional": "torch.nn.functional",
    "nn.init": "torch.nn.init",
    "optim": "torch.optim",
    "optim.lr_scheduler": "torch.optim.lr_scheduler",
    "optim.swa_utils": "torch.optim.swa_utils",
    "Tensor": "torch.Tensor",
}
REASONS = {
    "Container": "torch deprecated it; use Module",
    "CrossMapLRN2d": "LocalResponseNorm does the same",
    "DataParallel": "there is one device; nncomp.set_num_threads uses more cores",
    "SyncBatchNorm": "there are no process groups; BatchNorm does the same in one process",
    "LinearCrossEntropyOptions": "it tunes a GPU kernel",
    "UninitializedBuffer": "lazy layers keep their own",
    "grouped_mm": "a GPU kernel",
    "scaled_mm": "a GPU kernel for float8",
    "scaled_grouped_mm": "a GPU kernel for float8",
    "volatile": "torch removed it",
    **dict.fromkeys(("cuda", "ipu", "mtia", "xpu"), "there is no such device: it raises that"),
}
HYPERPARAMETERS = "rates are numbers: a compiled step reads them at each call"


# -- optimizers -----------------------------------------------------------------------------------


def losses(name: str, compiled: bool) -> list[float]:
    """The losses of three steps of an optimizer."""
    m.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Tanh(), nn.Linear(3, 2, bias=False))
    optimizer = getattr(m.optim, name)(model.parameters())
    inputs = fresh()
    x, y = inputs["x"], inputs["y"][:, :2]
    loss_fn = nn.functional.mse_loss
    if compiled:
        step = m.compile_train_step(model, loss_fn, optimizer)
        return [step(x, y).item() for _ in range(3)]
    path = []

    def closure() -> Any:
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        path.append(loss.item())
        return loss

    for _ in range(3):
        optimizer.step(closure)
    return path


def run_optimizers(marks: Marks, names: dict[str, list[str]]) -> None:
    """Three steps of each optimizer, eager and compiled."""
    for name in names["optim"]:
        if not hasattr(m.optim, name):
            continue
        if name == "Optimizer":
            marks.add("optim", name, {"eager"}, NOT_A_CALL)
            continue
        found, why = attempt(
            lambda n=name: len(losses(n, False)) >= 3,
            lambda n=name: np.allclose(losses(n, False), losses(n, True), 1e-4),
            lambda: True,
        )
        marks.add("optim", name, found - {"gradient"}, why or NO_GRADIENT_OF["optim"])


SCHEDULERS = {
    "ChainedScheduler": lambda s, o: s.ChainedScheduler([s.StepLR(o, 1)]),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 5),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 2),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.1, 0.2),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.5),
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda e: 0.5**e),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [1]),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.5),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.1, 5),
    "SequentialLR": lambda s, o: s.SequentialLR(o, [s.StepLR(o, 1), s.StepLR(o, 2)], [2]),
    "StepLR": lambda s, o: s.StepLR(o, 1),
}


def run_schedulers(marks: Marks, names: dict[str, list[str]]) -> None:
    """Two steps of each scheduler, and the tools of swa_utils."""
    s = m.optim.lr_scheduler
    for name in names["optim.lr_scheduler"]:
        if not hasattr(s, name):
            continue
        optimizer = m.optim.SGD([m.ones(1, requires_grad=True)], lr=0.1, momentum=0.9)
        found, why = set(), HYPERPARAMETERS
        try:
            made = SCHEDULERS.get(name, lambda s, o, n=name: getattr(s, n)(o))(s, optimizer)
            for _ in range(0 if name == "LRScheduler" else 2):
                optimizer.step()
                made.step(*([1.0] if name == "ReduceLROnPlateau" else []))
            found = {"eager"}
        except NotImplementedError:
            found, why = {"eager"}, NOT_A_CALL
        except Exception as error:
            why = sentence(error)
        marks.add("optim.lr_scheduler", name, found, why)
    for name in names["optim.swa_utils"]:
        if hasattr(m.optim.swa_utils, name):
            marks.add("optim.swa_utils", name, run_swa(name), "it works between the steps")


def run_swa(name: str) -> set[str]:
    """Use one of the tools of swa_utils."""
    tools, model = m.optim.swa_utils, nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    optimizer = m.optim.SGD(model.parameters(), lr=0.1)
    if name == "SWALR":
        tools.SWALR(optimizer, 0.05).step()
    elif name == "update_bn":
        tools.update_bn([m.ones(3, 2)], model)
    else:
        kind = {"get_ema_avg_fn": "avg_fn", "get_swa_avg_fn": "avg_fn"}.get(name, "multi_avg_fn")
        options = {kind: getattr(tools, name)()} if name.startswith("get_") else {}
        averaged = tools.AveragedModel(model, **options)
        averaged.update_parameters(model)
        averaged.update_parameters(model)
    return {"eager"}


# -- writing --------------------------------------------------------------------------------------


def namespace(section: str) -> Any:
    """The object of the package that has the names of a section."""
    found: Any = m
    for part in section.split("."):
        found = getattr(found, part)
    return found


def reason(section: str, name: str, marks: Marks) -> str:
    """Why a name lacks a mark."""
    value = getattr(namespace(section), name, None)
    refused = getattr(value, "refused", None)
    if refused:
        return refused
    if name in REASONS and "eager" not in marks.seen.get((section, name), ()):
        return REASONS[name]
    if (section, name) in marks.why and hasattr(namespace(section), name):
        return marks.why[section, name]
    if not hasattr(namespace(section), name):
        return REASONS.get(name, "not provided")
    return "no sample row shows it"


def table(section: str, names: list[str], marks: Marks) -> list[str]:
    """The lines of one section."""
    shown = [n for n in names if hasattr(namespace(section), n)]
    counts = [sum(k in marks.seen.get((section, n), ()) for n in names) for k in KINDS]
    lines = [
        f"## {SECTIONS[section]}",
        "",
        f"{len(names)} names; {len(shown)} are there; eager {counts[0]}, compiled {counts[1]}, "
        f"gradient {counts[2]}.",
        "",
        "| name | eager | compiled | gradient | why not |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        seen = marks.seen.get((section, name), set())
        if getattr(getattr(namespace(section), name, None), "refused", None):
            seen = set()
        cells = ["yes" if kind in seen else "" for kind in KINDS]
        why = "" if len(seen) == len(KINDS) else reason(section, name, marks)
        lines.append(f"| `{name}` | {' | '.join(cells)} | {why} |")
    return [*lines, ""]


HEAD = """# Names of torch {version} and what works here

Written by `python docs/make_coverage.py`; do not edit. A mark means that a sample row was run:
"eager" ran, "compiled" gave the eager values through the compiler, "gradient" reached an input. The
rows are those of docs/coverage_samples.py, tests/function_table.py and tests/more_table.py.
"""


def collect(names: dict[str, list[str]]) -> Marks:
    """Run everything."""
    marks = Marks()
    warnings.simplefilter("ignore")
    run_samples(marks)
    run_tables(marks)
    run_properties(marks)
    run_optimizers(marks, names)
    run_schedulers(marks, names)
    return marks


def torch_names() -> dict[str, Any]:
    """The public names that the installed torch has."""
    import types

    import torch
    import torch.optim.swa_utils

    typing_names = {
        "Callable", "DType", "Optional", "ScalingType", "SwizzleType", "Tensor",
        "assert_int_or_pair", "boolean_dispatch", "handle_torch_function", "has_torch_function",
        "has_torch_function_unary", "has_torch_function_variadic",
    }  # fmt: skip

    def public(owner: Any, wanted: Callable[[Any], bool]) -> list[str]:
        return sorted(n for n in dir(owner) if n[0] != "_" and wanted(getattr(owner, n, None)))

    def of_torch(value: Any) -> bool:
        return callable(value) and not isinstance(value, types.ModuleType)

    found = {
        "nn": public(
            torch.nn,
            lambda v: inspect.isclass(v) and v.__module__.startswith("torch.nn"),
        ),
        "nn.functional": [
            n for n in public(torch.nn.functional, of_torch) if n not in typing_names
        ],
        "nn.init": public(torch.nn.init, inspect.isfunction),
        "optim": public(torch.optim, inspect.isclass),
        "optim.lr_scheduler": sorted(torch.optim.lr_scheduler.__all__),
        "optim.swa_utils": sorted(torch.optim.swa_utils.__all__),
        "Tensor": sorted(n for n in dir(torch.Tensor) if n[0] != "_"),
    }
    return {"version": torch.__version__.split("+")[0], "names": found}


def main() -> None:
    """Write the names or the table."""
    if "--names" in sys.argv:
        (DOCS / "torch_names.json").write_text(json.dumps(torch_names(), indent=0) + "\n")
        return
    known = json.loads((DOCS / "torch_names.json").read_text())
    marks = collect(known["names"])
    lines = [HEAD.format(version=known["version"])]
    for section in SECTIONS:
        lines += table(section, known["names"][section], marks)
    (DOCS / "coverage.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
