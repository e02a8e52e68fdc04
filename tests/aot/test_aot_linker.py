"""Which linker makes a shared library, and libraries that each kind of them made."""

from __future__ import annotations

import ctypes
import sys

import numpy as np
import pytest
from nncomp.backends.cpu.aot import linker
from nncomp.backends.cpu.aot.levels import platform_name
from programs import build, compiled, got, need, put, run, same, seed_mlp

import nncomp

HERE = platform_name("host")


@pytest.fixture
def programs(monkeypatch):
    """Call with the names of the programs that are installed, and whether ziglang is."""

    def set_up(*names: str, zig: bool = False) -> None:
        monkeypatch.setattr(
            linker.shutil, "which", lambda name: f"/bin/{name}" if name in names else None
        )
        monkeypatch.setattr(linker.importlib.util, "find_spec", lambda name: zig or None)

    return set_up


def test_the_first_one_found_is_taken(programs):
    programs("gcc", "clang", "ld.lld", zig=True)
    assert linker._command(HERE)[0] == "/bin/gcc"
    programs("ld.lld", "ld", zig=True)
    assert linker._command(HERE)[:4] == [sys.executable, "-m", "ziglang", "cc"]
    programs("ld.lld", "ld")
    assert linker._command("riscv64-linux") == ["/bin/ld.lld", "-shared"]
    programs("gcc", "aarch64-linux-gnu-gcc")
    assert linker._command("aarch64-linux")[0].endswith("gcc")
    for platform in ("x86_64-windows", "aarch64-macos"):
        programs("gcc", "ld.lld", zig=True)
        system = {"x86_64-windows": "x86_64-windows-gnu", "aarch64-macos": "aarch64-macos"}
        assert linker._command(platform)[-2:] == [system[platform], "-shared"]
        programs("gcc", "ld.lld")
        with pytest.raises(linker.LinkError, match=f"for {platform} was found: install"):
            linker._command(platform)
    programs("gcc", "ld.lld", zig=True)
    with pytest.raises(linker.LinkError, match="wasm32"):
        linker._command("wasm32")


@pytest.mark.parametrize("name", ("gcc", "ld.lld", "ld"))
def test_libraries_run(name, tmp_path, monkeypatch):
    need(name)
    which = linker.shutil.which
    monkeypatch.setattr(linker.shutil, "which", lambda n: which(n) if n == name else None)
    monkeypatch.setattr(linker.importlib.util, "find_spec", lambda n: None)
    model, x = seed_mlp()
    nncomp.aot.export(model, x, tmp_path / "net.so")
    library = ctypes.CDLL(str(tmp_path / "net.so"))
    y, workspace = np.empty((16, 10), np.float32), np.empty(library.net_workspace_bytes(), np.uint8)
    array = x.numpy()

    def table(a):
        return (ctypes.c_void_p * 1)(a.ctypes.data)

    code = library.net_run(table(array), table(y), ctypes.c_void_p(workspace.ctypes.data))
    assert code == 0 and same(y, compiled(model, x))


def test_a_library_for_another_machine(tmp_path):
    need("aarch64-linux-gnu-gcc", "qemu-aarch64")
    model, x = seed_mlp()
    nncomp.aot.export(model, x, tmp_path / "libnet.so", target="aarch64-linux")
    put(tmp_path, x)
    program = build(tmp_path, ("libnet.so", "-Wl,-rpath,$ORIGIN"), cc="aarch64-linux-gnu-gcc")
    run(["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", program, 1], tmp_path)
    y = compiled(model, x)
    assert np.allclose(got(tmp_path, 0, y), y.numpy(), rtol=2e-5, atol=2e-6)
