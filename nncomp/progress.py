"""A progress bar of one line for long loops, drawn only where a person looks at it.

The bar goes to standard error and only if that is a terminal; elsewhere it writes nothing, so that
logs stay readable. Lines that belong to the result are printed with `line`, which clears the bar.
"""

from __future__ import annotations

import sys
import time
from typing import TextIO

WIDTH = 30
SECONDS_BETWEEN = 0.05  # drawing more often costs time and nobody sees it
CLEAR = "\r\x1b[K"


class Progress:
    """Counts up to `total`; also a context manager that takes the bar away at the end."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total, self.done = max(1, total), 0
        self.stream = sys.stderr if stream is None else stream
        self.visible = self.stream.isatty()
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
