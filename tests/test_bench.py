"""nncomp bench: formats of its results, and small runs with real processes."""

from __future__ import annotations

import json
import math
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from nncomp import bench, cli
from nncomp.bench import compare, engines, inputs, machine, models, plot, settings, table
from nncomp.bench.process import Worker, WorkerError
from nncomp.bench.results import EngineResult, Report, RowResult

HAS_TORCH = engines.is_installed("torch")
NAMES = ["nncomp", "torch"] if HAS_TORCH else ["nncomp"]
QUICK = {"threads": 1, "rounds": 2, "burst": 0.003, "warm_up": 0, "pause": 0.001, "limit": 120}
NET = """
import {library} as lib
from {library} import nn
import {library}.nn.functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x):
        {trick}
        return self.last(F.relu(self.first(x)))


def twice(scores, target):
    return 2 * F.cross_entropy(scores, target)
"""


@pytest.fixture
def net(tmp_path):
    """Writes a model file; returns the word that names its Module."""

    def write(library="nncomp", trick="pass"):
        path = tmp_path / "own_net.py"
        path.write_text(NET.format(library=library, trick=trick))
        return f"{path}:Net"

    return write


# -- what is described by text -------------------------------------------------------------------


def test_inputs():
    image = inputs.parse("f32[B,3,8]")
    assert (image.shape, str(image)) == (("B", 3, 8), "f32[B,3,8]")
    tokens = inputs.parse(" i64[2, 50]<7 ")
    assert (tokens.below, str(tokens)) == (7, "i64[2,50]<7")
    made = inputs.make_all([image, tokens], 4, seed=1, repeats=2)
    assert [x.shape for x in made] == [(4, 3, 8), (2, 50)] * 2
    assert [x.dtype.name for x in made] == ["float32", "int64"] * 2
    assert set(np.unique(made[1])) == set(range(7))
    assert not np.array_equal(made[0], made[2])
    again = inputs.make_all([image, tokens], 4, seed=1)
    assert np.array_equal(made[0], again[0]) and np.array_equal(made[1], again[1])
    assert inputs.parse("f32[]").make(None, np.random.default_rng(0)).shape == ()
    assert inputs.parse("bool[9]").make(None, np.random.default_rng(0)).dtype == bool


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3x4", "got the input '3x4'"), ("f8[2]", "got the dtype 'f8'"),
        ("i64[2]", "integers need a bound"), ("f32[2]<3", "integers need a bound"),
        ("f32[2,N]", "got the size 'N'"),
    ],
)  # fmt: skip
def test_wrong_inputs(text, message):
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        inputs.parse(text)


def test_a_batch_size_is_needed():
    with pytest.raises(ValueError, match="add --batch N"):
        inputs.parse("f32[B]").make(None, np.random.default_rng(0))


