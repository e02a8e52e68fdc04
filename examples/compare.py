"""Shared by the examples: train a model compiled and eagerly, and compare the two loss curves.

Compiled code adds in another order, so its results differ by rounding. That can grow: where the
input of a ReLU is almost 0, one run passes a gradient on and the other does not. The first 30 steps
show whether both compute the same; the difference over all steps is printed only.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterable

import nncomp as torch
from nncomp import nn
from nncomp.utils.data import DataLoader, TensorDataset

COMPARED_STEPS = 30
HIGHEST_DIFFERENCE = 1e-3
Batches = list[tuple[torch.Tensor, torch.Tensor]]
MakeOptimizer = Callable[[Iterable[torch.Tensor]], torch.optim.Optimizer]


def options(description: str | None) -> argparse.Namespace:
    """The command line of an example."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a few steps only, for tests")
    parser.add_argument("--epochs", type=int, default=5)
    return parser.parse_args()


def make_batches(inputs: torch.Tensor, labels: torch.Tensor, args: argparse.Namespace) -> Batches:
    """The shuffled batches of all epochs, the same for both runs."""
    generator = torch.Generator().manual_seed(1)
    data = TensorDataset(inputs, labels)
    loader = DataLoader(data, batch_size=64, shuffle=True, drop_last=True, generator=generator)
    batches = [batch for _ in range(args.epochs) for batch in loader]
    return batches[:12] if args.quick else batches


def train_eager(model: nn.Module, batches: Batches, make_optimizer: MakeOptimizer) -> list[float]:
    """The usual training loop; returns the loss of each step."""
    loss_fn, optimizer = nn.CrossEntropyLoss(), make_optimizer(model.parameters())
    losses = []
    for inputs, labels in batches:
        loss = loss_fn(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def train_compiled(
    model: nn.Module, batches: Batches, make_optimizer: MakeOptimizer
) -> list[float]:
    """The same loop with the whole step compiled: forward, backward and update."""
    optimizer = make_optimizer(model.parameters())
    step = torch.compile_train_step(model, nn.CrossEntropyLoss(), optimizer)
    return [step(inputs, labels).item() for inputs, labels in batches]


def train_both(model: nn.Module, batches: Batches, make_optimizer: MakeOptimizer) -> int:
    """Train the model compiled and a copy of it eagerly; exit code 1 if the losses differ."""
    twin = copy.deepcopy(model)
    start = time.perf_counter()
    compiled = train_compiled(model, batches, make_optimizer)
    middle = time.perf_counter()
    eager = train_eager(twin, batches, make_optimizer)
    end = time.perf_counter()
    print(f"{len(batches)} steps: compiled {middle - start:.2f} s with compilation, ", end="")
    print(f"eager {end - middle:.2f} s")
    for i in sorted({0, len(batches) // 2, len(batches) - 1}):
        print(f"step {i + 1:4d}  loss compiled {compiled[i]:.6f}  eager {eager[i]:.6f}")
    differences = [abs(c - e) / abs(e) for c, e in zip(compiled, eager, strict=True)]
    agrees = all(d <= HIGHEST_DIFFERENCE for d in differences[:COMPARED_STEPS])  # False for NaN
    print(
        f"largest relative difference of the losses: {max(differences[:COMPARED_STEPS]):.1e} in "
        f"the first {COMPARED_STEPS} steps ({'ok' if agrees else 'too much'}), "
        f"{max(differences):.1e} in all"
    )
    return 0 if agrees else 1


@torch.no_grad()
def accuracy(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of inputs whose label has the highest score."""
    model.eval()
    return (model(inputs).argmax(1) == labels).to(torch.float32).mean().item()
