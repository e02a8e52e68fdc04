"""Questions about tensors and shapes that torch answers in its own namespace."""

from __future__ import annotations

from typing import Any

from ..size import Size
from .base import default_float, is_tensor, no_out
from .creation import arange, full_like
from .promotion import broadcast_shapes as _broadcast_shapes


def broadcast_shapes(*shapes: Any) -> Size:
    """The shape to which all shapes broadcast."""
    return Size(_broadcast_shapes(*((s,) if isinstance(s, int) else tuple(s) for s in shapes)))


def is_same_size(input: Any, other: Any) -> bool:
    """True if both shapes are equal."""
    return input.shape == other.shape


def is_storage(obj: Any) -> bool:
    """True for what Tensor.storage() and untyped_storage() give."""
    from ..storage import TypedStorage, UntypedStorage

    return isinstance(obj, (TypedStorage, UntypedStorage))


def is_inference(input: Any) -> bool:
    """False: tensors made in inference_mode are ordinary ones here."""
    return False


def is_distributed(input: Any) -> bool:
    """False: there are no distributed tensors."""
    return False


def get_device(input: Any) -> int:
    """-1, as for every CPU tensor."""
    return -1


def typename(obj: Any) -> str:
    """The type as text, such as "torch.FloatTensor" for a float32 tensor."""
    if is_tensor(obj):
        return obj.type()
    module = getattr(type(obj), "__module__", "")
    name = getattr(type(obj), "__qualname__", type(obj).__name__)
    return name if module in ("", "builtins") else f"{module}.{name}"


def fill(input: Any, value: Any) -> Any:
    """A tensor like `input` with `value` (a number or 0-d tensor) everywhere."""
    if is_tensor(value):
        return value.to(input.dtype).expand(input.shape).clone()
    return full_like(input, value)


def range(start: float = 0, end: float | None = None, step: float = 1, **options: Any) -> Any:
    """start, start + step, ... up to and with `end`; arange() is the better choice."""
    no_out("range", options.pop("out", None))
    if end is None:
        start, end = 0, start
    options.setdefault("dtype", default_float())
    count = int((end - start) / step) + 1
    return arange(count, dtype=options["dtype"]) * step + start
