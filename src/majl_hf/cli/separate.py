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


@c.command
def run(
    inputs: c.Inputs,
    output_dir: c.OutputDir,
    format: Annotated[
        Format, typer.Option("--format", help="Of the audio; wav-float is exact, the others hold 24 bits.")
    ] = Format.wav_float,
    vocals: Annotated[bool, typer.Option("--vocals/--no-vocals", help="Write NAME.vocals.wav.")] = True,
    accompaniment: Annotated[
        bool, typer.Option("--accompaniment/--no-accompaniment", help="Write NAME.accompaniment.wav.")
    ] = True,
    f0: Annotated[bool, typer.Option("--f0/--no-f0", help="Write NAME.f0.csv.")] = True,
    recursive: c.Recursive = False,
    overwrite: c.Overwrite = False,
    as_json: c.AsJson = False,
    model: c.ModelName = "majl-base",
    device: c.DeviceOption = c.Device.auto,
    voicing_policy: c.Policy = None,
    voicing_threshold: c.Threshold = None,
    unvoiced_as_zero: c.UnvoicedAsZero = False,
    batch_size: c.BatchSize = 1,
    threads: c.Threads = None,
    debug: c.Debug = False,
) -> int:
    """Separate songs: writes NAME.vocals.wav, NAME.accompaniment.wav and NAME.f0.csv into DIR.

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
    from ._processing import Settings, process

    settings = Settings(
        model, device, threads, voicing_policy, voicing_threshold, batch_size, overwrite,
        encoding=format.value, unvoiced_as_zero=unvoiced_as_zero, debug=debug,
    )  # fmt: skip
    return process(
        NAME,
        inputs,
        output_dir,
        {what: ending for what, ending in endings.items() if wanted[what]},
        settings,
        recursive=recursive,
        as_json=as_json,
        skip_own_outputs=True,
    )
