"""Helpers that are not part of the tensor or layer namespaces (torch.utils)."""

from __future__ import annotations

from . import hooks

__all__ = ["hooks"]
