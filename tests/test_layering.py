"""Which part may import which: nncomp/ -> backends/ -> ir/, never the other way.

The front end reaches backends only in its few entry modules. `import nncomp` stays cheap: the code
generator and graph library load on first use.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"nncomp.ir": "ir", "nncomp.backends": "backends", "nncomp": "front"}
ENGINES = ("cpu", "numpy", "ptx")  # in backends/: what two of them need lies beside them
FOLDERS = {"ir": "nncomp.ir", "backends": "nncomp.backends", "nncomp": "nncomp"}
ALLOWED = {"ir": {"ir"}, "backends": {"ir", "backends"}, "front": {"ir", "front"}}
MAY_USE_BACKENDS = (  # files in nncomp/
    "compile*.py", "train_step.py", "cli.py", "__init__.py", "flags.py", "demo.py",
    "cuda/__init__.py",
    "cuda/eager.py",
    "cuda/memory.py",
    "cuda/running.py",
)  # fmt: skip
THIRD_PARTY = {
    "ir": {"numpy", "networkx", "ml_dtypes"},
    "backends": {"numpy", "llvmlite", "ml_dtypes"},
    "front": {"numpy", "ml_dtypes", "safetensors"},
}
OPTIONAL = {  # extras that are imported when they are used, each in one file
    "backends/ptx/cuda_device.py": {"cuda"},
    "nncomp/onnx/protobuf.py": {"onnx"},
}
IMPORT_SECONDS = 0.3


def sources() -> list[Path]:
    """Every Python file of the package."""
    found = [p for folder in FOLDERS for p in sorted((ROOT / folder).rglob("*.py"))]
    assert len(found) > 50
    return found


def imports(tree: ast.AST, package: str) -> list[tuple[int, str]]:
    """(line, absolute name) of all imports, those inside functions too.

    `from a import b` gives a.b: if b is no module, its name still begins with a's.
    """
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
    return found


def layer_of(module: str) -> str | None:
    """The layer a module belongs to; None outside of this package."""
    for prefix, layer in PACKAGES.items():
        if module == prefix or module.startswith(prefix + "."):
            return layer
    return None


def violations(path: str, text: str) -> list[str]:
    """Sentences about the imports that a file must not have: against the layers, or of another
    engine than its own."""
    folder, *inner = Path(path).parts
    package = ".".join([FOLDERS[folder], *inner[:-1]])
    layer = PACKAGES[FOLDERS[folder]]
    entry = any(fnmatch("/".join(inner), name) for name in MAY_USE_BACKENDS)
    allowed = ALLOWED[layer] | ({"backends"} if layer == "front" and entry else set())
    bad = []
    for line, module in imports(ast.parse(text), package):
        target, top = layer_of(module), module.split(".")[0]
        if target is None:
            ok = top in sys.stdlib_module_names or top in THIRD_PARTY[layer]
            ok = ok or top in OPTIONAL.get(path, ())
        else:
            ok = target in allowed
        other = re.match(r"nncomp\.backends\.(\w+)", module)
        if layer == "backends" and other and other[1] in ENGINES:
            ok = ok and inner[0] == other[1]
        if not ok:
            bad.append(f"{path}:{line} ({layer}) must not import {module}")
    return bad


def test_no_import_against_the_arrows():
    bad = []
    for path in sources():
        bad += violations(path.relative_to(ROOT).as_posix(), path.read_text())
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("ir/graph.py", "from ..backends import llvm"),
        ("ir/ops/reduce.py", "def f():\n    from ...tensor import Tensor"),
        ("ir/op.py", "import nncomp"),
        ("ir/op.py", "from nncomp import backends"),
        ("ir/op.py", "import llvmlite.binding"),
        ("backends/llvm.py", "from nncomp.nn import Linear"),
        ("backends/cpu/jit.py", "from ... import tensor"),
        ("nncomp/tensor.py", "from .backends.cpu import jit"),
        ("nncomp/nn/__init__.py", "import nncomp.backends"),
        ("nncomp/nn/compile.py", "from ..backends import llvm"),
        ("nncomp/tensor.py", "import torch"),
        ("backends/ptx/stages.py", "from ..cpu.pipeline import Pass"),
        ("backends/ptx/gemm/plan.py", "from ... import cpu"),
        ("backends/cpu/aot/entry.py", "def f():\n    from nncomp.backends.ptx import target"),
        ("backends/cpu/jit.py", "import nncomp.backends.numpy"),
        ("backends/schedule.py", "from .cpu.target import Target"),
        ("nncomp/onnx/export.py", "import onnx"),
    ],
)
def test_a_wrong_import_is_found(path, text):
    assert len(violations(path, text)) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("ir/ops/reduce.py", "from ..op import Op\nimport numpy.linalg, math"),
        ("backends/cpu/jit.py", "from nncomp.ir.loops import Loop\nfrom ..llvm import text"),
        ("backends/ptx/gemm/plan.py", "from ..target import Target\nfrom ...lanes import x"),
        ("nncomp/compile_step.py", "from .backends.cpu import jit\nfrom .ir import graph"),
        ("nncomp/nn/linear.py", "import nncomp\nfrom ..tensor import Tensor"),
        ("nncomp/onnx/protobuf.py", "def f():\n    import onnx"),
    ],
)
def test_a_right_import_passes(path, text):
    assert violations(path, text) == []


def test_every_folder_with_code_is_packaged():
    text = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"^packages = \[(.*?)\]", text, re.S | re.M)
    assert listed, "pyproject.toml has no list of packages"
    packages = set(re.findall(r'"([\w.]+)"', listed[1]))
    folders = {p.parent.relative_to(ROOT).parts for p in sources()}
    needed = {".".join([FOLDERS[first], *rest]) for first, *rest in folders}
    assert packages == needed


IMPORT = """
import time
clocks = time.perf_counter, time.process_time
start = [clock() for clock in clocks]
import nncomp
wall, cpu = (clock() - before for clock, before in zip(clocks, start))
import sys
heavy = {"llvmlite", "networkx", "onnx", "torch"} & set(sys.modules)
print(wall, cpu, *heavy)
"""


def test_import_is_quick_and_light():
    walls, cpus = [], []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True
        )
        wall, cpu, *heavy = done.stdout.split()
        assert not heavy, f"import nncomp also imports {heavy}"
        walls.append(float(wall))
        cpus.append(float(cpu))
    print(f"import nncomp: {min(walls):.3f} s, {min(cpus):.3f} s of CPU time")
    # Tests that run beside this one stretch the wall time, but not the CPU time.
    assert min(walls + cpus) < IMPORT_SECONDS, (walls, cpus)
