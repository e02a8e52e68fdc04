"""ONNX files: `export` writes a model as one.

Needs the package onnx (`pip install nncomp[onnx]`); it is imported at the first use.
"""

from __future__ import annotations

from .export import export
from .export_builder import OnnxExportError

__all__ = ["OnnxExportError", "export"]
