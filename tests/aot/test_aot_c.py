"""Exported object files and libraries, called from C: they give what the compiled model gives."""

from __future__ import annotations

import ctypes
import subprocess

import numpy as np
import pytest
from nncomp.backends.cpu.jit import elf_symbols
from programs import STRICT, build, compiled, got, need, put, resnet, run, same, seed_mlp, tagger

import nncomp
from nncomp import nn

LIBM = {"memcpy", "memset", "memmove"} | {
    name + end
    for name in ("floor", "ceil", "trunc", "rint", "fmod", "sin", "cos", "tan")
    for end in ("", "f")
}  # fmt: skip


def undefined(path) -> set[str]:
    """Symbols that an object file needs."""
    return {name for name, here in elf_symbols(path.read_bytes()).items() if not here}


def exported(path) -> set[str]:
    """Symbols that an object file shows."""
    return {name for name, here in elf_symbols(path.read_bytes()).items() if here}


@pytest.mark.parametrize("make", (seed_mlp, tagger, lambda: resnet((1, 1), 16, 32)),
                         ids=("mlp", "lstm", "resnet"))  # fmt: skip
def test_c_gives_the_same_bits(make, tmp_path):
    need("gcc")
    model, x = make()
    made = nncomp.aot.export(model, x, tmp_path / "net.o")
    assert made.sizes["state"] == 0 and made.sizes["constants"] > 0
    put(tmp_path, x)
    run([build(tmp_path), 1], tmp_path)
    expected = compiled(model, x)
    values = list(expected.values()) if isinstance(expected, dict) else [expected]
    for number, y in enumerate(values):
        assert same(got(tmp_path, number, y), y)
    assert undefined(tmp_path / "net.o") <= LIBM
    assert all(name.startswith("net_") for name in exported(tmp_path / "net.o"))


def test_every_level_gives_what_python_gives_at_that_level(tmp_path, monkeypatch):
    need("gcc")
    model, x = seed_mlp()
    nncomp.aot.export(model, x, tmp_path / "net.o")
    nncomp.aot.export(model, x, tmp_path / "net.nnc")
    put(tmp_path, x)
    program = build(tmp_path)
    for number, level in enumerate(("baseline", "avx2", "avx512")):
        monkeypatch.setenv("NNCOMP_ISA", level)
        try:
            expected = nncomp.aot.load(tmp_path / "net.nnc")(x)
        except RuntimeError as error:
            assert "goes up to" in str(error)
            assert run([program, 1, number], tmp_path, ok=False).returncode == 3
            continue
        assert run([program, 1, number], tmp_path).stdout.startswith(level)
        assert same(got(tmp_path, 0, expected), expected)
    assert run([program, 1, 3], tmp_path, ok=False).returncode == 3


@pytest.mark.parametrize("compiler", ("gcc", "g++"))
def test_the_example_builds_without_warnings(compiler, tmp_path):
    need(compiler)
    model, x = tagger()
    nncomp.aot.export(model, x, tmp_path / "net.a")
    language = ("-x", "c++", "-Wall", "-Wextra", "-Werror") if compiler == "g++" else STRICT
    source = ("net_example.c", "-x", "none") if compiler == "g++" else ("net_example.c",)
    run([compiler, *language, *source, "net.a", "-o", "example", "-lm"], tmp_path)
    printed = run([tmp_path / "example"], tmp_path).stdout.split()
    zeros = compiled(model, nncomp.zeros(3, 9, dtype=nncomp.int64))
    for name, y in zeros.items():
        place = printed.index(f"output_{name}:")
        assert float(printed[place + 2]) == pytest.approx(y.double().sum().item(), abs=1e-5)


def test_a_shared_library_serves_many_callers(tmp_path):
    need("gcc")
    model, x = seed_mlp()
    nncomp.aot.export(model, x, tmp_path / "net.so")
    library = ctypes.CDLL(str(tmp_path / "net.so"))
    batches = [nncomp.randn(16, 1, 28, 28) for _ in range(4)]
    expected = [compiled(model, b) for b in batches]
    from concurrent.futures import ThreadPoolExecutor

    def call(number: int) -> bool:
        array, out = batches[number].numpy(), np.empty((16, 10), np.float32)
        workspace = np.empty(library.net_workspace_bytes(), np.uint8)
        for _ in range(20):
            out[...] = 0
            assert call_run(library, [array], [out], workspace) == 0
        return same(out, expected[number])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(call, range(4)))


def call_run(library, inputs, outputs, *memories, name: str = "net") -> int:
    """`NAME_run` of a library on numpy arrays."""

    def table(arrays):
        return (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))

    pointers = [ctypes.c_void_p(m.ctypes.data) for m in memories]
    return getattr(library, f"{name}_run")(table(inputs), table(outputs), *pointers)


