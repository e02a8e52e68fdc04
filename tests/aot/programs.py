"""Building and running C programs on exported files, and the models that the tests export."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import nncomp
from nncomp import nn

DRIVER = Path(__file__).parent / "driver.c"
STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O1")


def need(*programs: str) -> None:
    """Skip the test where a program is not installed."""
    for name in programs:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")


def run(command: list, folder: Path, ok: bool = True) -> subprocess.CompletedProcess:
    """A program's result; its messages if it fails."""
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert not ok or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done


def build(
    folder: Path, files: tuple = ("net.o",), name: str = "net", flags: tuple = (), cc: str = "gcc",
    header: str = "",
) -> Path:  # fmt: skip
    """The driver for a model whose files lie in `folder`."""
    made = folder / "driver"
    defines = (f"-DMODEL={name}", f'-DHEADER="{header or name}.h"', f"-I{folder}")
    run([cc, *STRICT, *defines, *flags, "-o", made, DRIVER, *files, "-lm"], folder)
    return made


def put(folder: Path, *inputs, number: int | None = None) -> None:
    """Write tensors where the driver reads them, those of one run or of all."""
    for i, x in enumerate(inputs):
        name = f"in_{i}.bin" if number is None else f"in_{i}.{number}.bin"
        (folder / name).write_bytes(np.ascontiguousarray(x.detach().numpy()).tobytes())


def got(folder: Path, number: int, like, run: int = 0) -> np.ndarray:
    """An output of the driver with the shape and dtype of a tensor."""
    data = (folder / f"out_{number}.{run}.bin").read_bytes()
    array = like.detach().numpy()
    return np.frombuffer(data, array.dtype).reshape(array.shape)


def compiled(model, *args):
    """What the compiled model gives without gradients."""
    with nncomp.no_grad():
        return nncomp.compile(model)(*args)


def same(a: np.ndarray, b) -> bool:
    """Bit for bit."""
    return a.tobytes() == np.ascontiguousarray(b.detach().numpy()).tobytes()


def seed_mlp():
    """The first text's network and a batch."""
    nncomp.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    return net.eval(), nncomp.randn(16, 1, 28, 28)


class Tagger(nn.Module):
    """Token numbers in, a dict of results out."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 24)
        self.lstm = nn.LSTM(24, 32, 2, batch_first=True)
        self.head = nn.Linear(32, 7)

    def forward(self, tokens):
        states, (h, _) = self.lstm(self.embedding(tokens))
        return {"scores": self.head(states), "last": h[-1]}


def tagger():
    """An LSTM and a batch of token numbers."""
    nncomp.manual_seed(1)
    return Tagger().eval(), nncomp.randint(0, 50, (3, 9))


class Block(nn.Module):
    """The residual block of a ResNet."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip
        self.short = nn.Sequential(nn.Conv2d(inputs, width, 1, stride), nn.BatchNorm2d(width))

    def forward(self, x):
        return nn.functional.relu(self.body(x) + self.short(x))


def resnet(depths=(2, 2, 2, 2), width: int = 64, size: int = 64):
    """A ResNet-18 (or a smaller one) and an image."""
    nncomp.manual_seed(2)
    layers = [nn.Conv2d(3, width, 7, 2, 3), nn.BatchNorm2d(width), nn.ReLU(),
              nn.MaxPool2d(3, 2, 1)]  # fmt: skip
    inputs = width
    for level, depth in enumerate(depths):
        for number in range(depth):
            stride = 2 if level and not number else 1
            layers.append(Block(inputs, width << level, stride))
            inputs = width << level
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))
    return net.eval(), nncomp.randn(1, 3, size, size)
