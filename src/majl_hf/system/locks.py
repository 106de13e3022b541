"""A folder that one process at a time works in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Whether this process alone is at a folder; the system lets go of it however the process ends. On Windows nobody
    is kept out.

    Raises:
        OSError: no such folder, or it cannot be opened.
    """
    if os.name == "nt":
        yield True
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
