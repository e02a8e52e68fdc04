"""The nodes of the tape under torch's name, autograd.graph.Node."""

from __future__ import annotations

from .tape import TapeNode as Node

__all__ = ["Node"]
