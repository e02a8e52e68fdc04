"""LLVM IR text to callable machine code.

`compile_many` turns module texts into object bytes, through the disk cache and on several threads;
`link` loads objects into this process: by `elf.py` where it can, so that code from the cache needs
no LLVM, else by ORC. Objects are compiled first and linked as bytes, because ORC cannot hand back
what it compiled and the cache needs it. ORC is used rather than MCJIT because a missing symbol ends
the process in MCJIT and is a Python error in ORC.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
import struct
import sys
import threading
from collections.abc import Callable, Mapping, Sequence

from nncomp.backends.cache import ObjectCache, bundle_key, default_cache
from nncomp.backends.cpu import code_memory, elf
from nncomp.backends.cpu.target import (
    KERNELS,
    Target,
    binding,
    host_target,
    layout_line,
    machine,
    versions,
)
from nncomp.backends.cpu.threads import get_num_threads

_DEFAULT = object()
_SHOWN_LINES = 12  # of the offending IR, in an error message

# Linking, and compiling with compile_many, hold this lock; modules are compiled on several threads,
# each of which is counted. A fork waits for both (see the end of the file), so that a child never
# inherits a half-done compilation.
_lock = threading.RLock()
_running = threading.Condition()
_count = 0
_looking = threading.Lock()


class CodegenError(RuntimeError):
    """Generated code that LLVM refuses, or that cannot be linked."""


def object_key(text: str, target: Target, opt_level: int = 0, effort: int = KERNELS) -> str:
    """Name of what `text` compiles to: any input that can change the bytes is part of it."""
    levels = f"{opt_level} {effort}"
    parts = (text, target.triple, target.cpu, target.features, levels, *versions())
    return bundle_key(parts)


def compile_to_object(ir_text: str, target: Target, opt_level: int = 0) -> bytes:
    """Object file of one LLVM module; `opt_level` 1 or 2 runs LLVM's standard passes first.

    Raises CodegenError, with the numbered lines at fault, for text that LLVM refuses.
    """
    if opt_level not in (0, 1, 2):
        raise ValueError(f"opt_level is {opt_level!r}; expected 0, 1 or 2")
    with _lock:
        return compile_module(ir_text, target, opt_level)


def compile_many(
    texts: Sequence[str],
    target: Target,
    opt_level: int = 0,
    cache: ObjectCache | None = _DEFAULT,  # type: ignore[assignment]
) -> list[bytes]:
    """Object files of several modules, in their order; equal texts are compiled once.

    A program seen before is one read of the cache; else single modules seen before are taken from
    it and the rest is compiled, on `get_num_threads()` threads where llvmlite allows that.
    `cache=None` neither reads nor writes one.
    """
    if cache is _DEFAULT:
        cache = default_cache()
    keys = [object_key(text, target, opt_level) for text in texts]
    names = list(dict.fromkeys(keys))
    together = bundle_key(names)
    if cache is not None and len(names) > 1:
        bundle = cache.get_many(together)
        if bundle is not None and len(bundle) == len(names):
            found = dict(zip(names, bundle, strict=True))
            return [found[key] for key in keys]
    found = {}
    if cache is not None:
        found = {name: data for name in names if (data := cache.get(name)) is not None}
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
    made = _compile_all(list(missing.values()), target, opt_level)
    for key, data in zip(missing, made, strict=True):
        found[key] = data
        if cache is not None:
            cache.put(key, data)
    if cache is not None and len(names) > 1:
        cache.put_many(together, [found[name] for name in names])
    return [found[key] for key in keys]


class Library:
    """Code linked into this process. It is unmapped when the last reference to this goes."""

    def __init__(self, find: Callable[[str], int], objects: list[bytes], keep: object):
        """`find(symbol)` gives an address or raises RuntimeError; it keeps the code there."""
        self._find, self._objects, self._keep = find, objects, keep
        self._addresses: dict[str, int] = {}

    def address(self, symbol: str) -> int:
        """Address of a function or variable that the objects define.

        Raises CodegenError naming `symbol`, or naming what it needs and nothing defines.
        """
        if symbol not in self._addresses:
            try:
                self._addresses[symbol] = self._find(symbol)
            except RuntimeError as error:
                raise CodegenError(self._why_missing(symbol, str(error))) from None
        return self._addresses[symbol]

    def _why_missing(self, symbol: str, message: str) -> str:
        tables = [elf_symbols(data) for data in self._objects]
        defined = {name for table in tables for name, here in table.items() if here}
        needed = {name for table in tables for name, here in table.items() if not here}
        if defined and symbol not in defined:
            names = ", ".join(sorted(defined)[:20])
            return f"symbol {symbol!r} is not in this library; it defines {names}"
        absent = sorted(n for n in needed - defined if not _in_process(n))
        if absent:
            return f"cannot link {symbol!r}: nothing defines {', '.join(absent)}"
        return f"cannot link {symbol!r}: {message}"


_NAME = "nncomp"  # each library has its own LLJIT (0.4 ms), so that its memory really goes with it


def link(
    objects: Sequence[bytes], imports: Mapping[str, int] | None = None, keep: object = None
) -> Library:
    """Load objects into this process; what they lack comes from `imports` or from the process.

    The process offers libc, libm and pthread. `keep` is held as long as the library: what the
    imported addresses belong to. Raises CodegenError for bytes that are not this machine's objects.
    """
    objects = [bytes(data) for data in objects]
    if code_memory.is_available():
        try:
            return Library(elf.load(objects, imports or {}).address, objects, keep)
        except (elf.Unfit, OSError):
            pass  # LLVM takes more, and says what is wrong
    return Library(_llvm_finder(objects, imports or {}), objects, keep)


def _llvm_finder(objects: list[bytes], imports: Mapping[str, int]) -> Callable[[str], int]:
    """LLVM's linker: a function from symbol to address, which holds the code."""
    llvm = binding()
    builder = llvm.JITLibraryBuilder()
    for data in objects:
        builder.add_object_img(data)
    builder.add_current_process()
    for name, address in imports.items():
        builder.import_symbol(name, address)
    with _lock:
        # JITLink, the newer linker, places no limit on distances; it does not do Windows.
        jit = llvm.create_lljit_compiler(use_jit_link=os.name != "nt", suppress_errors=True)
        try:
            trackers = [builder.link(jit, _NAME)]  # each unloads the code when it dies
        except RuntimeError as error:
            raise CodegenError(f"cannot link {len(objects)} objects: {error}") from None

    def find(symbol: str) -> int:
        with _lock:
            trackers.append(jit.lookup(_NAME, symbol))
            return trackers[-1][symbol]

    return find


