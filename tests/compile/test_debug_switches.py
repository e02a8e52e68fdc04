"""The debugging switches on a whole compilation, front end to machine code."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.ir.debug import debug
from nncomp.ir.parser import parse_graph
from nncomp.ir.passes.run import PassError

import nncomp as torch
from nncomp import nn


def run() -> float:
    """Compile and call a small model; the largest difference from eager mode."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.LayerNorm(30), nn.Linear(30, 4))
    x = torch.randn(5, 20)
    with torch.no_grad():
        return float(np.abs((torch.compile(model)(x) - model(x)).numpy()).max())


@pytest.mark.parametrize("name", ["simplify", "choose_layout", "fuse", "all"])
def test_print_after_prints_a_difference(name, capfd):
    with debug(print_after=name):
        assert run() < 1e-5
    assert f"# after {'fuse' if name == 'all' else name}" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["inline_calls", "simplify", "choose_layout", "fuse"])
def test_results_are_right_wherever_the_pipeline_stops(name):
    with debug(stop_after=name):
        assert run() < 1e-5


def test_a_misspelled_pass_is_an_error_that_lists_the_passes():
    with debug(print_after="simplfy"), pytest.raises(ValueError, match="simplify.*fuse"):
        run()


def test_check_mode_accepts_right_passes_and_names_a_wrong_one(monkeypatch):
    from nncomp.backends.cpu import pipeline

    with debug(check=True):
        assert run() < 1e-5

        def break_numbers(graph):
            return graph.with_outputs([x + x for x in graph.outputs])

        wrong = [*pipeline.kernel_pipeline(), break_numbers]
        monkeypatch.setattr(pipeline, "kernel_pipeline", lambda: wrong)
        with pytest.raises(PassError, match="break_numbers.*changes the numbers"):
            run()


def test_dump_leaves_readable_stages(tmp_path):
    with debug(dump=str(tmp_path)):
        run()
    names = {p.name for p in tmp_path.iterdir()}
    assert {"00_trace.ir", "program.txt", "run.ll"} <= names
    assert any(n.endswith(".loops") for n in names) and any(n.endswith(".ll") for n in names)
    for path in tmp_path.glob("*.ir"):
        text = path.read_text()
        assert str(parse_graph(text)).strip() == text.strip()


@pytest.mark.parametrize(
    ("rung", "text"), [(1, "simplify"), (2, "program:"), (4, "kernel "), (5, "define void")]
)
def test_the_debug_ladder(rung, text, capfd):
    with debug(debug=rung):
        run()
    assert text in capfd.readouterr().err
