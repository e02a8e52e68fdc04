"""The C header of an exported file, and an example program that calls it.

Both are C99 that is also C++, and compile without warnings under -Wall -Wextra -Werror.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from nncomp.ir.types import TensorType

from .object_file import Made
from .tables import Layout

C_TYPES = {
    "float32": "float", "float64": "double", "int64": "int64_t", "int32": "int32_t",
    "int16": "int16_t", "int8": "int8_t", "uint8": "uint8_t", "bool": "uint8_t",
    "float16": "uint16_t", "bfloat16": "uint16_t",
}  # fmt: skip

_TENSOR = """#ifndef NNCOMP_TENSOR
#define NNCOMP_TENSOR
/* What a model says about one of its tensors; elements lie in row-major order. */
typedef struct nncomp_tensor {
    const char *name;
    const char *dtype; /* float32, int64, ...; bool is one byte, float16 and bfloat16 two */
    const int64_t *shape;
    size_t rank; /* entries of shape */
    size_t bytes;
    size_t offset; /* of state tensors: from the start of the state */
} nncomp_tensor;
#endif"""


def unique(names: Sequence[str]) -> list[str]:
    """Ends of C identifiers for names; a number follows one that is taken."""
    found: list[str] = []
    for name in (re.sub(r"\W+", "_", n, flags=re.ASCII).strip("_") or "x" for n in names):
        made, number = name, 2
        while made.upper() in (other.upper() for other in found):
            made, number = f"{name}_{number}", number + 1
        found.append(made)
    return found


def header_text(made: Made, words: str) -> str:
    """The header; `words` is one line that says what the file was made from."""
    layout, request = made.layout, made.layout.request
    name, big = request.name, request.name.upper()
    guard = f"{big}_NNCOMP_H"
    inputs = [(e.name, e.type) for e in request.of_role("input")]
    outputs = list(zip(request.outputs, request.output_types, strict=True))
    lines = [
        f"/* {words.replace('*/', '* /')} */",
        f"#ifndef {guard}\n#define {guard}\n",
        "#include <stddef.h>\n#include <stdint.h>\n",
        '#ifdef __cplusplus\nextern "C" {\n#endif\n',
        _TENSOR,
        "",
        *_numbered(big, "INPUT", inputs),
        *_numbered(big, "OUTPUT", outputs),
        f"#define {big}_WORKSPACE_BYTES {layout.workspace}",
        *([f"#define {big}_PREPARED_BYTES {layout.prepared_bytes}"] * bool(layout.prepared_bytes)),
        "",
        *_state_lines(layout, big),
        *_errors(big),
        "",
        *_functions(made, name, big),
        "\n#ifdef __cplusplus\n}\n#endif\n",
        f"#endif /* {guard} */",
        "",
    ]
    return "\n".join(lines)


def _numbered(big: str, word: str, rows: Sequence[tuple[str, TensorType]]) -> list[str]:
    """Constants of inputs or outputs: their count, and of each its number, elements and bytes."""
    lines = [f"#define {big}_{word}S {len(rows)}"]
    for number, (name, (_, type)) in enumerate(
        zip(unique([n for n, _ in rows]), rows, strict=True)
    ):
        lines.append(
            f"#define {big}_{word}_{name.upper()} {number} /* {_c_words(type)} */\n"
            f"#define {big}_{word}_{name.upper()}_SIZE {type.size} /* elements */\n"
            f"#define {big}_{word}_{name.upper()}_BYTES {type.nbytes}"
        )
    return lines


def _c_words(type: TensorType) -> str:
    shape = "".join(f"[{n}]" for n in type.shape)
    stands = f", {type.dtype.name}" if C_TYPES[type.dtype.name] == "uint16_t" else ""
    return f"{C_TYPES[type.dtype.name]}{shape}{stands}"


def _state_lines(layout: Layout, big: str) -> list[str]:
    if not layout.state_bytes:
        return []
    lines = [
        "/* What runs change: memory of the caller, aligned to 8 bytes. Offsets of its tensors: */",
        f"#define {big}_STATE_BYTES {layout.state_bytes}",
    ]
    for name, entry in zip(unique([e.name for e in layout.state]), layout.state, strict=True):
        lines.append(f"#define {big}_STATE_{name.upper()} {entry.offset} "
                     f"/* {_c_words(entry.type)} */")  # fmt: skip
    return [*lines, ""]


