"""How close matrix products of models' shapes come to what the machine can do, by threads.

python examples/contract_shapes.py            # the table
python examples/contract_shapes.py 8 768 768  # one shape: rows, columns, depth

The weight is packed once, as in any compiled module. The limit of a product is the longer one of
two times: its multiply-adds at the measured peak, and one reading of its weight from the memory
that holds it.
"""

import sys
import time

from nncomp.backends.cpu.bandwidth import Roof, roof

import nncomp as torch
from nncomp import nn

LAYERS = ((2048, 512), (1024, 1024), (4096, 4096), (768, 768), (3072, 768), (768, 3072))
SHAPES = [
    *((rows, *layer) for rows in (1, 2, 4, 8) for layer in LAYERS),
    *((rows, 2048, 512) for rows in (32, 64, 2048)),
    *((128, *layer) for layer in ((4096, 1024), *LAYERS[2:], (2304, 768))),
    *((64, 256, 784), (64, 10, 256)),
    *((3136, 64, 64), (3136, 256, 64), (784, 128, 512), (784, 512, 128), (196, 256, 1024)),
    *((196, 1024, 256), (49, 512, 2048), (49, 2048, 512)),
]  # fmt: skip


class Shape:
    """A compiled product of x (rows, depth) with a weight (columns, depth)."""

    def __init__(self, rows: int, columns: int, depth: int) -> None:
        self.size = rows, columns, depth
        layer = nn.Linear(depth, columns, bias=False).requires_grad_(False)
        self.x, self.layer = torch.randn(rows, depth), torch.compile(layer)
        self.best: dict[int, float] = {}

    def run(self, threads: int, seconds: float) -> None:
        """Call for so long; keep the shortest time."""
        torch.set_num_threads(threads)
        self.layer(self.x)
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            self.layer(self.x)
            took = time.perf_counter() - start
            self.best[threads] = min(took, self.best.get(threads, took))

    def limit(self, top: Roof) -> float:
        """Seconds that it takes at least."""
        rows, columns, depth = self.size
        weight = 4.0 * columns * depth
        work = 2.0 * rows * columns * depth / top.gflops
        return max(work, weight / top.level(weight).gigabytes) / 1e9


def main(shapes: list[tuple[int, int, int]]) -> int:
    counts = sorted({1, torch.get_num_threads()})
    roofs = {n: roof(n) for n in counts}
    for n, top in roofs.items():
        levels = ", ".join(f"{x.name} {x.gigabytes:.0f} GB/s" for x in top.levels)
        print(f"{n} threads: {top.gflops:.0f} GFLOP/s, {levels}")
    for size in shapes:
        shape = Shape(*size)
        for _ in range(3):  # in turns: so a busy moment does not hit one of them alone
            for n in counts:
                shape.run(n, 0.1)
        texts = []
        for n in counts:
            best, limit = shape.best[n], shape.limit(roofs[n])
            threads = "thread " if n == 1 else "threads"
            texts.append(f"{n} {threads} {best * 1e6:9.1f} us {limit / best:6.1%} of the limit")
        print(" x ".join(f"{n:5}" for n in size), *texts, sep="   ", flush=True)
    return 0


if __name__ == "__main__":
    given = tuple(map(int, sys.argv[1:4]))
    sys.exit(main([given] if len(given) == 3 else SHAPES))
