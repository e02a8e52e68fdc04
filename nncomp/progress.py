"""A progress bar of one line for long loops, drawn only where a person looks at it.

The bar goes to standard error and only if that is a terminal (NNCOMP_PROGRESS=1: always, 0: never);
elsewhere it writes nothing, so that logs stay readable. Lines that belong to the result are printed
with `line`, which clears the bar. A compilation shows one after its first second.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TextIO

from .ir import watch

WIDTH = 30
SECONDS_BETWEEN = 0.05  # drawing more often costs time and nobody sees it
PATIENCE = 1.0  # seconds of a compilation that pass without a bar
CLEAR = "\r\x1b[K"


def is_visible(stream: TextIO) -> bool:
    """Whether a bar is drawn: what NNCOMP_PROGRESS says, else whether it is a terminal."""
    wanted = os.environ.get("NNCOMP_PROGRESS", "").strip()
    return stream.isatty() if wanted not in ("0", "1") else wanted == "1"


class Progress:
    """Counts up to `total`; also a context manager that takes the bar away at the end."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total, self.done = max(1, total), 0
        self.stream = sys.stderr if stream is None else stream
        self.visible = is_visible(self.stream)
        self._drawn_at = float("-inf")

    def advance(self, note: str = "") -> None:
        """Count one step; `note` is shown behind the bar."""
        self.done += 1
        now = time.perf_counter()
        if self.visible and now - self._drawn_at >= SECONDS_BETWEEN:
            self._drawn_at = now
            self.stream.write(f"{CLEAR}{self.text()} {note}")
            self.stream.flush()

    def text(self) -> str:
        """The bar as text: `[#####.....]  50%`."""
        share = min(1.0, self.done / self.total)
        filled = int(share * WIDTH)
        return f"[{'#' * filled}{'.' * (WIDTH - filled)}] {share:4.0%}"

    def line(self, text: str) -> None:
        """Print a line to standard output, above the bar."""
        self.close()
        print(text, flush=True)

    def close(self) -> None:
        """Take the bar off the screen."""
        if self.visible:
            self.stream.write(CLEAR)
            self.stream.flush()
            self._drawn_at = float("-inf")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class CompileBar:
    """Listens to `ir.watch` and draws the phases of a compilation that takes long."""

    def __init__(self, stream: TextIO | None = None, patience: float = PATIENCE) -> None:
        self.stream, self.patience = stream, patience
        self.begun: float | None = None
        self.bar: Progress | None = None
        self._lock = threading.Lock()  # several threads compile

    def __call__(self, phase: str, done: int, total: int) -> None:
        now = time.perf_counter()
        with self._lock:
            if not phase:
                self._end()
            elif self.begun is None:
                self.begun = now
            elif now - self.begun >= self.patience:
                self._draw(phase, done, total)

    def _draw(self, phase: str, done: int, total: int) -> None:
        if self.bar is None:
            self.bar = Progress(total, self.stream)
        self.bar.total, self.bar.done = max(1, total), done - 1
        self.bar.advance(f"compiling: {phase} {done}/{total}")

    def _end(self) -> None:
        if self.bar is not None:
            self.bar.close()
        self.begun = self.bar = None


_showing: list[CompileBar] = []


def show_compilations() -> None:
    """Draw a bar for compilations from now on; once is enough."""
    if not _showing:
        _showing.append(CompileBar())
        watch.listen(_showing[0])
