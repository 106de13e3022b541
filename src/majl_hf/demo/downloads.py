"""The downloads of a result. The stems exist already; all other files are written on request."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import MajlError
from ..export.f0_csv import F0CsvWriter
from ..export.plot import plot_pitch
from .figure import write_spectrogram
from .separation import SeparatedSong
from .voicing import decide_voiced

_writing = threading.Lock()  # for matplotlib, and for two simultaneous requests for the same file


@dataclass(frozen=True)
class Download:
    """One file on offer.

    Args:
        file: Its name in the song's folder; saved files are named after the song and it.
        title, hint: Text on the page.
        media_type: Media type in HTTP.
        write: Writes it, called with `(path, song, voiced)`; None if the separation has written it.
        uses_threshold: Whether it depends on which frames are sung.
        offered: Whether it is listed as a download; otherwise it is part of the page.
    """

    file: str
    title: str
    hint: str
    media_type: str
    write: Callable[[Path, SeparatedSong, np.ndarray], None] | None = None
    uses_threshold: bool = False
    offered: bool = True


def _write_csv(path: Path, song: SeparatedSong, voiced: np.ndarray) -> None:
    with F0CsvWriter(path, overwrite=True) as writer:
        writer.write(song.frames)


def _write_sung_csv(path: Path, song: SeparatedSong, voiced: np.ndarray) -> None:
    with F0CsvWriter(path, overwrite=True, unvoiced_as_zero=True) as writer:
        writer.write(replace(song.frames, voiced=voiced))


def _write_picture(path: Path, song: SeparatedSong, voiced: np.ndarray) -> None:
    frames = song.frames
    plot_pitch(path, *song.drawing_vocals, frames.times_s, frames.f0_hz, voiced, title=song.name)


# To offer a new format of `export/`, add a line here.
DOWNLOADS = {
    download.file: download
    for download in (
        Download("accompaniment.wav", "Accompaniment, wav", "the karaoke track, exact", "audio/wav"),
        Download("accompaniment.flac", "Accompaniment, flac", "the same in half the space", "audio/flac"),
        Download("vocals.wav", "Vocals, wav", "the voice alone, exact", "audio/wav"),
        Download("vocals.flac", "Vocals, flac", "the same in half the space", "audio/flac"),
        Download("f0.csv", "Pitch, CSV", "time, Hz, voicing, confidence of every frame", "text/csv", _write_csv),
        Download("f0.sung.csv", "Sung pitch, CSV", "0 Hz in unvoiced frames", "text/csv", _write_sung_csv, True),
        Download("f0.png", "Picture, PNG", "the pitch over the spectrogram", "image/png", _write_picture, True),
        Download("mixture.flac", "", "", "audio/flac", offered=False),
        Download(
            "spectrogram.png", "", "", "image/png", lambda path, song, voiced: write_spectrogram(path, song),
            offered=False,
        ),
    )
}  # fmt: skip


def checked_threshold(threshold: float) -> float:
    """The threshold in whole hundredths, which limits the number of files per song.

    Raises:
        MajlError: not between 0 and 1.
    """
    if not 0.0 < threshold < 1.0:
        raise MajlError(f"The voicing threshold is {threshold}; it must be between 0 and 1.")
    return min(max(round(threshold, 2), 0.01), 0.99)


def download_path(song: SeparatedSong, file: str, threshold: float | None = None) -> Path:
    """Path of a file of `DOWNLOADS`, written if it does not exist.

    Args:
        threshold: Between 0 and 1, for files that depend on it; default: the model's.

    Raises:
        MajlError: unknown name, or a threshold out of range.
    """
    if file not in DOWNLOADS:
        raise MajlError(f"There is no file {file!r}; choose one of {', '.join(DOWNLOADS)}.")
    download = DOWNLOADS[file]
    threshold = checked_threshold(song.threshold if threshold is None else threshold)
    if download.write is None:
        return song.folder / file
    path = song.folder / (f"{threshold:.2f}.{file}" if download.uses_threshold else file)
    with _writing:
        if not path.exists():
            voiced = decide_voiced(song.frames.voicing, song.policy, threshold)
            # Under another name first: an aborted request must not leave a partial file.
            unfinished = path.with_name(f"unfinished.{path.name}")
            download.write(unfinished, song, voiced)
            unfinished.replace(path)
    return path
