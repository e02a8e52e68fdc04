"""`nncomp demo`: train a small MLP on the digits with a compiled step, and show each stage.

It prints the recorded graph, the graph after the passes, compile time, the loss per epoch, the test
accuracy and the time of a step against eager mode; then it saves the model, loads it again and
compares. The exit code is 1 if the accuracy is below 90 % or the loaded model differs.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import nncomp
from nncomp import nn
from nncomp.datasets import digits
from nncomp.optim import SGD
from nncomp.utils.data import DataLoader, TensorDataset

from .progress import Progress

LOWEST_ACCURACY = 0.9
GRAPH_LINES = 12
LINE_WIDTH = 110
ROUNDS, STEPS = 6, 15  # compiled and eager steps are timed in turn, so many in a row
PAUSE = 0.05  # seconds: threads of a numpy library spin for a while after work


class MLP(nn.Module):
    """Two linear layers over the flattened image."""

    def __init__(self, input_num: int) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear_relu_stack = nn.Sequential(
            nn.Linear(input_num, 256),
            nn.ReLU(),
            nn.Linear(256, 10),
        )

    def forward(self, x: nncomp.Tensor) -> nncomp.Tensor:
        return self.linear_relu_stack(self.flatten(x))


def run(options: argparse.Namespace) -> int:
    """Run the demo; returns the exit code. `options`: epochs, batch_size, seed, threads, lr."""
    if options.threads is not None:
        nncomp.set_num_threads(options.threads)
    nncomp.manual_seed(options.seed)
    data = TensorDataset(*digits("train"))
    loader = DataLoader(data, batch_size=options.batch_size, shuffle=True, drop_last=True)
    if len(loader) == 0:
        print(f"--batch-size {options.batch_size} is more than the {len(data)} training images")
        return 1
    model = MLP(64)
    step = make_step(model, options.lr)
    show_compilation(step, next(iter(loader)))
    train(step, loader, options.epochs)
    accuracy = test_accuracy(model)
    print(f"test accuracy {accuracy:.1%} of {len(digits('test')[1])} images")
    same = reload_is_same(model)
    compare_speed(model, step, options.lr, next(iter(loader)))
    return verdict(accuracy, same)


def make_step(model: nn.Module, lr: float) -> Any:
    """The compiled training step: call it with (images, labels), it returns the loss."""
    optimizer = SGD(model.parameters(), lr=lr, momentum=0.9)
    return nncomp.compile_train_step(model, nn.CrossEntropyLoss(), optimizer)


def eager_step(model: nn.Module, lr: float) -> Callable[[Any, Any], Any]:
    """The same step, one operation after the other."""
    optimizer, loss_fn = SGD(model.parameters(), lr=lr, momentum=0.9), nn.CrossEntropyLoss()

    def step(images: Any, labels: Any) -> Any:
        loss = loss_fn(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def show_compilation(step: Any, batch: Any) -> None:
    """Run the first step, which compiles it, and print its graphs and the time it took."""
    start = time.perf_counter()
    step(*batch)
    seconds = time.perf_counter() - start
    for title, graph in (("recorded", step.graph), ("after the passes", step.fused_graph)):
        print(f"training step, {title}: {len(graph.nodes)} operations")
        print(excerpt(without_bodies(str(graph))), end="\n\n")
    print(f"compiled in {seconds:.2f} s (the first step included)")


def without_bodies(text: str) -> str:
    """The text of a graph without what is inside its nodes (kernels, called graphs)."""
    rows = text.splitlines()
    return "\n".join(r for r in rows if not r.startswith("   ") and r.strip() != "}") + "\n}"


def excerpt(text: str, lines: int = GRAPH_LINES) -> str:
    """The first and last lines of a text, `lines` in all, long ones cut."""
    rows = text.rstrip().splitlines()
    if len(rows) > lines:
        head = lines * 2 // 3
        tail = lines - head - 1
        hidden = len(rows) - head - tail
        rows = [*rows[:head], f"  ... {hidden} more lines ...", *rows[-tail:]]
    return "\n".join(r if len(r) <= LINE_WIDTH else r[: LINE_WIDTH - 4] + " ..." for r in rows)


def train(step: Callable[[Any, Any], Any], loader: DataLoader, epochs: int) -> None:
    """Train and print the mean loss of each epoch."""
    with Progress(epochs * len(loader)) as progress:
        for epoch in range(1, epochs + 1):
            start, losses = time.perf_counter(), []
            for images, labels in loader:
                losses.append(float(step(images, labels)))
                progress.advance(f"epoch {epoch} loss {losses[-1]:.4f}")
            seconds = time.perf_counter() - start
            mean = statistics.fmean(losses)
            progress.line(f"epoch {epoch:3d}  loss {mean:.4f}  {seconds:.2f} s")


def test_accuracy(model: nn.Module) -> float:
    """Share of the test images whose digit has the highest score."""
    images, labels = digits("test")
    return (scores(model, images).argmax(1) == labels).to(nncomp.float32).mean().item()


def scores(model: nn.Module, images: Any) -> Any:
    """What the model says about images, without recording gradients."""
    model.eval()
    with nncomp.no_grad():
        result = model(images)
    model.train()
    return result


def reload_is_same(model: nn.Module) -> bool:
    """Save the weights, load them into a new model and compare what both say, bit by bit."""
    images, _ = digits("test")
    loaded = MLP(64)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "mlp.params")
        nncomp.save(model.state_dict(), path)
        size = os.path.getsize(path)
        loaded.load_state_dict(nncomp.load(path))
    same = nncomp.equal(scores(model, images), scores(loaded, images))
    print(f"saved {size / 1024:.0f} KiB; the loaded model says {'the same' if same else 'OTHERS'}")
    return same


def compare_speed(model: nn.Module, compiled: Any, lr: float, batch: Any) -> None:
    """Time compiled and eager steps on one batch in turn, and print best and median times.

    The ratio is that of the best times: on a busy machine the median says more about its other
    programs, above all for numpy, whose threads wait for each other.
    """
    steps = {"compiled": compiled, "eager": eager_step(copy.deepcopy(model), lr)}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            times[name] += step_seconds(step, batch)
    print(f"step of {len(batch[1])} images, {nncomp.get_num_threads()} threads:")
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        print(f"  {name:8}  best {min(seconds) * 1e3:.3f} ms, median {middle * 1e3:.3f} ms")
    ratio = min(times["eager"]) / min(times["compiled"])
    print(f"  compiled is {ratio:.1f} times as fast")


def step_seconds(step: Callable[[Any, Any], Any], batch: Any) -> list[float]:
    """Seconds of each of some steps in a row, after the threads of other code went to sleep."""
    time.sleep(PAUSE)
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        float(step(*batch))
        times.append(time.perf_counter() - start)
    return times


def verdict(accuracy: float, same: bool) -> int:
    """The exit code, with a sentence where it is 1."""
    good = accuracy >= LOWEST_ACCURACY  # False for NaN as well
    if not good:
        print(f"failed: the accuracy {accuracy:.1%} is below {LOWEST_ACCURACY:.0%}")
    if not same:
        print("failed: the saved and loaded model gives other results than the model itself")
    return 0 if good and same else 1
