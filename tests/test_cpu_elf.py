"""What a start from the cache does without: LLVM (a linker of our own), OpenSSL, numpy.random."""

from __future__ import annotations

import ctypes
import math
import os
import subprocess
import sys

import pytest
from nncomp.backends.cache import ObjectCache
from nncomp.backends.cpu import code_memory, elf, jit, known_host
from nncomp.backends.cpu.jit import compile_to_object, link
from nncomp.backends.cpu.target import Target, host_target

pytestmark = pytest.mark.skipif(not code_memory.is_available(), reason="Linux on x86-64")

MIXED = """
declare double @cos(double)
declare i64 @imported(i64)
@table = constant [4 x i64] [i64 10, i64 20, i64 30, i64 40]
@counter = global i64 5
@room = global [100 x i64] zeroinitializer
@pointer = global ptr @table
@function = global ptr @helper
define internal i64 @helper(i64 %x) noinline {
  %y = mul i64 %x, 3
  ret i64 %y
}
define double @with_cos(double %x) {
  %y = call double @cos(double %x)
  %z = fadd double %y, 0.625
  ret double %z
}
define i64 @all(i64 %i) {
  %p = getelementptr i64, ptr @table, i64 %i
  %a = load i64, ptr %p
  %q = load ptr, ptr @pointer
  %b = load i64, ptr %q
  %n = load i64, ptr @counter
  %m = add i64 %n, 1
  store i64 %m, ptr @counter
  %f = load ptr, ptr @function
  %h = call i64 %f(i64 %i)
  %r = getelementptr i64, ptr @room, i64 %i
  store i64 %h, ptr %r
  %g = load i64, ptr %r
  %c = call i64 @imported(i64 %g)
  %s = add i64 %a, %b
  %t = add i64 %s, %m
  %u = add i64 %t, %c
  ret i64 %u
}
"""


def _function(library, name: str, result=ctypes.c_int64, argument=ctypes.c_int64):
    return ctypes.CFUNCTYPE(result, argument)(library.address(name))


def _object(text: str) -> bytes:
    return compile_to_object(text, host_target())


def test_code_constants_data_pointers_and_calls_out():
    seen = []
    back = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(lambda n: seen.append(n) or 1000 * n)
    imports = {"imported": ctypes.cast(back, ctypes.c_void_p).value}
    data = _object(MIXED)
    mine = jit.Library(elf.load([data], imports).address, [data], back)
    theirs = jit.Library(jit._llvm_finder([data], imports), [data], back)
    for call in range(3):
        expected = 10 * (call + 1) + 10 + 6 + call + 3000 * call
        assert [_function(x, "all")(call) for x in (mine, theirs)] == [expected] * 2
    assert seen == [0, 0, 3, 3, 6, 6]
    with_cos = _function(mine, "with_cos", ctypes.c_double, ctypes.c_double)
    assert with_cos(0.5) == math.cos(0.5) + 0.625
    assert mine.address("room") % 64 == mine.address("table") % 64 == 0


def test_code_cannot_be_written_and_constants_neither():
    loaded = elf.load([_object(MIXED.replace("@imported", "@labs"))], {})
    rows = [line.split() for line in open("/proc/self/maps", encoding="utf-8")]
    spans = {tuple(int(n, 16) for n in row[0].split("-")): row[1] for row in rows}

    def access(name: str) -> str:
        at = loaded.address(name)
        return next(access for (low, high), access in spans.items() if low <= at < high)

    found = [access(name) for name in ("all", "table", "counter")]
    assert [a[:3] for a in found] == ["r-x", "r--", "rw-"]


def _is_unfit(objects: list[bytes]) -> bool:
    try:
        elf.load(objects, {})
    except elf.Unfit:
        return True
    return False


def test_what_is_not_plain_is_left_to_llvm():
    good = _object("define i64 @answer() { ret i64 1 }")
    thread_local = "@x = thread_local global i64 3\ndefine ptr @f() { ret ptr @x }"
    weak = "define weak i64 @answer() { ret i64 2 }"
    missing = "declare i64 @no_such_thing()\n"
    missing += "define i64 @f() { %x = call i64 @no_such_thing() ret i64 %x }"
    texts = (thread_local, weak, missing)
    assert [_is_unfit([_object(text)]) for text in texts] == [True] * 3
    assert not _is_unfit([good])
    assert _is_unfit([good, good])
    foreign = Target("aarch64-unknown-linux-gnu", "generic", "", 128, 32)
    assert _is_unfit([compile_to_object("define void @f() { ret void }", foreign)])
    assert _function(link([_object(weak)]), "answer")(0) == 2  # by LLVM


