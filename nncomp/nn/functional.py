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
from ._attention_functions import *  # noqa: F403
from ._attention_functions import __all__ as _attention_functions_names
from ._bag_functions import *  # noqa: F403
from ._bag_functions import __all__ as _bag_functions_names
from ._ctc_functions import *  # noqa: F403
from ._ctc_functions import __all__ as _ctc_functions_names
from ._distance_functions import *  # noqa: F403
from ._distance_functions import __all__ as _distance_functions_names
from ._fold_functions import *  # noqa: F403
from ._fold_functions import __all__ as _fold_functions_names
from ._grid_functions import *  # noqa: F403
from ._grid_functions import __all__ as _grid_functions_names
from ._inplace_functions import *  # noqa: F403
from ._inplace_functions import __all__ as _inplace_functions_names
from ._loss_functions import *  # noqa: F403
from ._margin_functions import *  # noqa: F403
from ._margin_functions import __all__ as _margin_functions_names
from ._noise_functions import *  # noqa: F403
from ._noise_functions import __all__ as _noise_functions_names
from ._norm_functions import *  # noqa: F403
from ._pad_functions import *  # noqa: F403
from ._pad_functions import __all__ as _pad_functions_names
from ._pool_functions import *  # noqa: F403
from ._resample_functions import *  # noqa: F403
from ._resample_functions import __all__ as _resample_functions_names
from ._response_functions import *  # noqa: F403
from ._response_functions import __all__ as _response_functions_names
from ._structure_functions import *  # noqa: F403
from ._unpool_functions import *  # noqa: F403
from ._unpool_functions import __all__ as _unpool_functions_names

__all__ = [
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "conv1d", "conv2d", "conv3d", "conv_transpose1d",
    "conv_transpose2d", "conv_transpose3d", "cosine_similarity", "linear", "max_pool1d",
    "max_pool2d", "max_pool3d", "one_hot", "pixel_shuffle", "pixel_unshuffle",
    *_activation_functions.__all__, *_loss_functions.__all__, *_norm_functions.__all__,
    *_pool_functions.__all__, *_structure.__all__, *_attention_functions_names,
    *_pad_functions_names, *_unpool_functions_names, *_resample_functions_names,
    *_grid_functions_names, *_fold_functions_names, *_distance_functions_names,
    *_margin_functions_names, *_ctc_functions_names, *_noise_functions_names,
    *_response_functions_names, *_inplace_functions_names, *_bag_functions_names,
]  # fmt: skip
