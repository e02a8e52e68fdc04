"""save and load: torch's .pt / .pth files, written and read without torch.

A file is a zip with uncompressed members under one folder: data.pkl (a pickle whose tensors refer
to storages), data/<key> (the bytes of each storage), byteorder and version. Reading makes data
only: see pickle_reader. Tensors that shared memory when they were saved share it after loading.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np

from .device import require_cpu
from .file_replacement import replacing
from .ir import DType
from .ir import types as dt
from .pickle_reader import Allowed, PickleReader
from .pickle_writer import Call, Global, Persistent, PickleWriter
from .size import Size
from .storage import span
from .tensor import Tensor

STORAGES = {
    dt.float32: "FloatStorage",
    dt.float64: "DoubleStorage",
    dt.float16: "HalfStorage",
    dt.bfloat16: "BFloat16Storage",
    dt.int64: "LongStorage",
    dt.int32: "IntStorage",
    dt.int16: "ShortStorage",
    dt.int8: "CharStorage",
    dt.uint8: "ByteStorage",
    dt.bool_: "BoolStorage",
}
SAFETENSORS = ".safetensors"
ZIP = b"PK\x03\x04"
ALIGNMENT = 64  # so that a reader can map storages into memory
OPTIONS = ("pickle_module", "pickle_protocol", "_use_new_zipfile_serialization",
           "_disable_byteorder_record")  # fmt: skip


# -- saving ---------------------------------------------------------------------------------------


class _Storages:
    """The distinct pieces of memory of the tensors of one file, by key."""

    def __init__(self) -> None:
        self.keys: dict[tuple[int, int], str] = {}
        self.bytes: list[np.ndarray] = []
        self.alive: list[np.ndarray] = []

    def place(self, x: Tensor) -> tuple[Persistent, int, tuple[int, ...]]:
        """(reference to the storage, offset, strides) of a tensor; strides in elements."""
        array = x.detach().numpy_array("save()")
        if any(s < 0 or s % array.itemsize for s in array.strides):
            array = np.ascontiguousarray(array)
        owner = _owner(array) if array.size else array
        low, high = span(owner)
        key = self._key(low, high, owner)
        reference = Persistent((
            "storage", Global("torch", STORAGES[x.dtype]), key, "cpu",
            (high - low) // array.itemsize,
        ))  # fmt: skip
        start = array.__array_interface__["data"][0]
        offset = (start - low) // array.itemsize if array.size else 0
        return reference, offset, tuple(s // array.itemsize for s in array.strides)

    def _key(self, low: int, high: int, owner: np.ndarray) -> str:
        """The key of the memory [low, high); memory of no bytes is always new."""
        found = self.keys.get((low, high)) if high > low else None
        if found is None:
            found = str(len(self.bytes))
            self.keys[low, high] = found
            self.bytes.append(_memory(owner, low, high))
            self.alive.append(owner)
        return found


def _owner(array: np.ndarray) -> np.ndarray:
    """The array whose memory `array` looks into; the array itself if that has another item size."""
    owner = array
    while isinstance(owner.base, np.ndarray) and owner.base.dtype == array.dtype:
        owner = owner.base
    dense = owner.flags.c_contiguous or owner.flags.f_contiguous
    return owner if dense else array


def _memory(owner: np.ndarray, low: int, high: int) -> np.ndarray:
    """The bytes of memory from `low` to `high`, which `owner` spans."""
    if high == low:
        return np.zeros(0, np.uint8)
    flat = np.lib.stride_tricks.as_strided(
        owner, ((high - low) // owner.itemsize,), (owner.itemsize,), writeable=False
    )
    return flat.view(np.uint8)


def save(obj: Any, f: Any, **options: Any) -> None:
    """Write `obj` to a path or a binary file, so that load() and torch.load() read it.

    `obj` consists of tensors, Parameters, numbers, strings, dtypes, Sizes and lists, tuples, dicts
    and sets of these; TypeError names the place of anything else. A path is replaced only once the
    whole file is written. A path that ends in .safetensors gets a dict of tensors in that format.
    """
    for name in options:
        if name not in OPTIONS:
            raise TypeError(f"save() got an unexpected keyword argument '{name}'")
    path = None if hasattr(f, "write") else os.fsdecode(f)
    if path is not None and path.endswith(SAFETENSORS):
        from .safetensors import save_file

        save_file(obj, path)
        return
    storages = _Storages()
    pickled = PickleWriter(lambda x: _tensor_call(x, storages)).dump(obj)
    if path is None:
        _write_zip(f, "archive", pickled, storages)
        return
    stem = os.path.splitext(os.path.basename(os.path.realpath(path)))[0] or "archive"
    with replacing(path) as temporary, open(temporary, "wb") as file:
        _write_zip(file, stem, pickled, storages)


def _tensor_call(x: Any, storages: _Storages) -> Call | None:
    from .nn.parameter import Parameter

    if not isinstance(x, Tensor):
        return None
    if isinstance(x, Parameter):
        arguments = (x.data, x.requires_grad, OrderedDict())
        return Call(Global("torch._utils", "_rebuild_parameter"), arguments)
    reference, offset, strides = storages.place(x)
    arguments = (reference, offset, tuple(x.shape), strides, x.requires_grad, OrderedDict())
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), arguments)


def _write_zip(file: Any, stem: str, pickled: bytes, storages: _Storages) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        start = 0

        def member(name: str, data: Any) -> None:
            nonlocal start
            info = zipfile.ZipInfo(f"{stem}/{name}")
            head = start + 30 + len(info.filename.encode()) + 4
            fill = -head % ALIGNMENT
            info.extra = b"FB" + fill.to_bytes(2, "little") + b"Z" * fill
            archive.writestr(info, data)
            start = head + fill + len(data)

        member("data.pkl", pickled)
        member("byteorder", sys.byteorder.encode())
        for key, memory in enumerate(storages.bytes):
            member(f"data/{key}", memory.data)
        member("version", b"3\n")


# -- loading --------------------------------------------------------------------------------------


class _Reader:
    """The members of one file, and its storages as they are asked for."""

    def __init__(self, archive: zipfile.ZipFile, name: str):
        self.archive, self.name = archive, name
        names = [n for n in archive.namelist() if n.split("/", 1)[-1] == "data.pkl"]
        if len(names) != 1:
            raise RuntimeError(f"{name} is a zip file without data.pkl: save() did not write it")
        self.stem = names[0][: -len("data.pkl")]
        self.storages: dict[str, np.ndarray] = {}

    def member(self, name: str) -> bytes:
        try:
            if self.archive.getinfo(self.stem + name).compress_type != zipfile.ZIP_STORED:
                raise RuntimeError(f"{self.name}: its part {name!r} is compressed, expected plain")
            return self.archive.read(self.stem + name)
        except KeyError:
            raise RuntimeError(f"{self.name} is damaged: it has no part {name!r}") from None
        except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
            raise RuntimeError(f"{self.name} is damaged: its part {name!r}: {error}") from error

    def byteorder(self) -> str:
        if self.stem + "byteorder" not in self.archive.namelist():
            return "little"
        return self.member("byteorder").decode("ascii", "replace").strip()

    def storage(self, reference: Any) -> np.ndarray:
        """The storage of a persistent id ('storage', type, key, location, numel), as a vector."""
        if not isinstance(reference, tuple) or len(reference) != 5 or reference[0] != "storage":
            raise pickle.UnpicklingError(f"unknown kind of persistent id: {reference!r}")
        _, dtype, key, _, numel = reference
        if not isinstance(dtype, _StorageType) or not isinstance(key, str):
            raise pickle.UnpicklingError(f"a storage needs a type and a key, got {reference!r}")
        if key not in self.storages:
            self.storages[key] = self._read(key)
        data = self.storages[key]
        if not isinstance(numel, int) or numel < 0 or numel * dtype.dtype.itemsize > data.nbytes:
            raise pickle.UnpicklingError(
                f"storage {key!r} has {data.nbytes} bytes, too few for {numel} {dtype.dtype.name}"
            )
        count = numel * dtype.dtype.itemsize
        vector = data[:count].view(dtype.dtype.numpy)
        if self.byteorder() != sys.byteorder and dtype.dtype.itemsize > 1:
            vector = vector.byteswap()
        return vector

    def _read(self, key: str) -> np.ndarray:
        if "/" in key or "\\" in key:
            raise pickle.UnpicklingError(f"bad storage key {key!r}")
        return np.frombuffer(bytearray(self.member(f"data/{key}")), np.uint8)


class _StorageType:
    """What torch.FloatStorage and the like stand for in a file."""

    def __init__(self, dtype: DType):
        self.dtype = dtype


def _rebuild_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any = False,
    hooks: Any = None, metadata: Any = None,
) -> Tensor:  # fmt: skip
    """A tensor on a storage; UnpicklingError unless all of it lies inside."""
    numbers = (offset, *size, *stride)
    ok = isinstance(storage, np.ndarray) and len(size) == len(stride)
    ok = ok and all(type(n) is int and n >= 0 for n in numbers)
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if ok else 0
    if not ok or (all(size) and last >= storage.size):
        raise pickle.UnpicklingError(
            f"a tensor of size {size!r}, stride {stride!r} and offset {offset!r} does not lie in "
            "its storage"
        )
    if not all(size):
        array = np.zeros(size, storage.dtype)
    else:
        steps = tuple(s * storage.itemsize for s in stride)
        array = np.lib.stride_tricks.as_strided(storage[offset:], tuple(size), steps)
    return Tensor._wrap(array, bool(requires_grad))


def _rebuild_parameter(data: Any, requires_grad: Any, hooks: Any = None) -> Tensor:
    from .nn.parameter import Parameter

    return Parameter(data, requires_grad=bool(requires_grad))


def _device(name: Any, index: Any = None) -> Any:
    from .device import device

    return device(name, index)


def _size(values: Any = ()) -> Size:
    return Size(int(n) for n in values)


def _table() -> dict[tuple[str, str], Allowed]:
    table = {
        ("torch._utils", "_rebuild_tensor_v2"): Allowed("_rebuild_tensor_v2", _rebuild_tensor),
        ("torch._utils", "_rebuild_tensor"): Allowed("_rebuild_tensor", _rebuild_tensor),
        ("torch._utils", "_rebuild_parameter"): Allowed("_rebuild_parameter", _rebuild_parameter),
        ("torch", "Size"): Allowed("Size", _size),
        ("torch", "device"): Allowed("device", _device),
    }
    for dtype, name in STORAGES.items():
        storage = Allowed(name, value=_StorageType(dtype))
        table["torch", name] = table["torch.storage", name] = storage
        table["torch", dtype.name] = Allowed(dtype.name, value=dtype)
    return table


def load(
    f: Any, map_location: Any = None, pickle_module: Any = None, *,
    weights_only: bool | None = None, mmap: bool | None = None, **options: Any,
) -> Any:  # fmt: skip
    """What save(), torch.save() or safetensors wrote to a path or binary file.

    Code in the file is never run, whatever `weights_only` says: UnpicklingError names a global that
    is refused. RuntimeError for a damaged file. Tensors come to the CPU; `map_location` may say so.
    """
    if not (map_location is None or callable(map_location) or isinstance(map_location, dict)):
        require_cpu(map_location)
    if hasattr(f, "read"):
        return _load_stream(f, "the file")
    path = os.fsdecode(f)
    with open(path, "rb") as file:
        head = file.read(len(ZIP))
        file.seek(0)
        if path.endswith(SAFETENSORS) and head != ZIP:
            from .safetensors import load_file

            return load_file(path)
        return _load_stream(file, repr(path))


def _load_stream(file: Any, name: str) -> Any:
    if not (hasattr(file, "seek") and hasattr(file, "tell")):
        file = io.BytesIO(file.read())
    start = file.tell()
    head = file.read(9)
    file.seek(start)
    if head[4:8] == b"\0\0\0\0" and head[8:] == b"{":  # length of the header, then JSON
        from .safetensors import load_from

        return load_from(file.read(), name)
    if head[:1] == b"\x80":
        raise RuntimeError(
            f"{name} is a bare pickle (torch before 1.6, or pickle.dump), not a zip file; load it "
            "with torch and save it again"
        )
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise RuntimeError(
            f"{name} is not a file that save() wrote, or it is cut off or damaged: {error}"
        ) from error
    with archive:
        reader = _Reader(archive, name)
        return PickleReader(_table(), reader.storage).load(reader.member("data.pkl"))
