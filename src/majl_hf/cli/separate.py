"""`majl separate`: vocals, accompaniment and pitch of songs, as files."""

from enum import StrEnum
from typing import Annotated

import typer

from . import _common as c

NAME = "separate"

Stem = StrEnum("Stem", ("vocals", "accompaniment"))


@c.processing_command
def run(
    options: c.ProcessingOptions,
    format: c.FormatOption = c.Format.wav_float,
    bit_rate: c.BitRate = None,
    stem: Annotated[Stem | None, typer.Option("--stem", help="Write only this stem; needed with -o -.")] = None,
    vocals: Annotated[bool, typer.Option("--vocals/--no-vocals", help="Write NAME.vocals.wav.")] = True,
    accompaniment: Annotated[
        bool, typer.Option("--accompaniment/--no-accompaniment", help="Write NAME.accompaniment.wav.")
    ] = True,
    f0: Annotated[bool, typer.Option("--f0/--no-f0", help="Write NAME.f0.csv.")] = True,
    unvoiced_as_zero: c.UnvoicedAsZero = False,
) -> int:
    """Separate songs into vocals, accompaniment and pitch.

    Writes NAME.vocals.wav, NAME.accompaniment.wav and NAME.f0.csv into DIR.

    The two stems add up to the song, except in lossy formats; rate,
    channels and length are the song's.

    Reads wav, flac, mp3, ogg, opus, m4a, the audio of mp4 and more.

    Results of folders keep their subfolders. Of the files of a song,
    either all appear or none.
    """
    wanted = {"vocals": vocals, "accompaniment": accompaniment, "f0": f0}
    if stem is not None:
        wanted = {stem.value: wanted[stem.value]}
    if not any(wanted.values()):
        raise typer.BadParameter("nothing is left to write; leave out one of --no-vocals, --no-accompaniment, --no-f0")
    from ..audio import ENCODINGS
    from ..songs.writing import AudioFormat, SongWriter
    from ._processing import process

    extension = ENCODINGS[format.value].extension
    endings = {"vocals": f".vocals{extension}", "accompaniment": f".accompaniment{extension}", "f0": ".f0.csv"}
    endings = {what: ending for what, ending in endings.items() if wanted.get(what)}
    audio_format = AudioFormat(format.value, bit_rate)

    def make_writer(job, song):
        return SongWriter(job, song, options.overwrite, audio_format, unvoiced_as_zero)

    return process(NAME, options, endings, make_writer, skip_own_outputs=True)
