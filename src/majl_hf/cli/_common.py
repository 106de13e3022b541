"""What the verbs share: options, exit codes, and loading a model."""

import contextlib
import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import MajlError
from ._interrupt import Stopped

EXIT_FAILED, EXIT_USAGE = 1, 2


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class VoicingPolicy(StrEnum):
    threshold = "threshold"
    hysteresis = "hysteresis"
    always = "always"


Inputs = Annotated[list[str], typer.Argument(help="Files, folders or globs.", metavar="INPUT", show_default=False)]
OutputDir = Annotated[
    Path,
    typer.Option("--output", "-o", help="Folder for the results; made if missing.", metavar="DIR", file_okay=False),
]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Search folders to their leaves.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results that exist.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout: one object a file (a line each), and a summary.")]
ModelName = Annotated[
    str, typer.Option("--model", "-m", help="A shipped name (see `majl models`), a folder or a Hub id.", metavar="NAME")
]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where to compute; auto takes a GPU if there is one.")]
Policy = Annotated[
    VoicingPolicy | None,
    typer.Option("--voicing-policy", help="How voicing becomes a decision.", show_default="the model's"),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--voicing-threshold", help="Between 0 and 1: voicing from which a frame is sung.", show_default="the model's"
    ),
]
UnvoicedAsZero = Annotated[
    bool, typer.Option("--unvoiced-as-zero", help="Write 0 Hz where the voicing policy says that nobody sings.")
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Windows computed together: speed against memory.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.", show_default="all cores")]
Debug = Annotated[bool, typer.Option("--debug", help="Show where an error came from.")]


def command(verb: Callable) -> Callable:
    """Make a verb end with the documented exit codes instead of a traceback."""

    @functools.wraps(verb)
    def guarded(*args, **kwargs):
        try:
            exit_code = verb(*args, **kwargs)
        except KeyboardInterrupt as error:
            stop = error if isinstance(error, Stopped) else Stopped()
            typer.echo(f"stopped{stop.advice and ': '}{stop.advice}", err=True)
            raise typer.Exit(stop.exit_code) from None
        except MajlError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(EXIT_USAGE) from None
        raise typer.Exit(exit_code or 0)

    return guarded


def shown(path) -> str:
    """A path for people: bytes that are no text are replaced."""
    return os.fsencode(path).decode("utf-8", errors="replace")


@contextlib.contextmanager
def extra(name: str, doing: str) -> Iterator[None]:
    """Turn a missing package of an extra into advice, a MajlError that begins with what was being done."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("majl_hf"):
            raise
        raise MajlError(
            f"{doing} needs {error.name}, which is not installed; run: pip install 'majl_hf[{name}]'"
        ) from error


def describe(error: BaseException, debug: bool = False) -> str:
    """One line for any exception. Those written for users speak for themselves, others need their type."""
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, MajlError | ValueError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{f': {error.filename}' if error.filename else ''}"
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "not enough memory; use a smaller --batch-size or --device cpu"
    return f"{type(error).__name__}: {error}; run again with --debug to see where"


def print_json(value) -> None:
    """One JSON value on stdout, in ASCII."""
    print(json.dumps(value, indent=2), flush=True)


def check_output_dir(path: Path) -> None:
    """Make the folder for the results, or fail before anything is computed."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MajlError(
            f"The output folder {path} cannot be made: {error.strerror}; choose another --output."
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise MajlError(f"The output folder {path} may not be written; choose another --output.")
