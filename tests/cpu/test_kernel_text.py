"""Texts of kernels say nothing twice, neutral or unread; small modules are joined."""

from __future__ import annotations

import ctypes

import pytest
from nncomp.backends.cpu import jit
from nncomp.backends.cpu.target import host_target
from nncomp.backends.llvm import Emitter, Value, joined, module_text

X, Y = Value("%x", "i64"), Value("%y", "i64")


def number(n: int) -> Value:
    return Value(str(n), "i64")


def run(e: Emitter, result: Value, x: int, y: int) -> int:
    """What machine code makes of a function of two numbers."""
    e.do(f"ret i64 {result.ref}")
    text = module_text([e.function("i64 @f(i64 %x, i64 %y)")], [e])
    code = jit.link([jit.compile_to_object(text, host_target())])
    function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
    return function(code.address("f"))(x, y)


def test_equal_instructions_of_a_block_are_written_once():
    e = Emitter()
    a, b = (e.binary("mul", X, Y) for _ in range(2))
    assert a is b and len(e.lines) == 1
    assert e.binary("mul nsw", X, Y) is not a  # says more
    e.label("next")
    assert e.binary("mul", X, Y) is not a  # the other block may not have run


@pytest.mark.parametrize(
    ("opcode", "a", "b", "expected"),
    [
        ("add", X, number(0), X), ("add nsw", number(0), X, X), ("sub", X, number(0), X),
        ("mul", X, number(1), X), ("mul", number(1), X, X),
        ("add", number(3), number(4), number(7)), ("sub", number(3), number(4), number(-1)),
        ("mul", number(3), number(4), number(12)),
    ],
    ids=lambda v: v.ref if isinstance(v, Value) else v,
)  # fmt: skip
def test_what_needs_no_instruction_has_none(opcode, a, b, expected):
    e = Emitter()
    assert e.binary(opcode, a, b) == expected
    assert e.lines == []


def test_a_zero_in_front_of_a_difference_stays():
    e = Emitter()
    assert run(e, e.binary("sub", number(0), X), 5, 0) == -5


def test_constants_are_added_last():
    e = Emitter()
    near = e.binary("add", e.binary("add", X, number(16)), Y)
    far = e.binary("add nsw", Y, e.binary("add", X, number(48)))
    assert e.apart(near)[1] == 16 and e.apart(far)[1] == 48
    back = e.binary("add", e.binary("add", near, number(-16)), number(0))
    assert e.apart(back) == (back, 0)
    total = e.binary("mul", e.binary("add", near, far), back)
    assert run(e, total, 5, 7) == (5 + 16 + 7 + 7 + 5 + 48) * (5 + 7)


def test_large_constants_are_left_to_llvm():
    e = Emitter()
    product = e.binary("mul", number(1 << 40), number(1 << 40))
    assert product.ref.startswith("%")  # 0 modulo 2**64
    assert run(e, product, 0, 0) == 0


def module(name: str, constant: str | None = None) -> str:
    e = Emitter()
    x = Value("%x", "float")
    if constant is not None:
        e.globals["@table"] = f"@table = private constant float {constant}"
        x = e.binary("fadd", x, e.load("float", Value("@table", "ptr")))
    root = e.intrinsic("sqrt", x)
    e.do(f"ret {root}")
    return module_text([e.function(f"float @{name}(float %x)")], [e])


def test_small_modules_are_joined():
    texts = joined([module(f"f{i}") for i in range(5)], most=3)
    assert [text.count("define") for text in texts] == [3, 2]
    assert [text.count("declare") for text in texts] == [1, 1]
    code = jit.link([jit.compile_to_object(text, host_target()) for text in texts])
    function = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_float)
    assert [function(code.address(f"f{i}"))(9.0) for i in range(5)] == [3.0] * 5


def test_constants_of_one_name_stay_apart():
    texts = joined([module("f", "7.0"), module("g", "7.0"), module("h", "16.0")])
    code = jit.link([jit.compile_to_object(text, host_target()) for text in texts])
    function = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_float)
    assert len(texts) == 2
    assert [function(code.address(name))(9.0) for name in "fgh"] == [4.0, 4.0, 5.0]
    assert joined([]) == []
