"""The parent's end of an engine's process: requests with a time limit, and its last words."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "worker"
LAST_WORDS = 300  # characters of the log in an error message

# The folder is loaded under a name of its own, so that nncomp itself is not imported.
BOOT = """
import importlib, importlib.util, sys
sys.path[:] = [p for p in sys.path if p]
name, folder, *cpus = sys.argv[1:]
spec = importlib.util.spec_from_file_location(
    name, folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules[name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules[name])
importlib.import_module(name + ".main").main([int(c) for c in cpus])
"""
NAME = "nncomp_bench_worker"


class WorkerError(Exception):
    """A request that failed; the message is one sentence."""


class Worker:
    """A fresh Python process; also a context manager that ends it."""

    def __init__(self, log: Path, cpus: list[int], variables: dict[str, str], limit: float) -> None:
        self.log, self.limit = log, limit
        self.answers: queue.Queue[str] = queue.Queue()
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", BOOT, NAME, str(FOLDER), *map(str, cpus)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                env={**os.environ, **variables},
            )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.answers.put(line)
        self.answers.put("")  # it ended

    def ask(self, request: str, **arguments: Any) -> Any:
        """The answer to a request; WorkerError if it fails, takes too long or ends the process."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": request, **arguments}) + "\n")
            self.process.stdin.flush()
            line = self.answers.get(timeout=self.limit)
        except (OSError, ValueError):  # the pipe is closed
            line = ""
        except queue.Empty:
            self.close()
            raise WorkerError(f"no answer within {self.limit:g} s") from None
        if not line:
            raise WorkerError(f"the process ended (exit code {self._code()}): {self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer["value"]

    def _code(self) -> int | None:
        try:
            return self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return None

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip()
        return " ".join(lines[-LAST_WORDS:].split()) or "it said nothing"

    def close(self) -> None:
        """End the process, by force if it does not go."""
        process = self.process
        try:
            if process.stdin is not None:
                process.stdin.close()
        except OSError:
            pass
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None and not self.process.stdout.closed:
            process.stdout.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
