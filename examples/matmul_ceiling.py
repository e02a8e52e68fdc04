"""How close a compiled matrix product comes to what the processor can do, on one thread.

python examples/matmul_ceiling.py            # 512 x 512 x 512
python examples/matmul_ceiling.py 1024 768 768
"""

import sys
import time

from nncomp.backends.cpu.ceiling import fma_ceiling

import nncomp as torch


def gflops(call, operations: float, seconds: float = 1.0) -> float:
    """The best of as many calls as fit in `seconds`."""
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return operations / best / 1e9


def main(m: int = 512, k: int = 512, n: int = 512) -> int:
    torch.manual_seed(0)
    a, b = torch.randn(m, k), torch.randn(k, n)
    product = torch.compile(torch.matmul, threads=1)
    error = (product(a, b) - torch.matmul(a, b)).abs().max().item()
    ceiling = fma_ceiling()
    reached = gflops(lambda: product(a, b), 2.0 * m * k * n)
    ceiling = max(ceiling, fma_ceiling())
    print(f"{m}x{k}x{n} float32, one thread: {reached:.1f} GFLOP/s")
    print(f"fused multiply-add ceiling, same process: {ceiling:.1f} GFLOP/s")
    print(f"share: {reached / ceiling:.1%}   largest difference from eager: {error:.2e}")
    return 0 if reached / ceiling >= 0.85 and error < 1e-3 else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:4])))
