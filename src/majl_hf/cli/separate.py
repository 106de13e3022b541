"""`majl separate`: vocals, accompaniment and pitch of songs, as files."""

from enum import StrEnum
from typing import Annotated

import typer

from . import _common as c

NAME = "separate"


class Format(StrEnum):
    wav_float = "wav-float"
    wav_24 = "wav-24"
    flac = "flac"


@c.processing_command
def run(
    options: c.ProcessingOptions,
    format: Annotated[
        Format, typer.Option("--format", help="Of the audio; wav-float is exact, the others hold 24 bits.")
    ] = Format.wav_float,
    vocals: Annotated[bool, typer.Option("--vocals/--no-vocals", help="Write NAME.vocals.wav.")] = True,
    accompaniment: Annotated[
        bool, typer.Option("--accompaniment/--no-accompaniment", help="Write NAME.accompaniment.wav.")
    ] = True,
    f0: Annotated[bool, typer.Option("--f0/--no-f0", help="Write NAME.f0.csv.")] = True,
) -> int:
    """Separate songs into vocals, accompaniment and pitch.

    Writes NAME.vocals.wav, NAME.accompaniment.wav and NAME.f0.csv into DIR.

    The two stems add up to the song; rate, channels and length are the song's.

    Reads wav, flac, mp3, ogg, opus, m4a, the audio of mp4 and more.

    Results of folders keep their subfolders. The files of a song appear
    together or not at all.
    """
    extension = ".flac" if format is Format.flac else ".wav"
    endings = {"vocals": f".vocals{extension}", "accompaniment": f".accompaniment{extension}", "f0": ".f0.csv"}
    wanted = {"vocals": vocals, "accompaniment": accompaniment, "f0": f0}
    if not any(wanted.values()):
        raise typer.BadParameter("nothing is left to write; leave out one of --no-vocals, --no-accompaniment, --no-f0")
    from ._processing import process

    endings = {what: ending for what, ending in endings.items() if wanted[what]}
    return process(NAME, options, endings, encoding=format.value, skip_own_outputs=True)
