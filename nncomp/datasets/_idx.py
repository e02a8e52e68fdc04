"""IDX, the file format of MNIST: a typed array of any rank, big-endian, often gzipped.

Layout: two zero bytes, a type code, the rank, one uint32 per dimension, then the elements in row
order. A file that does not hold exactly what its header promises is refused.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from typing import Any, BinaryIO

import numpy as np

import nncomp

from ..tensor import Tensor

CODES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"), 0x09: np.dtype(">i1"), 0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"), 0x0D: np.dtype(">f4"), 0x0E: np.dtype(">f8"),
}  # fmt: skip
GZIP_MAGIC = b"\x1f\x8b"
CHUNK = 1 << 24  # bytes per read: a header that lies about its size must not reserve memory


def read_idx(path: str | os.PathLike[str]) -> Tensor:
    """The array of an IDX file, plain or gzipped, as a tensor of the file's shape and dtype.

    FileNotFoundError if there is no such file; ValueError, saying what is wrong, if it is not a
    whole IDX file.
    """
    return nncomp.tensor(read_array(path))


def read_array(path: str | os.PathLike[str]) -> np.ndarray:
    """What `read_idx` reads, as a numpy array in the machine's byte order."""
    path = os.fspath(path)
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            if not packed:
                return _parse(raw, path)
            with gzip.open(raw, "rb") as file:
                return _parse(file, path)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path} begins like a gzip file but cannot be unpacked ({error}); "
            "copy or download it again"
        ) from error


def _parse(file: BinaryIO | gzip.GzipFile, path: str) -> np.ndarray:
    head = file.read(4)
    if len(head) < 4:
        raise ValueError(f"{path} has {len(head)} bytes, too few for the header of an IDX file")
    zeros, code, rank = head[:2], head[2], head[3]
    if zeros != b"\0\0" or code not in CODES:
        known = ", ".join(f"0x{c:02X}" for c in CODES)
        raise ValueError(
            f"{path} is not an IDX file: it begins with the bytes {head.hex(' ')}, expected 00 00, "
            f"a type code ({known}) and the number of dimensions"
        )
    sizes = file.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise ValueError(f"{path} ends inside the header: it promises {rank} dimensions")
    shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
    data = _read_exactly(file, path, shape, CODES[code])
    array = np.frombuffer(data, CODES[code]).reshape(shape)
    return array.astype(array.dtype.newbyteorder("="))


def _read_exactly(
    file: BinaryIO | gzip.GzipFile, path: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> bytearray:
    """The element bytes; ValueError if the file has fewer, or more."""
    expected = math.prod(shape) * dtype.itemsize
    data = bytearray()
    while len(data) <= expected:
        chunk = file.read(min(CHUNK, expected + 1 - len(data)))
        if not chunk:
            break
        data += chunk
    if len(data) != expected:
        amount = f"only {len(data)}" if len(data) < expected else "more"
        raise ValueError(
            f"{path} holds {amount} bytes of data where its header, of shape {list(shape)}, "
            f"promises {expected}; copy or download it again"
        )
    return data
