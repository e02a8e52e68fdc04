"""Choosing a level when the program runs: the CPU is asked once, with cpuid and xgetbv.

The two instructions are given as bytes of a function, because LLVM's own assembler for them is only
there on machines of the same kind. Which bits count is what LLVM takes for granted in code for
x86-64-v3 and x86-64-v4 (the levels of the x86-64 psABI), and the system must save the registers.
"""

from __future__ import annotations

from collections.abc import Sequence

# push rbx; mov eax,edi; mov r8,rdx; mov ecx,esi; cpuid; mov [r8],eax; mov [r8+4],ebx;
# mov [r8+8],ecx; mov [r8+12],edx; pop rbx; ret
_CPUID = "5389f84989d089f10fa241890041895804418948084189500c5bc3"
_XGETBV = "31c90f01d0c3"  # xor ecx,ecx; xgetbv; ret


def _bits(*numbers: int) -> int:
    return sum(1 << n for n in numbers)


# leaf 1 ecx, leaf 7 ebx, leaf 0x80000001 ecx, XCR0
_NEEDED = {
    "avx2": (
        _bits(0, 9, 12, 13, 19, 20, 22, 23, 27, 28, 29),  # sse3 .. f16c, with osxsave
        _bits(3, 5, 8),  # bmi, avx2, bmi2
        _bits(0, 5),  # lahf, lzcnt
        _bits(1, 2),
    ),
}
_V3 = _NEEDED["avx2"]
_NEEDED["avx512"] = (_V3[0], _V3[1] | _bits(16, 17, 28, 30, 31), _V3[2], _bits(1, 2, 5, 6, 7))


def dispatch_text(name: str, levels: Sequence[str], arch: str) -> str:
    """`@level()`, the number of the level to run or -1, and the functions that show and set it."""
    strings = [_string(f"isa.{level}", level) for level in levels]
    finder = _detect_text(levels) if arch == "x86_64" else _ONLY
    return "\n".join([*strings, finder, _LEVEL, _isa_text(name, levels), _set_text(name, levels)])


def _string(symbol: str, text: str) -> str:
    return f'@{symbol} = private constant [{len(text) + 1} x i8] c"{text}\\00"'


def _escaped(code: str) -> str:
    return "".join(f"\\{code[i : i + 2]}" for i in range(0, len(code), 2))


_ONLY = "define internal i32 @highest() #0 {\n  ret i32 0\n}"

_LEVEL = """@chosen = internal global i32 -1
define internal i32 @level() #0 {
  %known = load atomic i32, ptr @chosen monotonic, align 4
  %is_known = icmp sge i32 %known, 0
  br i1 %is_known, label %give, label %find
give:
  ret i32 %known
find:
  %found = call i32 @highest()
  store atomic i32 %found, ptr @chosen monotonic, align 4
  ret i32 %found
}"""


def _native(head: str, code: str) -> str:
    data = f'[{len(code) // 2} x i8] c"{_escaped(code)}"'
    return f"define internal x86_64_sysvcc {head} noinline nounwind prologue {data}"


def _detect_text(levels: Sequence[str]) -> str:
    """`@highest()`: what the CPU and the system offer, compared with each level from below."""
    lines = [
        _native("void @cpuid(i32 %leaf, i32 %sub, ptr %out)", _CPUID) + " {\n  ret void\n}",
        _native("i64 @xgetbv()", _XGETBV) + " {\n  ret i64 0\n}",
        "define internal i32 @highest() #0 {",
        "  %out = alloca [4 x i32], align 4",
        "  %b = getelementptr i32, ptr %out, i64 1",
        "  %c = getelementptr i32, ptr %out, i64 2",
    ]
    first = 0 if levels[0] == "baseline" else -1
    lines += [
        *_ask("most", 0, "%out"),
        "  %has7 = icmp uge i32 %most, 7",
        f"  br i1 %has7, label %more, label %old\nold:\n  ret i32 {first}\nmore:",
        *_ask("leaf1", 1, "%c"),
        *_ask("leaf7", 7, "%b"),
        *_ask("extended", -0x7FFFFFFF, "%c"),
        f"  %saves = and i32 %leaf1, {_bits(27)}",
        "  %can_ask = icmp ne i32 %saves, 0",
        "  br i1 %can_ask, label %ask, label %old\nask:",
        "  %wide = call x86_64_sysvcc i64 @xgetbv()",
        "  %saved = trunc i64 %wide to i32",
    ]
    found = str(first)
    for number, level in enumerate(levels):
        if level not in _NEEDED:
            continue
        oks = []
        for word, mask in zip(("leaf1", "leaf7", "extended", "saved"), _NEEDED[level], strict=True):
            signed = mask - (1 << 32) if mask >> 31 else mask
            lines.append(f"  %{word}.{level} = and i32 %{word}, {signed}")
            lines.append(f"  %ok.{word}.{level} = icmp eq i32 %{word}.{level}, {signed}")
            oks.append(f"%ok.{word}.{level}")
        for i, ok in enumerate(oks[1:]):
            before = oks[0] if not i else f"%both{i - 1}.{level}"
            lines.append(f"  %both{i}.{level} = and i1 {before}, {ok}")
        lines.append(f"  %found.{level} = select i1 %both2.{level}, i32 {number}, i32 {found}")
        found = f"%found.{level}"
    return "\n".join([*lines, f"  ret i32 {found}", "}"])


def _ask(name: str, leaf: int, register: str) -> list[str]:
    return [
        f"  call x86_64_sysvcc void @cpuid(i32 {leaf}, i32 0, ptr %out)",
        f"  %{name} = load i32, ptr {register}",
    ]


def _isa_text(name: str, levels: Sequence[str]) -> str:
    """`NAME_isa()`: the level's name, null without one that runs here."""
    cases = "\n".join(f"    i32 {i}, label %name{i}" for i in range(len(levels)))
    ends = "\n".join(f"name{i}:\n  ret ptr @isa.{level}" for i, level in enumerate(levels))
    return f"""define ptr @{name}_isa() #0 {{
  %level = call i32 @level()
  switch i32 %level, label %none [
{cases}
  ]
{ends}
none:
  ret ptr null
}}"""


def _set_text(name: str, levels: Sequence[str]) -> str:
    """`NAME_set_isa(number)`: 0, or 2 for a level that the CPU cannot run; -1 chooses again."""
    return f"""define i32 @{name}_set_isa(i32 %wanted) #0 {{
  %highest = call i32 @highest()
  %above = icmp sgt i32 %wanted, %highest
  %below = icmp slt i32 %wanted, -1
  %refused = or i1 %above, %below
  br i1 %refused, label %cannot, label %choose
cannot:
  ret i32 2
choose:
  store atomic i32 %wanted, ptr @chosen monotonic, align 4
  ret i32 0
}}"""
