"""The command `majl`: one file a verb.

Exit codes: 0 all good; 1 at least one file failed, the others are done; 2 the command itself is wrong (an unknown
option, a model that cannot be loaded, a device that is not there); 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

import contextlib
import sys

import typer

from . import data, demo, info, models, pitch, push, separate

app = typer.Typer(
    name="majl",
    help="Vocals, accompaniment and the sung pitch of a song.",
    epilog="Exit codes: 0 all good; 1 some files failed, the others are done; 2 wrong usage; 130 stopped by Ctrl-C.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (separate, pitch, demo, info, models):
    app.command(verb.NAME)(verb.run)
app.add_typer(data.app, name=data.NAME)
app.add_typer(push.app, name=push.NAME)


@app.callback()
def _before_every_verb() -> None:
    """Vocals, accompaniment and the sung pitch of a song."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a letter of a file name must not end the run
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")
