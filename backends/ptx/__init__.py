"""The PTX backend: the same graphs as NVIDIA GPU code.

compile(graph) -> Runner: passes, kernels, LLVM text, PTX text; launches over places in the memory
of a device when it is called.
"""

from __future__ import annotations

from collections.abc import Sequence

from nncomp.ir.graph import Graph

from .runner import Runner
from .stages import Stages
from .target import default_target


def compile(graph: Graph, constant: Sequence[str] = (), label: str = "") -> Runner:
    """Compile a graph for a GPU (NNCOMP_PTX_TARGET, sm_80 by default), which need not be there.

    `constant` inputs are kept on the device from call to call.
    """
    return Runner(Stages(graph, constant, default_target(), label), constant)
