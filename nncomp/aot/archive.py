"""The package file: a zip archive whose parts, and whose every byte, have a sha256.

    manifest.json         format version, signature, what is inside, sha256 of each part
    graph.txt             the graph as text
    weights.safetensors   constants and state
    code/avx2/000.o ...   native code for each level

The comment at the end of the archive is the digest of all bytes before it. Reading one executes
nothing.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

FORMAT, VERSION = "nncomp package", 1
MANIFEST = "manifest.json"
NOTICE = (
    "This file holds native machine code, which runs with all rights of the program that loads it: "
    "load packages from trusted sources only. The checksums detect damage, not intent."
)
_COMMENT = "nncomp package, sha256 of all bytes before: "
_DATE = (1980, 1, 1, 0, 0, 0)  # the same for all, so that equal exports are equal files
_TAIL = len(_COMMENT) + 64
_LOCAL = 30  # bytes of the header before the name of a part
Bytes = bytes | memoryview


class PackageError(RuntimeError):
    """A file that is no package of this version, or a damaged one."""


def pack(manifest: Mapping[str, Any], parts: Mapping[str, bytes]) -> bytes:
    """The bytes of a package."""
    table = {n: {"sha256": _digest(d), "bytes": len(d)} for n, d in parts.items()}
    head = {"format": FORMAT, "version": VERSION, "notice": NOTICE, **manifest, "parts": table}
    text = json.dumps(head, indent=1).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name, data in {MANIFEST: text, **parts}.items():
            info = zipfile.ZipInfo(name, _DATE)
            info.external_attr = 0o644 << 16
            info.extra = _padding(buffer.tell() + _LOCAL + len(name.encode()))
            file.writestr(info, data)
        file.comment = (_COMMENT + 64 * "0").encode()
    whole = buffer.getvalue()
    body = whole[:-_TAIL]
    return body + (_COMMENT + _digest(body)).encode()


def _padding(start: int) -> bytes:
    """An extra field behind which a part begins at a multiple of 64: tensors can be used in place.

    Its number is the one that Android's zipalign took for this.
    """
    size = -(start + 4) % 64
    return struct.pack("<HH", 0xD935, size) + bytes(size)


def unpack(data: bytes, where: str) -> tuple[dict[str, Any], dict[str, Bytes]]:
    """Manifest and parts; PackageError, naming `where`, for what is damaged or another format."""
    body, tail = memoryview(data)[:-_TAIL], data[-_TAIL:]
    if not data.startswith(b"PK") or not zipfile.is_zipfile(io.BytesIO(data)):
        raise PackageError(
            f"{where} is no nncomp package, or it is cut off: it is not a whole zip archive"
        )
    intact = tail == (_COMMENT + _digest(body)).encode()
    try:
        manifest, parts, wrong = _read(data, intact)
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, NotImplementedError,
            RuntimeError, EOFError) as error:  # fmt: skip
        raise PackageError(f"{where} is no nncomp package, or it is damaged: {error}") from error
    if manifest.get("format") != FORMAT:
        raise PackageError(f"{where} is a zip archive, but no nncomp package")
    if manifest.get("version") != VERSION:
        raise PackageError(
            f"{where} has version {manifest.get('version')!r} of the package format; this nncomp "
            f"reads version {VERSION}: export the model again, or install the nncomp that wrote it"
        )
    if wrong or not intact:
        part = f"the part {wrong[0]!r} does not" if wrong else "its bytes do not"
        raise PackageError(f"{where} is damaged: {part} have the sha256 that was written down")
    return manifest, parts


def _read(data: bytes, intact: bool) -> tuple[dict[str, Any], dict[str, Bytes], list[str]]:
    """Manifest, parts, and the names of parts with other bytes than the manifest says.

    Where all bytes are as they were written (`intact`), so is each part.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        manifest = json.loads(file.read(MANIFEST))
        if not isinstance(manifest, dict):
            raise ValueError("the manifest is no JSON object")
        parts, wrong = {}, []
        for name, entry in dict(manifest.get("parts", {})).items():
            try:
                parts[name] = _content(file, name, data, intact)
            except (KeyError, zipfile.BadZipFile):
                wrong.append(name)
                continue
            if not intact and _digest(parts[name]) != entry["sha256"]:
                wrong.append(name)
    return manifest, parts, wrong


def _content(file: zipfile.ZipFile, name: str, data: bytes, intact: bool) -> Bytes:
    """The bytes of a part; of an intact archive without its checksum, which has been proved."""
    info = file.getinfo(name)
    if not intact or info.compress_type != zipfile.ZIP_STORED:
        return file.read(name)
    head = info.header_offset
    lengths = struct.unpack_from("<HH", data, head + 26)
    start = head + _LOCAL + sum(lengths)
    return memoryview(data)[start : start + info.file_size]


def _digest(data: Bytes) -> str:
    return hashlib.sha256(data).hexdigest()
