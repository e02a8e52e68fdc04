"""Compiled code kept on disk.

An entry is one file that holds one or more objects (a whole program is one entry, so a warm start
is one read). Its head carries a magic word, the format version and a hash of key and content:
a file that is cut, changed, foreign or filed under a wrong name is removed and counts as absent.
Files appear by `os.replace`, so readers and writers in other processes never see half of one.
A folder that cannot be written costs a warning and the caching, never the run.
"""

from __future__ import annotations

import contextlib
import functools
import os
import struct
import threading
import time
import warnings
from collections.abc import Iterable
from pathlib import Path

from nncomp.ir.digest import blake2b

FORMAT = 3  # raise it when entries or the meaning of keys change
SUFFIX = ".nnc"
DEFAULT_MB = 512

_MAGIC = b"NNCOMPO\n"
_HEAD = struct.Struct("<8sII32s")  # magic, format, number of objects, digest
_TEMPORARY = ".tmp-"
_STALE_SECONDS = 3600.0  # a temporary file this old belongs to a writer that died


class ObjectCache:
    """Objects by key in `folder`, at most `limit` bytes; the longest unused ones go first."""

    def __init__(self, folder: str | os.PathLike[str], limit: int = DEFAULT_MB << 20):
        self.folder = Path(folder)
        self.limit = limit
        self._size: int | None = None  # estimate of the folder's size; None before the first scan
        self._warned = False
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        """The object stored under `key`, None if there is none."""
        objects = self.get_many(key)
        return objects[0] if objects is not None and len(objects) == 1 else None

    def put(self, key: str, data: bytes) -> None:
        """Store one object under `key`."""
        self.put_many(key, [data])

    def get_many(self, key: str) -> list[bytes] | None:
        """The objects stored together under `key`, None if there are none."""
        path = self._path(key)
        try:
            with open(path, "rb", buffering=0) as file:
                content = file.read()
            objects = _unpack(key, content)
            if objects is not None:
                with contextlib.suppress(OSError):  # a read-only folder still serves hits
                    os.utime(path)
                return objects
        except FileNotFoundError:
            return None
        except OSError:  # not a file, no permission: nothing to be had here
            return None
        with contextlib.suppress(OSError):
            os.unlink(path)
        return None

    def is_empty(self) -> bool:
        """Whether nothing at all is stored."""
        try:
            with os.scandir(self.folder) as entries:
                return not any(e.name.endswith(SUFFIX) for e in entries)
        except OSError:
            return True

    def put_many(self, key: str, objects: Iterable[bytes]) -> None:
        """Store several objects under one `key`, as one file."""
        content = _pack(key, list(objects))
        path = self._path(key)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write(path, content)
        except OSError as error:
            self._warn(error)
            return
        with self._lock:
            self._make_room(len(content), path)

    def _path(self, key: str) -> Path:
        if not (key.isascii() and key.isalnum()):
            raise ValueError(f"cache key {key!r} is not a plain word; use bundle_key() to make one")
        return self.folder / (key + SUFFIX)

    def _write(self, path: Path, content: bytes) -> None:
        temporary = self.folder / (_TEMPORARY + os.urandom(12).hex())
        try:
            with open(temporary, "xb") as file:
                file.write(content)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"nncomp cannot keep compiled code in {str(self.folder)!r} ({error}); it will be "
                "compiled again next time. Set NNCOMP_CACHE_DIR to a folder that can be written, "
                "or NNCOMP_CACHE=0",
                RuntimeWarning,
                stacklevel=4,
            )

    def _make_room(self, added: int, newest: Path) -> None:
        """Count `added` bytes; over the limit, scan and remove the oldest down to 90 % of it."""
        if self._size is not None:
            self._size += added
            if self._size <= self.limit:
                return
        entries = self._scan()
        self._size = sum(size for _, size, _ in entries)
        if self._size <= self.limit:
            return
        for _, size, path in sorted(entries):
            if self._size <= self.limit * 0.9:
                break
            if path != str(newest):  # a program larger than the limit still starts warm
                with contextlib.suppress(OSError):
                    os.unlink(path)
                self._size -= size

    def _scan(self) -> list[tuple[float, int, str]]:
        """(mtime, size, path) of every entry; left-over temporary files are removed."""
        entries, now = [], time.time()
        with contextlib.suppress(OSError), os.scandir(self.folder) as files:
            for file in files:
                with contextlib.suppress(OSError):
                    stat = file.stat(follow_symlinks=False)
                    if file.name.endswith(SUFFIX):
                        entries.append((stat.st_mtime, stat.st_size, file.path))
                    elif file.name.startswith(_TEMPORARY) and now - stat.st_mtime > _STALE_SECONDS:
                        os.unlink(file.path)
        return entries


def bundle_key(keys: Iterable[str]) -> str:
    """One key for several keys in order, safe against two lists running into the same text."""
    digest = blake2b(struct.pack("<I", FORMAT), digest_size=32)
    for key in keys:
        data = key.encode()
        digest.update(struct.pack("<Q", len(data)))
        digest.update(data)
    return digest.hexdigest()


def default_cache() -> ObjectCache | None:
    """The cache that the environment asks for, None with `NNCOMP_CACHE=0`.

    Raises ValueError where `NNCOMP_CACHE_MB` is not a whole number.
    """
    if os.environ.get("NNCOMP_CACHE", "1").strip().lower() in ("0", "off", "false", "no"):
        return None
    text = os.environ.get("NNCOMP_CACHE_MB", "").strip() or str(DEFAULT_MB)
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"NNCOMP_CACHE_MB is {text!r}; expected a whole number of megabytes")
    return _cache_at(default_folder(), int(text) << 20)


def default_folder() -> str:
    """`$NNCOMP_CACHE_DIR`, else `$XDG_CACHE_HOME/nncomp`, else `~/.cache/nncomp`."""
    if own := os.environ.get("NNCOMP_CACHE_DIR"):
        return own
    shared = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(shared, "nncomp")


@functools.cache
def _cache_at(folder: str, limit: int) -> ObjectCache:
    return ObjectCache(folder, limit)


def _pack(key: str, objects: list[bytes]) -> bytes:
    lengths = struct.pack(f"<{len(objects)}Q", *map(len, objects))
    body = b"".join([lengths, *objects])
    return _HEAD.pack(_MAGIC, FORMAT, len(objects), _digest(key, len(objects), body)) + body


def _unpack(key: str, content: bytes) -> list[bytes] | None:
    """The objects in an entry's file, None if it is not a whole and unchanged entry for `key`."""
    if len(content) < _HEAD.size:
        return None
    magic, version, count, digest = _HEAD.unpack_from(content)
    body = memoryview(content)[_HEAD.size :]
    if (magic, version) != (_MAGIC, FORMAT) or digest != _digest(key, count, body):
        return None
    lengths = struct.unpack_from(f"<{count}Q", body)
    objects, at = [], 8 * count
    for length in lengths:
        objects.append(bytes(body[at : at + length]))
        at += length
    return objects


def _digest(key: str, count: int, body: bytes | memoryview) -> bytes:
    digest = blake2b(f"{key} {count} ".encode(), digest_size=32)
    digest.update(body)
    return digest.digest()
