"""A GPT over characters learns to write Python: it is trained on the source of nncomp itself.

The step (forward, loss, gradients, AdamW) is one compiled program, and so is the net that writes:
it reads a window of fixed length, of which the causal mask hides what is not yet written. The
learning rate rises and falls by a scheduler, which needs no further program.

    python examples/char_gpt.py                 # a small net, some minutes
    python examples/char_gpt.py --large         # 6 layers, 384 wide, windows of 256 characters
    python examples/char_gpt.py --text my.txt   # another text
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "zoo"))

import gpt  # noqa: E402

import nncomp as torch  # noqa: E402

SIZES = {  # length of a window, width, layers, heads, windows of a step, steps, learning rate
    "quick": (32, 32, 2, 2, 8, 80, 1e-2),
    "small": (128, 128, 4, 4, 16, 1500, 3e-3),
    "large": (256, 384, 6, 6, 8, 2000, 1e-3),
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tiny net, for tests")
    parser.add_argument("--large", action="store_true", help="the char-GPT of the benchmarks")
    parser.add_argument("--steps", type=int, help="instead of the net's own number")
    parser.add_argument("--text", type=Path, help="a file to learn from")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def text_of(path: Path | None) -> str:
    """A file, or what the package's own files say, in ASCII."""
    if path is not None:
        return path.read_text()
    files = sorted(Path(torch.__file__).parent.rglob("*.py"))
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    return text.encode("ascii", "ignore").decode()


def batch_of(codes: np.ndarray, count: int, length: int, draw: np.random.Generator):
    """`count` random windows of the text, and the same one character later."""
    starts = draw.integers(0, len(codes) - length, count)
    windows = codes[starts[:, None] + np.arange(length + 1)]
    return torch.tensor(windows[:, :-1]), torch.tensor(windows[:, 1:])


def train(model, codes: np.ndarray, length: int, count: int, steps: int, lr: float, seed: int):
    """Train, with one line for every tenth of the way; returns the loss of every step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    step = torch.compile_train_step(model, gpt.loss, optimizer)
    draw, losses, start = np.random.default_rng(seed), [], time.perf_counter()
    for number in range(1, steps + 1):
        losses.append(step(*batch_of(codes, count, length, draw)).item())
        if number < steps:
            schedule.step()
        if number % max(1, steps // 10) == 0:
            recent = float(np.mean(losses[-max(1, steps // 10) :]))
            each = (time.perf_counter() - start) / number
            print(f"step {number:5}   loss {recent:.3f}   {each * 1e3:.0f} ms a step", flush=True)
    return losses


def write(model, alphabet: str, begin: str, length: int, count: int, seed: int) -> str:
    """`begin` and `count` characters after it, each drawn from the net's distribution."""
    compiled, draw = torch.compile(model), np.random.default_rng(seed)
    codes = [alphabet.index(c) for c in begin]
    with torch.no_grad():
        for _ in range(count):
            seen = codes[-length:]
            window = torch.tensor(np.array([seen + [0] * (length - len(seen))]))
            scores = compiled(window)[0, len(seen) - 1].numpy().astype(float) / 0.8
            shares = np.exp(scores - scores.max())
            codes.append(int(draw.choice(len(alphabet), p=shares / shares.sum())))
    return "".join(alphabet[c] for c in codes)


def main() -> int:
    args = options()
    size = "quick" if args.quick else "large" if args.large else "small"
    length, width, depth, heads, count, steps, lr = SIZES[size]
    steps = args.steps or steps
    text = text_of(args.text)
    alphabet = "".join(sorted(set(text)))
    codes = np.array([alphabet.index(c) for c in text])
    print(f"{len(text)} characters, {len(alphabet)} different ones")
    torch.manual_seed(args.seed)
    model = gpt.GPT(len(alphabet), length, width, depth, heads)
    losses = train(model, codes, length, count, steps, lr, args.seed)
    begin, more = text[:4] if args.text else "def ", 60 if args.quick else 600
    print("\n" + write(model, alphabet, begin, length, more, args.seed))
    few = max(1, steps // 10)
    return 0 if np.mean(losses[-few:]) < np.mean(losses[:few]) else 1


if __name__ == "__main__":
    sys.exit(main())
