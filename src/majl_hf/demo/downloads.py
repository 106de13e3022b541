"""The downloads of a result. The stems exist already; all other files are written on request."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..audio import AudioWriter
from ..errors import MajlError
from ..export.f0_csv import F0CsvWriter
from ..export.formats import NOTE_FORMATS, NoteFormat
from ..export.melody import render_melody
from ..export.spectrogram import spectrogram_jpeg
from .decisions import NOTE_SETTINGS, Settings, decide_notes, transcribe
from .separation import SeparatedSong

_writing = threading.Lock()  # for matplotlib, and for two simultaneous requests for the same file
_ALL = ("voicing_threshold", *NOTE_SETTINGS)
_TITLES = {
    "midi": "Notes, MIDI", "ultrastar": "Notes, UltraStar", "jams": "Notes, JAMS", "musicxml": "Notes, MusicXML",
    "csv": "Notes, CSV", "labels": "Notes, Audacity", "sv-csv": "Notes, Sonic Visualiser", "npz": "Notes, NumPy",
    "png": "Picture, PNG", "svg": "Picture, SVG", "html": "Page, HTML",
}  # fmt: skip
_MEDIA_TYPES = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".jams": "application/json",
    ".mid": "audio/midi",
    ".musicxml": "application/vnd.recordare.musicxml+xml",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}


@dataclass(frozen=True)
class Download:
    """One file on offer.

    Args:
        file: Its name in the song's folder; saved files are named after the song and it.
        title, hint: Text on the page.
        media_type: Media type in HTTP.
        write: Writes it, called with `(path, song, settings)`; None if the separation has written it.
        settings: Names of those that it depends on.
        needs_notes: Whether it is only listed for songs with notes.
        offered: Whether it is listed as a download; otherwise it is part of the page.
    """

    file: str
    title: str
    hint: str
    media_type: str
    write: Callable[[Path, SeparatedSong, Settings], None] | None = None
    settings: tuple[str, ...] = ()
    needs_notes: bool = False
    offered: bool = True


def _write_csv(path: Path, song: SeparatedSong, settings: Settings) -> None:
    with F0CsvWriter(path, overwrite=True) as writer:
        writer.write(song.frames)


def _write_sung_csv(path: Path, song: SeparatedSong, settings: Settings) -> None:
    with F0CsvWriter(path, overwrite=True, unvoiced_as_zero=True) as writer:
        writer.write(transcribe(song, settings).frames)


def _write_melody(path: Path, song: SeparatedSong, settings: Settings) -> None:
    blocks = render_melody(decide_notes(song, settings), song.frames, song.sampling_rate, song.num_samples)
    with AudioWriter(path, song.sampling_rate, 1, "flac", overwrite=True) as writer:
        for block in blocks:
            writer.write(block[None])


def _write_spectrogram(path: Path, song: SeparatedSong, settings: Settings) -> None:
    path.write_bytes(spectrogram_jpeg(*song.drawing_vocals))


def _write_notes(format: NoteFormat, path: Path, song: SeparatedSong, settings: Settings) -> None:
    options = dict(zip(("vocals", "sampling_rate"), song.drawing_vocals, strict=True)) if format.shows_vocals else {}
    path.write_bytes(format.render(transcribe(song, settings), **options))


def _note_downloads() -> list[Download]:
    """One for each format of notes whose package is installed."""
    downloads = []
    for format in NOTE_FORMATS.values():
        try:
            format.check_package()
        except MajlError:
            continue
        file = f"notes{format.extension.removeprefix('.notes')}"
        media_type = _MEDIA_TYPES.get(Path(file).suffix, "application/octet-stream")
        write = partial(_write_notes, format)
        downloads.append(
            Download(
                file,
                _TITLES.get(format.name, f"Notes, {format.name}"),
                format.description,
                media_type,
                write,
                _ALL,
                needs_notes=not format.shows_vocals,  # the pictures also show the pitch curve
            )
        )
    return downloads


# To offer a new format of `export/`, add a line here; formats of notes are offered by themselves.
DOWNLOADS = {
    download.file: download
    for download in (
        Download("accompaniment.wav", "Accompaniment, wav", "the karaoke track, exact", "audio/wav"),
        Download("accompaniment.flac", "Accompaniment, flac", "the same in half the space", "audio/flac"),
        Download("vocals.wav", "Vocals, wav", "the voice alone, exact", "audio/wav"),
        Download("vocals.flac", "Vocals, flac", "the same in half the space", "audio/flac"),
        Download("melody.flac", "Melody, flac", "the notes as a soft tone", "audio/flac", _write_melody,
                 NOTE_SETTINGS, True),
        *_note_downloads(),
        Download("f0.csv", "Pitch, CSV", "time, Hz, voicing, confidence of every frame", "text/csv", _write_csv),
        Download("f0.sung.csv", "Sung pitch, CSV", "0 Hz in unvoiced frames", "text/csv", _write_sung_csv,
                 ("voicing_threshold",)),
        Download("spectrogram.jpg", "", "", "image/jpeg", _write_spectrogram, offered=False),
    )
}  # fmt: skip


def download_path(song: SeparatedSong, file: str, settings: Settings | None = None) -> Path:
    """Path of a file of `DOWNLOADS`, written if it does not exist.

    Of a file that depends on settings, only the latest is kept.

    Args:
        settings: Default: the model's.

    Raises:
        MajlError: unknown name, or nothing that the format can express.
    """
    if file not in DOWNLOADS:
        raise MajlError(f"There is no file {file!r}; choose one of {', '.join(DOWNLOADS)}.")
    download = DOWNLOADS[file]
    if download.write is None:
        return song.folder / file
    settings = settings or Settings.of_model(song.config)
    values = "-".join(f"{value:.2f}" for value in settings.named(download.settings).values())
    path = song.folder / (f"{values}.{file}" if values else file)
    with _writing:
        if not path.exists():
            # Under another name first: an aborted request must not leave a partial file.
            unfinished = path.with_name(f"unfinished.{path.name}")
            download.write(unfinished, song, settings)
            for other in song.folder.glob(f"*.{file}") if values else ():
                if other != unfinished:
                    other.unlink(missing_ok=True)
            unfinished.replace(path)
    return path
