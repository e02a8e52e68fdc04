"""A kernel as text: one line per value that is used more than once, then the stores.

    kernel softmax [map](x0: f32[8,128], out y0: f32[8,128]) over i0<8, i1<128 {
      v0 = maximum_{r1_0<128} x0[128*i0 + r1_0]
      y0[128*i0 + i1] = div(exp(sub(x0[128*i0 + i1], v0)), add_{r1_0<128} ...)
    }
"""

from __future__ import annotations

from collections import Counter

from .loops import (
    ArgReduce,
    Attend,
    Call,
    Contract,
    Expr,
    Kernel,
    Reduce,
    Rows,
    Scatter,
    Slide,
    Sort,
    roots_of,
    walk,
)

WIDE = 60  # a value whose text is longer than this gets a line of its own


def kernel_text(kernel: Kernel) -> str:
    split = len(kernel.buffers) - kernel.outputs
    names = [f"{b.name}: {b.type}" for b in kernel.buffers[:split]]
    names += [f"out {b.name}: {b.type}" for b in kernel.buffers[split:]]
    loops = ", ".join(f"{v}<{v.extent}" for v in kernel.domain)
    head = f"kernel {kernel.name} [{kernel.kind}]({', '.join(names)}) over {loops} {{"
    roots = [*_extra_roots(kernel), *roots_of(kernel.stores)]
    lines, name = _values(roots)
    if kernel.extra is not None:
        lines.append(f"with {kernel.extra.show(name)}")
    lines += [s.show(name) for s in kernel.stores]
    return "\n".join([head, *(f"  {line}" for line in lines), "}"])


def _extra_roots(kernel: Kernel) -> list[Expr]:
    if isinstance(kernel.extra, Scatter):
        return [kernel.extra.index, kernel.extra.source]
    assert kernel.extra is None or isinstance(kernel.extra, (Attend, Contract, Rows, Slide, Sort))
    return []


def _values(roots: list[Expr]):
    """Lines `v0 = ...` for shared and long values, and how every value is called."""
    order = walk(roots)
    uses = Counter(id(x) for root in order for x in root.operands)
    uses.update(map(id, roots))
    texts: dict[int, str] = {}
    lines: list[str] = []

    def name(x: Expr) -> str:
        return texts[id(x)]

    for x in order:
        text = x.show(name)
        if isinstance(x, (Call, Reduce, ArgReduce)) and (uses[id(x)] > 1 or len(text) > WIDE):
            lines.append(f"v{len(lines)} = {text}")
            text = f"v{len(lines) - 1}"
        texts[id(x)] = text
    return lines, name
