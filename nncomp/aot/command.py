"""The subcommand `nncomp export`: a model of a Python file becomes files that need no Python."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

AtLeast = Callable[[Callable[[str], Any], int], Callable[[str], Any]]


def add_options(parser: argparse.ArgumentParser, at_least: AtLeast) -> None:
    """Declare the options; `at_least` makes argument types with a lowest value."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="path/to/model.py:Net, or a name of the zoo of nncomp bench")
    add("--input", action="append", default=[], metavar="TYPE",
        help="one for each argument: f32[1,3,224,224], i64[B,128]<30522")  # fmt: skip
    add("--batch", type=at_least(int, 1), help="the B of inputs; of the zoo, another batch size")
    add("--weights", type=Path, metavar="FILE", help="a saved state dict: w.pth, w.safetensors")
    add("-o", "--output", default=".", metavar="PATH",
        help="the file (.nnc, .o, .a, .so), or a folder for a library and a package")  # fmt: skip
    add("--format", metavar="LIST", help="formats in the folder: nnc,a by default")
    add("--name", help="what C names begin with; by default the model's name")
    add("--target", default="host", help="platform: aarch64-linux, wasm32, ..., or sm_80, ...")
    add("--cpu", metavar="LIST", help="levels of x86-64: baseline,avx2,avx512 by default")
    add("--threads", type=at_least(int, 1),
        help="threads that a run may use: one from C, any number in a package")  # fmt: skip
    add("--weights-file", action="store_true", help="constants in a file of their own")
    add("--prepare", choices=("export", "start"), default="export",
        help="when constants are packed, for each level or at the start")  # fmt: skip
    add("--seed", type=at_least(int, 0), default=0, help="of weights that no file gives")


def run(options: argparse.Namespace) -> int:
    """Export and list the files; 1 if the model or the system refuses, 2 for bad arguments."""
    from ..bench.api import find_rows
    from ..bench.models import ZOO

    try:
        row = find_rows([options.model], options.batch, options.input, False, None, ZOO)[0]
    except (ValueError, FileNotFoundError) as error:
        print(f"nncomp export: {error}", file=sys.stderr)
        return 2
    try:
        made = _export(row, options)
    except (ValueError, OSError, RuntimeError, TypeError, AttributeError) as error:
        print(f"nncomp export: {error}", file=sys.stderr)
        return 1
    for export in made:
        for path in export.files:
            print(f"{Path(path).stat().st_size:>12,} bytes  {path}")
    return 0


def _export(row: Any, options: argparse.Namespace) -> list:
    """All files that were asked for."""
    import nncomp

    from ..bench.inputs import make_all
    from ..bench.worker import aliases, source

    aliases.install("nncomp")
    nncomp.manual_seed(options.seed)
    model = source.build(str(row.file), row.model).eval()
    if options.weights:
        model.load_state_dict(_weights(options.weights))
    inputs = tuple(source.to_tensor(x, nncomp) for x in make_all(row.inputs, row.batch, 0))
    name = options.name or re.sub(r"\W", "_", row.model.split(":")[-1]).lower()
    settings = dict(
        target=options.target, cpu=options.cpu and options.cpu.split(","), name=name,
        weights="file" if options.weights_file else "embed", threads=options.threads,
        prepare=options.prepare,
    )  # fmt: skip
    return [
        nncomp.aot.export(model, inputs, path, **settings) for path in _paths(options, name)
    ]


def _weights(path: Path) -> dict:
    """A state dict from a file of either kind."""
    import nncomp

    if path.suffix == ".safetensors":
        return nncomp.safetensors.load_file(path)
    return nncomp.load(path)


def _paths(options: argparse.Namespace, name: str) -> list[Path]:
    """The file that was named, or those for a folder, which is made if it is not there."""
    output = Path(options.output)
    if output.suffix and not output.is_dir() and not options.output.endswith(("/", "\\")):
        return [output]
    output.mkdir(parents=True, exist_ok=True)
    gpu = options.target.startswith("sm_")
    formats = (options.format or ("nnc" if gpu else "nnc,a")).split(",")
    return [output / f"{name}.{end.strip()}" for end in formats]