def test_wrong_arguments_give_codes(tmp_path):
    need("gcc")
    model, x = tagger()
    nncomp.aot.export(model, x, tmp_path / "net.so")
    library = ctypes.CDLL(str(tmp_path / "net.so"))
    library.net_error_text.restype = ctypes.c_char_p
    tokens = x.numpy().copy()
    outs = [np.full((3, 9, 7), 5, np.float32), np.full((3, 32), 5, np.float32)]
    workspace = np.empty(library.net_workspace_bytes() + 1, np.uint8)
    assert call_run(library, [tokens], outs, workspace[1:]) == 0
    assert not (outs[0] == 5).all()
    outs[0][...] = 5
    assert library.net_run(None, None, None) == 1
    odd = np.empty(8 * 27 + 1, np.uint8)[1:]
    odd = odd if odd.ctypes.data % 8 else odd[1:]
    assert call_run(library, [odd], outs, workspace) == 1
    for wrong in (50, -1):
        tokens[1, 2] = wrong
        code = call_run(library, [tokens], outs, workspace)
        assert code == 3 and (outs[0] == 5).all()
    assert b"outside of its axis" in library.net_error_text(3)
    assert library.net_error_text(99) == b"unknown error"


def test_queries_describe_the_tensors(tmp_path):
    need("gcc")

    class Description(ctypes.Structure):
        _fields_ = [("name", ctypes.c_char_p), ("dtype", ctypes.c_char_p),
                    ("shape", ctypes.POINTER(ctypes.c_int64)), ("rank", ctypes.c_size_t),
                    ("bytes", ctypes.c_size_t), ("offset", ctypes.c_size_t)]  # fmt: skip

    model, x = tagger()
    nncomp.aot.export(model, x, tmp_path / "net.so", name="words")
    library = ctypes.CDLL(str(tmp_path / "net.so"))
    for function in (library.words_input, library.words_output):
        function.restype = ctypes.POINTER(Description)
        function.argtypes = [ctypes.c_size_t]
    tokens = library.words_input(0).contents
    assert (tokens.name, tokens.dtype, tokens.bytes) == (b"tokens", b"int64", 8 * 27)
    assert tokens.shape[: tokens.rank] == [3, 9]
    assert [library.words_output(i).contents.name for i in range(2)] == [
        b"output_scores", b"output_last",
    ]  # fmt: skip
    assert not library.words_input(1) and not library.words_output(2)


def test_threads_belong_to_the_workspace(tmp_path):
    need("gcc")
    nncomp.manual_seed(3)
    model = nn.Sequential(nn.Linear(512, 2048), nn.GELU(), nn.Linear(2048, 64)).eval()
    x = nncomp.randn(32, 512)
    nncomp.aot.export(model, x, tmp_path / "net.o", threads=3)
    pthread = {s for s in undefined(tmp_path / "net.o") if s.startswith("pthread_")}
    assert undefined(tmp_path / "net.o") <= LIBM | pthread | {"sched_yield"}
    assert "pthread_create" in pthread
    put(tmp_path, x)
    expected = compiled(model, x)
    for count in (1, 2, 3):
        run([build(tmp_path, flags=("-pthread", f"-DTHREADS={count}")), 5], tmp_path)
        assert same(got(tmp_path, 0, expected, run=4), expected)
    for flags in (("-DTHREADS=4",), ()):  # too many; never started
        program = build(tmp_path, flags=("-pthread", *flags))
        assert run([program, 1], tmp_path, ok=False).returncode in (3, 5)


def test_weights_in_a_file_of_their_own(tmp_path):
    need("gcc")
    model, x = seed_mlp()
    made = nncomp.aot.export(model, x, tmp_path / "net.o", weights="file")
    assert [f.rsplit("/", 1)[1] for f in made.files] == [
        "net.o", "net.weights", "net.h", "net_example.c",
    ]  # fmt: skip
    assert (tmp_path / "net.o").stat().st_size < 100_000
    put(tmp_path, x)
    program = build(tmp_path, flags=('-DWEIGHTS="net.weights"',))
    run([program, 1], tmp_path)
    expected = compiled(model, x)
    assert same(got(tmp_path, 0, expected), expected)
    assert run([build(tmp_path), 1], tmp_path, ok=False).returncode == 4  # none given
    program = build(tmp_path, flags=('-DWEIGHTS="net.weights"',))
    other, _ = seed_mlp()
    with nncomp.no_grad():
        other[1].bias += 1
    nncomp.aot.export(other, x, tmp_path / "other.o", weights="file", name="net")
    assert run([program, 1], tmp_path, ok=False).stderr == "weights\n"


@pytest.mark.parametrize("weights", ("embed", "file"))
def test_constants_packed_at_the_start(weights, tmp_path):
    need("gcc")
    model, x = resnet((1, 1), 16, 32)
    packed = nncomp.aot.export(model, x, tmp_path / "net.o").sizes["constants"]
    made = nncomp.aot.export(model, x, tmp_path / "net.o", prepare="start", weights=weights)
    raw = sum(p.numel() * 4 for p in model.parameters())
    assert 0.9 * raw < made.sizes["constants"] < 1.1 * raw < packed
    put(tmp_path, x)
    flags = ('-DWEIGHTS="net.weights"',) if weights == "file" else ()
    program = build(tmp_path, flags=(*flags, "-DPREPARE"))
    run([program, 2], tmp_path)
    expected = compiled(model, x)
    assert same(got(tmp_path, 0, expected, run=1), expected)
    assert run([build(tmp_path, flags=flags), 1], tmp_path, ok=False).returncode == 6
    run(["gcc", *STRICT, "net_example.c", "net.o", "-o", "example", "-lm"], tmp_path)
    run([tmp_path / "example"], tmp_path)


