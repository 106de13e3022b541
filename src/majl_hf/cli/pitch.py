"""`majl pitch`: the sung pitch of songs or solo voices, as CSV."""

from typing import Annotated

import typer

from . import _common as c

NAME = "pitch"


@c.processing_command
def run(
    options: c.ProcessingOptions,
    solo: Annotated[
        bool, typer.Option("--solo", help="The input is a solo voice already: do not separate it.")
    ] = False,
) -> int:
    """Read the sung pitch of songs or solo voices.

    Writes NAME.f0.csv (time_s, f0_hz, voicing, confidence) into DIR.
    """
    from ._processing import process

    return process(NAME, options, {"f0": ".f0.csv"}, separate=not solo)
