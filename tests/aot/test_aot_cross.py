"""Files for other machines: run under emulators where there are any, else looked into."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nncomp.backends.cpu.aot import wasm
from nncomp.backends.cpu.aot.levels import TRIPLES
from programs import build, compiled, got, need, put, resnet, run, seed_mlp, tagger

import nncomp
from nncomp import nn, optim
from nncomp.nn import functional as F

MODELS = {"mlp": seed_mlp, "lstm": tagger, "resnet": lambda: resnet((1, 1), 16, 32)}
EMULATED = ("aarch64", "riscv64")


def close(a: np.ndarray, b) -> bool:
    """Equal up to rounding: sums run in another order on other vectors."""
    return np.allclose(a, b.detach().numpy(), rtol=2e-5, atol=2e-6)


def results(model, x) -> list:
    """The compiled model's tensors."""
    y = compiled(model, x)
    return list(y.values()) if isinstance(y, dict) else [y]


@pytest.mark.parametrize("arch", EMULATED)
@pytest.mark.parametrize("name", MODELS)
def test_emulated_machines_compute_the_same(arch, name, tmp_path):
    need(f"{arch}-linux-gnu-gcc", f"qemu-{arch}")
    model, x = MODELS[name]()
    nncomp.aot.export(model, x, tmp_path / "net.a", target=f"{arch}-linux")
    put(tmp_path, x)
    program = build(tmp_path, ("net.a",), cc=f"{arch}-linux-gnu-gcc", flags=("-static",))
    assert run([f"qemu-{arch}", program, 1], tmp_path).stdout == "baseline 0 ok\n"
    for number, y in enumerate(results(model, x)):
        assert close(got(tmp_path, number, y), y)


@pytest.mark.parametrize("arch", EMULATED)
def test_emulated_machines_use_threads(arch, tmp_path):
    need(f"{arch}-linux-gnu-gcc", f"qemu-{arch}")
    nncomp.manual_seed(3)
    model = nn.Sequential(nn.Linear(128, 512), nn.GELU(), nn.Linear(512, 16)).eval()
    x = nncomp.randn(8, 128)
    nncomp.aot.export(model, x, tmp_path / "net.o", target=f"{arch}-linux", threads=2)
    put(tmp_path, x)
    outputs = []
    for count in (1, 2):
        flags = ("-static", "-pthread", f"-DTHREADS={count}")
        program = build(tmp_path, cc=f"{arch}-linux-gnu-gcc", flags=flags)
        run([f"qemu-{arch}", program, 2], tmp_path)
        outputs.append((tmp_path / "out_0.1.bin").read_bytes())
    assert outputs[0] == outputs[1]
    y = compiled(model, x)
    assert close(got(tmp_path, 0, y, run=1), y)


def training():
    """A step with indices, dropout and Adam; batches and targets."""
    nncomp.manual_seed(5)
    net = nn.Sequential(nn.Embedding(11, 6), nn.Flatten(), nn.Dropout(0.1), nn.Linear(24, 3))
    step = nncomp.compile_train_step(net, F.cross_entropy, optim.Adam(net.parameters(), lr=0.01))
    batches = [nncomp.randint(0, 11, (5, 4)) for _ in range(4)]
    return step, batches, [nncomp.randint(0, 3, (5,)) for _ in batches]


@pytest.mark.parametrize("arch", EMULATED)
def test_emulated_machines_train(arch, tmp_path):
    need(f"{arch}-linux-gnu-gcc", f"qemu-{arch}")
    step, batches, targets = training()
    nncomp.aot.export(step.model, (batches[0], targets[0]), tmp_path / "net.o",
                      target=f"{arch}-linux", train_step=step)  # fmt: skip
    for number, pair in enumerate(zip(batches, targets, strict=True)):
        put(tmp_path, *pair, number=number)
    program = build(tmp_path, cc=f"{arch}-linux-gnu-gcc", flags=("-static", "-DSTATE"))
    run([f"qemu-{arch}", program, len(batches)], tmp_path)
    for number, pair in enumerate(zip(batches, targets, strict=True)):
        loss = step(*pair)
        assert close(got(tmp_path, 0, loss, run=number), loss)


# -- WebAssembly -----------------------------------------------------------------------------------

NODE = """
import { readFileSync, writeFileSync } from 'node:fs';
import { load, INPUTS } from './net.mjs';
const model = await load(readFileSync('net.wasm'));
const KINDS = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array };
const runs = Number(process.argv[2]);
for (let run = 0; run < runs; run++) {
    const inputs = INPUTS.map(([, dtype], i) => {
        const bytes = readFileSync(runs > 1 ? `in_${i}.${run}.bin` : `in_${i}.bin`);
        return new KINDS[dtype](new Uint8Array(bytes).buffer);
    });
    model.run(...inputs).forEach((y, i) => writeFileSync(`out_${i}.${run}.bin`, y));
}
if (runs === 1) {
    for (const wrong of [[], [new Float64Array(3)]])
        try { model.run(...wrong); } catch (error) { console.log(error.message); }
} else {
    const lr = model.state('lr');
    console.log(lr[0]);
}
"""


