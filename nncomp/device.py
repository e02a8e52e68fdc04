"""device: where a tensor lives: the CPU, or a GPU (nncomp/cuda); others can only be named."""

from __future__ import annotations

from typing import Any

KINDS = ("cpu", "cuda", "mps", "xpu", "ipu", "hpu", "meta")


class device:  # noqa: N801  (torch's name)
    """A device such as device('cpu') or device('cuda', 1); equal by type and index."""

    __slots__ = ("type", "index")

    def __init__(self, type: Any = "cpu", index: int | None = None):
        if isinstance(type, device):
            type, index = type.type, type.index
        elif isinstance(type, int):
            type, index = "cuda", type
        elif not isinstance(type, str):
            raise TypeError(f"device() expects a string, an int or a device, got {type!r}")
        kind, colon, number = type.partition(":")
        if kind not in KINDS or (colon and not number.isdigit()):
            known = ", ".join(KINDS)
            raise RuntimeError(
                f"Expected one of {known} device type at start of device string: {type}"
            )
        if colon and index is not None:
            raise RuntimeError(f"the device index is given twice: {type!r} and index {index}")
        self.type = kind
        self.index = int(number) if colon else index

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type='{self.type}'{index})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: Any) -> bool:
        same = isinstance(other, device)
        return same and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self):
        return device, (str(self),)


CPU = device("cpu")


def require_cpu(where: Any) -> device:
    """The CPU device; RuntimeError, in one sentence, for any other: for what is only there."""
    found = CPU if where is None else device(where)
    if found.type != "cpu":
        raise RuntimeError(
            f"this works on the CPU only, not on device '{found}'; tensors live on the CPU here: "
            "use device='cpu', and move the result with .to()"
        )
    return CPU
