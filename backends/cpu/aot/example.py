"""The example program beside an exported file: runs it once and prints sums of the results."""

from __future__ import annotations

from .header import C_TYPES, unique
from .object_file import Made
from .tables import Layout

Row = tuple[str, str]  # name and C type of a tensor


def example_text(made: Made, header: str, build: str) -> str:
    """A C program; `build` is the command line that compiles it."""
    layout, request = made.layout, made.layout.request
    big = request.name.upper()
    inputs = _rows([e.name for e in request.of_role("input")],
                   [e.type for e in request.of_role("input")])  # fmt: skip
    outputs = _rows(list(request.outputs), request.output_types)
    lines = [f"/* {build} */", "#include <stdio.h>\n"]
    if made.weights is not None:
        lines.append(f"#define {big}_MAP_WEIGHTS")
    lines += [
        f'#include "{header}"\n',
        *_memory_lines(layout, big, inputs, outputs),
        "\nint main(void) {",
        f"    const void *inputs[] = {{{_names('input', inputs)}}};",
        f"    void *outputs[] = {{{_names('output', outputs)}}};",
        "    int code;",
        *_fill_lines(big, inputs),
        *_call_lines(made, request.name, big),
        *_print_lines(big, outputs),
        "    return 0;\n}",
        "",
    ]
    return "\n".join(lines)


def _rows(names: list[str], types: list) -> list[Row]:
    return list(zip(unique(names), [C_TYPES[t.dtype.name] for t in types], strict=True))


def _names(word: str, rows: list[Row]) -> str:
    return ", ".join(f"{word}_{name}" for name, _ in rows) or "NULL"


def _memory_lines(
    layout: Layout, big: str, inputs: list[Row], outputs: list[Row]
) -> list[str]:
    """Static memory for everything."""
    lines = []
    for word, rows in (("INPUT", inputs), ("OUTPUT", outputs)):
        for name, kind in rows:
            length = f"{big}_{word}_{name.upper()}_SIZE"
            lines.append(f"static {kind} {word.lower()}_{name}[{length} > 0 ? {length} : 1];")
    sizes = {"workspace": layout.workspace, "prepared": layout.prepared_bytes,
             "state": layout.state_bytes}  # fmt: skip
    for name, size in sizes.items():
        if size:
            lines.append(f"static double {name}[({big}_{name.upper()}_BYTES + 7) / 8];")
    return lines


def _fill_lines(big: str, inputs: list[Row]) -> list[str]:
    """Some numbers for the inputs; integers stay 0."""
    return [
        f"    for (size_t i = 0; i < {big}_INPUT_{name.upper()}_SIZE; i++)\n"
        f"        input_{name}[i] = ({kind})(i % 17) / 17;"
        for name, kind in inputs
        if kind in ("float", "double")
    ]


def _call_lines(made: Made, name: str, big: str) -> list[str]:
    """Everything that comes before a run, and the run."""
    layout = made.layout
    calls = []
    if made.threads > 1:
        calls.append(f"{name}_threads_start(workspace, {big}_THREADS)")
    if made.weights is not None:
        calls.append(f'{name}_map_weights("{name}.weights")')
    if layout.prepared_bytes:
        calls.append(f"{name}_prepare(prepared)")
    if layout.state_bytes:
        calls.append(f"{name}_init(state)")
    state = "state, " if layout.state_bytes else ""
    calls.append(f"{name}_run(inputs, outputs, {state}workspace)")
    lines = [
        f"    code = {call};\n"
        f"    if (code != {big}_OK) {{\n"
        f'        fprintf(stderr, "{name}: %s\\n", {name}_error_text(code));\n'
        "        return 1;\n    }"
        for call in calls
    ]
    if made.threads > 1:
        lines.append(f"    {name}_threads_stop(workspace);")
    return lines


def _print_lines(big: str, outputs: list[Row]) -> list[str]:
    return [
        f"    {{\n        double sum = 0;\n"
        f"        for (size_t i = 0; i < {big}_OUTPUT_{name.upper()}_SIZE; i++)\n"
        f"            sum += (double)output_{name}[i];\n"
        f'        printf("{name}: sum %.9g\\n", sum);\n    }}'
        for name, _ in outputs
    ]
