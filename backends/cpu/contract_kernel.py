"""Code for contraction kernels: the micro-kernel, with the group's other nodes as epilogue."""

from __future__ import annotations

from nncomp.ir.index import Var
from nncomp.ir.loops import Accumulator, Buffer, Contract, Kernel, roots_of, walk

from ..expressions import Lanes
from ..llvm import Emitter, Value
from ..map_kernel import store_value
from ..reductions import KernelExpressions
from ..scalar import compute_type, memory_type
from .contract import Contraction, Dim, Plan, make_plan
from .contract_emit import emit_contraction


def contraction_of(extra: Contract) -> Contraction:
    """The strides of a kernel's contraction in the form the micro-kernel generator takes."""
    g = extra.geometry
    scalar_a, scalar_b = (memory_type(x.type.dtype.name) for x in (extra.a, extra.b))
    return Contraction(
        batch=tuple(Dim(*d) for d in g["batch"]),
        m=tuple(Dim(e, s) for e, s in g["m"]),
        n=g["n"],
        k=tuple(Dim(*d) for d in g["k"]),
        panel=g["panel"],
        panel_stride=g["panel_stride"],
        a_type=scalar_a,
        b_type=scalar_b,
    )


class ContractKernel(KernelExpressions):
    """Writes one contraction kernel; units of work are the plan's."""

    def __init__(self, e: Emitter, kernel: Kernel, plan: Plan, width: int, has_fma: bool):
        pointers = [Value(f"%b{b.slot}", "ptr") for b in kernel.buffers]
        super().__init__(e, pointers, width, has_fma)
        self.kernel, self.plan, self.extra = kernel, plan, kernel.extra
        values = walk(roots_of(kernel.stores))
        self.accumulators = [x for x in values if isinstance(x, Accumulator)]

    def write(self) -> None:
        begin, end = Value("%begin", "i64"), Value("%end", "i64")
        a = self._operand(self.extra.a, self.extra.geometry["a_offset"])
        b = self._operand(self.extra.b, self.extra.geometry["b_offset"])
        emit_contraction(self.e, self.plan, a, b, begin, end, self._finish)

    def _operand(self, buffer: Buffer, offset: int) -> Value:
        pointer = self.pointers[buffer.slot]
        if not offset:
            return pointer
        return self.e.gep(memory_type(buffer.type.dtype.name), pointer, offset)

    def _finish(self, e, acc: Value, batch, m, n: Value, mask: Value | None) -> None:
        """One vector of finished sums: run the epilogue on it and store."""
        *outer, column = self.extra.loops
        bound = {v: x for v, x in zip(outer, [*batch, *m], strict=True) if v is not None}
        if column is None:
            acc = e.emit(acc.scalar_type, f"extractelement {acc}, i64 0", "acc")
            self.enter(bound)
        else:
            self.enter(bound, _lanes(column, acc, n, mask))
        dtype = self.accumulators[0].dtype.name
        assert acc.scalar_type == compute_type(dtype)
        for x in self.accumulators:
            self.scope.known[id(x)] = acc
        for s in self.kernel.stores:
            store_value(self, s, self.value(s.value))
        self.leave()


def _lanes(column: Var, acc: Value, n: Value, mask: Value | None) -> Lanes:
    return Lanes(column, acc.lanes, n, mask)


def plan_of(kernel: Kernel, target) -> Plan:
    return make_plan(contraction_of(kernel.extra), target)
