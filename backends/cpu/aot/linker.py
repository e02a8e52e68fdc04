"""Shared libraries: the first linker that is found on the machine makes one of an object file.

This is the only place where an export runs another program.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

from .levels import platform_name

COMPILERS = ("cc", "gcc", "clang")
_SHARED = ("-shared", "-nostartfiles")
Link = Callable[[bytes, Sequence[str], str], Callable[[str], None]]


class LinkError(RuntimeError):
    """No linker was found, or it refused."""


def find_linker(target: str) -> Link:
    """A function that links `(object, symbols, name)` and gives a writer of the library's file.

    LinkError, which says what to install, where the machine has no linker for the platform.
    """
    command = _command(platform_name(target), target)

    def link(data: bytes, symbols: Sequence[str], name: str) -> Callable[[str], None]:
        return lambda path: _run(command, data, symbols, name, path)

    return link


def _command(platform: str, target: str) -> list[str]:
    """The linker's command line up to its files."""
    if platform == platform_name("host"):
        for name in COMPILERS:
            if found := shutil.which(name):
                return [found, *_SHARED]
    zig = _zig(platform)
    if zig is not None:
        return zig
    if platform.endswith("-linux"):
        gcc = shutil.which(f"{platform}-gnu-gcc")
        if gcc is not None:
            return [gcc, *_SHARED]
        for name in ("ld.lld", *(("ld",) if platform == platform_name("host") else ())):
            if found := shutil.which(name):
                return [found, "-shared"]
    raise LinkError(
        f"no linker for a shared library for {platform} was found: install gcc, clang or lld, or "
        "the Python package ziglang (pip install 'nncomp[zig]'); an object file (.o) or a static "
        "library (.a) needs no linker"
    )


def _zig(platform: str) -> list[str] | None:
    if importlib.util.find_spec("ziglang") is None or platform == "wasm32":
        return None
    arch, system = platform.split("-")
    abi = {"linux": "linux-gnu", "macos": "macos", "windows": "windows-gnu"}[system]
    return [sys.executable, "-m", "ziglang", "cc", "-target", f"{arch}-{abi}", "-shared"]


def _run(command: list[str], data: bytes, symbols: Sequence[str], name: str, path: str) -> None:
    """Link into `path`; LinkError with the linker's words if it fails."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(path))) as folder:
        source, made = (os.path.join(folder, n) for n in ("model.o", "model.so"))
        with open(source, "wb") as file:
            file.write(data)
        bare = os.path.basename(command[0]) in ("ld.lld", "ld")
        last = ["-soname", name] if bare else [f"-Wl,-soname,{name}", "-Wl,--as-needed", "-lm"]
        line = [*command, "-o", made, source, *last]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode or not os.path.exists(made):
            raise LinkError(f"{command[0]} cannot link {name}: {done.stderr.strip()[-2000:]}")
        os.replace(made, path)
