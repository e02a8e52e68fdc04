"""nn.functional: the functions behind the layers, with torch's names and signatures.

All are compositions of primitives and thus can be traced into a static graph: none reads the value
of a tensor to decide what to do. Those that torch has in both namespaces are the same objects.
"""

from __future__ import annotations

from ..functions import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    cosine_similarity,
    linear,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    one_hot,
    pixel_shuffle,
    pixel_unshuffle,
)
from . import _activation_functions, _loss_functions, _norm_functions, _pool_functions
from . import _structure_functions as _structure
from ._activation_functions import *  # noqa: F403
from ._loss_functions import *  # noqa: F403
from ._norm_functions import *  # noqa: F403
from ._pool_functions import *  # noqa: F403
from ._structure_functions import *  # noqa: F403

__all__ = [
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "conv1d", "conv2d", "conv3d", "conv_transpose1d",
    "conv_transpose2d", "conv_transpose3d", "cosine_similarity", "linear", "max_pool1d",
    "max_pool2d", "max_pool3d", "one_hot", "pixel_shuffle", "pixel_unshuffle",
    *_activation_functions.__all__, *_loss_functions.__all__, *_norm_functions.__all__,
    *_pool_functions.__all__, *_structure.__all__,
]  # fmt: skip
