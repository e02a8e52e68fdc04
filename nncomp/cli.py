"""The `nncomp` command: `demo` trains, `export` writes files that need no Python, `bench` and
`profile` measure, `info` describes.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

from .aot import command as export_command
from .bench import command as bench_command
from .profile import command as profile_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (those of the process by default); returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    top = argparse.ArgumentParser(prog="nncomp", description=__doc__)
    top.add_argument("--version", action="version", version=f"nncomp {version('nncomp')}")
    commands = top.add_subparsers(required=True, metavar="command")
    demo = commands.add_parser("demo", help="train an MLP on handwritten digits, compiled")
    demo.add_argument("--epochs", type=at_least(int, 1), default=30)
    demo.add_argument("--batch-size", type=at_least(int, 1), default=64)
    demo.add_argument("--seed", type=at_least(int, 0), default=0)
    demo.add_argument("--threads", type=at_least(int, 1), help="threads to compute with")
    demo.add_argument("--lr", type=at_least(float, 0), default=0.1, help="learning rate")
    demo.set_defaults(run=run_demo)
    bench = commands.add_parser("bench", help="compare the speed with that of other libraries")
    bench_command.add_options(bench, at_least)
    bench.set_defaults(run=bench_command.run)
    profile = commands.add_parser("profile", help="where the time of a compiled model goes")
    profile_command.add_options(profile, at_least)
    profile.set_defaults(run=profile_command.run)
    export = commands.add_parser("export", help="a model as a library for C, or a package")
    export_command.add_options(export, at_least)
    export.set_defaults(run=export_command.run)
    info = commands.add_parser("info", help="version, CPU target, threads and cache folder")
    info.set_defaults(run=run_info)
    return top


def at_least(kind: Callable[[str], Any], lowest: int) -> Callable[[str], Any]:
    """An argument type: a number that is not below `lowest`."""

    def convert(text: str) -> Any:
        try:
            number = kind(text)
        except ValueError:
            number = None
        if number is None or not number >= lowest:
            raise argparse.ArgumentTypeError(
                f"got {text!r}, expected a number of at least {lowest}"
            )
        return number

    return convert


def run_demo(options: argparse.Namespace) -> int:
    """`nncomp demo`; imported here so that `nncomp info` and --help stay quick."""
    from .demo import run

    return run(options)


def run_info(options: argparse.Namespace) -> int:
    """`nncomp info`."""
    from .backends import cache
    from .backends.cpu import target, threads

    try:
        host, stored = target.host_target(), cache.default_cache()
        chosen = threads.get_num_threads()
    except ValueError as error:  # an NNCOMP_ variable with a value that it cannot have
        print(f"nncomp info: {error}", file=sys.stderr)
        return 1
    rows = {
        "nncomp": version("nncomp"),
        "python": f"{platform.python_version()} ({platform.platform()})",
        "numpy": version("numpy"),
        "llvmlite": "{} (LLVM {})".format(*target.versions()),
        "cpu": f"{target.host()[0]} ({host.triple})",
        "code for": f"{host.cpu}, vectors of {host.vector_bits} bits",
        "threads": f"{chosen} of {threads.usable_cpus()} usable CPUs",
        "cache": "off" if stored is None else f"{stored.folder} (up to {stored.limit >> 20} MB)",
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")
    return 0


def version(package: str) -> str:
    """The installed version of a package; "not installed" without one."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
