"""Program -> LLVM modules: one per kernel, and one `run` function that goes through the steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

from nncomp.ir.cost import scalar_cost
from nncomp.ir.loops import ArgReduce, Call, Kernel, Load, Reduce, Store, roots_of, walk
from nncomp.ir.program import LoopStep, Program, Step

from ..expressions import Isa
from ..half import EmitterWithoutHalf
from ..llvm import Emitter, joined, module_text
from ..map_kernel import MapKernel
from ..panel_copy import PanelCopyKernel, make_copy_schedule
from ..rows_kernel import RowsKernel
from ..scatter_kernel import ScatterKernel
from ..schedule import Schedule
from ..sort_kernel import SortKernel
from ..transpose_kernel import TransposeKernel, make_tile_schedule
from .attention_grad_kernel import KINDS as ATTENTION_KINDS
from .attention_grad_kernel import write_attention
from .contract_kernel import ContractKernel, plan_of
from .pack_kernel import make_pack, member_text, pack_module
from .run_function import RunWriter
from .target import KERNELS, QUICK, Target
from .window_conv import ConvKernel
from .window_group import GroupConvKernel
from .window_kernel import WindowKernel
from .window_plan import make_window_plan
from .winograd_gradient_kernel import KERNELS as GRADIENT_KERNELS
from .winograd_kernel import WeightKernel, WinogradKernel
from .winograd_line_kernel import WinogradLineKernel

WINDOWS = {"group_conv": GroupConvKernel, "window_conv": ConvKernel}
# A shorter step stays on one thread: waking and joining cost more; where other steps wake the
# threads anyway, meeting does.
PARALLEL_NS, MEETING_NS = 6000.0, 600.0
LONG = 300  # lines of a `run` function from which on LLVM would take a tenth of a second for it
LINE_NS = 1000.0  # what a line of text may run; LLVM takes 25 times as long to make it faster
VECTOR_NS, BYTE_NS = 0.15, 0.02  # of one vector instruction, of a byte that comes from a cache


@dataclass(frozen=True)
class Code:
    """LLVM text of a kernel, its units of work and its estimated time on one thread."""

    text: str
    units: int
    nanoseconds: float
    least: float = PARALLEL_NS  # nanoseconds worth sharing
    member: str = ""  # the kernel's function alone, where several share a module
    from_middle: bool = False  # see run_function.py

    @property
    def is_shared(self) -> bool:
        """Whether threads share the units; small steps stay on one."""
        return self.nanoseconds >= self.least and self.units > 1


def signature(kernel: Kernel) -> str:
    params = ", ".join(f"ptr %b{b.slot}" for b in kernel.buffers)
    return f"void @{kernel.name}({params}{', ' if params else ''}i64 %begin, i64 %end)"


@lru_cache(maxsize=2048)
def pack_code(kernel: Kernel, target: Target) -> Code | None:
    """The code of a kernel that packs a weight, as a program that runs once has it."""
    pack = make_pack(kernel)
    if pack is None:
        return None
    member = member_text(signature(kernel), pack)
    text = pack_module([member], attributes(target))
    return Code(text, pack.units, _extent(kernel.domain) * 0.3, member=member)


@lru_cache(maxsize=2048)
def kernel_code(kernel: Kernel, target: Target) -> Code:
    """Generate one kernel for a CPU."""
    e, isa = emitter_for(target), Isa(target.vector_bits // 32, target.fma)
    functions: list[str] = []
    from_middle = False
    if kernel.kind == "contract":
        contraction = ContractKernel(e, kernel, plan_of(kernel, target), isa)
        contraction.write()
        functions = contraction.finishers()
        units, time = contraction.plan.units, contraction.plan.nanoseconds
        from_middle = contraction.plan.shares_rows and not kernel.extra.sums
    elif kernel.kind == "window":
        plan = make_window_plan(kernel.extra, target)
        WINDOWS.get(kernel.extra.name, WindowKernel)(e, kernel, plan, isa).write()
        units, time = plan.units, plan.work / isa.width * VECTOR_NS
        from_middle = plan.shares_rows
    elif kernel.kind == "winograd":
        is_line = kernel.extra.name == "winograd_line"
        winograd = (WinogradLineKernel if is_line else WinogradKernel)(e, kernel, target, isa)
        winograd.write()
        functions = winograd.finishers()
        units, time = winograd.shape.units, winograd.shape.work / isa.width * VECTOR_NS
    elif kernel.kind == "winograd_weight":
        weight = WeightKernel(e, kernel, isa.width)
        weight.write()
        units, time = weight.units, _extent(kernel.domain) * 0.3
    elif kernel.kind in GRADIENT_KERNELS:
        grid = GRADIENT_KERNELS[kernel.kind](e, kernel, isa.width)
        grid.write()
        units, time = grid.units, _extent(kernel.domain) * 0.3
    elif kernel.kind in ATTENTION_KINDS:
        plan = write_attention(e, kernel, target, isa.fma)
        units, time = plan.units, plan.work / isa.width * VECTOR_NS
    elif kernel.kind == "scatter":
        ScatterKernel(e, kernel, isa).write()
        units = kernel.extra.line.extent
        time = (units + kernel.extra.entry.extent) * 2.0 * _extent(kernel.domain)
    elif kernel.kind == "sort":
        sort = SortKernel(e, kernel)
        sort.write()
        units, time = sort.units, sort.nanoseconds
    elif kernel.kind == "rows":
        rows = RowsKernel(e, kernel, isa)
        rows.write()
        units, time = rows.units, _loop_time(kernel, isa.width)
    elif copy := make_copy_schedule(kernel, isa.width):
        PanelCopyKernel(e, kernel, copy, isa).write()
        units, time = copy.units, _extent(kernel.domain) * 0.3
    elif tiles := make_tile_schedule(kernel, isa.width):
        TransposeKernel(e, kernel, tiles, isa).write()
        units, time = tiles.units, _extent(kernel.domain) * 0.3
    else:
        writer = MapKernel(e, kernel, isa)
        writer.write()
        units, time = writer.schedule.units, _map_time(kernel, writer.schedule, isa)
    e.do("ret void")
    functions = [e.function(signature(kernel)), *functions]
    text = module_text(functions, [e], attributes(target))
    return Code(text, units, time, from_middle=from_middle)


def emitter_for(target: Target) -> Emitter:
    """An emitter that does without instructions the CPU lacks."""
    wide = target.arch == "aarch64" or target.vector_bits >= 256
    return Emitter() if wide and "-f16c" not in target.features else EmitterWithoutHalf()


def attributes(target: Target) -> str:
    wide = ' "prefer-vector-width"="512" "min-legal-vector-width"="512"'
    return "nounwind" + (wide if target.vector_bits == 512 else "")


def _extent(loops) -> int:
    return prod(v.extent for v in loops)


def _map_time(kernel: Kernel, schedule: Schedule, isa: Isa) -> float:
    """The time of a map kernel."""
    lanes = 1 if schedule.lane is None and not any(map(_is_spread, kernel.stores)) else isa.width
    return _loop_time(kernel, lanes)


def _loop_time(kernel: Kernel, lanes: int) -> float:
    """A rough estimate: every expression as often as its loops turn, or the memory traffic."""
    written = {s.buffer.slot: s.buffer.type.nbytes for s in kernel.stores}
    total, traffic = 0.0, float(sum(written.values()))
    for x in walk(roots_of(kernel.stores)):
        turns = _extent((*x.vars, *x.loops) if isinstance(x, Reduce) else x.vars)
        total += turns * (scalar_cost(x.name) if isinstance(x, Call) else 1)
        if isinstance(x, Load):
            traffic += min(turns * x.dtype.itemsize, x.buffer.type.nbytes)
    return max(total * VECTOR_NS / lanes, traffic * BYTE_NS)


def _is_spread(s: Store) -> bool:
    return any(isinstance(x, (Reduce, ArgReduce)) for x in walk(s.roots))


def program_modules(
    program: Program,
    target: Target,
    made: Callable[[str, int], object] | None = None,
    parts: Sequence[Sequence[Step | LoopStep]] = (),
    runs_once: bool = False,
) -> tuple[list[str], dict[str, Code]]:
    """The LLVM modules of a program (kernels, then `run`) and the code of each kernel by name.

    `made(text, effort)` is told of each module as soon as it is written. `parts` of the steps get
    functions of their own beside `run`. Kernels of a program that `runs_once` are rather compiled
    than run fast.
    """
    codes, texts, members, brief = {}, [], [], []
    for kernel in program.kernels():
        code = pack_code(kernel, target) if runs_once else None
        code = codes[kernel.name] = code or kernel_code(kernel, target)
        if code.member:
            members.append(code.member)
            continue
        if runs_once and _is_brief(code):
            brief.append(code.text)
            continue
        texts.append(code.text)
        if made is not None:
            made(code.text, KERNELS)
    for text in joined(brief):
        texts.append(text)
        if made is not None:
            made(text, QUICK)
    if members:
        texts.append(pack_module(members, attributes(target)))
        if made is not None:
            made(texts[-1], KERNELS)
    if any(code.is_shared for code in codes.values()):
        codes = {name: replace(code, least=MEETING_NS) for name, code in codes.items()}
    run = RunWriter(program, codes).text_in_parts(attributes(target), parts)
    if made is not None:
        made(run, QUICK if run.count("\n") > LONG else KERNELS)
    return [*texts, run], codes


def _is_brief(code: Code) -> bool:
    """Whether one run takes far less time than LLVM would take to make it faster."""
    return code.nanoseconds < LINE_NS * code.text.count("\n")


def run_nanoseconds(program: Program, codes: dict[str, Code]) -> float:
    """The estimated time of a run on one thread."""

    def time(item: Step | LoopStep) -> float:
        if isinstance(item, LoopStep):
            return item.length * sum(map(time, item.steps))
        return codes[item.kernel.name].nanoseconds

    return sum(map(time, program.steps))
