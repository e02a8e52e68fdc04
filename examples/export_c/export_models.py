"""Exports an MLP, a ResNet-18 and a training step for C, and prints what main.c must print.

    python export_models.py
    cc main.c mlp.a resnet18.a fit.a -o main -lm && ./main
"""

import sys
from pathlib import Path

import nncomp as torch
from nncomp import nn, optim
from nncomp.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "zoo"))
from resnet import resnet18  # noqa: E402

SIZE = 64  # of the image


def ramp(*shape: int) -> torch.Tensor:
    """Numbers that C makes, too."""
    count = torch.Size(shape).numel()
    return (torch.arange(count) % 17).float().reshape(shape) / 17


def show(name: str, y: torch.Tensor) -> None:
    """The first results with all their digits."""
    print(name, *[f"{v:.9g}" for v in y.flatten()[:4].tolist()])


def main() -> None:
    torch.manual_seed(0)
    mlp = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10)).eval()
    resnet = resnet18().eval()
    image, picture = ramp(1, 784), ramp(1, 3, SIZE, SIZE)
    for name, model, x in (("mlp", mlp, image), ("resnet18", resnet, picture)):
        torch.aot.export(model, x, f"{name}.a")
        with torch.no_grad():
            show(name, torch.compile(model)(x))

    fit = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = optim.Adam(fit.parameters(), lr=0.01)
    step = torch.compile_train_step(fit, F.mse_loss, optimizer)
    x = ramp(8, 4)
    y = x.sum(1, keepdim=True)
    torch.aot.export(fit, (x, y), "fit.a", train_step=step)
    losses = [step(x, y) for _ in range(100)]
    show("losses", torch.stack(losses[::33]))


if __name__ == "__main__":
    main()