def test_damaged_objects_never_crash_the_loader():
    data = _object(MIXED.replace("@imported", "@labs"))
    outcomes = set()
    for at in range(0, len(data), 7):
        for flipped in (0x01, 0x80, 0xFF):
            broken = data[:at] + bytes([data[at] ^ flipped]) + data[at + 1 :]
            outcomes.add(_is_unfit([broken]))
    for length in range(0, len(data), 31):
        assert _is_unfit([data[:length]])
    assert outcomes == {True, False}  # loading does not check the code itself


def test_the_record_of_the_machine_is_what_llvm_says(tmp_path, monkeypatch):
    cache = ObjectCache(tmp_path)
    monkeypatch.setattr(known_host, "default_cache", lambda: cache)
    assert known_host.find() is None
    host = known_host.Host("some cpu", {"avx2": True, "fma": False}, "x86_64-linux", "20.1")
    known_host.save(host)
    assert known_host.find() == host
    words = known_host.cpu_words()
    assert words == known_host.cpu_words()
    words[2] = (words[2][0] ^ 1, *words[2][1:])
    monkeypatch.setattr(known_host, "cpu_words", lambda: words)
    assert known_host.find() is None  # another CPU
    monkeypatch.undo()
    monkeypatch.setattr(known_host, "default_cache", lambda: None)
    assert known_host.find() is None


def test_a_strange_record_counts_as_none(tmp_path, monkeypatch):
    cache = ObjectCache(tmp_path)
    monkeypatch.setattr(known_host, "default_cache", lambda: cache)
    for content in (b"", b"[]", b"{}", b'["a", 1, "b", "c"]', b"\xff"):
        cache.put(known_host._key(), content)
        assert known_host.find() is None


START = """
import nncomp.backends.cpu.stored as stored
stored.source_digest = lambda: "these sources"  # also just after an edit
import sys, nncomp
net = nncomp.nn.Sequential(nncomp.nn.Linear(6, 5), nncomp.nn.ReLU()).requires_grad_(False)
for p in net.parameters():
    p.fill_(0.5)
compiled = nncomp.compile(net)
x = nncomp.ones(3, 6)
print([float(compiled(x).sum()) for _ in range(3)], "llvmlite.binding" in sys.modules)
assert not {"_hashlib", "numpy.random"} & set(sys.modules)  # together 12 MB
"""


def test_a_start_from_the_cache_loads_no_llvm(tmp_path):
    env = {**os.environ, "NNCOMP_CACHE_DIR": str(tmp_path), "NNCOMP_CACHE": "1"}

    def run() -> str:
        done = subprocess.run(
            [sys.executable, "-c", START], env=env, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert run() == "[52.5, 52.5, 52.5] True"
    assert run() == "[52.5, 52.5, 52.5] False"


DRAW = """
import sys, numpy, nncomp, nncomp.trace_error
def drawn(x):
    return x * DRAW
def unused(x):
    numpy.random.default_rng(0).random()
    return x + 1
assert "numpy.random" not in sys.modules
try:
    nncomp.compile(FUNCTION)(nncomp.ones(2))
    print("fine")
except nncomp.trace_error.TraceError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("draw", "function", "answer"),
    [
        ("float(numpy.random.rand())", "drawn", "draws from numpy.random"),
        ("int(numpy.random.randint(0, 5, dtype='uint8'))", "drawn", "draws from numpy.random"),
        ("1", "unused", "fine"),
    ],
    ids=["double", "byte", "own generator"],
)
def test_draws_are_noticed_though_numpy_random_is_loaded_late(draw, function, answer):
    code = DRAW.replace("DRAW", draw).replace("FUNCTION", function)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert answer in done.stdout


def test_hashes_are_those_of_hashlib():
    import hashlib

    from nncomp.ir.digest import blake2b, sha256

    for data in (b"", b"abc", bytes(range(256)) * 50):
        assert sha256(data).hexdigest() == hashlib.sha256(data).hexdigest()
        expected = hashlib.blake2b(data, digest_size=32).hexdigest()
        assert blake2b(data, digest_size=32).hexdigest() == expected
