"""`majl transcribe`: the sung notes of songs, with lyrics, in the formats of `export/formats.py`."""

from pathlib import Path
from typing import Annotated

import typer

from . import _common as c

NAME = "transcribe"


@c.processing_command
def run(
    options: c.ProcessingOptions,
    export: Annotated[
        str,
        typer.Option(
            "--export",
            help="Formats, separated by commas: midi, ultrastar, jams, musicxml, csv, labels, sv-csv, npz, png, svg, "
            "html, melody.",
            metavar="FORMATS",
        ),
    ] = "midi,csv",
    lyrics: Annotated[
        Path | None,
        typer.Option(
            "--lyrics",
            help="A file with the words of the song (text, LRC, JSON with times), or a folder with NAME.json, NAME.lrc "
            "or NAME.txt for each song.",
            metavar="PATH",
            exists=True,
        ),
    ] = None,
    language: Annotated[
        str,
        typer.Option(
            "--language", help="Of the lyrics, such as en.", metavar="CODE", show_default="guessed from the words"
        ),
    ] = "",
    note_threshold: Annotated[
        float | None,
        typer.Option("--note-threshold", help="Between 0 and 1; higher gives fewer notes.", show_default="the model's"),
    ] = None,
    min_note_s: Annotated[
        float | None,
        typer.Option("--min-note-s", help="Shortest note in seconds.", metavar="SECONDS", show_default="the model's"),
    ] = None,
    bpm: Annotated[
        float | None,
        typer.Option(
            "--bpm", min=10, max=1000, help="Tempo of the song.", show_default="estimated from the accompaniment"
        ),
    ] = None,
    quantise: Annotated[
        bool, typer.Option("--quantise", help="Move notes to sixteenths of the tempo and whole semitones.")
    ] = False,
    stems: Annotated[bool, typer.Option("--stems", help="Also write the vocals and the accompaniment.")] = False,
    format: c.FormatOption = c.Format.wav_float,
    bit_rate: c.BitRate = None,
    solo: c.Solo = False,
) -> int:
    """Write down the sung notes of songs.

    Writes NAME.mid and NAME.notes.csv into DIR, or what --export names.

    UltraStar songs get a copy of the song beside them, and with
    --stems refer to these: DIR is then complete for karaoke programs.

    Of the files of a song, either all appear or none.
    """
    from ..audio import ENCODINGS
    from ..export.formats import NOTE_FORMATS
    from ..models.note_decoding_majl import check_note_options
    from ..notes.lyrics import language_code
    from ..songs.writing import AudioFormat
    from ._pipes import PIPE
    from ._processing import process
    from ._transcription_writer import COPY, EXPORTS, LYRICS_EXTENSIONS, TranscriptionSettings, TranscriptionWriter

    names = list(dict.fromkeys(name.strip().lower() for name in export.split(",") if name.strip()))
    if not names or not set(names) <= EXPORTS.keys():
        raise typer.BadParameter(
            f"--export is {export!r}; one or more of {', '.join(EXPORTS)}, separated by commas, are needed."
        )
    for format_name in NOTE_FORMATS.keys() & names:
        NOTE_FORMATS[format_name].check_package()
    if language and not language_code(language):
        raise typer.BadParameter(f"--language is {language!r}; a code of ISO 639-1, such as en or de, is needed.")
    try:
        check_note_options(note_threshold, min_note_s)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    to_stdout = str(options.output_dir) == PIPE
    if to_stdout and (len(names) > 1 or stems):
        raise typer.BadParameter("-o - writes one format to stdout; choose it with --export, without --stems.")

    endings: dict[str, str | None] = {name: EXPORTS[name] for name in names}
    if "ultrastar" in names and not to_stdout:
        endings[COPY] = None
    if stems:
        extension = ENCODINGS[format.value].extension
        endings |= {"vocals": f".vocals{extension}", "accompaniment": f".accompaniment{extension}"}
    settings = TranscriptionSettings(
        AudioFormat(format.value, bit_rate), solo, lyrics, language_code(language), bpm, quantise, options.model
    )
    for_one_song = {}
    if lyrics is not None and not lyrics.is_dir():
        files = ", ".join(f"NAME{extension}" for extension in LYRICS_EXTENSIONS)
        for_one_song["--lyrics FILE"] = f"give a folder that contains one of {files} for each song"

    def make_writer(job, song):
        return TranscriptionWriter(job, song, options.overwrite, settings)

    return process(
        NAME,
        options,
        endings,
        make_writer,
        skip_own_outputs=not solo,
        for_one_song=for_one_song,
        separate=not solo,
        read_notes=True,
        note_threshold=note_threshold,
        min_note_s=min_note_s,
    )
