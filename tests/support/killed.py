"""Work that is killed at a chosen point, as by a power failure: no handler runs, nothing is cleaned up."""

import os
import signal
import sys
import time
from collections.abc import Callable

import pytest

# The process is forked, since importing everything again takes minutes on a busy machine.
forks = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked")


def run_and_kill(work: Callable[[Callable[[], None]], object]) -> None:
    """Run `work(halt)` in another process, which is killed where `halt()` is called."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:

        def halt() -> None:
            os.write(writer, b".")
            time.sleep(3600)

        try:
            work(halt)
        finally:
            os._exit(1)
    os.close(writer)
    try:
        reached = os.read(reader, 1) == b"."  # empty if the process has ended
    finally:
        os.close(reader)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    assert reached, "it ended before it was killed"
