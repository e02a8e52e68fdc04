"""Packages for GPUs: PTX text of each kernel and the launch plan, in the container of all packages.

Making one needs neither a GPU nor NVIDIA's tools; the driver translates the text where it runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .aot.archive import pack
from .backends.ptx.device import get_device
from .backends.ptx.runner import Runner
from .backends.ptx.saved import check_device, make_runner, plan_of
from .backends.ptx.stages import Stages
from .backends.ptx.target import target_of
from .compiled_package import common_parts, manifest_of

if TYPE_CHECKING:
    from .compiled_export import Export

PLAN = "plan.json"


def gpu_package(export: Export, target: str) -> bytes:
    """The bytes of a package with PTX for `target`.

    UnsupportedOnGpu (a NotImplementedError) for what has no PTX code.
    """
    request = export.request
    texts: dict[str, str] = {}
    with export.settings():
        stages = Stages(request.graph, request.constant, target_of(target))
        plan = plan_of(stages, texts)
    names = {name: f"code/{target}/{i:03d}.ptx" for i, name in enumerate(texts)}
    parts = common_parts(export)
    parts[PLAN] = json.dumps(plan, indent=1).encode()
    parts |= {names[name]: text.encode() for name, text in texts.items()}
    code = {"plan": PLAN, "kernels": names, "constant": list(request.constant)}
    return pack({**manifest_of(export, target, None), **code}, parts)


def gpu_runner(manifest: Mapping[str, Any], parts: Mapping[str, Any]) -> Runner:
    """The program of a package; DeviceError where this process has no device that can run it."""
    check_device(manifest["target"], get_device())
    plan = json.loads(bytes(parts[manifest["plan"]]))
    texts = {name: bytes(parts[file]).decode() for name, file in manifest["kernels"].items()}
    return make_runner(plan, texts, manifest["constant"])