def test_valgrind_finds_nothing(tmp_path):
    need("gcc", "valgrind")
    model, x = tagger()
    nncomp.aot.export(model, x, tmp_path / "net.o", threads=2)
    put(tmp_path, x)
    program = build(tmp_path, flags=("-g", "-pthread", "-DTHREADS=2"))
    command = ["valgrind", "-q", "--error-exitcode=9", "--leak-check=full", program, 2, 0]
    assert run(command, tmp_path).stdout.startswith("baseline")


def test_code_stays_small(tmp_path):
    model, x = seed_mlp()
    assert nncomp.aot.export(model, x, tmp_path / "net.o").sizes["code"] < 100_000
    model, x = resnet()
    sizes = nncomp.aot.export(model, x, tmp_path / "net.o", weights="file").sizes
    assert sizes["code"] < 1_000_000


def test_equal_exports_are_equal_files(tmp_path):
    model, x = tagger()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for end in ("a", "nnc"):
            nncomp.aot.export(model, x, tmp_path / folder / f"net.{end}")
    for name in ("net.a", "net.nnc", "net.h", "net_example.c"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_two_models_in_one_program(tmp_path):
    need("gcc")
    (model, x), (words, tokens) = seed_mlp(), tagger()
    nncomp.aot.export(model, x, tmp_path / "net.o")
    nncomp.aot.export(words, tokens, tmp_path / "words.o")
    main = (
        '#include "net.h"\n#include "words.h"\n'
        "int main(void) { return net_input(1) != 0 || words_input(0)->rank != 2; }\n"
    )
    (tmp_path / "main.c").write_text(main)
    run(["gcc", *STRICT, "main.c", "net.o", "words.o", "-o", "main", "-lm"], tmp_path)
    run([tmp_path / "main"], tmp_path)


def test_denormals_and_the_callers_mode(tmp_path):
    """Results are those of Python, where denormals count as zero; the caller's mode stays."""
    need("gcc")
    nncomp.aot.export(lambda x: x * 0.5, nncomp.ones(4), tmp_path / "net.o")
    (tmp_path / "main.c").write_text(
        """#include <stdio.h>
#include "net.h"
int main(void) {
    static double workspace[NET_WORKSPACE_BYTES / 8 + 1];
    volatile float tiny = 1.2e-38f, half = 0.5f;
    float x[4] = {1.2e-38f, 1.0f, 2.0f, 3.0f}, y[4];
    const void *inputs[] = {x};
    void *outputs[] = {y};
    int code = net_run(inputs, outputs, workspace);
    printf("%d %d %d\\n", code, y[0] == 0.0f && y[1] == 0.5f, tiny * half > 0.0f);
    return 0;
}
"""
    )
    run(["gcc", *STRICT, "main.c", "net.o", "-o", "main", "-lm"], tmp_path)
    assert run([tmp_path / "main"], tmp_path).stdout == "0 1 1\n"


def test_functions_of_libm(tmp_path, monkeypatch):
    """What LLVM has no code for is called, and every C99 library has it."""
    need("gcc")

    def f(x, y):
        wide = x.double()
        parts = [wide.exp(), wide.tanh(), nncomp.erf(wide), nncomp.fmod(wide, 0.7), wide.sin()]
        return nncomp.stack(parts).sum(0), (10 * x).round(), (3 * y.half()).floor()

    x, y = nncomp.linspace(-2, 2, 41), nncomp.linspace(-1, 1, 41)
    nncomp.aot.export(f, (x, y), tmp_path / "net.o")
    needed = undefined(tmp_path / "net.o")
    assert {"fmod", "sin", "rintf"} <= needed <= LIBM
    put(tmp_path, x, y)
    program = build(tmp_path)
    expected = nncomp.compile(f)(x, y)
    run([program, 1], tmp_path)
    assert all(same(got(tmp_path, i, v), v) for i, v in enumerate(expected))
    run([program, 1, 0], tmp_path)
    assert same(got(tmp_path, 1, expected[1]), expected[1])
    assert same(got(tmp_path, 2, expected[2]), expected[2])


def test_export_runs_no_program(tmp_path, monkeypatch):
    """Only a shared library needs one, the linker."""
    called = []
    monkeypatch.setattr(subprocess.Popen, "__init__", lambda *a, **k: called.append(a))
    model, x = seed_mlp()
    for end in ("o", "a", "nnc"):
        nncomp.aot.export(model, x, tmp_path / f"net.{end}")
    assert not called
