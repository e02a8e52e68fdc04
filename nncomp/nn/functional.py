"""nn.functional: the functions behind the layers, with torch's names and signatures.

All are compositions of the primitives in the ``nncomp`` namespace and thus can be traced into a
static graph: none reads the value of a tensor to decide what to do.
"""

from __future__ import annotations

from . import _activation_functions, _loss_functions, _norm_functions, _pool_functions
from . import _structure_functions as _structure
from ._activation_functions import *  # noqa: F403
from ._loss_functions import *  # noqa: F403
from ._norm_functions import *  # noqa: F403
from ._pool_functions import *  # noqa: F403
from ._structure_functions import *  # noqa: F403

__all__ = [
    *_activation_functions.__all__,
    *_loss_functions.__all__,
    *_norm_functions.__all__,
    *_pool_functions.__all__,
    *_structure.__all__,
]
