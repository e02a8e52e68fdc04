"""Programs kept on disk, objects made in the background, and the bar of a long compilation."""

from __future__ import annotations

import io
import json
import os
import threading
import time

import numpy as np
import pytest
from nncomp.backends import cache as cache_module
from nncomp.backends import cpu
from nncomp.backends.cache import ObjectCache, default_cache
from nncomp.backends.cpu import jit, object_maker, sources, stages, stored, threads
from nncomp.backends.cpu.jit import CodegenError, compile_to_object
from nncomp.backends.cpu.object_maker import ObjectMaker
from nncomp.backends.cpu.sources import digest_of
from nncomp.backends.cpu.target import KERNELS, QUICK, Target, host_target
from nncomp.ir import watch
from nncomp.ir.debug import debug
from nncomp.ir.parser import parse_graph

import nncomp
from nncomp.progress import CompileBar

TEXT = """graph f(x: f32[4,6], w: f32[6,5], i: i64[3]) {
  add_0 = add(x, x)                   : f32[4,6]
  permute_0 = permute(w, dims=(1,0))  : f32[5,6]
  mul_0 = mul(permute_0, permute_0)   : f32[5,6]
  permute_1 = permute(mul_0, dims=(1,0)) : f32[6,5]
  matmul_0 = matmul(add_0, permute_1) : f32[4,5]
  take_0 = take(matmul_0, i, axis=0)  : f32[3,5]
  return take_0
}"""
ARRAYS = [
    np.arange(24, dtype=np.float32).reshape(4, 6) / 8,
    np.arange(30, dtype=np.float32).reshape(6, 5) / 16,
    np.array([2, 0, 3]),
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NNCOMP_CACHE", "1")
    monkeypatch.setenv("NNCOMP_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(stored, "source_digest", lambda: "these sources")
    yield tmp_path
    threads.set_num_threads(None)


def run(text: str = TEXT, constant=("w",), arrays=ARRAYS):
    runner = cpu.compile(parse_graph(text), constant)
    return runner, runner(arrays, runner.prepare(arrays))


def count_stages(monkeypatch) -> list:
    made = []
    real = stages.Stages.__init__
    monkeypatch.setattr(
        stages.Stages, "__init__", lambda self, *a: made.append(a[0].name) or real(self, *a)
    )
    return made


def test_a_second_compilation_runs_no_pass(monkeypatch):
    first, (expected,) = run()
    made = count_stages(monkeypatch)
    second, (got,) = run()
    assert not made
    np.testing.assert_array_equal(got, expected)
    assert second.checker is not None and second.prepared is not None
    with pytest.raises(IndexError, match="index 4 is out of bounds for an axis of length 4"):
        second([*ARRAYS[:2], np.array([0, 4, 1])], second.prepare(ARRAYS))
    assert str(second.fused_graph) == str(first.fused_graph) and made  # made anew when asked for
    assert second.modules == first.modules
    assert str(second.program) == str(first.program)


def test_a_module_that_was_compiled_before_runs_no_pass(monkeypatch):
    net = nncomp.nn.Sequential(nncomp.nn.Linear(6, 5), nncomp.nn.ReLU()).requires_grad_(False)
    x = nncomp.ones(3, 6)
    with nncomp.inference_mode():
        expected = nncomp.compile(net)(x)
        made = count_stages(monkeypatch)
        again = nncomp.compile(net)
        for _ in range(3):  # the native entry of repeated calls needs none either
            assert again(x).equal(expected)
    assert not made


CHANGES = {
    "attribute": lambda: run(TEXT.replace("axis=0)  : f32[3,5]", "axis=1)  : f32[4,3]")),
    "operand": lambda: run(TEXT.replace("add(x, x)", "mul(x, x)")),
    "constants": lambda: run(constant=()),
    "result": lambda: run(TEXT.replace("return take_0", "return take_0, add_0")),
    "name": lambda: run(TEXT.replace("w: f32", "v: f32").replace("(w,", "(v,"), ("v",)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_program_is_compiled(monkeypatch, change):
    run()
    made = count_stages(monkeypatch)
    CHANGES[change]()
    assert made


def test_other_sources_targets_versions_and_switches_have_other_keys(monkeypatch):
    graph, target = parse_graph(TEXT), host_target()
    other = Target(target.triple, target.cpu, target.features + ",+x", 128, 16)
    keys = [stored.program_key(graph, ["w"], target), stored.program_key(graph, ["w"], other)]
    with debug(verify=False):
        keys.append(stored.program_key(graph, ["w"], target))
    monkeypatch.setenv("NNCOMP_OF_THE_FUTURE", "1")
    keys.append(stored.program_key(graph, ["w"], target))
    monkeypatch.setattr(stored, "source_digest", lambda: "edited sources")
    keys.append(stored.program_key(graph, ["w"], target))
    monkeypatch.setattr(stored, "versions", lambda: ("0", "0"))
    keys.append(stored.program_key(graph, ["w"], target))
    monkeypatch.setattr(stored, "get_num_threads", lambda: 77)  # plans are cut for them
    keys.append(stored.program_key(graph, ["w"], target))
    assert None not in keys and len(set(keys)) == 7
    monkeypatch.setenv("NNCOMP_SPIN_US", "3")  # changes no code
    assert stored.program_key(graph, ["w"], target) == keys[-1]
    with debug(debug=1):  # passes must run to be shown
        assert stored.program_key(graph, ["w"], target) is None
    monkeypatch.setattr(stored, "source_digest", lambda: None)
    assert stored.program_key(graph, ["w"], target) is None


def test_numbers_that_only_look_alike_have_other_keys():
    text = "graph f(x: f32[2]) {\n  full_0 = full(value=%s, shape=(2,), dtype=f32)  : f32[2]\n" \
        "  add_0 = add(x, full_0)  : f32[2]\n  return add_0\n}"
    keys = {
        stored.program_key(parse_graph(text % value), [], host_target())
        for value in ("0.0", "-0.0", "0", "1.0")
    }
    assert len(keys) == 4


def test_sources(tmp_path):
    (tmp_path / "inner").mkdir()
    for name in ("a.py", "inner/b.py", "notes.txt"):
        (tmp_path / name).write_text(f"x = '{name}'\n")
        os.utime(tmp_path / name, (1000, 1000))

    def digest():
        return digest_of([str(tmp_path)], 2000.0)

    first = digest()
    assert first is not None and digest() == first
    (tmp_path / "notes.txt").write_text("other")
    assert digest() == first
    (tmp_path / "inner" / "b.py").write_text("x = 2\n")
    assert digest() is None  # saved after the start: what was loaded is not known
    os.utime(tmp_path / "inner" / "b.py", (1000, 1000))
    assert digest() not in (first, None)
    whole = digest()
    assert digest_of([str(tmp_path)], 2000.0, ("inner",)) not in (whole, None)
    (tmp_path / "inner" / "b.py").unlink()
    assert digest_of([str(tmp_path)], 2000.0, ("inner",)) == digest()
    assert digest_of([str(tmp_path / "absent")], 2000.0) is None
    assert digest_of([str(tmp_path)], 1000.0 + sources.MARGIN / 2) is None


DAMAGE = {
    "not json": lambda entry: [b"{", *entry[1:]],
    "no fields": lambda entry: [b"{}", *entry[1:]],
    "null": lambda entry: [b"null", *entry[1:]],
    "objects missing": lambda entry: entry[:-1],
    "type": lambda entry: [entry[0].replace(b'"float32"', b'"float33"'), *entry[1:]],
    "nothing": lambda entry: [],
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_an_entry_that_makes_no_sense_is_made_again(monkeypatch, kind):
    _, (expected,) = run()
    cache = default_cache()
    key = stored.program_key(parse_graph(TEXT), ["w"], host_target())
    entry = cache.get_many(key)
    assert json.loads(entry[0])["inputs"] == 4
    cache.put_many(key, DAMAGE[kind](entry))
    made = count_stages(monkeypatch)
    _, (got,) = run()
    assert made
    np.testing.assert_array_equal(got, expected)
    assert cache.get_many(key) == entry


def test_a_cut_file_is_made_again(monkeypatch, own_cache):
    run()
    key = stored.program_key(parse_graph(TEXT), ["w"], host_target())
    path = own_cache / (key + cache_module.SUFFIX)
    path.write_bytes(path.read_bytes()[:-100])
    made = count_stages(monkeypatch)
    run()
    assert made


# -- objects in the background ---------------------------------------------------------------------


def answer(number: int) -> str:
    return f"define i64 @f{number}() {{\n  ret i64 {number}\n}}\n"


@pytest.mark.parametrize("count", [1, 2])
def test_maker_gives_the_objects_that_jit_gives(monkeypatch, count):
    threads.set_num_threads(count)
    compiled, real = [], jit.compile_module
    monkeypatch.setattr(
        jit, "compile_module", lambda *a: compiled.append(threading.get_ident()) or real(*a)
    )
    with ObjectMaker(host_target(), None) as maker:
        numbers = [maker.add(answer(n % 3)) for n in range(6)]
        objects = maker.objects(numbers)
    assert numbers == [0, 1, 2, 0, 1, 2] and len(compiled) == 3
    assert (threading.get_ident() in compiled) == (count == 1)
    assert objects == [compile_to_object(answer(n % 3), host_target()) for n in range(6)]


def test_maker_without_the_bare_function_compiles_right_away(monkeypatch):
    threads.set_num_threads(2)
    monkeypatch.setattr(jit, "raw_emitter", lambda: None)
    with ObjectMaker(host_target(), None) as maker:
        number = maker.add(answer(7))
        assert isinstance(maker.jobs[number], bytes)
    assert maker.objects([number]) == [compile_to_object(answer(7), host_target())]


@pytest.mark.parametrize("count", [1, 2])
def test_maker_reports_code_that_llvm_refuses(count):
    threads.set_num_threads(count)
    with pytest.raises(CodegenError, match="cannot parse"):
        with ObjectMaker(host_target(), None) as maker:
            maker.objects([maker.add(answer(1)), maker.add("define i64 @f() { ret i32 0 }")])


def test_maker_uses_the_cache_and_tells_efforts_apart(tmp_path, monkeypatch):
    cache = ObjectCache(tmp_path / "objects")
    with ObjectMaker(host_target(), cache) as maker:
        a, b = maker.add(answer(1), KERNELS), maker.add(answer(1), QUICK)
        assert a != b
        objects = maker.objects([a, b])
    monkeypatch.setattr(jit, "compile_module", lambda *a: pytest.fail("it is in the cache"))
    with ObjectMaker(host_target(), cache) as maker:
        assert maker.objects([maker.add(answer(1), e) for e in (KERNELS, QUICK)]) == objects


# -- the bar ---------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_of_a_compilation(monkeypatch):
    monkeypatch.delenv("NNCOMP_PROGRESS", raising=False)
    monkeypatch.setattr(object_maker, "default_cache", lambda: None)
    heard: list[tuple] = []
    quick, slow = Terminal(), Terminal()
    bars = [CompileBar(quick, patience=60.0), CompileBar(slow, patience=0.0)]
    ends = [watch.listen(listener) for listener in (lambda *a: heard.append(a), *bars)]
    try:
        run()
    finally:
        for end in ends:
            end()
    phases = {phase for phase, _, _ in heard}
    assert phases == {"passes", "kernels", ""} and heard[-1] == ("", 0, 0)
    assert max(done for phase, done, _ in heard if phase == "kernels") >= 3
    assert quick.getvalue() == ""
    assert "compiling: passes " in slow.getvalue() and slow.getvalue().endswith("\r\x1b[K")
    assert bars[1].begun is None


@pytest.mark.parametrize(("wanted", "stream", "shown"), [
    ("1", io.StringIO, True), ("", io.StringIO, False), ("0", Terminal, False),
])  # fmt: skip
def test_who_sees_the_bar(monkeypatch, wanted, stream, shown):
    monkeypatch.setenv("NNCOMP_PROGRESS", wanted)
    out = stream()
    bar = CompileBar(out, patience=0.0)
    bar("passes", 1, 4)
    time.sleep(0.001)
    bar("passes", 2, 4)
    assert ("compiling: passes 2/4" in out.getvalue()) == shown
