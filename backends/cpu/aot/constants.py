"""How an exported file finds its constants: inside of itself, or in memory that it is given.

Both begin with the sha256 of what follows, in hex. `@weights()` gives the address behind it.
"""

from __future__ import annotations

from .blob import LINE, MARK, mark_of

_GLOBAL = "nncomp_weights"
OK, ERROR_ARGUMENT, ERROR_WEIGHTS = 0, 1, 4


def weights_text(name: str, data: bytes, embedded: bool, size: str) -> str:
    """The LLVM text of `@weights()`, and of `NAME_set_weights` where they are not embedded."""
    if embedded:
        at = f"getelementptr (i8, ptr @{_GLOBAL}, i64 {MARK})"
        return f"{_data_text(data)}\ndefine internal ptr @weights() #0 {{\n  ret ptr {at}\n}}"
    return "\n".join([_GIVEN, _set_text(name, data, size)])


def _data_text(data: bytes) -> str:
    """The LLVM global that `blob.fill` puts the data into."""
    kind = f"<{{ [{MARK} x i8], [{len(data)} x i8] }}>"
    mark = f'[{MARK} x i8] c"{mark_of(data).decode()}"'
    value = f"<{{ {mark}, [{len(data)} x i8] zeroinitializer }}>"
    return f"@{_GLOBAL} = internal constant {kind} {value}, align {LINE}"


_GIVEN = f"""@given = internal global ptr null
define internal ptr @weights() #0 {{
  %given = load atomic ptr, ptr @given acquire, align 8
  %absent = icmp eq ptr %given, null
  %behind = getelementptr i8, ptr %given, i64 {MARK}
  %found = select i1 %absent, ptr null, ptr %behind
  ret ptr %found
}}"""


def _set_text(name: str, data: bytes, size: str) -> str:
    """`NAME_set_weights(data, bytes)`: take the content of the file if it is this model's."""
    return f"""@mark = private constant [{MARK} x i8] c"{mark_of(data).decode()}"
define i32 @{name}_set_weights(ptr %data, {size} %bytes) #0 {{
entry:
  %absent = icmp eq ptr %data, null
  %address = ptrtoint ptr %data to i64
  %low = and i64 %address, {LINE - 1}
  %odd = icmp ne i64 %low, 0
  %wrong = or i1 %absent, %odd
  br i1 %wrong, label %argument, label %given
argument:
  ret i32 {ERROR_ARGUMENT}
given:
  %whole = icmp eq {size} %bytes, {MARK + len(data)}
  br i1 %whole, label %compare, label %other
other:
  ret i32 {ERROR_WEIGHTS}
compare:
  %i = phi i64 [ 0, %given ], [ %next, %same ]
  %more = icmp ult i64 %i, {MARK}
  br i1 %more, label %look, label %take
look:
  %p = getelementptr i8, ptr %data, i64 %i
  %q = getelementptr i8, ptr @mark, i64 %i
  %a = load i8, ptr %p
  %b = load i8, ptr %q
  %equal = icmp eq i8 %a, %b
  br i1 %equal, label %same, label %other
same:
  %next = add i64 %i, 1
  br label %compare
take:
  store atomic ptr %data, ptr @given release, align 8
  ret i32 {OK}
}}"""
