"""Files that come with the package onnx: models that old exporters wrote, and large networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx.checker") and pytest.importorskip("onnx")

import onnx_cases as nc  # noqa: E402

import nncomp  # noqa: E402
from nncomp.onnx import OnnxLoadError, load  # noqa: E402

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
NETWORKS = ("densenet121", "inception_v2", "resnet50", "shufflenet", "squeezenet")


def stored(path: Path) -> np.ndarray:
    """The tensor in a .pb file."""
    proto = onnx.TensorProto()
    proto.ParseFromString(path.read_bytes())
    return nc.as_array(proto)


def arrays(folder: Path, kind: str) -> list[np.ndarray]:
    """input_0.pb, input_1.pb, ... of a data set."""
    files = folder.glob(f"{kind}_*.pb")
    return [stored(f) for f in sorted(files, key=lambda f: int(f.stem.split("_")[-1]))]


@pytest.mark.parametrize("kind", ["pytorch-converted", "pytorch-operator", "simple"])
def test_files_of_old_exporters_give_what_they_should(kind):
    passed = 0
    for folder in sorted((DATA / kind).iterdir()):
        try:
            model = load(folder / "model.onnx")
        except OnnxLoadError as error:
            assert "StringNormalizer" in str(error) or "Gradient of" in str(error), folder
            continue
        for data in sorted(folder.glob("test_data_set_*")):
            inputs = [nncomp.from_numpy(x) for x in arrays(data, "input")]
            with nncomp.no_grad():
                got = nc.flat(model(*inputs))
            nc.assert_equal(got, arrays(data, "output"), 1e-3, 1e-5)
        passed += 1
    assert passed >= {"pytorch-converted": 80, "pytorch-operator": 30, "simple": 14}[kind]


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_compile(name):
    """Their weights are constants that the file makes; onnxruntime computed the result."""
    path = DATA / "light" / f"light_{name}.onnx"
    model = load(path)
    proto = onnx.load(path)
    taken = {t.name for t in proto.graph.initializer}
    (info,) = (x for x in proto.graph.input if x.name not in taken)
    shape = [d.dim_value for d in info.type.tensor_type.shape.dim]
    x = nncomp.from_numpy(np.random.default_rng(0).random(shape, np.float32))
    with nncomp.no_grad():
        (got,) = nc.flat(nncomp.compile(model)(x))
    expected = stored(DATA / "light" / f"light_{name}_output_0.pb")
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
