"""Packages: loaded models give the compiled model's bits, damaged and foreign files are refused."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from programs import compiled, resnet, same, seed_mlp, tagger

import nncomp
from nncomp import nn
from nncomp.aot import PackageError
from nncomp.aot.archive import pack, unpack


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Path of a small package, its model and a batch."""
    folder = tmp_path_factory.mktemp("small")
    nncomp.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).eval()
    x = nncomp.randn(4, 6)
    nncomp.aot.export(model, x, folder / "net.nnc", cpu="baseline")
    return folder / "net.nnc", model, x


@pytest.mark.parametrize("make", (seed_mlp, tagger, lambda: resnet((1, 1), 16, 32)),
                         ids=("mlp", "lstm", "resnet"))  # fmt: skip
def test_loaded_gives_the_same_bits(make, tmp_path):
    model, x = make()
    nncomp.aot.export(model, x, tmp_path / "net.nnc")
    loaded = nncomp.aot.load(tmp_path / "net.nnc")
    for _ in range(2):
        expected, y = compiled(model, x), loaded(x)
        pairs = [(y, expected)] if not isinstance(y, dict) else [(y[k], expected[k]) for k in y]
        assert isinstance(expected, dict) == isinstance(y, dict)
        assert all(same(a.numpy(), b) for a, b in pairs)
        x = nncomp.flip(x, (0,))


def test_a_process_that_loads_compiles_nothing(small, tmp_path):
    path, model, x = small
    np.save(tmp_path / "x.npy", x.numpy())
    code = (
        "import sys, numpy, nncomp\n"
        "from nncomp.backends.cpu import stages, jit\n"
        "def refuse(*a, **k): raise AssertionError('compiled')\n"
        "stages.Stages.__init__ = refuse\n"
        "m = nncomp.aot.load(sys.argv[1])\n"
        "jit.compile_many = refuse\n"
        "y = m(nncomp.tensor(numpy.load(sys.argv[2])))\n"
        "assert 'nncomp.tracing' not in sys.modules and 'nncomp.compiler' not in sys.modules\n"
        "print(y.numpy().tobytes().hex())\n"
    )
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "x.npy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == nncomp.aot.load(path)(x).numpy().tobytes().hex()


def test_the_manifest_says_what_is_inside(small):
    path, model, _ = small
    with zipfile.ZipFile(path) as file:
        manifest = json.loads(file.read("manifest.json"))
        names = set(file.namelist())
        graph = file.read("graph.txt").decode()
    assert manifest["format"] == "nncomp package" and manifest["version"] == 1
    assert "native machine code" in manifest["notice"]
    assert manifest["inputs"] == [["input", ["float32", 4, 6]]]
    assert set(manifest["parts"]) | {"manifest.json"} == names
    assert "code/baseline/000.o" in names and "weights.safetensors" in names
    assert graph == f"{nncomp.aot.load(path).graph}\n"
    weights = nncomp.safetensors.load(zipfile.ZipFile(path).read("weights.safetensors"))
    assert set(weights) == set(model.state_dict())


