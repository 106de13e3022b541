"""Standard streams that cannot make a command fail, since its results are files."""

import contextlib
import os
import sys
from collections.abc import Iterator


class LossyStream:
    """A text stream that drops what cannot be written, such as to a full disk or to a pipe that nobody reads any more.

    Args:
        stream: None where the process was started without it.

    Attributes:
        error: why text was lost; None as long as nothing was.
    """

    def __init__(self, stream):
        self._stream = open(os.devnull, "w") if stream is None else stream  # noqa: SIM115 (as long as the process)
        self.error: OSError | None = None

    def __getattr__(self, name: str):
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._attempt(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, call, *arguments) -> None:
        if self.error is not None:
            return
        try:
            call(*arguments)
        except OSError as error:
            self.error = error
            with contextlib.suppress(OSError, ValueError):  # what is buffered would fail again when Python ends
                number = self._stream.fileno()
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, number)
                os.close(null)


@contextlib.contextmanager
def lossy_streams() -> Iterator[LossyStream]:
    """Context in which stdout and stderr are such streams; yields stdout, which is flushed at the end."""
    originals = sys.stdout, sys.stderr
    output, errors = sys.stdout, sys.stderr = LossyStream(sys.stdout), LossyStream(sys.stderr)
    try:
        yield output
    finally:
        output.flush()
        errors.flush()
        sys.stdout, sys.stderr = originals
