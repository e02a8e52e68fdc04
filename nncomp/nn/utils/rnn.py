"""Sequences of different lengths in one tensor: padded, or packed step by step (nn.utils.rnn).

A PackedSequence holds, for each time step, the rows of the sequences that are still running. Its
``batch_sizes`` are part of the program: while a graph is recorded they must be known, which they
are when the lengths were given as Python integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import nncomp

from ...autograd.modes import state
from ...tensor import Tensor
from ...trace_error import trace_error


def fixed(values: Sequence[int]) -> Tensor:
    """An int64 vector whose values stay readable while a graph is recorded."""
    made = nncomp.tensor(list(values), dtype=nncomp.int64)
    made._fixed_values = (made._version, tuple(values))
    return made


def read_fixed(tensor: Tensor, what: str) -> list[int]:
    """The integers of a vector; TraceError if a graph is recorded that they are no part of."""
    version, values = getattr(tensor, "_fixed_values", (None, ()))
    if version is not None and version == tensor._version:
        return list(values)
    if state.tracer is not None:
        raise trace_error(
            f"{what} must be known while a graph is recorded, as it decides which steps there are, "
            f"but it is a tensor {tensor.type_}. Give the lengths as a list of Python integers."
        )
    return tensor.tolist()


class PackedSequence_(NamedTuple):
    """The fields of a PackedSequence."""

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(PackedSequence_):
    """``data`` (sum of lengths, *) in time order, and how many rows belong to each step.

    Made by pack_padded_sequence and pack_sequence; all sequences run from long to short, and
    ``sorted_indices`` says which of the batch stands where.
    """

    def __new__(
        cls,
        data: Any,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:
            if not isinstance(data, (list, tuple)) or len(data) != 2:
                raise AssertionError("expected data to be a (data, batch_sizes) pair")
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Convert ``data`` by Tensor.to; the sequence itself if nothing changes."""
        data = self.data.to(*args, **kwargs)
        return self if data is self.data else type(self)(data, *self[1:])

    def cpu(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Move to the CPU."""
        return self.to("cpu")

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """RuntimeError: tensors live on the CPU."""
        return self.to("cuda")

    def pin_memory(self) -> PackedSequence:
        """The sequence; page-locked memory only matters for other devices."""
        return self

    @property
    def is_cuda(self) -> bool:
        """False."""
        return False

    def is_pinned(self) -> bool:
        """False."""
        return False


def _conversion(name: str, dtype: Any) -> Any:
    def convert(self: PackedSequence) -> PackedSequence:
        return self.to(dtype=dtype)

    convert.__name__, convert.__doc__ = name, f"Convert ``data`` to {dtype}."
    return convert


for _name, _dtype in (
    ("double", nncomp.float64), ("float", nncomp.float32), ("half", nncomp.float16),
    ("long", nncomp.int64), ("int", nncomp.int32), ("short", nncomp.int16),
    ("char", nncomp.int8), ("byte", nncomp.uint8),
):  # fmt: skip
    setattr(PackedSequence, _name, _conversion(_name, _dtype))


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes ``permutation``, a vector; None for None."""
    if permutation is None:
        return None
    if permutation.is_traced:
        return nncomp.argsort(permutation)
    order = read_fixed(permutation, "the order of the sequences")
    inverse = [0] * len(order)
    for place, number in enumerate(order):
        inverse[number] = place
    return fixed(inverse)


def steps_of(lengths: Sequence[int]) -> list[int]:
    """How many of the sequences, sorted from long to short, run at each step."""
    return [sum(n > step for n in lengths) for step in range(max(lengths, default=0))]


def _lengths(lengths: Any) -> list[int]:
    if isinstance(lengths, Tensor):
        if lengths.dim() != 1 or lengths.dtype != nncomp.int64:
            raise RuntimeError(
                "'lengths' argument should be a 1D CPU int64 tensor, but got "
                f"{lengths.dim()}D cpu {lengths.type()} tensor"
            )
        return read_fixed(lengths, "the lengths of the sequences")
    return [int(n) for n in lengths]


def _check_lengths(lengths: list[int], batch: int, enforce_sorted: bool) -> None:
    if len(lengths) != batch:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(lengths)} "
            f"(batch_size={batch})"
        )
    if any(n <= 0 for n in lengths):
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' "
            "that is <= 0"
        )
    if enforce_sorted and sorted(lengths, reverse=True) != lengths:
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You "
            "can pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to "
            "sidestep this requirement if you do not need ONNX exportability."
        )


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack ``input`` (time, batch, *), or (batch, time, *) with ``batch_first``.

    ``lengths`` has one integer per sequence, from long to short unless ``enforce_sorted`` is False.
    """
    if input.numel() == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    if batch_first:
        input = input.transpose(0, 1)
    time, batch = input.shape[:2]
    known = _lengths(lengths)
    _check_lengths(known, batch, enforce_sorted)
    order: Tensor | None = None
    if not enforce_sorted:
        ranks = sorted(range(batch), key=lambda number: -known[number])
        order = fixed(ranks)
        input = nncomp.index_select(input, 1, order)
        known = [known[number] for number in ranks]
    sizes = steps_of(known)
    if len(sizes) > time:
        raise RuntimeError(
            f"Expected the longest of lengths, {len(sizes)}, to be at most the number of time "
            f"steps, {time}, of input {list(input.shape)}"
        )
    rows = [step * batch + number for step, size in enumerate(sizes) for number in range(size)]
    flat = input.reshape([time * batch, *input.shape[2:]])
    return PackedSequence(nncomp.index_select(flat, 0, fixed(rows)), fixed(sizes), order)


def padded_rows(sizes: Sequence[int]) -> list[int]:
    """For each place of (time, batch) its row in packed data; -1 where a sequence has ended."""
    rows, start = [], 0
    for size in sizes:
        rows += [start + number if number < size else -1 for number in range(sizes[0])]
        start += size
    return rows


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The padded tensor (time, batch, *) and the lengths; the inverse of pack_padded_sequence.

    ``total_length`` pads beyond the longest sequence.
    """
    sizes = read_fixed(sequence.batch_sizes, "batch_sizes of a PackedSequence")
    time, batch = len(sizes), sizes[0]
    if total_length is not None:
        if total_length < time:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, "
                f"but got total_length={total_length} and max sequence length being {time}"
            )
        time = total_length
    data = sequence.data
    rows = padded_rows(sizes) + [-1] * ((time - len(sizes)) * batch)
    picked = nncomp.index_select(data, 0, fixed([max(row, 0) for row in rows]))
    inside = nncomp.tensor([row >= 0 for row in rows]).reshape([-1] + [1] * (data.dim() - 1))
    padded = nncomp.where(inside, picked, padding_value).to(data.dtype)
    padded = padded.reshape([time, batch, *data.shape[1:]])
    lengths = [sum(size > number for size in sizes) for number in range(batch)]
    if batch_first:
        padded = padded.transpose(0, 1)
    order = sequence.unsorted_indices
    if order is None:
        return padded, fixed(lengths)
    places = read_fixed(order, "the order of the sequences")
    padded = nncomp.index_select(padded, 0 if batch_first else 1, order)
    return padded, fixed([lengths[place] for place in places])


