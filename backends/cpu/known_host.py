"""What LLVM says about this machine, kept on disk so that a start from the cache needs no LLVM.

A record is found by what the CPU itself answers (CPUID, and the registers that the system saves),
so a process under an emulator or on another machine with the same home folder never takes a wrong
one; and by the size and date of LLVM's library. CPUID: Intel SDM volume 2A, chapter 3; AMD APM
volume 3, appendix E.
"""

from __future__ import annotations

import ctypes
import json
import os
from typing import NamedTuple

from nncomp.ir.digest import blake2b

from ..cache import default_cache
from ..llvm_library import llvm_library
from .code_memory import RUN, CodeMemory, is_available

# cpuid(leaf, subleaf, words): eax, ebx, ecx, edx of a leaf, by the System V calling convention
CPUID = bytes.fromhex("53 89f8 89f1 4989d0 0fa2 418900 41895804 41894808 4189500c 5b c3")
# xgetbv(): which registers the system saves
XGETBV = bytes.fromhex("31c9 0f01d0 48c1e220 4809d0 c3")
SECOND = 64  # bytes from one function to the other
LEAVES = ((1, 0), (7, 0), (7, 1), (0xD, 1), (0x14, 0), (0x19, 0), (0x1E, 1), (0x24, 0))
EXTENDED = 0x80000000
MORE = (EXTENDED + 1, EXTENDED + 8)
OSXSAVE = 1 << 27


class Host(NamedTuple):
    """CPU name, features and triple of this machine in LLVM's words, and LLVM's version."""

    cpu: str
    features: dict[str, bool]
    triple: str
    llvm: str


def find() -> Host | None:
    """The record of this machine, None if there is none (yet)."""
    cache, key = default_cache(), _key()
    objects = None if cache is None or key is None else cache.get_many(key)
    if not objects:
        return None
    try:
        cpu, features, triple, llvm = json.loads(objects[0])
        flags = {str(name): bool(on) for name, on in features.items()}
        return Host(str(cpu), flags, str(triple), str(llvm))
    except (ValueError, TypeError, AttributeError):
        return None


def save(host: Host, new_folder: bool = True) -> None:
    """Keep a record for processes to come; in a new folder only if one is to be made now."""
    cache = default_cache()
    if cache is None or not (new_folder or os.path.isdir(cache.folder)):
        return
    key = _key()
    if key is not None and not cache.get_many(key):
        cache.put(key, json.dumps(host).encode())


def _key() -> str | None:
    library = llvm_library()
    if library is None or not is_available():
        return None
    try:
        answers = cpu_words()
    except OSError:  # no memory that code may run from
        return None
    text = repr(("host 1", answers, library))
    return blake2b(text.encode(), digest_size=32).hexdigest()


def cpu_words() -> list[tuple[int, ...]]:
    """What the CPU says about itself, the same on each core; OSError where it cannot be asked."""
    memory = CodeMemory(2 * SECOND)
    memory.write(CPUID.ljust(SECOND, b"\0") + XGETBV)
    memory.protect(0, 2 * SECOND, RUN)
    word = ctypes.c_uint32
    ask = ctypes.CFUNCTYPE(None, word, word, ctypes.c_void_p)(memory.address)
    saved = ctypes.CFUNCTYPE(ctypes.c_uint64)(memory.address + SECOND)
    words = (word * 4)()

    def leaf(number: int, part: int = 0) -> tuple[int, ...]:
        ask(number, part, words)
        return tuple(words)

    found = [leaf(0), leaf(EXTENDED)]
    found += [leaf(n, part) for n, part in LEAVES if n <= found[0][0]]
    found += [leaf(n) for n in MORE if n <= found[1][0]]
    family, _, features, more = found[2]  # leaf 1; its second word names the core that was asked
    found[2] = (family, features, more)
    if features & OSXSAVE:
        found.append((saved(),))
    return found
