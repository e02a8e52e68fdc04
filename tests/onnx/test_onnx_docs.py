"""docs/onnx.md lists the operators as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

onnx = pytest.importorskip("onnx.checker") and pytest.importorskip("onnx")

from onnx_cases import REFUSED_OPERATORS, VERSION  # noqa: E402

from nncomp.onnx.load_contrib import DOMAIN  # noqa: E402
from nncomp.onnx.load_rules import RULES  # noqa: E402

TEXT = (Path(__file__).parent.parent.parent / "docs" / "onnx.md").read_text()


def section(title: str) -> set[str]:
    """The names in backquotes below a heading."""
    body = TEXT.split(f"### {title}\n")[1].split("\n#")[0]
    return set(re.findall(r"`(\w+)`", body))


def test_the_operators_with_a_rule_are_listed():
    default = {name for name in RULES if not name.startswith(DOMAIN)}
    assert section("Operators with a rule") == default
    contrib = {name.removeprefix(DOMAIN + ".") for name in set(RULES) - default}
    assert section(f"Operators of {DOMAIN}") == contrib


def test_the_operators_by_definition_have_one():
    names = section("Operators by their definition")
    assert names and not names & set(RULES)
    if not onnx.__version__.startswith(VERSION + "."):
        pytest.skip(f"the list is that of onnx {VERSION}, this is {onnx.__version__}")
    for name in names:
        schema = onnx.defs.get_schema(name)
        assert schema.has_function or schema.has_context_dependent_function, name


def test_the_refused_operators_are_listed():
    assert section("Operators that are refused") == set(REFUSED_OPERATORS)
    assert not set(REFUSED_OPERATORS) & set(RULES)
