"""The example program beside an exported file: runs it once and prints sums of the results."""

from __future__ import annotations

from .header import C_TYPES, unique
from .object_file import Made


def example_text(made: Made, header: str, build: str) -> str:
    """A C program; `build` is the command line that compiles it."""
    layout, request = made.layout, made.layout.request
    name, big = request.name, request.name.upper()
    inputs = unique([e.name for e in request.of_role("input")])
    outputs = unique(list(request.outputs))
    input_types = [C_TYPES[e.type.dtype.name] for e in request.of_role("input")]
    output_types = [C_TYPES[t.dtype.name] for t in request.output_types]
    lines = [f"/* {build} */", "#include <stdio.h>\n"]
    if made.weights is not None:
        lines.append(f"#define {big}_MAP_WEIGHTS")
    lines.append(f'#include "{header}"\n')

    def memory(kind: str, word: str, row: str) -> str:
        size = f"{big}_{word}_{row.upper()}_SIZE"
        return f"static {kind} {word.lower()}_{row}[{size} > 0 ? {size} : 1];"

    lines += [memory(k, "INPUT", n) for k, n in zip(input_types, inputs, strict=True)]
    lines += [memory(k, "OUTPUT", n) for k, n in zip(output_types, outputs, strict=True)]
    lines.append(f"static double workspace[({big}_WORKSPACE_BYTES + 7) / 8];")
    if layout.state_bytes:
        lines.append(f"static double state[({big}_STATE_BYTES + 7) / 8];")
    first = ", ".join(f"input_{n}" for n in inputs) or "NULL"
    second = ", ".join(f"output_{n}" for n in outputs) or "NULL"
    lines += [
        "\nint main(void) {",
        f"    const void *inputs[] = {{{first}}};",
        f"    void *outputs[] = {{{second}}};",
        "    int code;",
    ]
    for n, kind in zip(inputs, input_types, strict=True):
        if kind in ("float", "double"):
            lines.append(
                f"    for (size_t i = 0; i < {big}_INPUT_{n.upper()}_SIZE; i++)\n"
                f"        input_{n}[i] = ({kind})(i % 17) / 17;"
            )
    state = "state, " if layout.state_bytes else ""
    calls = [f"{name}_run(inputs, outputs, {state}workspace)"]
    if layout.state_bytes:
        calls.insert(0, f"{name}_init(state)")
    if made.weights is not None:
        calls.insert(0, f'{name}_map_weights("{name}.weights")')
    if made.threads > 1:
        calls.insert(0, f"{name}_threads_start(workspace, {big}_THREADS)")
    for call in calls:
        lines.append(
            f"    code = {call};\n"
            f"    if (code != {big}_OK) {{\n"
            f'        fprintf(stderr, "{name}: %s\\n", {name}_error_text(code));\n'
            "        return 1;\n    }"
        )
    if made.threads > 1:
        lines.append(f"    {name}_threads_stop(workspace);")
    for n in outputs:
        lines.append(
            f"    {{\n        double sum = 0;\n"
            f"        for (size_t i = 0; i < {big}_OUTPUT_{n.upper()}_SIZE; i++)\n"
            f"            sum += (double)output_{n}[i];\n"
            f'        printf("{n}: sum %.9g\\n", sum);\n    }}'
        )
    return "\n".join([*lines, "    return 0;\n}", ""])
