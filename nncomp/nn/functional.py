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
from ..functions.argument_errors import explain_all
from . import (
    _activation_functions,
    _attention_functions,
    _bag_functions,
    _ctc_functions,
    _distance_functions,
    _fold_functions,
    _grid_functions,
    _inplace_functions,
    _loss_functions,
    _margin_functions,
    _noise_functions,
    _norm_functions,
    _pad_functions,
    _pool_functions,
    _resample_functions,
    _response_functions,
    _structure_functions,
    _unpool_functions,
)
from ._activation_functions import *  # noqa: F403
from ._attention_functions import *  # noqa: F403
from ._bag_functions import *  # noqa: F403
from ._ctc_functions import *  # noqa: F403
from ._distance_functions import *  # noqa: F403
from ._fold_functions import *  # noqa: F403
from ._grid_functions import *  # noqa: F403
from ._inplace_functions import *  # noqa: F403
from ._loss_functions import *  # noqa: F403
from ._margin_functions import *  # noqa: F403
from ._noise_functions import *  # noqa: F403
from ._norm_functions import *  # noqa: F403
from ._pad_functions import *  # noqa: F403
from ._pool_functions import *  # noqa: F403
from ._resample_functions import *  # noqa: F403
from ._response_functions import *  # noqa: F403
from ._structure_functions import *  # noqa: F403
from ._unpool_functions import *  # noqa: F403

__all__ = [
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "conv1d", "conv2d", "conv3d", "conv_transpose1d",
    "conv_transpose2d", "conv_transpose3d", "cosine_similarity", "linear", "max_pool1d",
    "max_pool2d", "max_pool3d", "one_hot", "pixel_shuffle", "pixel_unshuffle",
    *_activation_functions.__all__, *_attention_functions.__all__, *_bag_functions.__all__,
    *_ctc_functions.__all__, *_distance_functions.__all__, *_fold_functions.__all__,
    *_grid_functions.__all__, *_inplace_functions.__all__, *_loss_functions.__all__,
    *_margin_functions.__all__, *_noise_functions.__all__, *_norm_functions.__all__,
    *_pad_functions.__all__, *_pool_functions.__all__, *_resample_functions.__all__,
    *_response_functions.__all__, *_structure_functions.__all__, *_unpool_functions.__all__,
]  # fmt: skip

explain_all(globals(), __all__)