def _compile_all(texts: list[str], target: Target, opt_level: int) -> list[bytes]:
    if not texts:
        return []
    with _lock:
        workers = min(len(texts), get_num_threads(), os.cpu_count() or 1)
        if workers < 2 or raw_emitter() is None:
            return [compile_module(text, target, opt_level) for text in texts]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(workers, "nncomp-compile") as pool:
            return list(pool.map(lambda text: compile_module(text, target, opt_level), texts))


def compile_module(
    text: str, target: Target, opt_level: int = 0, effort: int = KERNELS
) -> bytes:
    """Object file of one module. Threads may do this at once: each has a context of its own.

    Raises CodegenError for text that LLVM refuses.
    """
    with compiling():
        return _compile(text, target, opt_level, effort)


@contextlib.contextmanager
def compiling():
    """While LLVM works in this block, no process is forked."""
    global _count
    with _running:
        _count += 1
    try:
        yield
    finally:
        with _running:
            _count -= 1
            _running.notify_all()


def look_at_llvm() -> bool:
    """Load LLVM, and find out whether several threads may compile at once."""
    with compiling(), _looking:  # a second thread waits for what the first one finds
        return raw_emitter() is not None


def _compile(text: str, target: Target, opt_level: int, effort: int) -> bytes:
    """Parse, verify and emit."""
    llvm = binding()
    if "\0" in text:
        raise CodegenError("the IR text holds a NUL character, where LLVM would stop reading")
    worker = machine(target, effort)
    context = llvm.create_context()
    try:
        module = parse_module(llvm, text, target, context)
        try:
            if opt_level:
                tuning = llvm.create_pipeline_tuning_options(speed_level=opt_level)
                builder = llvm.create_pass_builder(worker, tuning)
                builder.getModulePassManager().run(module, builder)
            emit = raw_emitter()
            return worker.emit_object(module) if emit is None else emit(worker, module)
        finally:
            module.close()
    finally:
        context.close()