def _errors(big: str) -> list[str]:
    return [
        "/* What functions return; NAME_error_text gives words. */",
        f"#define {big}_OK 0",
        f"#define {big}_ERROR_ARGUMENT 1 /* a pointer is null or not aligned to its elements */",
        f"#define {big}_ERROR_CPU 2 /* no code for this CPU */",
        f"#define {big}_ERROR_INDEX 3 /* an index outside of its axis; nothing was written */",
        f"#define {big}_ERROR_WEIGHTS 4 /* no weights file, or one of another model */",
        f"#define {big}_ERROR_THREADS 5 /* threads were not started, or cannot be */",
        f"#define {big}_ERROR_PREPARED 6 /* constants are not prepared for the chosen code */",
    ]


def _functions(made: Made, name: str, big: str) -> list[str]:
    layout = made.layout
    state = ", void *state" if layout.state_bytes else ""
    lines = [
        "/* Runs the model. Thread-safe: callers at the same time need workspaces of their own",
        f" * ({big}_WORKSPACE_BYTES of any content). Outputs must not overlap other memory. */",
        f"int {name}_run(const void *const *inputs, void *const *outputs{state}, "
        "void *workspace);",
        "",
    ]
    if layout.state_bytes:
        lines += [
            "/* Gives the state the values that it had when the model was exported. */",
            f"int {name}_init(void *state);",
            f"size_t {name}_state_bytes(void);",
            f"const nncomp_tensor *{name}_state(size_t number); /* NULL past the last one */",
            "",
        ]
    if made.weights is not None:
        lines += _weights_lines(name, big)
    if layout.prepared_bytes:
        lines += [
            f"/* Packs the constants into memory of {big}_PREPARED_BYTES that stays in use: once",
            " * before the first run, and again after set_isa. */",
            f"int {name}_prepare(void *memory);",
            f"size_t {name}_prepared_bytes(void);",
            "",
        ]
    if made.threads > 1:
        lines += [
            f"/* A run may use up to {made.threads} threads, which belong to a workspace: start",
            " * them before its first run (count 1: the caller's alone), stop them after the last.",
            " * A started workspace must not be moved or copied. */",
            f"#define {big}_THREADS {made.threads}",
            f"int {name}_threads_start(void *workspace, int count);",
            f"void {name}_threads_stop(void *workspace);",
            "",
        ]
    return [
        *lines,
        f"size_t {name}_workspace_bytes(void);",
        f"const nncomp_tensor *{name}_input(size_t number); /* NULL past the last one */",
        f"const nncomp_tensor *{name}_output(size_t number);",
        f"const char *{name}_error_text(int code);",
        "",
        "/* Instruction sets of this file, lowest first; the highest that runs here is chosen. */",
        *(f"#define {big}_ISA_{lv.name.upper()} {i}" for i, lv in enumerate(made.levels)),
        f"const char *{name}_isa(void); /* the one chosen, NULL if none runs here */",
        f"int {name}_set_isa(int number); /* takes another one, -1 the highest again */",
    ]


def _weights_lines(name: str, big: str) -> list[str]:
    """Declarations for constants in a file of their own."""
    return [
        "/* The constants are in the .weights file. Give its content, at an address that 64",
        " * divides, before the first run; it is neither copied nor changed. */",
        f"int {name}_set_weights(const void *data, size_t bytes);",
        f"""
#ifdef {big}_MAP_WEIGHTS /* for systems with mmap; the caller's program does the reading */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
static inline int {name}_map_weights(const char *path) {{
    struct stat about;
    void *data;
    int file = open(path, O_RDONLY);
    if (file < 0)
        return {big}_ERROR_WEIGHTS;
    if (fstat(file, &about) != 0 || about.st_size <= 0) {{
        close(file);
        return {big}_ERROR_WEIGHTS;
    }}
    data = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (data == MAP_FAILED)
        return {big}_ERROR_WEIGHTS;
    return {name}_set_weights(data, (size_t)about.st_size);
}}
#endif
""",
    ]
