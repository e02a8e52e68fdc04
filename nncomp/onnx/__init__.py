"""ONNX files: `export` writes a model as one, `load` makes a Module of one.

Needs the package onnx (`pip install nncomp[onnx]`); it is imported at the first use.
"""

from __future__ import annotations

from .export import export
from .export_builder import OnnxExportError
from .load import OnnxModule, load
from .load_file import OnnxLoadError
from .load_steps import OnnxRunError

__all__ = ["OnnxExportError", "OnnxLoadError", "OnnxModule", "OnnxRunError", "export", "load"]