def pad_sequence(
    sequences: Any,
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stack sequences (length, *) of different lengths into (longest, batch, *)."""
    if isinstance(sequences, Tensor):
        sequences = sequences.unbind(0)
    elif not isinstance(sequences, Iterable):
        raise RuntimeError(
            "pad_sequence: Expected iterable for input sequences, but got arg of type: "
            f"{type(sequences)}"
        )
    sequences = tuple(sequences)
    if padding_side not in ("left", "right"):
        raise RuntimeError(
            f"Expected padding_side to be one of left or right, but got {padding_side}."
        )
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    longest = max(sequence.shape[0] for sequence in sequences)
    padded = []
    for sequence in sequences:
        missing = longest - sequence.shape[0]
        sides = [missing, 0] if padding_side == "left" else [0, missing]
        widths = [0, 0] * (sequence.dim() - 1) + sides
        padded.append(nncomp.constant_pad_nd(sequence, widths, padding_value))
    return nncomp.stack(padded, 0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False
) -> list[Tensor]:
    """The sequences that pad_sequence put together, without their padding."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    known = read_fixed(lengths, "the lengths of the sequences")
    return [padded_sequences[number][:n] for number, n in enumerate(known)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack a list of sequences (length, *)."""
    lengths = [sequence.shape[0] for sequence in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The list of sequences that were packed."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)


__all__ = [
    "PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence",
    "pad_packed_sequence", "pad_sequence", "unpack_sequence", "unpad_sequence",
]  # fmt: skip
