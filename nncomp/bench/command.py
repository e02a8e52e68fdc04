"""The subcommand `nncomp bench`: its options, and printing and writing of the report."""

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
    add("models", nargs="*", metavar="MODEL", help="of the zoo, or path/to/model.py:Net")
    add("--all", action="store_true", help="all models of the zoo")
    add("--list", action="store_true", help="show the models of the zoo")
    add("--train", action="store_true", help="training steps instead of inference")
    add("--batch", type=at_least(int, 1), help="this batch size instead of the zoo's")
    add("--input", action="append", default=[], metavar="TYPE",
        help="what a model of your own takes: f32[B,3,224,224], i64[B,128]<30522")  # fmt: skip
    add("--target", metavar="TYPE", help="with --train: the type of the target, i64[B]<10")
    add("--loss", default="CrossEntropyLoss", help="a class of nn, or a function of your file")
    add("--optimizer", default="SGD", help="a class of optim")
    add("--lr", type=at_least(float, 0), default=0.01, help="learning rate")
    add("--engines", metavar="A,B", help="these engines only, separated by commas")
    add("--threads", type=at_least(int, 1), default=2)
    add("--device", default="cpu", help="cpu or cuda")
    add("--precision", default="strict", help="of float32 products on cuda: strict or tf32")
    add("--repeat", type=at_least(int, 1), default=10, help="rounds over all engines")
    add("--burst", type=at_least(float, 0), default=0.25, help="seconds per engine and round")
    add("--warm-up", type=at_least(float, 0), default=0.5, help="seconds before the first round")
    add("--losses", type=at_least(int, 1), default=20, help="training steps that are compared")
    add("--limit", type=at_least(float, 1), default=900, help="seconds an engine may take")
    add("--seed", type=at_least(int, 0), default=0, help="of weights and inputs")
    add("--zoo", type=Path, help="folder of another zoo, with a catalogue.json")
    add("--json", type=Path, metavar="FILE", help="write everything that was measured")
    add("--plot", type=Path, metavar="FILE.svg", help="draw the relative times")


def run(options: argparse.Namespace) -> int:
    """Measure and print; 0 if nncomp ran all rows and agrees, 1 if not, 2 for bad arguments."""
    from .models import ZOO

    options.zoo = options.zoo or ZOO
    try:
        if options.list:
            return print_list(options.zoo)
        if bool(options.models) == options.all:
            raise ValueError("name one or more models, or say --all; --list shows the zoo")
        for path in filter(None, (options.json, options.plot)):
            if not path.absolute().parent.is_dir():
                raise ValueError(f"the folder of {path} does not exist")
        if options.plot and options.plot.suffix != ".svg":
            raise ValueError(f"got --plot {options.plot}; plots are SVG, so name a file.svg")
        report = measure(options)
    except (ValueError, FileNotFoundError) as error:
        print(f"nncomp bench: {error}", file=sys.stderr)
        return 2
    print(report, end="")
    for sentence in report.failed():
        print(sentence.split("\n")[0], file=sys.stderr)
    return 1 if report.failed() else 0


def measure(options: argparse.Namespace) -> Any:
    """The report; files are written after each row, so a long run can be stopped."""
    from .api import run as run_bench

    def write(report: Any) -> None:
        if options.json:
            options.json.write_text(report.json())
        if options.plot:
            options.plot.write_text(report.svg())

    names = options.engines.split(",") if options.engines else ()
    training = {
        "target": options.target,
        "loss": options.loss,
        "optimizer": options.optimizer,
        "options": {"lr": options.lr},
    }
    return run_bench(
        options.models, engines=names, batch=options.batch, inputs=options.input,
        train=options.train, training=training if options.target else None, zoo=options.zoo,
        log=lambda line: print(line, file=sys.stderr, flush=True), on_row=write,
        threads=options.threads, rounds=options.repeat, burst=options.burst,
        warm_up=options.warm_up, losses=options.losses, limit=options.limit, seed=options.seed,
        device=options.device, precision=options.precision,
    )  # fmt: skip


def print_list(zoo: Path) -> int:
    """The zoo's entries with their batch sizes."""
    from .models import catalogue

    entries = catalogue(zoo)
    width = max(map(len, entries))
    for key, entry in entries.items():
        batches = ", ".join(map(str, entry.get("batches", []))) or "-"
        training = str(entry["train"]["batch"]) if "train" in entry else "-"
        print(f"{key:<{width}}  {entry['title']}  (batch {batches}; training {training})")
    return 0
