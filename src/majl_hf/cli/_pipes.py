"""`-` in place of a file: the song from stdin, a result to stdout."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import MajlError
from ._common import ProcessingOptions
from ._interrupt import Resumable, Stopped, StopSignals

PIPE = "-"
_BLOCK_BYTES = 2**16


@dataclass(frozen=True)
class Pipes:
    """The options of a command with files in place of `-`.

    Args:
        options: Whose inputs and output folder are files and folders.
        to_stdout: Whether the result is copied to stdout.
        names: What a temporary file is called in messages.
    """

    options: ProcessingOptions
    to_stdout: bool
    names: dict[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def piped(options: ProcessingOptions, endings: Mapping[str, str | None]) -> Iterator[Pipes]:
    """Read stdin to its end into a temporary file, if `-` is an input; all temporary files are removed at the end.

    Raises:
        MajlError: stdin or stdout cannot be used, or not exactly one result is wanted on stdout.
    """
    to_stdout = str(options.output_dir) == PIPE
    if not to_stdout and PIPE not in options.inputs:
        yield Pipes(options, False)
        return
    if to_stdout:
        _check_stdout(options, endings)
    with tempfile.TemporaryDirectory(prefix="majl-") as folder:
        names = {}
        if PIPE in options.inputs:
            song = Path(folder, "stdin")
            _read_stdin(song)
            names[str(song)] = song.name
            options = replace(options, inputs=[str(song) if text == PIPE else text for text in options.inputs])
        if to_stdout:
            options = replace(options, output_dir=Path(folder, "results"))
        yield Pipes(options, to_stdout, names)


def copy_to_stdout(path: Path, signals: StopSignals) -> None:
    """Copy a file to stdout, checking for signals between two blocks.

    Raises:
        MajlError: the reader of stdout has stopped reading.
    """
    try:
        with open(path, "rb") as file:
            while block := file.read(_BLOCK_BYTES):
                signals.check()
                sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
    except OSError as error:
        with contextlib.suppress(OSError, ValueError):  # what is still buffered must not fail again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise MajlError(f"The result cannot be written to stdout: {error.strerror or error}.") from error


def _check_stdout(options: ProcessingOptions, endings: Mapping[str, str | None]) -> None:
    if len(endings) != 1:
        raise MajlError("-o - writes one stem to stdout; choose it with --stem vocals or --stem accompaniment.")
    if options.as_json:
        raise MajlError("-o - and --json both write to stdout; leave out one of them.")
    if sys.stdout.isatty():
        raise MajlError("-o - would write the result to the terminal; redirect it to a file or another program.")


def _read_stdin(path: Path) -> None:
    if sys.stdin is None or sys.stdin.isatty():
        raise MajlError("The input is -, but nothing is redirected to stdin; redirect a file or another program to it.")
    try:
        with Resumable(), open(path, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
    except Stopped as stop:
        stop.advice = ""  # nothing is there to resume
        raise
    except OSError as error:
        raise MajlError(f"stdin cannot be copied to {path.parent}: {error.strerror or error}.") from error