def parse_module(llvm, text: str, target: Target, context):
    """A verified module for a target; CodegenError, with the lines at fault, for others."""
    # On the first line, so that LLVM's line numbers stay those of `text`.
    given = "target datalayout" in text or "target triple" in text
    layout = "" if given else layout_line(target)
    try:
        module = llvm.parse_assembly(layout + text, context)
    except RuntimeError as error:
        raise CodegenError(_explain("parse", str(error), text)) from None
    try:
        module.verify()
    except RuntimeError as error:
        module.close()
        raise CodegenError(_explain("verify", str(error), text)) from None
    return module


def _explain(step: str, message: str, text: str) -> str:
    """LLVM's message with the numbered lines of the IR that it is about."""
    lines = text.split("\n")
    found = re.search(r"<string>:(\d+):\d+", message)
    if found:
        at = int(found[1]) - 1
        chosen = list(range(max(0, at - 3), min(len(lines), at + 3)))
    else:  # the verifier quotes the instructions, but has no line numbers
        quoted = {part.strip() for part in message.split("\n")} - {"", "}"}
        chosen = [i for i, line in enumerate(lines) if line.strip() in quoted] or [
            i for i, line in enumerate(lines) if line.startswith("define")
        ]
    shown = "\n".join(f"{i + 1:5d} | {lines[i]}" for i in chosen[:_SHOWN_LINES])
    return f"LLVM cannot {step} this code: {message.strip()}\n{shown}"


@functools.cache
def raw_emitter():
    """`emit(machine, module) -> bytes` that does not hold llvmlite's lock, None where unsafe.

    llvmlite passes every call through one lock. LLVM itself needs none when each thread has its
    own context and machine, so the bare function is taken where llvmlite has it as expected and
    where it gives the same bytes on two threads at once as the locked way does.
    """
    from llvmlite.binding import ffi

    wrapped = getattr(ffi.lib, "LLVMPY_TargetMachineEmitToMemory", None)
    bare = getattr(wrapped, "_cfn", None)
    if bare is None or not bare.argtypes or len(bare.argtypes) != 4:
        return None

    def emit(worker, module) -> bytes:
        with ffi.OutputString() as message:
            buffer = bare(worker, module, 1, message)
            if not buffer:
                raise CodegenError(f"LLVM cannot generate code: {message}")
        try:
            size = ffi.lib.LLVMPY_GetBufferSize(buffer)
            return ctypes.string_at(ffi.lib.LLVMPY_GetBufferStart(buffer), size)
        finally:
            ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)

    return emit if _same_bytes(emit) else None


def _same_bytes(emit) -> bool:
    from concurrent.futures import ThreadPoolExecutor

    llvm, target = binding(), host_target()

    def both(_) -> bool:
        worker, context = machine(target), llvm.create_context()
        probe = "define float @probe(float %x) { %y = fadd float %x, %x ret float %y }"
        module = parse_module(llvm, probe, target, context)
        try:
            return emit(worker, module) == worker.emit_object(module)
        finally:
            module.close()
            context.close()

    try:
        with ThreadPoolExecutor(2) as pool:
            return all(pool.map(both, range(4)))
    except Exception:  # a private function: whatever goes wrong with it, the locked way is there
        return False


def _in_process(symbol: str) -> bool:
    try:
        return hasattr(ctypes.CDLL(None), symbol)
    except (OSError, TypeError):  # Windows has no handle of the whole process
        return True


def elf_symbols(data: bytes) -> dict[str, bool]:
    """Global symbols of a 64-bit little-endian ELF object: name -> whether it is defined there.

    Only used to explain link errors; another format gives an empty table.
    """
    if data[:6] != b"\x7fELF\x02\x01" or sys.byteorder != "little":
        return {}
    (start,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, start + i * size) for i in range(count)]
    symbols: dict[str, bool] = {}
    for section in sections:
        if section[1] != 2:  # SHT_SYMTAB
            continue
        names = sections[section[6]][4]
        for at in range(section[4], section[4] + section[5], 24):
            name, info, _, where = struct.unpack_from("<IBBH", data, at)
            if info >> 4 in (1, 2) and name:  # global and weak ones
                end = data.index(b"\0", names + name)
                symbols[data[names + name : end].decode()] = where != 0
    return symbols


def _before_fork() -> None:
    _lock.acquire()
    _running.acquire()
    while _count:
        _running.wait()


def _after_fork() -> None:
    _running.release()
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )
