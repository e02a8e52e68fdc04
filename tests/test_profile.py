"""Profiles: figures that can be known beforehand, sums, the texts that are written, the command."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from nncomp.backends.cpu import bandwidth
from nncomp.backends.cpu.assembly import assembly_of
from nncomp.backends.cpu.jit import CodegenError
from nncomp.backends.cpu.profile_run import TimedRunWriter
from nncomp.backends.cpu.target import Target, host_target
from nncomp.ir import ops
from nncomp.ir.graph import Graph, input_node
from nncomp.ir.parser import parse_graph
from nncomp.ir.program import Place
from nncomp.ir.work import graph_flops, node_flops

import nncomp
from nncomp import nn
from nncomp.profile import Report
from nncomp.profile.reuse import Event, Touch, distances


class Net(nn.Module):
    """A convolution, a matrix product, and a softmax."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 5, stride=2, padding=2)
        self.head = nn.Linear(16 * 8 * 8, 10)

    def forward(self, x):
        return self.head(self.conv(x).relu().flatten(1)).softmax(-1)


@pytest.fixture(scope="module")
def report() -> Report:
    nncomp.manual_seed(0)
    net = nncomp.compile(Net().eval().requires_grad_(False))
    return net.profile(nncomp.randn(4, 3, 16, 16), repeat=5, threads=2)


def test_waiting_is_shown(report):
    assert all(0 <= k.wait_ms <= k.ms for k in report.kernels)
    assert report.wait_ms == sum(k.wait_ms for k in report.kernels)
    assert all(10 < x < 1e8 for x in report.meeting_ns)
    heads = next(line for line in str(report).splitlines() if " GFLOP/s " in line)
    assert heads.split().index("wait") == heads.split().index("min") + 1
    assert "an empty barrier takes" in str(report)


def test_conv_and_matmul_count_two_operations_per_term(report):
    conv = next(k for k in report.kernels if k.ops.startswith("conv"))
    matmul = next(k for k in report.kernels if k.ops.startswith("matmul"))
    results = 4 * 16 * 8 * 8
    assert conv.flops == results * (2 * 3 * 5 * 5 + 1)  # with the bias; relu only compares
    assert matmul.flops >= 2 * 4 * 10 * 1024
    assert conv.scope == "conv" and conv.line.startswith("test_profile.py:")
    assert "relu" in conv.ops and matmul.scope == "head"


def test_the_figures_of_a_report_agree_with_each_other(report):
    ks = report.kernels
    assert [k.number for k in ks] == list(range(len(ks)))
    assert sorted(k.rank for k in ks) == list(range(1, len(ks) + 1))
    assert sum(k.share for k in ks) == pytest.approx(100)
    assert sum(k.ms for k in ks) == pytest.approx(report.kernels_ms)
    assert report.flops == sum(k.flops for k in ks) and report.bytes == sum(k.bytes for k in ks)
    for k in ks:
        assert 0 < k.min_ms <= k.ms < 1000 and k.calls == 1 and k.threads in (1, report.threads)
        assert k.gflops_per_second == pytest.approx(k.flops / k.min_ms / 1e6)
        assert k.gigabytes_per_second == pytest.approx(k.bytes / k.min_ms / 1e6)
        assert k.percent_of_roofline == max(k.percent_of_peak, k.percent_of_bandwidth)
        peak = report.machine.ceiling(k.threads).gflops
        assert k.percent_of_peak == pytest.approx(100 * k.gflops_per_second / peak)
    assert report.repeat == 5 and report.min_total_ms <= report.total_ms
    longest = max(ks, key=lambda k: k.ms)
    assert longest.rank == 1 and longest.share == max(k.share for k in ks)


def test_bytes_are_those_of_operands_and_results():
    fn = nncomp.compile(lambda x, y: x * y + 1)
    shape = (300, 1000)
    (k,) = fn.profile(nncomp.ones(shape), nncomp.ones(shape), repeat=3).kernels
    assert k.bytes == 3 * 4 * 300 * 1000 and k.flops == 2 * 300 * 1000
    assert k.intensity == pytest.approx(1 / 6) and k.bound == "memory" and k.ops == "mul + add"


def test_an_embedding_moves_only_the_rows_that_are_read():
    table, index = nncomp.randn(5000, 64), nncomp.tensor([3, 4000, 77])
    report = nncomp.compile(lambda i: nncomp.nn.functional.embedding(i, table) * 2).profile(
        index, repeat=3
    )
    (k,) = [k for k in report.kernels if k.flops]
    assert 2 * 3 * 64 * 4 <= k.bytes <= 2 * 3 * 64 * 4 + 3 * 8 * 2


def test_steps_of_a_loop_add_up_over_its_turns():
    cell = nn.RNN(8, 16, batch_first=True).requires_grad_(False)
    report = nncomp.compile(cell).profile(nncomp.randn(2, 9, 8), repeat=3)
    products = [k for k in report.kernels if k.calls == 9 and "matmul" in k.ops]
    assert sum(k.flops for k in products) >= 9 * 2 * 2 * 16 * 16
    assert all(k.scope or k.line for k in products) and products


def test_a_profile_changes_no_parameter_statistic_or_random_stream():
    net = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    x, target = nncomp.randn(16, 8), nncomp.zeros(16, 2)
    step = nncomp.compile_train_step(
        net, nn.MSELoss(), nncomp.optim.Adam(net.parameters(), lr=0.1)
    )
    before = {k: v.clone() for k, v in net.state_dict().items()}
    stream = nncomp.get_rng_state()
    report = step.profile(x, target, repeat=4)
    assert report.flops > 3 * 2 * 16 * 8 * 10
    with nncomp.no_grad():
        nncomp.compile(net).profile(x, repeat=4)
    after = net.state_dict()
    assert all(np.array_equal(before[k].numpy(), after[k].numpy()) for k in before)
    assert np.array_equal(nncomp.get_rng_state().numpy(), stream.numpy())
    first = float(step(x, target))
    assert float(step(x, target)) != first  # the step itself still trains


def test_json_can_be_read_back(report):
    text = report.to_json()
    again = Report.from_json(text)
    assert again == report and again.to_json() == text
    values = json.loads(text)
    assert values["kernels"][0]["ops"] and values["machine"]["ceilings"][0]["threads"] == 1


def test_the_table_has_a_line_for_each_kernel_and_marks_the_longest(report):
    lines = str(report).splitlines()
    rows = [line for line in lines if "test_profile.py:" in line]
    assert len(rows) == sum(bool(k.where) for k in report.kernels)
    longest = next(k for k in report.kernels if k.rank == 1)
    assert any(line.lstrip().startswith(f"*1  {longest.number}") for line in lines)
    assert "all kernels" in lines[-1] and "100.0%" in lines[-1]


