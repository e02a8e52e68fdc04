"""Which GPU to write code for, and LLVM's side of it.

PTX for sm_80 runs on every later GPU too: the driver translates it. `NNCOMP_PTX_TARGET` names
another one (sm_75 ... sm_120). The feature string is always given: LLVM's default version of PTX
for some targets is too old for their own instructions.
"""

from __future__ import annotations

import functools
import os
import threading
from dataclasses import dataclass
from typing import Any

TRIPLE = "nvptx64-nvidia-cuda"
FEATURES = {  # PTX version by target
    "sm_75": "+ptx63",
    "sm_80": "+ptx70",
    "sm_86": "+ptx71",
    "sm_89": "+ptx78",
    "sm_90": "+ptx80",
    "sm_90a": "+ptx83",
    "sm_100": "+ptx86",
    "sm_120": "+ptx87",
}


@dataclass(frozen=True)
class Target:
    """A GPU in LLVM's words."""

    cpu: str = "sm_80"
    features: str = "+ptx70"

    @property
    def sm(self) -> int:
        """80 for sm_80 and sm_90a's like."""
        return int("".join(c for c in self.cpu if c.isdigit()))


def target_of(cpu: str) -> Target:
    """The target called `cpu`; ValueError lists the names there are."""
    if cpu not in FEATURES:
        raise ValueError(f"unknown GPU target {cpu!r}: expected one of {', '.join(FEATURES)}")
    return Target(cpu, FEATURES[cpu])


def default_target() -> Target:
    """What NNCOMP_PTX_TARGET names, else sm_80."""
    return target_of(os.environ.get("NNCOMP_PTX_TARGET", "").strip() or "sm_80")


@functools.cache
def binding() -> Any:
    """`llvmlite.binding` with the PTX target in it."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm


_local = threading.local()


def machine(target: Target) -> Any:
    """This thread's llvmlite TargetMachine for `target` (one must not be used by two threads)."""
    made = _local.__dict__.setdefault("machines", {})
    if target not in made:
        found = binding().Target.from_triple(TRIPLE)
        made[target] = found.create_target_machine(
            cpu=target.cpu, features=target.features, opt=3
        )
    return made[target]
