"""The CPU runtime: target, JIT, object cache, thread counts and the native thread pool."""

from __future__ import annotations

import ctypes
import errno
import math
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from nncomp.backends import cache as cache_module
from nncomp.backends.cache import ObjectCache, bundle_key, default_cache
from nncomp.backends.cpu import jit, threads
from nncomp.backends.cpu import target as target_module
from nncomp.backends.cpu.jit import CodegenError, compile_many, compile_to_object, link
from nncomp.backends.cpu.pool import pool_text
from nncomp.backends.cpu.target import Target, host_target, lanes, machine


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path_factory):
    for name in list(os.environ):
        if name.startswith("NNCOMP_") or name == "OMP_NUM_THREADS":
            monkeypatch.delenv(name)
    folder = tmp_path_factory.getbasetemp() / "shared-cache"
    monkeypatch.setenv("NNCOMP_CACHE_DIR", str(folder))
    yield
    threads.set_num_threads(None)


def answer(number: int, name: str = "answer") -> str:
    return f"define i64 @{name}() {{\n  ret i64 {number}\n}}\n"


def call(library, name: str, result=ctypes.c_int64):
    return ctypes.CFUNCTYPE(result)(library.address(name))()


def python(code: str, **env: str) -> subprocess.CompletedProcess:
    """Run `code` in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


# -- target --------------------------------------------------------------------------------------


def test_import_loads_no_llvm_and_starts_no_thread():
    modules = "target, jit, pool, threads"
    done = python(
        f"from nncomp.backends.cpu import {modules}\nimport nncomp.backends.cache\n"
        "import sys, threading\n"
        "assert not any(m.startswith('llvmlite') for m in sys.modules)\n"
        "assert pool._pool is None and threading.active_count() == 1\n"
    )
    assert done.returncode == 0, done.stderr


def test_host_target_and_lanes():
    target = host_target()
    assert target is host_target()
    assert target.vector_bits in (128, 256, 512)
    assert lanes(target, 4) == target.vector_bits // 32
    with pytest.raises(ValueError, match="3 bytes"):
        lanes(target, 3)


X86 = "x86_64-unknown-linux-gnu"
LEVEL_FEATURES = {
    "baseline": {"sse2": True, "avx2": False},
    "avx2": {"avx2": True, "fma": True, "avx512f": True},
    "avx512": dict.fromkeys(["avx2", "fma", "avx512f", "avx512vl", "avx512bw", "avx512dq"], True),
}


@pytest.fixture
def fake_host(monkeypatch):
    def pretend(features, triple=X86):
        monkeypatch.setattr(target_module, "host", lambda: ("somecpu", features, triple))
        target_module._target_at.cache_clear()

    yield pretend
    target_module._target_at.cache_clear()


@pytest.mark.parametrize(
    ("level", "bits", "registers", "fma"),
    [("baseline", 128, 16, False), ("avx2", 256, 16, True), ("avx512", 512, 32, True)],
)
def test_vector_size_follows_features(fake_host, level, bits, registers, fma):
    fake_host(LEVEL_FEATURES[level])
    target = host_target()
    assert (target.vector_bits, target.vector_registers, target.fma) == (bits, registers, fma)
    assert target.cpu == "somecpu"
    assert ("+avx2" in target.features) == (level != "baseline")


def test_aarch64_has_32_registers(fake_host):
    fake_host({"neon": True}, "aarch64-unknown-linux-gnu")
    assert (host_target().vector_bits, host_target().vector_registers) == (128, 32)
    assert host_target().fma


def test_isa_is_lowered_but_never_raised(fake_host, monkeypatch):
    fake_host(LEVEL_FEATURES["avx2"])
    monkeypatch.setenv("NNCOMP_ISA", "baseline")
    assert (host_target().cpu, host_target().vector_bits) == ("x86-64", 128)
    monkeypatch.setenv("NNCOMP_ISA", "AVX2")
    assert (host_target().cpu, host_target().vector_bits) == ("x86-64-v3", 256)
    assert "-bmi2" in host_target().features  # the pretended host lacks it
    monkeypatch.setenv("NNCOMP_ISA", "avx512")
    with pytest.raises(ValueError, match="'avx512'.*somecpu.*'avx2'"):
        host_target()
    monkeypatch.setenv("NNCOMP_ISA", "sse9")
    with pytest.raises(ValueError, match="'sse9'; expected one of baseline, avx2, avx512"):
        host_target()


def assembly(text: str, target: Target) -> str:
    llvm = target_module.binding()
    return machine(target).emit_assembly(llvm.parse_assembly(text))


WIDE = """define void @f(ptr %p) {
  %x = load <16 x float>, ptr %p
  %y = fadd <16 x float> %x, %x
  store <16 x float> %y, ptr %p
  ret void
}"""


@pytest.mark.skipif(not host_target().triple.startswith("x86_64"), reason="x86 registers")
@pytest.mark.parametrize(("isa", "absent"), [("baseline", "ymm"), ("avx2", "zmm")])
def test_forced_isa_binds_the_code_generator(monkeypatch, isa, absent):
    monkeypatch.setenv("NNCOMP_ISA", isa)
    try:
        target = host_target()
    except ValueError as error:
        pytest.skip(str(error))
    assert absent not in assembly(WIDE, target)
    assert call(link([compile_to_object(answer(5), target)]), "answer") == 5


@pytest.mark.parametrize(
    "triple",
    ["aarch64-unknown-linux-gnu", "arm64-apple-darwin", "x86_64-pc-windows-msvc",
     "riscv64-unknown-linux-gnu"],
)  # fmt: skip
def test_pool_code_builds_for_other_systems(triple):
    text = assembly(pool_text(Target(triple, "generic", "", 128, 32)), Target(triple, "", "", 0, 0))
    assert "nncomp_parallel" in text
    assert ("pthread_create" in text) == ("windows" not in triple)
    assert ("pthread_setaffinity_np" in text) == ("linux" in triple)


# -- jit -----------------------------------------------------------------------------------------


def test_compile_link_call():
    text = "declare double @cos(double)\n@seen = global i64 7\n" + answer(42)
    text += "define double @f(double %x) { %y = call double @cos(double %x) ret double %y }"
    library = link([compile_to_object(text, host_target())])
    assert call(library, "answer") == 42
    function = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(library.address("f"))
    assert function(0.5) == math.cos(0.5)
    assert ctypes.c_int64.from_address(library.address("seen")).value == 7


def test_objects_see_each_other_and_imports():
    user = "declare i64 @{0}()\ndefine i64 @{1}() {{ %r = call i64 @{0}() ret i64 %r }}"
    first = link(compile_many([answer(1), user.format("answer", "one")], host_target()))
    assert call(first, "one") == 1
    texts = [answer(2), user.format("far", "two")]  # its own `answer`, and the first library's
    second = link(compile_many(texts, host_target()), {"far": first.address("answer")}, first)
    assert (call(second, "answer"), call(second, "two"), call(first, "answer")) == (2, 1, 1)


def test_many_libraries_come_and_go():
    kept = link([compile_to_object(answer(-1), host_target())])
    for number in range(20):
        assert call(link([compile_to_object(answer(number), host_target())]), "answer") == number
    assert call(kept, "answer") == -1


def test_missing_symbols_are_named():
    text = answer(1) + "declare i64 @no_such_thing()\n"
    text += "define i64 @g() { %r = call i64 @no_such_thing() ret i64 %r }"
    library = link([compile_to_object(text, host_target())])
    with pytest.raises(CodegenError, match="'absent' is not in this library; it defines answer, g"):
        library.address("absent")
    with pytest.raises(CodegenError, match="nothing defines no_such_thing"):
        library.address("g")


def test_bad_objects_are_refused():
    good = compile_to_object(answer(1), host_target())
    for bad in ([b"garbage"], [good[: len(good) // 2]], [good, good]):
        with pytest.raises(CodegenError, match="cannot link"):
            link(bad).address("answer")


def test_parse_error_shows_numbered_lines():
    text = "define i64 @f() {\n  %x = add i64 1, 2\n  %y = nonsense i64 %x\n  ret i64 %y\n}\n"
    with pytest.raises(CodegenError, match=r"expected instruction opcode") as caught:
        compile_to_object(text, host_target())
    assert "    3 |   %y = nonsense i64 %x" in str(caught.value)
    with pytest.raises(CodegenError, match="NUL"):
        compile_to_object("define void @f() { ret void }\0", host_target())
    with pytest.raises(ValueError, match="opt_level is 3"):
        compile_to_object(answer(1), host_target(), opt_level=3)


def test_verify_error_shows_numbered_lines():
    text = (
        "define i64 @f(i1 %c) {\n  br i1 %c, label %a, label %b\na:\n  %x = add i64 1, 2\n"
        "  br label %b\nb:\n  ret i64 %x\n}\n"
    )
    with pytest.raises(CodegenError, match="cannot verify.*does not dominate") as caught:
        compile_many([answer(1), text], host_target(), cache=None)
    assert "    4 |   %x = add i64 1, 2" in str(caught.value)
    assert "    7 |   ret i64 %x" in str(caught.value)


def test_opt_level_runs_passes():
    text = """define i64 @answer() {
  %p = alloca i64
  store i64 20, ptr %p
  %x = load i64, ptr %p
  %y = add i64 %x, 22
  ret i64 %y
}"""
    plain, better = (compile_to_object(text, host_target(), level) for level in (0, 2))
    assert plain != better
    assert call(link([plain]), "answer") == call(link([better]), "answer") == 42


def test_compile_many_keeps_order_and_bytes(monkeypatch):
    texts = [answer(n % 5, f"f{n % 5}") for n in range(12)]
    compiled = []
    real = jit.compile_module
    monkeypatch.setattr(jit, "compile_module", lambda *a: compiled.append(a[0]) or real(*a))
    threads.set_num_threads(2)
    parallel = compile_many(texts, host_target(), cache=None)
    assert sorted(compiled) == sorted(set(texts))  # equal texts once
    jit.raw_emitter.cache_clear()
    monkeypatch.setattr(jit, "_same_bytes", lambda emit: False)  # as with an unknown llvmlite
    assert jit.raw_emitter() is None
    assert compile_many(texts, host_target(), cache=None) == parallel
    jit.raw_emitter.cache_clear()


def test_compile_from_several_threads():
    def work(number: int) -> int:
        texts = [answer(number * 10 + k, f"f{k}") for k in range(3)]
        library = link(compile_many(texts, host_target(), cache=None))
        return sum(call(library, f"f{k}") for k in range(3))

    with ThreadPoolExecutor(4) as workers:
        assert list(workers.map(work, range(8))) == [30 * n + 3 for n in range(8)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_fork_during_a_compilation_leaves_the_child_able_to_compile():
    step = "  %x{0} = mul i64 %x{1}, {0}\n  %y{0} = call i64 @g(i64 %x{0})\n"
    lines = "".join(step.format(n, n - 1) for n in range(1, 300))
    slow = f"declare i64 @g(i64)\ndefine i64 @f(i64 %x0) {{\n{lines}  ret i64 %y299\n}}"
    stop = threading.Event()

    def work():
        while not stop.is_set():
            compile_to_object(slow, host_target(), opt_level=2)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for number in range(3):
            time.sleep(0.01)
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    signal.alarm(10)
                    library = link(compile_many([answer(number)], host_target(), cache=None))
                    code = 0 if call(library, "answer") == number else 2
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        worker.join()


# -- cache ---------------------------------------------------------------------------------------

KEY = "ab" * 32


def test_cache_round_trip(tmp_path):
    cache = ObjectCache(tmp_path / "deep" / "er")
    assert cache.get(KEY) is None
    cache.put(KEY, b"data")
    assert cache.get(KEY) == b"data"
    cache.put_many("cd", [b"", b"one", b"two" * 1000])
    assert cache.get_many("cd") == [b"", b"one", b"two" * 1000]
    assert cache.get("cd") is None  # three objects are not one
    with pytest.raises(ValueError, match="not a plain word"):
        cache.get("../escape")


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGE = {
    "empty": lambda data: b"",
    "cut head": lambda data: data[:20],
    "cut": lambda data: data[:-1],
    "longer": lambda data: data + b"x",
    "magic": lambda data: flip(data, 0),
    "version": lambda data: flip(data, 8),
    "count": lambda data: flip(data, 12),
    "digest": lambda data: flip(data, 20),
    "payload": lambda data: flip(data, len(data) - 5),
    "foreign": lambda data: b"#!/bin/sh\necho hello\n" * 50,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_entry_is_removed_and_compiled_again(tmp_path, kind):
    cache, text = ObjectCache(tmp_path), answer(3)
    (good,) = compile_many([text], host_target(), cache=cache)
    (path,) = tmp_path.iterdir()
    path.write_bytes(DAMAGE[kind](path.read_bytes()))
    assert cache.get(jit.object_key(text, host_target())) is None
    assert not path.exists()
    assert compile_many([text], host_target(), cache=cache) == [good]
    assert cache.get(jit.object_key(text, host_target())) == good


def test_entry_under_another_name_does_not_count(tmp_path):
    cache = ObjectCache(tmp_path)
    cache.put("aa", b"code of aa")
    os.rename(tmp_path / "aa.nnc", tmp_path / "bb.nnc")
    assert cache.get("bb") is None
    assert cache.get("aa") is None


def test_warm_start_is_one_read(tmp_path, monkeypatch):
    cache = ObjectCache(tmp_path)
    texts = [answer(n, f"f{n}") for n in range(4)]
    cold = compile_many(texts, host_target(), cache=cache)
    reads = []
    real = ObjectCache.get_many
    monkeypatch.setattr(ObjectCache, "get_many", lambda c, k: reads.append(k) or real(c, k))
    monkeypatch.setattr(jit, "compile_module", lambda *a: pytest.fail("compiled on a warm start"))
    assert compile_many(texts, host_target(), cache=cache) == cold
    assert len(reads) == 1
    assert compile_many(texts[::-1][:2], host_target(), cache=cache) == cold[::-1][:2]


def test_keys_tell_inputs_apart(monkeypatch):
    base = host_target()
    other = Target(base.triple, base.cpu, base.features + ",+x", 128, 16)
    object_key = jit.object_key
    keys = {object_key("a", base), object_key("b", base), object_key("a", base, 1)}
    keys |= {object_key("a", other)} | {bundle_key(names) for names in (["ab"], "ab", "ba")}
    monkeypatch.setattr(jit, "versions", lambda: ("0", "0"))
    keys.add(object_key("a", base))
    monkeypatch.setattr(cache_module, "FORMAT", 99)
    keys.add(object_key("a", base))
    assert len(keys) == 9


def test_concurrent_writers(tmp_path):
    code = (
        "import sys\n"
        "from nncomp.backends.cache import ObjectCache\n"
        "for n in range(150):\n"
        f"    cache = ObjectCache({str(tmp_path)!r}, 60000)\n"
        "    cache.put(f'k{n % 5}', bytes([n % 5]) * 9999)\n"
        "    assert cache.get(f'k{n % 5}') in (None, bytes([n % 5]) * 9999)\n"
    )
    with ThreadPoolExecutor(3) as workers:
        others = [workers.submit(python, code) for _ in range(2)]
        cache = ObjectCache(tmp_path, 60000)
        same = [workers.submit(cache.put, "same", b"s" * 5000) for _ in range(50)]
        assert all(f.result() is None for f in same)
        for done in (f.result() for f in others):
            assert done.returncode == 0, done.stderr
    assert cache.get("same") in (None, b"s" * 5000)
    assert all(path.suffix == ".nnc" for path in tmp_path.iterdir())  # no temporary file is left


@pytest.mark.parametrize("kind", ["no folder", "full disk"])
def test_unusable_folder_warns_once_and_goes_on(tmp_path, monkeypatch, kind):
    folder = tmp_path / "cache"
    if kind == "no folder":
        folder.write_text("a file is in the way")
    else:

        def full(*args):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
    cache = ObjectCache(folder)
    with pytest.warns(RuntimeWarning, match="cannot keep compiled code") as caught:
        for number in range(3):
            (data,) = compile_many([answer(number)], host_target(), cache=cache)
            assert call(link([data]), "answer") == number
    assert len(caught) == 1
    if kind == "full disk":
        assert list(folder.iterdir()) == []


def test_size_is_bounded_by_least_recent_use(tmp_path):
    cache = ObjectCache(tmp_path, limit=10_000)
    (tmp_path / "notes.txt").write_text("not ours")
    stale = tmp_path / ".tmp-dead"
    stale.write_bytes(b"x")
    os.utime(stale, (0, 0))
    for number in range(9):
        cache.put(f"k{number}", bytes(1000))
        os.utime(tmp_path / f"k{number}.nnc", (1000 + number, 1000 + number))
    assert cache.get("k0") is not None  # used now: k1 is the oldest
    cache.put("big", bytes(2000))
    assert cache.get("k1") is None and cache.get("k0") is not None and cache.get("big") is not None
    assert sum(p.stat().st_size for p in tmp_path.glob("*.nnc")) <= 10_000
    assert (tmp_path / "notes.txt").exists() and not stale.exists()


def test_cache_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("NNCOMP_CACHE_MB", "3")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache().limit == 3 << 20
    monkeypatch.delenv("NNCOMP_CACHE_DIR")
    assert default_cache().folder == tmp_path / "xdg" / "nncomp"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache().folder == tmp_path / ".cache" / "nncomp"
    monkeypatch.setenv("NNCOMP_CACHE_MB", "lots")
    with pytest.raises(ValueError, match="NNCOMP_CACHE_MB is 'lots'"):
        default_cache()
    monkeypatch.setenv("NNCOMP_CACHE", "0")
    assert default_cache() is None
    compile_many([answer(8)], host_target())
    assert list(tmp_path.iterdir()) == []


def test_a_hit_is_fast(tmp_path):
    cache = ObjectCache(tmp_path)
    cache.put(KEY, os.urandom(100_000))
    times = []
    for _ in range(50):
        begin = time.perf_counter()
        cache.get(KEY)
        times.append(time.perf_counter() - begin)
    assert min(times) < 1e-3


# -- number of threads ---------------------------------------------------------------------------


def test_thread_count_from_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert threads.default_threads() == 3
    monkeypatch.setenv("NNCOMP_THREADS", " 5 ")
    assert threads.default_threads() == 5
    threads.set_num_threads(7)
    assert threads.get_num_threads() == 7
    threads.set_num_threads(None)
    assert threads.get_num_threads() == 5


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "99999", "²"])
@pytest.mark.parametrize("variable", ["NNCOMP_THREADS", "OMP_NUM_THREADS"])
def test_bad_thread_environment(monkeypatch, variable, text):
    monkeypatch.setenv(variable, text)
    with pytest.raises(ValueError, match=f"{variable} is '{text}'.*expected a"):
        threads.default_threads()


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-2, ValueError), (9999, ValueError),
                         (1.0, TypeError), ("2", TypeError), (True, TypeError)],
)  # fmt: skip
def test_bad_set_num_threads(value, error):
    with pytest.raises(error, match="set_num_threads got"):
        threads.set_num_threads(value)


def fake_cgroup(tmp_path, groups: str, mounts: list[str], files: dict[str, str]):
    (tmp_path / "cgroup").write_text(groups)
    lines = [f"30 20 0:1 {root} {tmp_path}/{at} rw - {kind} none rw,{options}"
             for root, at, kind, options in (m.split() for m in mounts)]  # fmt: skip
    (tmp_path / "mountinfo").write_text("\n".join(lines) + "\nbroken line\n")
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return threads.cgroup_quota(tmp_path)


V1 = {"fs/a/cpu.cfs_quota_us": "250000\n", "fs/a/cpu.cfs_period_us": "100000\n"}
V1_OFF = {"fs/cpu.cfs_quota_us": "-1\n", "fs/cpu.cfs_period_us": "100000\n"}


@pytest.mark.parametrize(
    ("groups", "mount", "files", "quota"),
    [
        ("0::/a/b\n", "/ fs cgroup2 x", {"fs/a/b/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", "/ fs cgroup2 x",
         {"fs/a/b/cpu.max": "max 100000\n", "fs/a/cpu.max": "300000 100000\n"}, 3.0),
        ("0::/\n", "/ fs cgroup2 x", {"fs/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/a/b\n", "/a fs cgroup2 x", {"fs/b/cpu.max": "200000 100000\n"}, 2.0),
        ("0::/../x\n", "/ fs cgroup2 x", {"fs/cpu.max": "200000 100000\n"}, 2.0),
        ("0::/a\n", "/ fs cgroup2 x", {"fs/a/cpu.max": "nonsense\n"}, None),
        ("0::/a\n", "/ fs cgroup2 x", {}, None),
        ("4:cpu,cpuacct:/a\n0::/\n", "/ fs cgroup cpu,cpuacct", V1, 2.5),
        ("4:cpu,cpuacct:/a\n0::/\n", "/ fs cgroup cpu,cpuacct", V1_OFF, None),
        ("4:cpuset:/a\n", "/ fs cgroup cpuset", V1, None),
    ],
)  # fmt: skip
def test_cgroup_quota(tmp_path, groups, mount, files, quota):
    assert fake_cgroup(tmp_path, groups, [mount], files) == quota


def test_quota_and_affinity_bound_the_default(monkeypatch):
    monkeypatch.setattr(threads, "allowed_cpus", lambda: list(range(8)))
    monkeypatch.setattr(threads, "cgroup_quota", lambda: 2.5)
    assert threads.default_threads() == 3
    monkeypatch.setattr(threads, "cgroup_quota", lambda: None)
    assert threads.default_threads() == 8
    assert threads.cgroup_quota() is None