class Tags(HTMLParser):
    """Checks that tags are closed in the order in which they were opened."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag, attrs):
        assert not {"src", "srcset"} & dict(attrs).keys()
        if tag != "meta":
            self.open.append(tag)
            self.seen.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()


def test_the_page_is_well_formed_and_alone(report, tmp_path):
    path = tmp_path / "page.html"
    report.save_html(path)
    text = path.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert not tags.open and "link" not in tags.seen
    drawn = sum(bool(k.flops and k.intensity) for k in report.kernels)
    assert tags.seen.count("circle") == drawn > 0
    assert text.count("<tr") == len(report.kernels) + 2
    for start in range(text.count("<svg")):
        begin = [i for i in range(len(text)) if text.startswith("<svg", i)][start]
        ElementTree.fromstring(text[begin : text.index("</svg>", begin) + 6])
    for words in ("Assembly", "LLVM", "Loops", "contract(", "&lt;", report.kernels[0].kernel):
        assert words in text
    plain = Report.from_json(report.to_json())
    plain.save_html(path)
    assert "LLVM" not in path.read_text(encoding="utf-8")


def test_a_large_page_says_what_it_leaves_out(report, tmp_path, monkeypatch):
    monkeypatch.setattr("nncomp.profile.page.BUDGET", 10)
    report.save_html(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "are left out" in text and "<summary>Assembly" not in text


@pytest.mark.parametrize("name", ("repeat", "threads"))
@pytest.mark.parametrize("value", (0, -1, True, 1.5))
def test_counts_must_be_positive_integers(name, value):
    fn = nncomp.compile(lambda x: x + 1)
    with pytest.raises(ValueError, match=f"{name} must be a positive integer or None"):
        fn.profile(nncomp.ones(3), **{name: value})


def test_a_backend_without_kernels_is_refused():
    fn = nncomp.compile(lambda x: x + 1, backend="numpy")
    with pytest.raises(ValueError, match="compile with backend=\"cpu\""):
        fn.profile(nncomp.ones(3))


# -- work and traffic -----------------------------------------------------------------------------

TYPES = "x: f32[2,6,8,8], w: f32[4,3,3,3], g: f32[2,4,4,4]"
WINDOW = "stride=(2,2), padding=((1,1),(1,1)), dilation=(1,1), groups=2"


@pytest.mark.parametrize(
    "call",
    (
        f"conv(x, w, {WINDOW})",
        f"conv_transpose(g, w, input_size=(8,8), {WINDOW})",
        f"conv_weight(x, g, kernel_size=(3,3), {WINDOW})",
    ),
)
def test_a_convolution_and_its_gradients_are_the_same_work(call):
    result = {"conv(": "f32[2,4,4,4]", "conv_t": "f32[2,6,8,8]", "conv_w": "f32[4,3,3,3]"}
    type = next(t for name, t in result.items() if call.startswith(name))
    graph = parse_graph(f"graph g({TYPES}) {{\n  y = {call} : {type}\n  return y\n}}\n")
    assert graph_flops(graph) == 2 * (2 * 4 * 4 * 4) * (3 * 3 * 3)


def test_the_pieces_of_a_long_concat_share_its_work():
    parts = nncomp.compile(lambda *xs: nncomp.cat([*xs[:5], xs[5].exp() * 2]))
    report = parts.profile(*(nncomp.ones(n, 8) for n in range(1, 7)), repeat=3)
    assert report.flops == 2 * 6 * 8
    assert report.bytes == 2 * 4 * 8 * (1 + 2 + 3 + 4 + 5 + 6)
    whole = nncomp.compile(lambda *xs: nncomp.cat(xs).exp())
    report = whole.profile(*(nncomp.ones(n, 8) for n in range(1, 7)), repeat=3)
    assert report.flops == 8 * 21


def test_moving_comparing_and_integers_are_no_flops():
    x = input_node("x", parse_graph("graph g(x: f32[4,6]) {\n  return x\n}\n").inputs[0].type)
    moved = ops.permute(ops.reshape(x, shape=(6, 4)), dims=(1, 0))
    chosen = ops.where(ops.lt(x, moved), x, moved)
    assert graph_flops(Graph("g", [x], [chosen])) == 0
    assert node_flops(ops.exp(x)) == node_flops(ops.sum(x, axes=(0,))) == 24
    numbers = input_node("i", parse_graph("graph g(i: i64[5]) {\n  return i\n}\n").inputs[0].type)
    assert node_flops(ops.add(numbers, numbers)) == 0


def place(base: str, index: int = 0) -> Place:
    return Place(base, index)


def test_data_come_from_where_they_were_last_touched():
    a, b = place("in", 0), place("in", 1)
    small, large = 100, 10_000
    first = Event((Touch(a, small, small), Touch(place("arena"), small, small)), ())
    second = Event((Touch(place("arena"), small, small), Touch(b, large, large)), ())
    found = distances([first, second])
    everything = 2 * small + large
    assert found[1][0] == second.moved == small + large  # written just before
    assert found[0][0] == found[1][1] == everything  # read one run ago
    third = Event((Touch(place("arena"), small, small),), ())
    assert distances([first, third, second])[1] == [small]


def test_turns_of_a_loop_find_the_turn_before():
    weight = Touch(place("in", 0), 50, 50)
    other = Touch(place("in", 1), 100_000, 100_000)
    loop = Event((weight,), (0,))
    assert distances([loop, Event((other,), ())])[0] == [50]


def test_cache_sizes_are_those_that_the_threads_have_together(tmp_path, monkeypatch):
    monkeypatch.setattr(bandwidth, "allowed_cpus", lambda: [0, 1, 2, 3])
    for cpu in range(4):
        rows = ((1, "Data", "32K", cpu), (2, "Unified", "1024K", cpu), (3, "Unified", "8M", "0-3"))
        for i, (level, kind, size, shared) in enumerate(rows):
            folder = tmp_path / f"cpu{cpu}" / "cache" / f"index{i}"
            folder.mkdir(parents=True)
            values = dict(level=level, type=kind, size=size, shared_cpu_list=shared)
            for name, value in values.items():
                (folder / name).write_text(f"{value}\n")
    assert bandwidth.cache_levels(2, tmp_path) == [("L2", 2 << 20), ("L3", 8 << 20)]
    assert bandwidth.cache_levels(8, tmp_path) == [("L2", 4 << 20), ("L3", 8 << 20)]
    assert dict(bandwidth.cache_levels(1, tmp_path / "none")) == {"L2": 512 << 10, "L3": 8 << 20}


def test_the_measured_roof_has_its_levels_in_order(report):
    for ceiling in report.machine.ceilings:
        assert 1 < ceiling.gflops < 100_000
        assert all(0.1 < x.gigabytes_per_second < 100_000 for x in ceiling.levels)
        assert ceiling.levels[-1].name == "DRAM" and ceiling.levels[-1].capacity is None


# -- code -----------------------------------------------------------------------------------------

TARGETS = {
    "x86-64": Target("x86_64-unknown-linux-gnu", "x86-64", "", 128, 16),
    "aarch64": Target("aarch64-unknown-linux-gnu", "generic", "", 128, 32),
    "macos": Target("arm64-apple-darwin", "generic", "", 128, 32),
}


CODE = SimpleNamespace(units=8, is_shared=True, from_middle=True)


def timed_text(report: Report, target: Target) -> str:
    steps = tuple(report.sources.steps)
    arena = max(p.index for s in steps for p in s.places) + 1
    program = SimpleNamespace(steps=steps, inputs=arena, outputs=arena)
    codes = {s.kernel.name: CODE for s in steps}
    return TimedRunWriter(program, codes, target).text("nounwind")


@pytest.mark.parametrize("name", TARGETS)
def test_clocks_can_be_emitted_for(name, report):
    text = assembly_of(timed_text(report, TARGETS[name]), TARGETS[name])
    assert ("rdtsc" if name == "x86-64" else "clock_gettime") in text
    assert text.count("nncomp_now") > 2 * len(report.sources.steps)


def test_a_machine_without_a_clock_is_an_error(report):
    with pytest.raises(RuntimeError, match="no clock"):
        timed_text(report, Target("aarch64-pc-windows-msvc", "generic", "", 128, 32))


def test_wrong_text_has_no_assembly():
    with pytest.raises(CodegenError, match="refuses"):
        assembly_of("define void @f() { ret i32 }", host_target())


# -- the command ----------------------------------------------------------------------------------

MODEL = """
from nncomp import nn
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 10))
"""


def command(*words, cwd) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "nncomp.cli", "profile", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, timeout=300)


def test_the_command_profiles_a_file(tmp_path):
    (tmp_path / "small.py").write_text(MODEL)
    nncomp.save(
        nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 10)).state_dict(),
        str(tmp_path / "w.pth"),
    )
    done = command(
        "small.py:Net", "--input", "f32[B,32]", "--batch", 16, "--repeat", 3, "--threads", 1,
        "--weights", "w.pth", "--json", "p.json", "--html", "p.html", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "gelu" in done.stdout and "1 thread, 3 runs" in done.stdout
    report = Report.from_json((tmp_path / "p.json").read_text())
    least = 2 * 16 * (32 * 64 + 64 * 10)
    assert least < report.flops < 1.3 * least
    assert (tmp_path / "p.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing.py:Net", "--input", "f32[1]"), "there is no file"),
        (("no-such-model",), "unknown model 'no-such-model'"),
        (("small.py:Net",), "say what it takes"),
        (("small.py:Net", "--input", "f32[1,32]", "--json", "no/where.json"), "does not exist"),
        (("small.py:Net", "--input", "f32[1,32]", "--weights", "no.pth"), "no.pth"),
    ],
)
def test_wrong_arguments_are_a_sentence(words, message, tmp_path):
    (tmp_path / "small.py").write_text(MODEL)
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and done.stderr.startswith("nncomp profile: ")
