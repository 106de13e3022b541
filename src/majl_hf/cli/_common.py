"""What the verbs share: options, exit codes, and how paths, advice and JSON are printed."""

import contextlib
import functools
import inspect
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..checkpoints.loading import DEVICES, DTYPES
from ..errors import MajlError
from ._interrupt import Stopped
from ._streams import lossy_streams

EXIT_FAILED, EXIT_USAGE = 1, 2

Device = StrEnum("Device", DEVICES)
Dtype = StrEnum("Dtype", DTYPES)
VoicingPolicy = StrEnum("VoicingPolicy", ("threshold", "hysteresis", "always"))

Inputs = Annotated[
    list[str], typer.Argument(help="Files, folders or globs; - is stdin.", metavar="INPUT", show_default=False)
]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Also search subfolders.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where to compute; auto uses a GPU if there is one.")]
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
    bool, typer.Option("--unvoiced-as-zero", help="Write 0 Hz in frames that the voicing policy calls unvoiced.")
]
Solo = Annotated[bool, typer.Option("--solo", help="The input is a solo voice already: do not separate it.")]
Format = StrEnum(  # the names of audio.ENCODINGS, which takes too long to import for --help
    "Format",
    {name.replace("-", "_"): name for name in ("wav-float", "wav-24", "wav-16", "flac", "mp3", "m4a", "opus")},
)
FormatOption = Annotated[
    Format,
    typer.Option(
        "--format", help="Of the audio; wav-float is exact, wav-24 and flac have 24 bits; mp3, m4a and opus are lossy."
    ),
]
BitRate = Annotated[
    int | None,
    typer.Option(
        "--bit-rate",
        help="kbit/s of mp3, m4a or opus.",
        metavar="KBIT/S",
        show_default="256, 256 or 160; half of it for mono",
    ),
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.", show_default="all cores")]


@dataclass(frozen=True, kw_only=True)
class ProcessingOptions:
    """The options that `majl separate`, `majl pitch` and `majl transcribe` share."""

    inputs: Inputs
    output_dir: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder for the results; created if missing. - writes one result to stdout.",
            metavar="DIR",
            file_okay=False,
        ),
    ]
    recursive: Recursive = False
    overwrite: Overwrite = False
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON on stdout: one object per file and line, and a summary.")
    ] = False
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="A shipped name (see `majl models`), a folder, or a Hub id[@REVISION].",
            metavar="NAME",
        ),
    ] = "majl-base"
    device: DeviceOption = Device.auto
    dtype: Annotated[
        Dtype,
        typer.Option(
            "--dtype", help="In which the networks compute: float16 is faster on a GPU, bfloat16 on some CPUs."
        ),
    ] = Dtype.float32
    voicing_policy: Policy = None
    voicing_threshold: Threshold = None
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Windows computed together: speed against memory.")
    ] = 1
    threads: Threads = None
    stream: Annotated[
        str | None,
        typer.Option(
            "--stream",
            help="Sound track of a film: its number, from 0, or language, such as ger.",
            metavar="N",
            show_default="the file's default track",
        ),
    ] = None
    mixdown: Annotated[
        bool, typer.Option("--mixdown/--no-mixdown", help="Mix surround down to stereo, or refuse it.")
    ] = True
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False


def command(verb: Callable) -> Callable:
    """Make a verb end with the documented exit codes instead of a traceback.

    Output that cannot be written is no failure of the work: a reader that leaves early is ignored, anything else is
    reported at the end.
    """

    @functools.wraps(verb)
    def guarded(*args, **kwargs):
        with lossy_streams() as output:
            exit_code = _exit_code_of(verb, *args, **kwargs)
            output.flush()
            if output.error is not None and not isinstance(output.error, BrokenPipeError):
                reason = output.error.strerror or output.error
                typer.echo(
                    f"error: the output of this command cannot be written: {reason}; its files are complete", err=True
                )
                exit_code = exit_code or EXIT_FAILED
        raise typer.Exit(exit_code)

    return guarded


def _exit_code_of(verb: Callable, *args, **kwargs) -> int:
    """Run a verb; errors meant for users become a line on stderr."""
    try:
        return verb(*args, **kwargs) or 0
    except KeyboardInterrupt as error:
        stop = error if isinstance(error, Stopped) else Stopped()
        typer.echo(f"stopped{stop.advice and ': '}{stop.advice}", err=True)
        return stop.exit_code
    except MajlError as error:
        typer.echo(f"error: {error}", err=True)
        return EXIT_USAGE


def processing_command(verb: Callable) -> Callable:
    """`command` of a verb that takes `ProcessingOptions` first: each of their fields becomes an option of its own."""
    _, *own = inspect.signature(verb).parameters.values()
    shared = inspect.signature(ProcessingOptions).parameters

    @command
    @functools.wraps(verb)
    def expanded(**given):
        options = ProcessingOptions(**{name: given.pop(name) for name in shared})
        return verb(options, **given)

    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    expanded.__signature__ = inspect.Signature([*own, *shared.values()])
    return expanded


def shown(path) -> str:
    """A printable path: bytes that are not text are replaced."""
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


def group(name: str, help: str, epilog: str | None = None) -> typer.Typer:
    """A verb with verbs of its own."""
    return typer.Typer(
        name=name,
        help=help,
        epilog=epilog,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def print_json(value) -> None:
    """One JSON value on stdout, a line in ASCII, so that names that are not valid text survive."""
    print(json.dumps(value), flush=True)
