"""Writing a file so that a failure leaves the one that was there.

The new content goes to a temporary file in the same folder, which takes the name of the old file
only when it is whole and on the disk.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: str) -> Iterator[str]:
    """The name of an empty file to write; afterwards it replaces `path`, or is gone on an error.

    A link is followed; a file that is replaced hands its permissions on.
    """
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.urandom(6).hex()}.tmp")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        mode = os.stat(path if os.path.exists(path) else temporary).st_mode & 0o777
        yield temporary
        handle = os.open(temporary, os.O_RDWR)  # the writer may have put another file in place
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
