"""The subcommand `nncomp profile`: its options, and printing and writing of the report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

AtLeast = Callable[[Callable[[str], Any], int], Callable[[str], Any]]


def add_options(parser: argparse.ArgumentParser, at_least: AtLeast) -> None:
    """Declare the options; `at_least` makes argument types with a lowest value."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="of the zoo of nncomp bench, or path/to/model.py:Net")
    add("--batch", type=at_least(int, 1), help="this batch size instead of the zoo's first")
    add("--input", action="append", default=[], metavar="TYPE",
        help="what a model of your own takes: f32[1,3,224,224], i64[B,128]<30522")  # fmt: skip
    add("--weights", type=Path, metavar="FILE", help="a saved state dict: w.pth")
    add("--threads", type=at_least(int, 1), help="threads to compute with")
    add("--repeat", type=at_least(int, 1), help="runs; as many as fit a second by default")
    add("--seed", type=at_least(int, 0), default=0, help="of weights and inputs")
    add("--zoo", type=Path, help="folder of another zoo, with a catalogue.json")
    add("--json", type=Path, metavar="FILE", help="write all figures")
    add("--html", type=Path, metavar="FILE", help="write a page with roofline, graph and code")


def run(options: argparse.Namespace) -> int:
    """Profile and print; 1 if the model fails, 2 for bad arguments."""
    from ..bench.models import ZOO

    options.zoo = options.zoo or ZOO
    try:
        for path in filter(None, (options.json, options.html)):
            if not path.absolute().parent.is_dir():
                raise ValueError(f"the folder of {path} does not exist")
        row = find_row(options)
        report = measure(row, options)
    except (ValueError, FileNotFoundError) as error:
        print(f"nncomp profile: {error}", file=sys.stderr)
        return 2
    print(report, end="")
    if options.json:
        options.json.write_text(report.to_json())
    if options.html:
        report.save_html(options.html)
    return 0


def find_row(options: argparse.Namespace) -> Any:
    """The model as `nncomp bench` finds it; ValueError if there is none."""
    from ..bench.api import find_rows

    rows = find_rows([options.model], options.batch, options.input, False, None, options.zoo)
    return rows[0]


def measure(row: Any, options: argparse.Namespace) -> Any:
    """Build the model, give it weights, and profile it in evaluation mode without gradients."""
    import nncomp

    from ..bench.inputs import make_all
    from ..bench.worker import aliases, jobs, source

    aliases.install("nncomp")
    if options.threads:
        nncomp.set_num_threads(options.threads)
    nncomp.manual_seed(options.seed)
    model = source.build(str(row.file), row.model)
    arrays = make_all(row.inputs, row.batch, options.seed)
    inputs = [source.to_tensor(x, nncomp) for x in arrays]
    if options.weights:
        model.load_state_dict(nncomp.load(options.weights))
    elif row.calibrate:
        jobs.calibrate(model, inputs, nncomp)
    compiled = nncomp.compile(model.eval().requires_grad_(False))
    with nncomp.inference_mode():
        report = compiled._compiled_forward.profile(*inputs, repeat=options.repeat)
    from dataclasses import replace

    return replace(report, title=f"{row.name}: {row.title}")
