"""The cases with which onnx tests each operator: loaded models give what they expect.

Cases that nncomp refuses are listed by operator or element type in onnx_cases.py, and their errors
say so. One case per operator runs compiled besides.
"""

from __future__ import annotations

import re
import string

import pytest

onnx = pytest.importorskip("onnx.checker") and pytest.importorskip("onnx")

import onnx_cases as nc  # noqa: E402

import nncomp  # noqa: E402
from nncomp.onnx import OnnxLoadError, OnnxRunError, load  # noqa: E402

MUST_BE_KNOWN = re.compile(r"value of operand \d+ \('(.*?)'\) must be known")


def of_letter(letter: str) -> list:
    """The cases whose operator begins with a letter."""
    return [c for c in nc.cases() if nc.operator(c)[:1].upper() == letter]


def result(case):
    """None if the case passes, else the sentence with which it is refused."""
    try:
        model = load(case.model)
        for inputs, expected in case.data_sets:
            arguments = [nc.as_value(x) for x in inputs]
            with nncomp.no_grad():
                got = nc.flat(model(*arguments))
            if nc.operator(case).lower() == "bernoulli" or (
                case.name.startswith(nc.RANDOM) and nc.NOT_DRAWN not in case.name
            ):
                continue  # other numbers are as good
            wanted = [nc.as_array(x) for x in _leaves(expected)]
            nc.assert_equal(got, wanted, case.rtol, max(case.atol, 5e-7))
    except (OnnxLoadError, OnnxRunError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _leaves(items):
    for item in items:
        if isinstance(item, list):
            yield from _leaves(item)
        else:
            yield item


def is_expected(case, refusal: str) -> bool:
    """True if one of the lists says that the case is refused, with this error."""
    if case.name in nc.REFUSED_CASES or nc.NO_TYPE in refusal:
        return True
    names = re.findall(r"(?:: |; )(\w+)(?: of [\w.]+)? \(opset", refusal)
    return bool(names) and set(names) <= set(nc.REFUSED_OPERATORS)


@pytest.mark.parametrize("letter", list(string.ascii_uppercase))
def test_loaded_models_give_what_onnx_expects(letter):
    failures = []
    for case in of_letter(letter):
        try:
            refusal = result(case)
        except AssertionError as error:
            if case.name not in nc.OTHERWISE:
                failures.append(f"{case.name}: {str(error).strip()[:200]}")
            continue
        if case.name in nc.OTHERWISE:
            failures.append(f"{case.name} is listed as different, but passes")
        elif refusal is not None and not is_expected(case, refusal):
            failures.append(f"{case.name}: {refusal}")
        elif refusal is None and case.name in nc.REFUSED_CASES:
            failures.append(f"{case.name} is listed as refused, but passes")
    assert not failures, "\n".join(failures)


def test_most_cases_pass():
    """Most of those that are refused have element types that do not exist here."""
    names = {c.name for c in nc.cases()}
    assert set(nc.REFUSED_CASES) | set(nc.OTHERWISE) <= names
    typed = [n for n in names if re.search(r"cast.*(FLOAT[48]|INT[24]|e8m0)", n)]
    assert len(names) > 1500 and 100 < len(typed) < 400


def compiled_results(model, arguments) -> list:
    """Results of compiled code; inputs whose values decide about shapes are passed as arrays."""
    known: set[str] = set()
    while True:
        fixed = {
            i: x.numpy() for i, x in enumerate(arguments) if model.input_names[i] in known
        }
        free = [x for i, x in enumerate(arguments) if i not in fixed]

        def call(*xs, fixed=fixed):
            rest = iter(xs)
            return model(*(fixed[i] if i in fixed else next(rest) for i in range(len(arguments))))

        try:
            with nncomp.no_grad():
                return nc.flat(nncomp.compile(call)(*free))
        except OnnxRunError as error:
            found = MUST_BE_KNOWN.search(str(error))
            new = _decisive(model, arguments, found[1]) - known if found else set()
            if not new:
                raise
            known |= new


def _decisive(model, arguments, name: str) -> set[str]:
    """The input of that name, or the integer inputs if it is computed from inputs."""
    if name in model.input_names:
        return {name}
    rows = zip(model.input_names, arguments, strict=True)
    return {n for n, x in rows if not x.dtype.is_floating_point and x.dim() < 2}


@pytest.mark.parametrize("letter", list(string.ascii_uppercase))
def test_one_case_per_operator_compiles(letter):
    done = set()
    for case in of_letter(letter):
        name = nc.operator(case)
        inputs = case.data_sets[0][0]
        plain = not any(isinstance(x, list) or x is None for x in inputs)
        if name in done or "_expanded" in case.name or not plain or name in nc.REFUSED_OPERATORS:
            continue
        if name == "If" or case.name in nc.OTHERWISE or case.name.startswith(nc.RANDOM):
            continue  # an unknown condition: see test_onnx_load.py
        try:
            model, arguments = load(case.model), [nc.as_value(x) for x in inputs]
            with nncomp.no_grad():
                expected = nc.flat(model(*arguments))
        except (OnnxLoadError, OnnxRunError, TypeError):
            continue  # another case of the operator has types that exist
        done.add(name)
        try:
            nc.assert_equal(compiled_results(model, arguments), expected, 1e-4, 1e-6)
        except AssertionError as error:
            raise AssertionError(f"{case.name}: {error}") from error
