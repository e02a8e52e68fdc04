"""torch's import paths of layers: nn.modules.conv, nn.modules.module and so on.

They are the modules of this package under the names that torch gives to their contents.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_HERE = __name__.rpartition(".")[0]
_SOURCES = {
    "activation": ("activation", "attention", "noise"),
    "adaptive": ("adaptive",),
    "batchnorm": ("batchnorm", "parallel", "lazy"),
    "channelshuffle": ("upsampling",),
    "container": ("container",),
    "conv": ("conv", "lazy"),
    "distance": ("distance",),
    "dropout": ("dropout", "noise"),
    "flatten": ("flatten",),
    "fold": ("upsampling",),
    "instancenorm": ("batchnorm", "lazy"),
    "lazy": ("_lazy",),
    "linear": ("linear", "lazy", "attention"),
    "loss": ("loss", "margin_loss"),
    "module": ("module",),
    "normalization": ("normalization", "noise"),
    "padding": ("padding",),
    "pixelshuffle": ("upsampling",),
    "pooling": ("pooling", "unpooling"),
    "rnn": ("rnn", "rnn_cells"),
    "sparse": ("sparse", "embedding_bag"),
    "transformer": ("transformer",),
    "upsampling": ("upsampling",),
}


def _alias(name: str, sources: tuple[str, ...]) -> ModuleType:
    """One module with everything that ``sources`` define."""
    parts = [import_module(f"{_HERE}.{source}") for source in sources]
    made = ModuleType(f"{__name__}.{name}", parts[0].__doc__)
    for part in reversed(parts):
        for key, value in vars(part).items():
            if getattr(value, "__module__", None) == part.__name__:
                setattr(made, key, value)
    made.__all__ = [key for key in vars(made) if not key.startswith("_")]
    sys.modules[made.__name__] = made
    return made


__path__: list[str] = []  # so that nncomp.nn.modules.conv can be imported
for _name, _parts in _SOURCES.items():
    globals()[_name] = _alias(_name, _parts)


def __getattr__(name: str) -> Any:
    package = import_module(_HERE)
    if name in package.__all__:
        return getattr(package, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