def test_every_flipped_byte_is_found(small, tmp_path):
    path, _, _ = small
    data = path.read_bytes()
    places = np.linspace(0, len(data) - 1, 150).astype(int)
    for at in [*places, *range(len(data) - 8, len(data))]:
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(at) % 8
        with pytest.raises(PackageError):
            unpack(bytes(damaged), "it")
    for end in (0, 1, 100, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.nnc").write_bytes(data[:end])
        with pytest.raises(PackageError, match="cut.nnc"):
            nncomp.aot.load(tmp_path / "cut.nnc")


def test_the_damaged_part_is_named(small):
    data = bytearray(small[0].read_bytes())
    at = data.find(b"\x7fELF") + 70
    data[at] ^= 1
    with pytest.raises(PackageError, match=r"code/baseline/000\.o"):
        unpack(bytes(data), "it")


@pytest.mark.parametrize(
    ("changes", "words"),
    (
        ({"version": 2}, "version 2 of the package format; this nncomp reads version 1"),
        ({"format": "other"}, "no nncomp package"),
        ({"recipes": {"baseline": {}}}, "damaged"),
        ({"order": [["constant", "none"]]}, "damaged"),
        ({"inputs": 3}, "damaged"),
    ),
    ids=("version", "format", "recipe", "order", "inputs"),
)
def test_other_manifests_are_refused(small, tmp_path, changes, words, monkeypatch):
    manifest, parts = unpack(small[0].read_bytes(), "it")
    from nncomp.aot import archive

    monkeypatch.setattr(archive, "VERSION", changes.get("version", 1))
    monkeypatch.setattr(archive, "FORMAT", changes.get("format", "nncomp package"))
    data = pack({k: v for k, v in {**manifest, **changes}.items()
                 if k not in ("version", "format", "notice", "parts")}, parts)  # fmt: skip
    monkeypatch.undo()
    (tmp_path / "net.nnc").write_bytes(data)
    with pytest.raises(PackageError, match=words):
        nncomp.aot.load(tmp_path / "net.nnc")


def test_other_files_are_refused(tmp_path):
    for name, data in {"text": b"hello", "zip": b""}.items():
        (tmp_path / name).write_bytes(data)
    with zipfile.ZipFile(tmp_path / "zip", "w") as file:
        file.writestr("a", "b")
    for name in ("text", "zip"):
        with pytest.raises(PackageError, match="no nncomp package"):
            nncomp.aot.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        nncomp.aot.load(tmp_path / "none")


def test_machines_without_code_are_told(small, tmp_path, monkeypatch):
    path, model, x = small
    nncomp.aot.export(model, x, tmp_path / "arm.nnc", target="aarch64-linux")
    with pytest.raises(RuntimeError, match="holds code for aarch64-linux, but this machine is"):
        nncomp.aot.load(tmp_path / "arm.nnc")
    monkeypatch.setenv("NNCOMP_ISA", "avx2")
    with pytest.raises(RuntimeError, match="NNCOMP_ISA asks for 'avx2'"):
        nncomp.aot.load(path)
    monkeypatch.setenv("NNCOMP_ISA", "sse9")
    with pytest.raises(ValueError, match="sse9"):
        nncomp.aot.load(path)
    monkeypatch.delenv("NNCOMP_ISA")
    from nncomp.backends.cpu.aot import package

    monkeypatch.setattr(package, "highest_here", lambda: "baseline")
    nncomp.aot.export(model, x, tmp_path / "new.nnc", cpu=("avx2", "avx512"))
    with pytest.raises(RuntimeError, match="holds code for avx2, avx512, but this CPU goes up to"):
        nncomp.aot.load(tmp_path / "new.nnc")


def test_calls_are_checked(small):
    path, _, x = small
    loaded = nncomp.aot.load(path)
    with pytest.raises(ValueError, match=r"input must be f32\[4,6\].* got f32\[2,6\]"):
        loaded(x[:2])
    with pytest.raises(ValueError, match="f64"):
        loaded(x.double())
    with pytest.raises(TypeError, match="must be a tensor"):
        loaded(x.numpy())
    for args, kwargs in (((x, x), {}), ((), {}), ((x,), {"input": x}), ((), {"y": x})):
        with pytest.raises(TypeError, match=r"net takes \(input\), got"):
            loaded(*args, **kwargs)
    assert same(loaded(input=x).numpy(), loaded(x))
    assert "float32" not in repr(loaded) and "input: f32[4,6]" in repr(loaded)
    turned = x.t().contiguous().t()
    assert same(loaded(turned).numpy(), loaded(x))


def test_repeated_calls_notice_what_changes(small):
    path, _, x = small
    loaded = nncomp.aot.load(path)
    expected = loaded(x)
    assert same(loaded(x).numpy(), expected)  # a native function from here on
    assert len(loaded._shortcuts) == 1
    before = nncomp.get_num_threads()
    try:
        nncomp.set_num_threads(before + 1)
        assert same(loaded(x).numpy(), expected)
    finally:
        nncomp.set_num_threads(before)
    with nncomp.no_grad():
        assert same(loaded(x).numpy(), expected)
    y = loaded(x.clone().requires_grad_())
    assert same(y.numpy(), expected) and not y.requires_grad
    with pytest.raises(ValueError, match="f64"):
        loaded(x.double())
    with pytest.raises(TypeError, match="takes"):
        loaded(x, x)


class Nested(nn.Module):
    def forward(self, pair, scale, *, flags):
        a, b = pair
        return [a * scale + b, (flags["on"], a.sum())]


def test_structures_and_static_values(tmp_path):
    x, y = nncomp.randn(3), nncomp.randn(3)
    flags = {"on": True, "off": None}

    def f(pair, scale, flags):
        return Nested()(pair, scale, flags=flags)

    nncomp.aot.export(f, ((x, y), 2.5, flags), tmp_path / "net.nnc")
    loaded = nncomp.aot.load(tmp_path / "net.nnc")
    total, (flag, s) = loaded((x, y), 2.5, flags)
    assert flag is True and np.allclose(total.numpy(), x.numpy() * 2.5 + y.numpy())
    assert s.shape == ()
    with pytest.raises(ValueError, match=r"scale was 2.5 .* got 3.5"):
        loaded((x, y), 3.5, flags)
    with pytest.raises(ValueError, match="was 2.5"):
        loaded((x, y), 2, flags)


def test_keyword_arguments(tmp_path):
    model = Nested()
    pair, flags = (nncomp.randn(3), nncomp.randn(3)), {"on": 1}
    given = {"pair": pair, "scale": 2.0, "flags": flags}
    nncomp.aot.export(model, given, tmp_path / "net.nnc")
    loaded = nncomp.aot.load(tmp_path / "net.nnc")
    expected = compiled(lambda: model(**given))
    assert same(loaded(**given)[0].numpy(), expected[0])
    assert same(loaded(pair, flags=flags, scale=2.0)[0].numpy(), expected[0])


def test_a_wrong_index_is_an_error(tmp_path):
    model, x = tagger()
    nncomp.aot.export(model, x, tmp_path / "net.nnc")
    loaded = nncomp.aot.load(tmp_path / "net.nnc")
    with pytest.raises(IndexError, match="index 50 is out of bounds for an axis of length 50"):
        loaded(nncomp.full((3, 9), 50))


def test_state_belongs_to_the_loaded_model(tmp_path):
    nncomp.manual_seed(4)
    model = nn.Sequential(nn.BatchNorm1d(5), nn.Dropout(0.5)).train()
    x = nncomp.randn(8, 5)
    nncomp.manual_seed(9)
    nncomp.aot.export(model, x, tmp_path / "net.nnc")
    first, second = (nncomp.aot.load(tmp_path / "net.nnc") for _ in range(2))
    run = nncomp.compile(model)
    for _ in range(3):
        with nncomp.no_grad():
            expected = run(x)
        assert same(first(x).numpy(), expected)
    state = first.state()
    assert same(state["0.running_mean"].numpy(), model[0].running_mean)
    assert state["0.num_batches_tracked"].item() == 3
    assert second.state()["0.num_batches_tracked"].item() == 0
    second.set_state(**state)
    assert same(second(x).numpy(), first(x))
    with pytest.raises(KeyError, match="no 'lr'"):
        first.set_state(lr=1.0)
    with pytest.raises(ValueError, match="shape"):
        first.set_state(**{"0.running_mean": np.zeros(4)})


def test_a_compiled_module_is_exported_with_its_options_and_weights(tmp_path):
    """Also where compiled code holds the only copy of a weight, packed."""
    nncomp.manual_seed(6)
    model = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.Flatten(), nn.Linear(16 * 64, 300))
    x = nncomp.randn(2, 8, 8, 8)
    run = nncomp.compile(model.eval().requires_grad_(False), options={"winograd": False})
    expected = run(x)
    before = {k: v.numpy().copy() for k, v in run.state_dict().items()}
    expected = run(x)
    nncomp.aot.export(run, x, tmp_path / "net.nnc")
    assert same(nncomp.aot.load(tmp_path / "net.nnc")(x).numpy(), expected)
    with zipfile.ZipFile(tmp_path / "net.nnc") as file:
        weights = nncomp.safetensors.load(file.read("weights.safetensors"))
    assert all(np.array_equal(weights[k].numpy(), before[k]) for k in before)
    assert same(run(x).numpy(), expected)