def test_every_row_of_the_zoo_can_be_found():
    keys = models.catalogue()
    rows = [row for key in keys for row in models.zoo_rows(key, None, train=False)]
    steps = [row for key in keys for row in models.zoo_rows(key, None, train=True)]
    assert len(rows) == 13 and len(steps) == 6
    assert len({row.name for row in rows}) == 13
    for row in [*rows, *steps]:
        text = row.file.read_text()
        assert f"class {row.model}(" in text or f"def {row.model}(" in text
        if row.twin:
            assert f"def {row.twin[1]}(" in (models.ZOO / row.twin[0]).read_text()
    assert [row.training is None for row in (rows[0], steps[0])] == [True, False]
    assert [row.name for row in models.zoo_rows("mlp", 5, train=False)] == ["mlp/5"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"models": ["mlq"]}, "unknown model 'mlq'"),
        ({"models": ["rnn"], "train": True}, "no row for training"),
        ({"models": ["mlp"], "engines": ["tensor"]}, "unknown engine 'tensor'"),
        ({"models": ["mlp"], "engines": ["jax", "jax"]}, "named twice"),
        ({"models": ["nowhere.py:Net"]}, "no file 'nowhere.py'"),
        ({"models": ["nowhere.py"]}, "expected path/to/model.py:Name"),
        ({"models": [f"{__file__}:Net"]}, "--input f32"),
        ({"models": [f"{__file__}:Net"], "inputs": ["f32[1]"], "batch": 2}, "needs a B"),
        ({"models": [f"{__file__}:Net"], "inputs": ["f32[B]"]}, "a B needs --batch N"),
        ({"models": [f"{__file__}:Net"], "inputs": ["f32[1]"], "train": True}, "target"),
        ({"models": ["mlp"], "rounds": 0}, "rounds is 0"),
        ({"models": ["mlp"], "burst": -1}, "burst is -1"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        bench.run(**arguments)


def test_no_zoo(tmp_path):
    with pytest.raises(FileNotFoundError, match="--zoo"):
        bench.run(zoo=tmp_path)


# -- figures --------------------------------------------------------------------------------------


def test_burst_sizes():
    assert settings.plan_burst(1e6, 0.1) == (21, 100, 1)  # 1 ms
    warm, count, inner = settings.plan_burst(5e3, 0.1)  # 5 us: samples of 20 calls
    assert (count, inner) == (1000, 20) and warm == 4001
    assert settings.plan_burst(1e9, 0.1) == (0, 1, 1)  # 1 s: one call, no warm-up


def test_cpus():
    allowed = machine.allowed_cpus()
    one = machine.choose_cpus(1)
    assert len(one) == 1 and one[0] in allowed
    assert machine.choose_cpus(len(allowed)) == allowed
    assert machine.choose_cpus(len(allowed) + 1) == []


def test_cores_go_before_hardware_threads(monkeypatch):
    monkeypatch.setattr(machine, "allowed_cpus", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(machine, "siblings", lambda cpu: str(cpu // 2))
    assert machine.choose_cpus(2) == [0, 2]
    assert machine.choose_cpus(3) == [0, 1, 2]


def test_output_difference():
    a = np.array([1.0, -4.0], np.float32)
    assert compare.output_difference([a], [a]) == 0
    assert compare.output_difference([a + np.float32(0.5)], [a]) == 0.125
    assert compare.output_difference([a], [a, a]) == math.inf
    assert compare.output_difference([a], [a.reshape(1, 2)]) == math.inf
    zeros = np.zeros(2, np.float32)
    assert compare.output_difference([zeros], [zeros]) == 0
    assert compare.output_difference([a], [zeros]) == math.inf
    broken = np.array([1.0, math.nan], np.float32)
    assert not compare.output_difference([broken, a], [a, a]) <= 1
    assert not compare.output_difference([a, broken], [a, a]) <= 1


def test_loss_difference():
    assert compare.loss_difference([2.0, 1.0], [2.0, 1.25]) == 0.2
    assert compare.loss_difference([], []) == 0
    assert not compare.loss_difference([2.0, math.nan], [2.0, 1.0]) <= 1


def made(name="nncomp", samples=((2.0, 1.0), (3.0,)), **more):
    """An EngineResult with figures."""
    return EngineResult(name, samples=[list(s) for s in samples], first_cold_s=0.5, **more)


def small_report():
    """Two rows: one complete, one with a missing peer, a failing one and no ratio."""
    first = RowResult("mlp", "MLP <small>", 64, False, "torch")
    first.engines = {
        "nncomp": made(difference=1e-6, peak_mb=100.4),
        "torch": made("torch", ((8.0,), (4.0,), (1.0,))),
        "jax": made("jax", ((16.0,),), difference=0.25),
    }
    second = RowResult("net", "Net", None, True, "nncomp")
    second.engines = {
        "nncomp": made(),
        "torch": EngineResult("torch", missing="torch is not installed"),
        "jax": EngineResult("jax", error="first call: ValueError: no such op"),
    }
    report = Report(machine.describe(), {"threads": 2, "rounds": 2, "burst": 0.1})
    report.rows = [first, second]
    return report


def test_statistics():
    report = small_report()
    first, second = report.rows
    assert (first.engines["nncomp"].median, first.engines["nncomp"].minimum) == (2.0, 1.0)
    assert first.best_peer().engine == "torch"
    assert [first.ratio(name) for name in first.engines] == [0.5, 1.0, 4.0]
    assert second.best_peer() is None and math.isnan(second.ratio("nncomp"))
    assert report.geometric_mean() == 0.5
    assert report.failed() == []
    first.engines["nncomp"].difference = math.nan
    second.engines["nncomp"].error = "it broke"
    assert report.failed() == ["mlp/64: nncomp differs from torch", "net: nncomp failed: it broke"]


def test_table():
    report = small_report()
    text = table.table(report)
    lines = text.splitlines()
    (head,) = [line for line in lines if line.strip().startswith("engine")]
    start = lines.index("MLP <small>, batch 64")
    ours, torch, jax = lines[start + 1 : start + 4]
    assert ours.split() == ["nncomp", "2.000", "1.000", "0.500", "0.50", "-", "100", "1e-06"]
    assert torch.split()[-1] == "reference"
    assert jax.split()[-2:] == ["2e-01", "[1]"]
    for line in (ours, torch, jax):  # right-aligned below the heads
        for name in ("median ms", "min ms", "ratio", "first s"):
            end = head.index(name) + len(name)
            assert line[end - 1] != " " and line[end] == " "
    start = lines.index("Net (training step)")
    assert lines[start + 2].split() == ["torch", *"-------", "[2]"]
    assert lines[start + 3].split() == ["jax", *"-------", "[3]"]
    assert "[1] mlp/64: jax differs from torch by 2.5e-01, allowed are 1e-04" in lines
    assert "[2] torch: torch is not installed" in lines
    assert "[3] net, jax: first call: ValueError: no such op" in lines
    assert "  geometric mean   0.500" in lines
    report.rows[1].meetings = [35.2, 290.7]
    text = table.table(report)
    assert "Net (training step); threads meet in 35 to 291 ns" in text.splitlines()
    long = table.shorten("word " * 1000)
    assert long.endswith("...") and len(long) == 4 * table.LINE


def test_numbers():
    assert [table.number(x) for x in (0.0042, 1.5, 42.123, 12345.6, math.nan, None)] == [
        "0.00420", "1.500", "42.12", "12346", "-", "-",
    ]  # fmt: skip


def test_json():
    report = small_report()
    data = json.loads(report.json(), parse_constant=pytest.fail)
    assert data["geometric_mean"] == 0.5
    ours = data["rows"][0]["engines"]["nncomp"]
    assert ours["samples"] == [[2.0, 1.0], [3.0]]
    assert (ours["median_ms"], ours["ratio"], ours["agrees"]) == (2.0, 0.5, True)
    assert data["rows"][0]["engines"]["jax"]["agrees"] is False
    assert data["rows"][1]["engines"]["torch"]["median_ms"] is None
    assert data["machine"]["versions"]["numpy"] == np.__version__


def test_plot():
    report = small_report()
    root = ElementTree.fromstring(report.svg())
    space = "{http://www.w3.org/2000/svg}"
    bars = [r for r in root.iter(f"{space}rect") if r.get("height") == str(plot.BAR - 2)]
    lengths = [float(r.get("width")) / plot.UNIT for r in bars]
    assert lengths == [0.5, 1.0, plot.LONGEST, 1.0]
    words = [t.text for t in root.iter(f"{space}text")]
    assert "MLP <small>, batch 64" in words
    assert "4.00   16.00 ms (cut)" in words


# -- runs -----------------------------------------------------------------------------------------


def test_peers_that_are_not_installed(monkeypatch):
    monkeypatch.setattr(engines, "is_installed", lambda module: False)
    missing = {name: engines.why_missing(name, False, None) for name in engines.ENGINES}
    assert missing.pop("nncomp") is None
    assert all(text.endswith("is not installed") for text in missing.values())


def test_peers_that_cannot_take_part(monkeypatch):
    monkeypatch.setattr(engines, "is_installed", lambda module: module != "onnxscript")
    assert engines.why_missing("jax", False, None) == "no JAX version of this model"
    assert engines.why_missing("jax", False, ("a.py", "f")) is None
    assert "onnxscript" in engines.why_missing("openvino", False, None)
    assert "training" in engines.why_missing("onnxruntime", True, None)
    assert engines.why_missing("torch", True, None) is None


def test_the_zoos_smallest_model(tmp_path, capsys, monkeypatch):
    found = engines.is_installed
    monkeypatch.setattr(engines, "is_installed", lambda m: m != "jax" and found(m))
    files = tmp_path / "r.json", tmp_path / "r.svg"
    code = cli.main([
        "bench", "mlp", "--batch", "2", "--engines", ",".join([*NAMES, "jax"]), "--threads", "1",
        "--repeat", "2", "--burst", "0.003", "--warm-up", "0",
        "--json", str(files[0]), "--plot", str(files[1]),
    ])  # fmt: skip
    out, err = capsys.readouterr()
    assert code == 0, out + err
    assert "MLP 784-256-10, batch 2" in out and "jax is not installed" in out
    assert "mlp/2: nncomp: first call" in err
    (row,) = json.loads(files[0].read_text())["rows"]
    for name in NAMES:
        engine = row["engines"][name]
        assert len(engine["samples"]) == 2 and 0 < engine["min_ms"] <= engine["median_ms"]
        assert engine["first_cold_s"] > 0 and engine["first_cached_s"] > 0
        if sys.platform == "linux":
            assert 20 < engine["peak_mb"] < 5000
    assert row["engines"]["jax"]["samples"] == []
    if HAS_TORCH:
        assert row["reference"] == "torch"
        assert row["engines"]["nncomp"]["difference"] < 1e-5
    ElementTree.parse(files[1])


def test_a_training_step_of_an_own_file(net):
    training = {"target": "i64[B]<3", "loss": "twice", "optimizer": "SGD", "options": {"lr": 0.1}}
    report = bench.run(
        [net()], engines=NAMES, inputs=["f32[B,8]"], batch=4, train=True, training=training,
        losses=8, batches=2, **QUICK,
    )  # fmt: skip
    (row,) = report.rows
    assert (row.name, row.title) == ("own_net/4", "own_net.py:Net")
    for name in NAMES:
        engine = row.engines[name]
        assert engine.ok, engine.error
        assert len(engine.losses) == 8
        assert engine.losses[6] < engine.losses[0] and engine.losses[7] < engine.losses[1]
    assert row.agrees("nncomp")
    if HAS_TORCH:
        assert row.engines["nncomp"].difference < 1e-5


def test_one_library_under_both_names_and_an_engine_that_fails(net, tmp_path):
    seen = tmp_path / "seen.txt"
    file = net("torch", "assert lib.__name__ == 'torch', 'not in nncomp'").rpartition(":")[0]
    with open(file, "a") as source:
        source.write(CHECK.format(seen=str(seen)))
    report = bench.run([f"{file}:checked"], engines=NAMES, inputs=["f32[2,8]"], **QUICK)
    assert set(seen.read_text().split()) == set(NAMES)
    (row,) = report.rows
    assert row.engines["nncomp"].error.startswith("first call: ")
    assert "not in nncomp" in row.engines["nncomp"].error
    assert len(report.failed()) == 1
    assert "[1] own_net, nncomp: first call: " in str(report)
    if HAS_TORCH:
        assert row.engines["torch"].ok, row.engines["torch"].error  # the others go on


CHECK = """

def checked():
    import sys
    import torch, nncomp, nncomp.nn.functional

    assert lib is torch is nncomp and nncomp.nn.functional is F
    assert F.__spec__.name == F.__name__
    other = {{"torch": "nncomp", "nncomp": "torch"}}[lib.__name__]
    files = [getattr(m, "__file__", None) or "" for m in list(sys.modules.values())]
    assert not [f for f in files if f.endswith(f"/{{other}}/__init__.py")]
    with open({seen!r}, "a") as file:
        print(lib.__name__, file=file)
    return Net()
"""


def test_a_process_that_dies(net):
    trick = "import os, sys; print('last words', file=sys.stderr, flush=True); os._exit(3)"
    report = bench.run([net(trick=trick)], engines=["nncomp"], inputs=["f32[2,8]"], **QUICK)
    error = report.rows[0].engines["nncomp"].error
    assert "the process ended (exit code 3): last words" in error


def test_a_model_that_cannot_be_built(net, monkeypatch):
    monkeypatch.setattr(engines, "is_installed", lambda module: False)
    report = bench.run(
        [net().replace(":Net", ":Nets")], engines=["nncomp"], inputs=["f32[2,8]"], **QUICK
    )
    error = report.rows[0].engines["nncomp"].error
    assert error.startswith("making weights: nncomp: AttributeError: ") and "'Nets'" in error


def test_an_answer_that_takes_too_long(tmp_path):
    with Worker(tmp_path / "log", [], {}, limit=0.001) as worker:
        with pytest.raises(WorkerError, match="no answer within 0.001 s"):
            worker.ask("peak")
        assert worker.process.poll() is not None


def test_command_line_errors(capsys, tmp_path):
    for arguments, message in [
        ([], "name one or more models"), (["mlp", "--all"], "name one or more models"),
        (["--all", "--json", str(tmp_path / "no" / "x.json")], "does not exist"),
        (["mlp", "--engines", "x"], "unknown engine 'x'"),
        (["mlp", "--plot", str(tmp_path / "x.png")], "plots are SVG"),
    ]:  # fmt: skip
        assert cli.main(["bench", *arguments]) == 2
        assert message in capsys.readouterr().err


def test_the_list_of_the_zoo(capsys):
    assert cli.main(["bench", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == "mlp MLP 784-256-10 (batch 1, 64; training 256)".split()
    assert len(lines) == len(models.catalogue())
