"""docs/coverage.md names everything that torch has, with a reason for each blank, and is true."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
ROW = re.compile(r"^\| `(\w+)` \| (yes|) ?\| (yes|) ?\| (yes|) ?\| (.*?) ?\|$")


@pytest.fixture
def runs(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module("coverage_runs")


def table():
    """{section: {name: (marks, reason)}} as coverage.md says."""
    sections, found = {}, None
    for line in (DOCS / "coverage.md").read_text().splitlines():
        if line.startswith("## torch."):
            found = sections.setdefault(line[len("## torch.") :], {})
        elif match := ROW.match(line):
            name, *marks, reason = match.groups()
            kinds = zip(("eager", "compiled", "gradient"), marks, strict=True)
            found[name] = ({kind for kind, mark in kinds if mark}, reason)
    return sections


def test_every_name_is_listed_and_every_blank_has_a_reason():
    names = json.loads((DOCS / "torch_names.json").read_text())["names"]
    listed = table()
    assert {section: list(rows) for section, rows in listed.items()} == names
    blanks = [
        (section, name) for section, rows in listed.items() for name, (marks, why) in rows.items()
        if len(marks) < 3 and (not why or "no sample row" in why)
    ]  # fmt: skip
    assert not blanks
    assert sum(len(marks) for rows in listed.values() for marks, _ in rows.values()) > 2300


def test_the_names_are_those_of_torch(monkeypatch):
    torch = pytest.importorskip("torch")
    saved = json.loads((DOCS / "torch_names.json").read_text())
    if torch.__version__.split("+")[0] != saved["version"]:
        pytest.skip(f"the names are those of torch {saved['version']}")
    monkeypatch.syspath_prepend(str(DOCS))
    assert importlib.import_module("make_coverage").torch_names() == saved


def test_marks_are_true(runs):
    """Every ninth sample row earns the marks that the table shows."""
    listed = table()
    checked = 0
    functional = (runs.samples.FUNCTIONAL, "nn.functional", "m.nn.functional.")
    for text, section, prefix in ((runs.samples.NN, "nn", ""), functional):
        for row in runs.rows_of(text)[::9]:
            run = runs.run_layer if section == "nn" else runs.run_row
            found, why = run(prefix + row)
            name = re.match(r"\w+", row)[0]
            assert found == listed[section][name][0], (row, why)
            checked += 1
    assert checked > 25


def test_a_row_that_fails_earns_nothing(runs):
    assert runs.run_row("m.nonsense(x)")[0] == set()
    assert runs.run_row("x.nonzero()")[0] == {"eager"}
    assert runs.run_row("x.argmax()")[0] == {"eager", "compiled"}
    found, why = runs.run_row("x.detach()")
    assert found == {"eager", "compiled"} and why == runs.NO_GRADIENT
