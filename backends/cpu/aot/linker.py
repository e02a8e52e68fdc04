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
Link = Callable[[bytes, str], Callable[[str], None]]


class LinkError(RuntimeError):
    """No linker was found, or it refused."""


def find_linker(target: str) -> Link:
    """A function that links `(object, name)` and gives a writer of the library's file.

    LinkError, which says what to install, where the machine has no linker for the platform.
    """
    platform = platform_name(target)
    command = _command(platform)

    def link(data: bytes, name: str) -> Callable[[str], None]:
        return lambda path: _run(command, _last(command, platform, name), data, name, path)

    return link


def _command(platform: str) -> list[str]:
    """The linker's command line up to its files."""
    here = platform == platform_name("host")
    cross = [f"{platform}-gnu-gcc"] if platform.endswith("-linux") else []
    for name in [*(COMPILERS if here else ()), *cross]:
        if found := shutil.which(name):
            return [found, *_SHARED]
    if (zig := _zig(platform)) is not None:
        return zig
    for name in ("ld.lld", *(("ld",) if here else ())) if cross else ():
        if found := shutil.which(name):
            return [found, "-shared"]
    raise LinkError(
        f"no linker for a shared library for {platform} was found: install gcc, clang or lld, or "
        "the Python package ziglang (pip install 'nncomp[zig]'); an object file (.o) or a static "
        "library (.a) needs no linker"
    )


def _zig(platform: str) -> list[str] | None:
    if platform == "wasm32" or importlib.util.find_spec("ziglang") is None:
        return None
    arch, system = platform.split("-")
    abi = {"linux": "linux-gnu", "macos": "macos", "windows": "windows-gnu"}[system]
    return [sys.executable, "-m", "ziglang", "cc", "-target", f"{arch}-{abi}", "-shared"]


def _last(command: Sequence[str], platform: str, name: str) -> list[str]:
    """What follows the files: the library's own name, and libm where it is needed."""
    if os.path.basename(command[0]) in ("ld.lld", "ld"):
        return ["-soname", name]
    if platform.endswith("-macos"):
        return [f"-Wl,-install_name,@rpath/{name}"]
    if platform.endswith("-windows"):
        return []
    return [f"-Wl,-soname,{name}", "-Wl,--as-needed", "-lm"]


def _run(command: Sequence[str], last: Sequence[str], data: bytes, name: str, path: str) -> None:
    """Link into `path`; LinkError with the linker's words if it fails."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(path))) as folder:
        source, made = (os.path.join(folder, n) for n in ("model.o", "model.so"))
        with open(source, "wb") as file:
            file.write(data)
        line = [*command, "-o", made, source, *last]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode or not os.path.exists(made):
            raise LinkError(f"{command[0]} cannot link {name}: {done.stderr.strip()[-2000:]}")
        os.replace(made, path)
