"""Layers and losses with torch.nn's names: Module, containers, functional, init, utils."""

from __future__ import annotations

from . import functional, init, utils
from ._uninitialized import *  # noqa: F403
from ._uninitialized import __all__ as __uninitialized
from .activation import *  # noqa: F403
from .activation import __all__ as _activation
from .adaptive import *  # noqa: F403
from .adaptive import __all__ as _adaptive
from .attention import *  # noqa: F403
from .attention import __all__ as _attention
from .batchnorm import *  # noqa: F403
from .batchnorm import __all__ as _batchnorm
from .container import *  # noqa: F403
from .container import __all__ as _container
from .conv import *  # noqa: F403
from .conv import __all__ as _conv
from .distance import *  # noqa: F403
from .distance import __all__ as _distance
from .dropout import *  # noqa: F403
from .dropout import __all__ as _dropout
from .embedding_bag import *  # noqa: F403
from .embedding_bag import __all__ as _embedding_bag
from .flatten import *  # noqa: F403
from .flatten import __all__ as _flatten
from .lazy import *  # noqa: F403
from .lazy import __all__ as _lazy
from .linear import *  # noqa: F403
from .linear import __all__ as _linear
from .loss import *  # noqa: F403
from .loss import __all__ as _loss
from .margin_loss import *  # noqa: F403
from .margin_loss import __all__ as _margin_loss
from .module import Module
from .noise import *  # noqa: F403
from .noise import __all__ as _noise
from .normalization import *  # noqa: F403
from .normalization import __all__ as _normalization
from .padding import *  # noqa: F403
from .padding import __all__ as _padding
from .parallel import *  # noqa: F403
from .parallel import __all__ as _parallel
from .parameter import Buffer, Parameter
from .pooling import *  # noqa: F403
from .pooling import __all__ as _pooling
from .rnn import *  # noqa: F403
from .rnn import __all__ as _rnn
from .rnn_cells import *  # noqa: F403
from .rnn_cells import __all__ as _rnn_cells
from .sparse import Embedding
from .transformer import *  # noqa: F403
from .transformer import __all__ as _transformer
from .unpooling import *  # noqa: F403
from .unpooling import __all__ as _unpooling
from .upsampling import *  # noqa: F403
from .upsampling import __all__ as _upsampling

from . import modules  # isort: skip  # after all layers

__all__ = [
    "Buffer", "Embedding", "Module", "Parameter", "functional", "init", "modules",
    "utils",
    *_activation, *_batchnorm, *_container, *_conv, *_dropout, *_flatten, *_linear, *_loss,
    *_normalization, *_pooling, *_rnn, *_rnn_cells, *_attention, *_transformer, *_padding,
    *_unpooling, *_upsampling, *_margin_loss, *_adaptive, *_distance, *_noise, *_lazy,
    *_embedding_bag, *_parallel, *__uninitialized,
]  # fmt: skip
