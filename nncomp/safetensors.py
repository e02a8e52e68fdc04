"""The safetensors format: a dict of named tensors in a file that holds data only.

The functions are those of safetensors.torch, on the tensors of this package; the safetensors
library reads and checks the header and writes the bytes. A file holds dense row-major tensors, and
none twice: save_model() keeps one name of tied parameters and notes the others as metadata.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from safetensors import SafetensorError, TensorSpec, deserialize, serialize, serialize_file
from safetensors import safe_open as _open

from .device import require_cpu
from .file_replacement import replacing
from .ir import DType
from .ir import types as dt
from .storage import span
from .tensor import Tensor

CODES = {
    "BOOL": dt.bool_, "U8": dt.uint8, "I8": dt.int8, "I16": dt.int16, "I32": dt.int32,
    "I64": dt.int64, "F16": dt.float16, "BF16": dt.bfloat16, "F32": dt.float32, "F64": dt.float64,
}  # fmt: skip
RESERVED = "__metadata__"  # the key of the header that is no tensor

Tensors = Mapping[str, Any]
Metadata = Mapping[str, str]


# -- saving ---------------------------------------------------------------------------------------


def save_file(tensors: Tensors, filename: Any, metadata: Metadata | None = None) -> None:
    """Write a dict of tensors to a path, which is replaced only once the whole file is written.

    ValueError for what is not a tensor or not contiguous, RuntimeError for tensors that share
    memory; `metadata` may hold strings.
    """
    arrays = _arrays(tensors)
    notes = _checked_metadata(metadata)
    with replacing(os.fsdecode(filename)) as temporary:
        try:
            serialize_file(_specs(arrays), temporary, metadata=notes)
        except SafetensorError as error:
            raise RuntimeError(f"{os.fsdecode(filename)!r} was not written: {error}") from error


def save(tensors: Tensors, metadata: Metadata | None = None) -> bytes:
    """The bytes of the file that save_file() writes; the same errors."""
    arrays = _arrays(tensors)
    return bytes(serialize(_specs(arrays), metadata=_checked_metadata(metadata)))


def save_model(
    model: Any, filename: Any, metadata: Metadata | None = None, force_contiguous: bool = True
) -> None:
    """Write a model's state_dict; of tensors that share memory one name is kept.

    The metadata then says, for each name left out, which one holds its values; load_model() needs
    no more. RuntimeError if none of the sharing tensors covers all the memory.
    """
    state = dict(model.state_dict())
    notes = dict(metadata or {})
    for kept, others in _duplicates(state).items():
        for name in others:
            notes.setdefault(name, kept)
            del state[name]
    if force_contiguous:
        state = {name: x.contiguous() for name, x in state.items()}
    save_file(state, filename, notes or None)


def _arrays(tensors: Tensors) -> dict[str, np.ndarray]:
    """The checked arrays of a dict of tensors, little-endian."""
    if not isinstance(tensors, Mapping):
        raise ValueError(
            f"a safetensors file holds a dict of names and tensors, got {type(tensors).__name__}"
        )
    for name, x in tensors.items():
        if not isinstance(name, str) or name == RESERVED:
            raise ValueError(f"a tensor's name must be a string other than {RESERVED!r}: {name!r}")
        if not isinstance(x, Tensor):
            raise ValueError(
                f"a safetensors file holds tensors only, but {name!r} is a {type(x).__name__}; "
                "save() to a .pt file keeps other objects"
            )
    arrays = {name: x.detach().numpy_array("saving") for name, x in tensors.items()}
    for name, array in arrays.items():
        if not array.flags.c_contiguous:
            raise ValueError(
                f"a safetensors file holds contiguous tensors, but {name!r} is not: save its "
                ".contiguous(), or save the tensor that it is a part of"
            )
    shared = [sorted(names) for names in _shared(arrays)]
    if shared:
        raise RuntimeError(
            f"these tensors share memory, which a safetensors file cannot express: {shared}; use "
            "save_model(), or save a .clone() of each"
        )
    if sys.byteorder == "big":
        return {name: array.byteswap() for name, array in arrays.items()}
    return arrays


def _specs(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """What the library writes: addresses, so that `arrays` must outlive them."""
    return {
        name: TensorSpec(
            dtype=array.dtype.name,
            shape=array.shape,
            data_ptr=array.__array_interface__["data"][0],
            data_len=array.nbytes,
        )
        for name, array in arrays.items()
    }


def _checked_metadata(metadata: Metadata | None) -> dict[str, str] | None:
    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"metadata of a safetensors file are strings, got {key!r}: {value!r}")
    return None if metadata is None else dict(metadata)


# -- shared memory --------------------------------------------------------------------------------


def _shared(arrays: dict[str, np.ndarray]) -> list[set[str]]:
    """Groups of two names or more whose memory overlaps."""
    spans = sorted((*span(array), name) for name, array in arrays.items() if array.size)
    groups: list[set[str]] = []
    end = -1
    for low, high, name in spans:
        if low >= end:
            groups.append(set())
        groups[-1].add(name)
        end = max(end, high)
    return [group for group in groups if len(group) > 1]


def _duplicates(state: Tensors, preferred: Any = ()) -> dict[str, list[str]]:
    """{name to keep: names that share its memory}; a preferred name is kept before others."""
    arrays = {name: x.detach().numpy_array("saving") for name, x in state.items()}
    found = {}
    for group in _shared(arrays):
        spans = [span(arrays[name]) for name in group]
        whole = max(high for _, high in spans) - min(low for low, _ in spans)
        complete = sorted(name for name in group if arrays[name].nbytes == whole)
        if not complete:
            raise RuntimeError(
                f"these tensors share memory, but none covers all of it: {sorted(group)}; make "
                "them independent with .clone() before saving or loading the model"
            )
        kept = next((name for name in complete if name in preferred), complete[0])
        found[kept] = sorted(group - {kept})
    return found


# -- loading --------------------------------------------------------------------------------------


class safe_open:  # noqa: N801  the library's name
    """A file whose tensors are read as they are asked for; a context manager.

    RuntimeError for a damaged file. `framework` is there for programs written for torch.
    """

    def __init__(self, filename: Any, framework: str = "pt", device: Any = "cpu") -> None:
        require_cpu(device)
        self._name = repr(os.fsdecode(filename))
        with open(filename, "rb"):  # for Python's own errors of missing files and folders
            pass
        # Not memory-mapped: reading a map of a file that was cut off meanwhile ends the process.
        with _explained(self._name):
            self._file = _open(os.fsdecode(filename), framework="numpy", backend="pread")

    def __enter__(self) -> safe_open:
        self._file.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.__exit__(*error)

    def keys(self) -> list[str]:
        """Names of the tensors."""
        return self._file.keys()

    def offset_keys(self) -> list[str]:
        """Names of the tensors in the order of their bytes."""
        return self._file.offset_keys()

    def metadata(self) -> dict[str, str] | None:
        """The strings beside the tensors; None if there are none."""
        return self._file.metadata()

    def get_tensor(self, name: str) -> Tensor:
        """One tensor; KeyError if there is none of that name, TypeError for other dtypes."""
        return self.get_slice(name)[...]

    def get_tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        return {name: self.get_tensor(name) for name in self.keys()}

    def get_slice(self, name: str) -> FileSlice:
        """A tensor of the file of which `[...]` reads a part."""
        if name not in self._file.keys():
            raise KeyError(f"{self._name} has no tensor {name!r}")
        return FileSlice(self._file, name, self._name)


class FileSlice:
    """A tensor in a file: shape and dtype are known, elements are read by indexing."""

    def __init__(self, file: Any, name: str, where: str) -> None:
        self._file, self._name, self._where = file, name, where
        self._slice = file.get_slice(name)

    def get_shape(self) -> list[int]:
        """The shape."""
        return self._slice.get_shape()

    def get_dtype(self) -> str:
        """The dtype as the format spells it, `F32`."""
        return self._slice.get_dtype()

    def __getitem__(self, index: Any) -> Tensor:
        """The elements at slices or numbers; all of them for `...`."""
        _dtype(self.get_dtype(), self._name, self._where)
        with _explained(self._where):
            if index is Ellipsis:
                return Tensor._wrap(self._file.get_tensor(self._name))
            return Tensor._wrap(np.asarray(self._slice[index]))


def load_file(filename: Any, device: Any = "cpu") -> dict[str, Tensor]:
    """The tensors of a safetensors file by name.

    RuntimeError for a file that is cut off or damaged; TypeError names a tensor whose dtype does
    not exist here.
    """
    with safe_open(filename, device=device) as file:
        return file.get_tensors()


def load(data: bytes) -> dict[str, Tensor]:
    """The tensors of the content of a safetensors file; the same errors."""
    return load_from(bytes(data), "the safetensors data")


def load_from(data: bytes, where: str) -> dict[str, Tensor]:
    """load() whose errors say `where` the data comes from."""
    with _explained(where):
        found = deserialize(data)
    return {name: _tensor(part, name, where) for name, part in found}


def load_model(
    model: Any, filename: Any, strict: bool = True, device: Any = "cpu"
) -> tuple[list[str], list[str]]:
    """Copy a file's tensors into a model: (names the file lacks, names the model lacks).

    Of names that share memory in the model, the file has one. RuntimeError when either list is not
    empty, unless `strict` is False.
    """
    state = load_file(filename, device)
    duplicates = _duplicates(model.state_dict(), preferred=state)
    result = model.load_state_dict(state, strict=False)
    missing, unexpected = set(result[0]), list(result[1])
    for name in (name for others in duplicates.values() for name in others):
        if name in missing:
            missing.remove(name)
        else:
            unexpected.append(name)
    if strict and (missing or unexpected):
        lines = [f"Error(s) in loading state_dict for {type(model).__name__}:"]
        for kind, names in (("Missing", sorted(missing)), ("Unexpected", sorted(unexpected))):
            if names:
                listed = ", ".join(f'"{name}"' for name in names)
                lines.append(f"    {kind} key(s) in state_dict: {listed}")
        raise RuntimeError("\n".join(lines))
    return sorted(missing), unexpected


def _dtype(code: str, name: str, where: str) -> DType:
    found = CODES.get(code)
    if found is None:
        raise TypeError(
            f"the tensor {name!r} of {where} has the dtype {code}, which is not supported; have "
            f"{', '.join(CODES)}"
        )
    return found


def _tensor(part: dict[str, Any], name: str, where: str) -> Tensor:
    """A tensor on the bytes of one entry that the library read."""
    dtype, shape = _dtype(part["dtype"], name, where), tuple(part["shape"])
    if not math.prod(shape):
        return Tensor._wrap(np.zeros(shape, dtype.numpy))
    array = np.frombuffer(part["data"], dtype.numpy).reshape(shape)
    return Tensor._wrap(array.byteswap() if sys.byteorder == "big" else array)


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Turn the library's errors into ones that name the file."""
    try:
        yield
    except SafetensorError as error:
        raise RuntimeError(
            f"{where} is not a safetensors file, or it is cut off or damaged: {error}"
        ) from error


__all__ = [
    "FileSlice", "load", "load_file", "load_model", "safe_open", "save",
    "save_file", "save_model",
]  # fmt: skip
