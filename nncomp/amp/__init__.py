"""Mixed precision with torch.amp's names: `autocast` to bfloat16 or float16, and GradScaler.

Without autocast, computations keep the dtype of their operands: float32 stays strict.
"""

from __future__ import annotations

from .autocast_mode import autocast, custom_bwd, custom_fwd, is_autocast_available
from .grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]
