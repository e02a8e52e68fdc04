"""Packages for GPUs, run on the PTX interpreter: the compiled model's bits, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from nncomp.backends.ptx.device import DeviceError
from nncomp.backends.ptx.saved import check_device
from programs import same

import nncomp
import nncomp.nn.functional as F
from nncomp import nn, optim
from nncomp.aot import PackageError


@pytest.fixture(autouse=True)
def simulator(monkeypatch):
    monkeypatch.setenv("NNCOMP_PTX_DEVICE", "simulator")


def mlp():
    nncomp.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), nncomp.randn(4, 6)


def convnet():
    nncomp.manual_seed(0)
    layers = (nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
              nn.Flatten(), nn.Linear(36, 5))  # fmt: skip
    return nn.Sequential(*layers).eval(), nncomp.randn(2, 2, 6, 6)


class Recurrent(nn.Module):
    """An LSTM whose turns are a loop of the plan."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 5)

    def forward(self, x):
        return self.lstm(x)[0]


def recurrent():
    nncomp.manual_seed(0)
    return Recurrent(), nncomp.randn(12, 2, 4)


@pytest.fixture
def small(tmp_path):
    model, x = mlp()
    nncomp.aot.export(model, x, tmp_path / "net.nnc", target="sm_80")
    return tmp_path / "net.nnc", model, x


@pytest.mark.parametrize("make", (mlp, convnet, recurrent),
                         ids=("mlp", "convnet", "recurrent"))  # fmt: skip
def test_loaded_gives_the_bits_of_the_backend(make, tmp_path):
    model, x = make()
    nncomp.aot.export(model, x, tmp_path / "net.nnc", target="sm_80")
    loaded = nncomp.aot.load(tmp_path / "net.nnc")
    compiled = nncomp.compile(model, backend="ptx")
    assert loaded.level == "sm_80"
    for _ in range(2):
        with nncomp.no_grad():
            assert same(loaded(x).numpy(), compiled(x))
        x = nncomp.flip(x, (0,))


def test_indices_are_checked(tmp_path):
    nncomp.manual_seed(0)
    table = nn.Embedding(5, 4)
    x = nncomp.tensor([0, 4, 2])
    nncomp.aot.export(table, x, tmp_path / "net.nnc", target="sm_90")
    loaded = nncomp.aot.load(tmp_path / "net.nnc")
    assert same(loaded(x).numpy(), table.weight.detach()[[0, 4, 2]])
    with pytest.raises(IndexError, match="5"):
        loaded(nncomp.tensor([0, 5, 2]))


def test_training_step(tmp_path):
    model, x = mlp()
    step = nncomp.compile_train_step(
        model, F.cross_entropy, optim.SGD(model.parameters(), lr=0.1), backend="ptx"
    )
    y = nncomp.tensor([0, 1, 2, 1])
    nncomp.aot.export(model, (x, y), tmp_path / "s.nnc", target="sm_80", train_step=step)
    loaded = nncomp.aot.load(tmp_path / "s.nnc")
    losses = [float(loaded(x, y)) for _ in range(3)]
    assert losses == [float(step(x, y)) for _ in range(3)]
    assert losses[2] < losses[0]


def test_loading_neither_traces_nor_compiles(small, tmp_path):
    path, model, x = small
    np.save(tmp_path / "x.npy", x.numpy())
    code = (
        "import sys, numpy, nncomp\n"
        "from nncomp.backends.ptx import assemble, stages\n"
        "def refuse(*args, **kwargs): raise AssertionError('compiled')\n"
        "stages.Stages.__init__ = refuse; assemble._translated = refuse\n"
        f"x = nncomp.from_numpy(numpy.load({str(tmp_path / 'x.npy')!r}))\n"
        f"y = nncomp.aot.load({str(path)!r})(x)\n"
        f"numpy.save({str(tmp_path / 'y.npy')!r}, y.numpy())\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert same(np.load(tmp_path / "y.npy"), nncomp.aot.load(path)(x))


def test_flipped_bytes_are_refused(small):
    path, _, _ = small
    data = path.read_bytes()
    for at in range(100, len(data), len(data) // 20):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(PackageError):
            nncomp.aot.load(path)


def test_no_device(small, monkeypatch):
    from nncomp.backends.ptx import device

    def none(name):
        raise DeviceError("there is no NVIDIA driver on this machine")

    monkeypatch.setattr(device, "_made", none)
    with pytest.raises(DeviceError, match="no NVIDIA driver"):
        nncomp.aot.load(small[0])


@pytest.mark.parametrize(
    ("target", "capability", "fine"),
    (("sm_80", (8, 0), True), ("sm_80", (9, 0), True), ("sm_90", (8, 9), False),
     ("sm_90a", (9, 0), True), ("sm_90a", (10, 0), False), ("sm_120", (10, 0), False)),
)  # fmt: skip
def test_older_devices_are_refused(target, capability, fine):
    device = SimpleNamespace(name="a GPU", capability=capability)
    if fine:
        check_device(target, device)
        return
    with pytest.raises(DeviceError, match=f"code for {target}"):
        check_device(target, device)


def test_arguments_for_cpus_are_refused(tmp_path):
    model, x = mlp()
    for name, settings, words in (
        ("net.a", {}, "suffix .nnc"), ("net.nnc", {"threads": 2}, "for CPUs"),
        ("net.nnc", {"cpu": "avx2"}, "for CPUs"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            nncomp.aot.export(model, x, tmp_path / name, target="sm_80", **settings)
        assert not (tmp_path / name).exists()


def test_command(tmp_path):
    file = tmp_path / "model.py"
    file.write_text(
        "from torch import nn\n\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.fc = nn.Linear(6, 3)\n"
        "    def forward(self, x):\n        return self.fc(x).relu()\n"
    )
    command = [sys.executable, "-m", "nncomp.cli", "export", "model.py:Net", "--input", "f32[2,6]",
               "-o", "out/", "--target", "sm_90"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["out/net.nnc"]
    loaded = nncomp.aot.load(tmp_path / "out" / "net.nnc")
    assert loaded.level == "sm_90" and loaded(nncomp.ones(2, 6)).shape == (2, 3)
