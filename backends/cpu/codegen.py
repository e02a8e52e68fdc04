"""Program -> LLVM modules: one per kernel, and one `run` function that goes through the steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

from nncomp.ir.cost import scalar_cost
from nncomp.ir.loops import ArgReduce, Call, Kernel, Load, Reduce, Store, roots_of, walk
from nncomp.ir.program import Program

from ..expressions import Isa
from ..half import EmitterWithoutHalf
from ..llvm import Emitter, module_text
from ..map_kernel import MapKernel
from ..scatter_kernel import ScatterKernel
from ..schedule import Schedule
from ..transpose_kernel import TransposeKernel, make_tile_schedule
from .contract_kernel import ContractKernel, contraction_of, plan_of
from .run_function import RunWriter
from .target import Target

PARALLEL_NS = 6000.0  # a shorter step stays on one thread: waking and joining cost more
VECTOR_NS, BYTE_NS = 0.15, 0.02  # of one vector instruction, of a byte that comes from a cache


@dataclass(frozen=True)
class Code:
    """LLVM text of a kernel, its units of work and its estimated time on one thread."""

    text: str
    units: int
    nanoseconds: float

    @property
    def is_shared(self) -> bool:
        """Whether threads share the units; small steps stay on one."""
        return self.nanoseconds >= PARALLEL_NS and self.units > 1


def signature(kernel: Kernel) -> str:
    params = ", ".join(f"ptr %b{b.slot}" for b in kernel.buffers)
    return f"void @{kernel.name}({params}{', ' if params else ''}i64 %begin, i64 %end)"


@lru_cache(maxsize=2048)
def kernel_code(kernel: Kernel, target: Target) -> Code:
    """Generate one kernel for a CPU."""
    e, isa = emitter_for(target), Isa(target.vector_bits // 32, target.fma)
    functions: list[str] = []
    if kernel.kind == "contract":
        contraction = ContractKernel(e, kernel, plan_of(kernel, target), isa)
        contraction.write()
        functions = contraction.finishers()
        units, time = contraction.plan.units, _contract_time(kernel, isa)
    elif kernel.kind == "scatter":
        ScatterKernel(e, kernel, isa).write()
        units = kernel.extra.line.extent
        time = (units + kernel.extra.entry.extent) * 2.0 * _extent(kernel.domain)
    elif tiles := make_tile_schedule(kernel, isa.width):
        TransposeKernel(e, kernel, tiles, isa).write()
        units, time = tiles.units, _extent(kernel.domain) * 0.3
    else:
        writer = MapKernel(e, kernel, isa)
        writer.write()
        units, time = writer.schedule.units, _map_time(kernel, writer.schedule, isa)
    e.do("ret void")
    functions = [e.function(signature(kernel)), *functions]
    return Code(module_text(functions, [e], attributes(target)), units, time)


def emitter_for(target: Target) -> Emitter:
    """An emitter that does without instructions the CPU lacks."""
    wide = target.arch == "aarch64" or target.vector_bits >= 256
    return Emitter() if wide and "-f16c" not in target.features else EmitterWithoutHalf()


def attributes(target: Target) -> str:
    wide = ' "prefer-vector-width"="512" "min-legal-vector-width"="512"'
    return "nounwind" + (wide if target.vector_bits == 512 else "")


def _extent(loops) -> int:
    return prod(v.extent for v in loops)


def _contract_time(kernel: Kernel, isa: Isa) -> float:
    spec = contraction_of(kernel.extra)
    work = spec.rows * spec.n * spec.depth * prod(d.extent for d in spec.batch)
    return work / isa.width * 2 * VECTOR_NS


def _map_time(kernel: Kernel, schedule: Schedule, isa: Isa) -> float:
    """A rough estimate: every expression as often as its loops turn, or the memory traffic."""
    total, traffic = 0.0, float(sum(s.buffer.type.nbytes for s in kernel.stores))
    for x in walk(roots_of(kernel.stores)):
        turns = _extent((*x.vars, *x.loops) if isinstance(x, Reduce) else x.vars)
        total += turns * (scalar_cost(x.name) if isinstance(x, Call) else 1)
        if isinstance(x, Load):
            traffic += min(turns * x.dtype.itemsize, x.buffer.type.nbytes)
    lanes = 1 if schedule.lane is None and not any(map(_is_spread, kernel.stores)) else isa.width
    return max(total * VECTOR_NS / lanes, traffic * BYTE_NS)


def _is_spread(s: Store) -> bool:
    return any(isinstance(x, (Reduce, ArgReduce)) for x in walk(s.roots))


def program_modules(program: Program, target: Target) -> tuple[list[str], dict[str, Code]]:
    """The LLVM modules of a program (kernels, then `run`) and the code of each kernel by name."""
    codes = {k.name: kernel_code(k, target) for k in program.kernels()}
    run = RunWriter(program, codes).text(attributes(target))
    return [*(c.text for c in codes.values()), run], codes
