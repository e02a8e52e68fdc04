"""The JavaScript beside a WebAssembly module: an ES module for browsers and Node, an example."""

from __future__ import annotations

import json
from collections.abc import Iterable

from nncomp.ir.types import TensorType

from .tables import Layout

# What a module may import, in JavaScript's words; code for float64 calls these.
HOST = {
    "sin": "Math.sin", "cos": "Math.cos", "tan": "Math.tan", "fmod": "(a, b) => a % b",
    "fmodf": "(a, b) => a % b",
}  # fmt: skip

_ARRAYS = """const ARRAYS = {
    float32: Float32Array, float64: Float64Array, int64: BigInt64Array, int32: Int32Array,
    int16: Int16Array, int8: Int8Array, uint8: Uint8Array, bool: Uint8Array,
    float16: Uint16Array, bfloat16: Uint16Array,
};
"""

_CODE = """
/* A model in memory of its own. Not for two callers at once: load it twice. */
export class Model {
    constructor(instance) {
        this.code = instance.exports;
        this.top = this.code.__heap_base.value;
        this.workspace = this.take(WORKSPACE);
        this.inputs = this.table(INPUTS);
        this.outputs = this.table(OUTPUTS);
        if (PREPARED_BYTES) this.check(this.code[NAME + '_prepare'](this.take(PREPARED_BYTES)));
        this.memory = STATE_BYTES ? this.take(STATE_BYTES) : 0;
        if (STATE_BYTES) this.check(this.code[NAME + '_init'](this.memory));
    }

    /* Gives the outputs, as typed arrays, for typed arrays with the elements of each input. */
    run(...inputs) {
        if (inputs.length !== INPUTS.length)
            throw new Error(`${NAME} takes ${INPUTS.length} inputs, got ${inputs.length}`);
        INPUTS.forEach(([name, dtype, shape], i) => {
            const view = this.view(this.inputs.places[i], dtype, shape);
            if (inputs[i].constructor !== view.constructor || inputs[i].length !== view.length)
                throw new Error(`${name} must be a ${view.constructor.name} of ${view.length} ` +
                    `elements, got a ${inputs[i].constructor.name} of ${inputs[i].length}`);
            view.set(inputs[i]);
        });
        const state = STATE_BYTES ? [this.memory] : [];
        this.check(this.code[NAME + '_run'](
            this.inputs.address, this.outputs.address, ...state, this.workspace));
        return OUTPUTS.map(([, dtype, shape], i) =>
            this.view(this.outputs.places[i], dtype, shape).slice());
    }

    /* A view of a tensor of the state, which may be written. */
    state(name) {
        const found = STATE.find((row) => row[0] === name);
        if (!found) throw new Error(`the state has no ${name}`);
        return this.view(this.memory + found[3], found[1], found[2]);
    }

    check(code) {
        if (code === 0) return;
        const place = this.code[NAME + '_error_text'](code);
        const bytes = new Uint8Array(this.code.memory.buffer, place);
        const text = String.fromCharCode(...bytes.subarray(0, bytes.indexOf(0)));
        throw new Error(`${NAME}: ${text}`);
    }

    take(bytes) {
        const place = Math.ceil(this.top / 64) * 64;
        this.top = place + bytes;
        const memory = this.code.memory;
        const more = Math.ceil((this.top - memory.buffer.byteLength) / 65536);
        if (more > 0) memory.grow(more);
        return place;
    }

    table(rows) {
        const places = rows.map(([, dtype, shape]) =>
            this.take(size(shape) * ARRAYS[dtype].BYTES_PER_ELEMENT));
        const address = this.take(4 * rows.length + 4);
        new Uint32Array(this.code.memory.buffer, address, rows.length).set(places);
        return { address, places };
    }

    view(place, dtype, shape) {
        return new ARRAYS[dtype](this.code.memory.buffer, place, size(shape));
    }
}

function size(shape) {
    return shape.reduce((a, b) => a * b, 1);
}

/* A Model from the bytes of the .wasm file, or from a WebAssembly.Module. */
export async function load(source) {
    const made = await WebAssembly.instantiate(source, { env: HOST });
    return new Model(made.instance || made);
}
"""


def module_text(layout: Layout, words: str) -> str:
    """The ES module that loads and runs `NAME.wasm`."""
    request = layout.request
    inputs = [(e.name, e.type) for e in request.of_role("input")]
    outputs = zip(request.outputs, request.output_types, strict=True)
    host = ",\n    ".join(f"{name}: {code}" for name, code in HOST.items())
    lines = [
        f"/* {words.replace('*/', '* /')} */",
        f"const NAME = {json.dumps(request.name)};",
        f"const WORKSPACE = {layout.workspace}, STATE_BYTES = {layout.state_bytes}, "
        f"PREPARED_BYTES = {layout.prepared_bytes};",
        f"export const INPUTS = {_rows(inputs)};",
        f"export const OUTPUTS = {_rows(outputs)};",
        f"export const STATE = {_rows((e.name, e.type, e.offset) for e in layout.state)};",
        f"const HOST = {{\n    {host},\n}};",
        _ARRAYS,
    ]
    return "\n".join(lines) + _CODE


def _rows(tensors: Iterable[tuple]) -> str:
    rows: list[list] = []
    for name, type, *rest in tensors:
        assert isinstance(type, TensorType)
        rows.append([name, type.dtype.name, list(type.shape), *rest])
    return json.dumps(rows)


def example_text(layout: Layout) -> str:
    """A program for Node that runs the model once and prints sums of the results."""
    name = layout.request.name
    return f"""/* node {name}_example.mjs */
import {{ readFileSync }} from 'node:fs';
import {{ load, INPUTS, OUTPUTS }} from './{name}.mjs';

const model = await load(readFileSync(new URL('./{name}.wasm', import.meta.url)));
const ARRAYS = {{ float32: Float32Array, float64: Float64Array, int64: BigInt64Array,
    int32: Int32Array, int16: Int16Array, int8: Int8Array, uint8: Uint8Array, bool: Uint8Array,
    float16: Uint16Array, bfloat16: Uint16Array }};
const inputs = INPUTS.map(([, dtype, shape]) => {{
    const array = new ARRAYS[dtype](shape.reduce((a, b) => a * b, 1));
    return dtype.startsWith('float') ? array.map((_, i) => (i % 17) / 17) : array;
}});
model.run(...inputs).forEach((array, i) => {{
    const sum = Array.from(array, Number).reduce((a, b) => a + b, 0);
    console.log(`${{OUTPUTS[i][0]}}: sum ${{sum}}`);
}});
"""
