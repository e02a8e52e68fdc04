"""The compiler's language: typed graphs over whole tensors, their rewrites, and kernel loops.

Knows no device and no front end; imports only numpy, ml_dtypes, networkx and the standard library.
"""

from . import ops
from .graph import Graph, Node, build_node, input_node
from .op import OPS, Op, OpError
from .types import DType, TensorType

__all__ = [
    "OPS",
    "DType",
    "Graph",
    "Node",
    "Op",
    "OpError",
    "TensorType",
    "build_node",
    "input_node",
    "ops",
]
