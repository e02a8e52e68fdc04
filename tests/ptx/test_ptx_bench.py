"""`nncomp bench --device cuda`: nncomp's side, with the PTX interpreter as the GPU."""

from __future__ import annotations

import pytest

from nncomp import cli
from nncomp.bench import engines
from nncomp.bench.settings import Settings

MODEL = """
from torch import nn


def small():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
"""
QUICK = ["--device", "cuda", "--engines", "nncomp", "--threads", "1", "--repeat", "1",
         "--burst", "0.001", "--warm-up", "0", "--losses", "2", "--input", "f32[B,4]",
         "--batch", "2"]  # fmt: skip


def test_engines_of_each_device():
    assert "torch-max-autotune" in engines.names_for("cuda")
    assert "torch-max-autotune" not in engines.names_for("cpu")
    assert "onnxruntime" not in engines.names_for("cuda")
    engines.check_names(["nncomp", "torch-reduce-overhead"], "cuda")
    with pytest.raises(ValueError, match="'openvino' is not measured on cuda"):
        engines.check_names(["openvino"], "cuda")
    with pytest.raises(ValueError, match="device is 'gpu'; expected one of cpu, cuda"):
        Settings(device="gpu")
    with pytest.raises(ValueError, match="precision is 'half'"):
        Settings(precision="half")


@pytest.mark.parametrize("more", [[], ["--train", "--target", "i64[B]<3"]], ids=["run", "train"])
def test_a_model_is_measured_on_the_interpreter(tmp_path, capsys, more):
    (tmp_path / "model.py").write_text(MODEL)
    code = cli.main(["bench", f"{tmp_path}/model.py:small", *QUICK, *more])
    out, err = capsys.readouterr()
    assert code == 0, out + err
    assert "on PTX simulator, products of float32: strict" in out and "nncomp" in out


def test_without_a_gpu_the_command_says_what_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("NNCOMP_PTX_DEVICE", "none")
    (tmp_path / "model.py").write_text(MODEL)
    assert cli.main(["bench", f"{tmp_path}/model.py:small", *QUICK]) == 2
    assert "--device cuda: NNCOMP_PTX_DEVICE is 'none'" in capsys.readouterr().err