@pytest.mark.parametrize("name", MODELS)
def test_node_computes_the_same(name, tmp_path):
    need("node")
    model, x = MODELS[name]()
    made = nncomp.aot.export(model, x, tmp_path / "net.wasm")
    assert [Path(f).name for f in made.files] == ["net.wasm", "net.mjs", "net_example.mjs"]
    put(tmp_path, x)
    (tmp_path / "main.mjs").write_text(NODE)
    printed = run(["node", "main.mjs", 1], tmp_path).stdout.splitlines()
    assert printed[0] == "net takes 1 inputs, got 0" and "got a Float64Array of 3" in printed[1]
    for number, y in enumerate(results(model, x)):
        assert close(got(tmp_path, number, y), y)
    assert run(["node", "net_example.mjs"], tmp_path).stdout.startswith("output")


def test_node_computes_float64_functions(tmp_path):
    need("node")

    def functions(x):
        parts = [x.exp(), x.tanh(), x.erf(), (x * 1e9).sin(), x.abs() ** 2.5, nncomp.fmod(x, 0.7)]
        return nncomp.stack(parts)

    x = nncomp.linspace(-3, 3, 50).double()
    nncomp.aot.export(functions, x, tmp_path / "net.wasm")
    put(tmp_path, x)
    (tmp_path / "main.mjs").write_text(NODE)
    run(["node", "main.mjs", 1], tmp_path)
    y = functions(x)
    assert np.allclose(got(tmp_path, 0, y), y.numpy(), rtol=1e-14, atol=1e-15)


def test_node_packs_constants(tmp_path):
    need("node")
    model, x = MODELS["resnet"]()
    sizes = [
        nncomp.aot.export(model, x, tmp_path / "net.wasm", prepare=when).sizes["constants"]
        for when in ("export", "start")
    ]
    assert sizes[1] < sizes[0]
    put(tmp_path, x)
    (tmp_path / "main.mjs").write_text(NODE)
    run(["node", "main.mjs", 1], tmp_path)
    (y,) = results(model, x)
    assert close(got(tmp_path, 0, y), y)


def test_node_trains(tmp_path):
    need("node")
    step, batches, targets = training()
    nncomp.aot.export(step.model, (batches[0], targets[0]), tmp_path / "net.wasm",
                      target="wasm32", train_step=step)  # fmt: skip
    for number, pair in enumerate(zip(batches, targets, strict=True)):
        put(tmp_path, *pair, number=number)
    (tmp_path / "main.mjs").write_text(NODE)
    assert run(["node", "main.mjs", len(batches)], tmp_path).stdout == "0.01\n"
    for number, pair in enumerate(zip(batches, targets, strict=True)):
        loss = step(*pair)
        assert close(got(tmp_path, 0, loss, run=number), loss)


def test_node_reports_a_wrong_index(tmp_path):
    need("node")
    model, x = tagger()
    nncomp.aot.export(model, x, tmp_path / "net.wasm")
    put(tmp_path, x + 50)
    (tmp_path / "main.mjs").write_text(NODE)
    done = run(["node", "main.mjs", 1], tmp_path, ok=False)
    assert done.returncode and "net: an index tensor points outside of its axis" in done.stderr


def test_an_object_links_with_wasm_ld(tmp_path):
    need("wasm-ld", "node")
    model, x = seed_mlp()
    nncomp.aot.export(model, x, tmp_path / "net.o", target="wasm32")
    nncomp.aot.export(model, x, tmp_path / "net.wasm")
    exports = [f"--export=net_{n}" for n in ("run", "error_text")] + ["--export=__heap_base"]
    run(["wasm-ld", "--no-entry", *exports, "net.o", "-o", "net.wasm"], tmp_path)
    put(tmp_path, x)
    (tmp_path / "main.mjs").write_text(NODE)
    run(["node", "main.mjs", 1], tmp_path)
    (y,) = results(model, x)
    assert close(got(tmp_path, 0, y), y)


def test_what_wasm_cannot_do_is_refused(tmp_path):
    x = nncomp.ones(4, dtype=nncomp.bfloat16)
    with pytest.raises(ValueError, match="bfloat16 has no code for WebAssembly"):
        nncomp.aot.export(lambda x: x * 2, x, tmp_path / "net.wasm")
    with pytest.raises(ValueError, match="holds its constants"):
        nncomp.aot.export(nn.Linear(2, 2), nncomp.ones(2), tmp_path / "n.wasm", weights="file")
    with pytest.raises(wasm.WasmError, match="no WebAssembly object"):
        wasm.link(b"\x7fELF", ["net_run"])
    assert not list(tmp_path.iterdir())


# -- macOS and Windows -----------------------------------------------------------------------------

