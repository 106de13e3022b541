"""The command `majl`: one file per verb.

Exit codes: 0 all good; 1 at least one file failed, the others are done; 2 the command itself is wrong (an unknown
option, a model that cannot be loaded, a device that is not available); 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

import contextlib
import sys
from typing import Annotated

import typer
from typer.core import TyperGroup

from ..system.provenance import __version__
from . import (
    batch,
    calibrate,
    data,
    demo,
    evaluate,
    export,
    info,
    label,
    live,
    models,
    pitch,
    push,
    separate,
    train,
    transcribe,
)


class _Majl(TyperGroup):
    def get_params(self, ctx):
        # The flags that typer adds have no default. To convert None it would import pydantic, which takes longer than
        # everything else that runs before a usage error is reported.
        flags = super().get_params(ctx)
        for flag in flags:
            flag.default = False
        return flags


app = typer.Typer(
    cls=_Majl,
    name="majl",
    help="Vocals, accompaniment, the sung pitch and notes of a song.",
    epilog="Exit codes: 0 all good; 1 some files failed, the others are done; 2 wrong usage; 130 stopped by Ctrl-C.",
    no_args_is_help=True,
    rich_markup_mode=None,  # importing rich takes as long as everything else
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for verb in (separate, pitch, transcribe, live, batch, demo, train, label, calibrate, evaluate, info, models):
    app.command(verb.NAME)(verb.run)
app.add_typer(data.app, name=data.NAME)
app.add_typer(export.app, name=export.NAME)
app.add_typer(push.app, name=push.NAME)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"majl_hf {__version__}")
        raise typer.Exit


@app.callback()
def _before_every_verb(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Vocals, accompaniment, the sung pitch and notes of a song."""
    for stream in (sys.stdout, sys.stderr):  # a character that the terminal cannot encode must not end the run
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")