ALLOWED = {"memcpy", "memset", "memmove", "bzero", "___bzero", "__chkstk", "_fltused"}


def macho_symbols(data: bytes) -> tuple[int, dict[str, bool]]:
    """CPU type, and for each external symbol of a Mach-O object whether it is defined."""
    magic, cpu, _, kind, count = struct.unpack_from("<IIIII", data)
    assert (magic, kind) == (0xFEEDFACF, 1)
    at, found = 32, {}
    for _ in range(count):
        command, size = struct.unpack_from("<II", data, at)
        if command == 2:
            symbols, number, strings, _ = struct.unpack_from("<IIII", data, at + 8)
            for i in range(number):
                name, type, section = struct.unpack_from("<IBB", data, symbols + 16 * i)
                if type & 1:
                    end = data.index(b"\0", strings + name)
                    found[data[strings + name : end].decode()] = section != 0
        at += size
    return cpu, found


def coff_symbols(data: bytes) -> tuple[int, dict[str, bool]]:
    """Machine, and for each external symbol of a COFF object whether it is defined."""
    machine, _, _, symbols, count, optional, _ = struct.unpack_from("<HHIIIHH", data)
    assert optional == 0
    strings, found, i = symbols + 18 * count, {}, 0
    while i < count:
        at = symbols + 18 * i
        zeros, offset = struct.unpack_from("<II", data, at)
        name = data[at : at + 8].rstrip(b"\0")
        if not zeros:
            name = data[strings + offset : data.index(b"\0", strings + offset)]
        _, section, _, storage, more = struct.unpack_from("<IhHBB", data, at + 8)
        if storage == 2:
            found[name.decode()] = section > 0
        i += 1 + more
    return machine, found


@pytest.mark.parametrize("target", [t for t in TRIPLES if "linux" not in t and t != "wasm32"])
@pytest.mark.parametrize("name", ("mlp", "lstm"))
def test_objects_for_other_systems(target, name, tmp_path):
    model, x = MODELS[name]()
    nncomp.aot.export(model, x, tmp_path / "net.o", target=target)
    data = (tmp_path / "net.o").read_bytes()
    arch, system = target.split("-")
    reader = macho_symbols if system == "macos" else coff_symbols
    machine, symbols = reader(data)
    assert machine == {
        "x86_64-macos": 0x01000007, "aarch64-macos": 0x0100000C,
        "x86_64-windows": 0x8664, "aarch64-windows": 0xAA64,
    }[target]  # fmt: skip
    under = "_" if system == "macos" else ""
    assert {n for n, here in symbols.items() if here and "@" not in n} == {  # no COFF constants
        f"{under}net_{n}"
        for n in ("run", "workspace_bytes", "input", "output", "error_text", "isa", "set_isa")
    }
    needed = {n for n, here in symbols.items() if not here}
    assert {n.removeprefix(under) for n in needed} <= ALLOWED
    weights = model[1].bias if name == "mlp" else model.head.bias
    assert weights.detach().numpy().tobytes() in data


def test_a_library_for_macos_has_its_kind_of_table(tmp_path):
    model, x = seed_mlp()
    nncomp.aot.export(model, x, tmp_path / "net.a", target="aarch64-macos")
    data = (tmp_path / "net.a").read_bytes()
    assert data[:18] == b"!<arch>\n__.SYMDEF " and b"_net_run\0" in data
    size = int(data[8 + 48 : 8 + 58])
    first = 8 + 60
    count = struct.unpack_from("<I", data, first)[0] // 8
    at = struct.unpack_from("<II", data, first + 4)[1]
    assert count == 7 and at == first + size and data[at : at + 5] == b"net.o"
    assert (at + 60) % 4 == 0 and macho_symbols(data[at + 60 :])[0] == 0x0100000C


# -- every op --------------------------------------------------------------------------------------

EMIT = """
import sys
sys.path[:0] = sys.argv[2:]
from nncomp.backends.cpu.aot.levels import levels_of
from nncomp.backends.cpu.codegen import program_modules
from nncomp.backends.cpu.jit import compile_many
from op_samples import SAMPLES, sample_graph
from running import kernel_program
target, texts = levels_of(sys.argv[1])[0].target, {}
for sample in SAMPLES[::5]:
    if sample.op not in ("fused", "get", "call"):
        for dtype in ("f32", "f16") if "T" in sample.dtypes else ("f32",):
            modules, _ = program_modules(kernel_program(sample_graph(sample, dtype)), target)
            texts.update((t, None) for t in modules if "bfloat" not in t)
print(len(compile_many(list(texts), target, 0, None)))
"""


@pytest.mark.parametrize("target", ("riscv64-linux", "wasm32"))
def test_samples_have_code_for(target):
    """In a process of its own: LLVM ends the process for code that it cannot select."""
    tests = Path(__file__).parent.parent
    command = [sys.executable, "-c", EMIT, target, str(tests), str(tests / "cpu")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 100
