"""A folder of anyone's own songs: stems, mixtures and labels, in whatever combination can be trained on.

Conventions
    Two layouts, which may stand side by side in one folder; any format soundfile reads, any rate and channel count:
    `SONG/vocals.*`, `SONG/accompaniment.*`, `SONG/mixture.*`, `SONG/f0.csv`, `SONG/notes.csv` (or `notes.txt`)
    `NAME.vocals.*`, `NAME.accompaniment.*`, `NAME.mixture.*`, `NAME.f0.csv`, `NAME.notes.csv` (or `.notes.txt`)
    What a song is good for follows from its files: vocals and accompaniment, labelled or not; a mixture with a label;
    vocals with a label. A mixture beside both stems has to be their sum (checked when rows are made).
    f0: a frame a line, `time_s,f0_hz`, at even times, 0 = unvoiced. A header may name the columns and add `voicing`
    (below 0.5 is unvoiced, as in files of this package, whose f0 is positive in every frame) and `confidence`.
    Notes: `onset_s offset_s midi` a line. Where both are there, the frames come from the f0.

Traps
    The f0 of a program is no label by hand: what a model says of a song teaches another model its mistakes. An f0 file
    that leaves out unvoiced frames is not a curve and is refused.

Licence
    That of the songs.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import CorpusError, MajlError
from .labels import Note, PitchLabel
from .notes import SUNG_NOTES, check_notes, is_number, notes_to_label, read_notes
from .stems import check_alike, find_songs, select_songs
from .tracks import AudioPart, Track, resolve_folder

PARTS = ("mixture", "vocals", "accompaniment")
LABELS = ("f0.csv", "notes.csv", "notes.txt")
VOICING_THRESHOLD = 0.5
MAX_LENGTH_DIFFERENCE = 3  # label frames,
MIN_LENGTH_DIFFERENCE_S = 0.1  # or this, where frames are short: analysis windows end before the recording does


def load_folder(
    folder: str | Path,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    corpus: str = "folder",
    licence: str = "",
) -> list[Track]:
    """Tracks of a folder of songs, sorted by song.

    Args:
        folder: `~` and environment variables are expanded.
        include: song names to keep; empty keeps all. exclude: song names to leave out.
        licence: of the songs, as an SPDX identifier where there is one.

    Raises:
        CorpusError: no song, a name that is not there, files that are good for nothing together, rates or lengths that
            differ, a label that does not fit.
    """
    root = resolve_folder(folder, corpus)
    songs = find_songs(root, PARTS)
    if not songs:
        raise CorpusError(
            f"No SONG/vocals.*, NAME.vocals.* or the like in {root}; put songs there or correct the folder."
        )
    selected = select_songs(root, songs, include, exclude)
    return [_track(song, songs[song], corpus, licence) for song in selected]


def read_f0(path: Path, duration_s: float) -> PitchLabel:
    """Read an f0 file that belongs to a recording of `duration_s` seconds.

    Raises:
        CorpusError: not numbers, uneven times, NaN, negative, or of another length than the recording.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    names = ["time_s", "f0_hz"]
    try:
        if rows and not is_number(rows[0][0]):
            names = [name.strip() for name in rows.pop(0)]
            if names[:2] != ["time_s", "f0_hz"]:
                raise CorpusError(f"{path} has the columns {names}; the first two need to be time_s and f0_hz.")
        if len(rows) < 2:
            raise CorpusError(f"{path} has {len(rows)} frames; a curve needs at least 2.")
        table = np.array([[float(value) for value in row[: len(names)]] for row in rows])
        columns = dict(zip(names, table.T, strict=True))
    except CorpusError:
        raise
    except ValueError as error:
        raise CorpusError(f"{path} is not {len(names)} numbers a line ({error}).") from error
    times_s, f0_hz = columns["time_s"], columns["f0_hz"]
    hop_s = (times_s[-1] - times_s[0]) / (len(times_s) - 1)
    even_s = times_s[0] + np.arange(len(times_s)) * hop_s
    if not hop_s > 0 or not np.allclose(times_s, even_s, rtol=0, atol=hop_s / 4):
        raise CorpusError(f"{path}: its times are not evenly apart; write every frame, with 0 Hz where nobody sings.")
    tolerance_s = max(MAX_LENGTH_DIFFERENCE * hop_s, MIN_LENGTH_DIFFERENCE_S)
    if times_s[0] < 0 or times_s[0] > tolerance_s or abs(times_s[-1] - duration_s) > tolerance_s:
        raise CorpusError(
            f"{path} lasts from {times_s[0]:.3f} to {times_s[-1]:.3f} s, its recording from 0 to {duration_s:.3f} s "
            f"(at most {tolerance_s:.3f} s off). Label and audio belong to different recordings, or one is cut off."
        )
    if "voicing" in columns:
        f0_hz = np.where(columns["voicing"] >= VOICING_THRESHOLD, f0_hz, 0.0)
    try:
        return PitchLabel(f0_hz, float(hop_s), float(times_s[0]), columns.get("confidence"))
    except MajlError as error:
        raise CorpusError(f"{path}: {error}") from error


def _track(song: str, paths: dict[str, Path], corpus: str, licence: str) -> Track:
    parts = {name: AudioPart.open(paths[name]) for name in PARTS if name in paths}
    check_alike(*parts.values())
    duration_s = max(part.duration_s for part in parts.values())
    some_path = next(iter(paths.values()))
    labels = _label_files(song, some_path)
    if "vocals" not in parts or "accompaniment" not in parts:
        if len(parts) > 1:
            lacking = "accompaniment" if "vocals" in parts else "vocals"
            raise CorpusError(f"{some_path} has no {lacking} beside it; a song with a stem needs both.")
        if "accompaniment" in parts or not labels:
            raise CorpusError(
                f"{some_path} stands alone; vocals need accompaniment, a mixture needs a label (f0.csv or notes.csv). "
                "Folders of nothing but voices, or of music without voices, are corpora of their own."
            )
    label, notes = _read_labels(labels, duration_s)
    return Track(
        id=f"{corpus}/{song}",
        corpus=corpus,
        song=song,
        singer="",
        duration_s=duration_s,
        sampling_rate=next(iter(parts.values())).sampling_rate,
        **parts,
        label=label,
        notes=notes,
        licence=licence,
        provenance=f"{song}, with " + " and ".join([*parts, *(path.name for path in labels.values())]) + ".",
    )


def _label_files(song: str, audio: Path) -> dict[str, Path]:
    """Files of `LABELS` that belong to the song of the file `audio`."""
    prefix = "" if audio.stem in PARTS else f"{song}."
    return {name: path for name in LABELS if (path := audio.parent / f"{prefix}{name}").is_file()}


def _read_labels(paths: dict[str, Path], duration_s: float) -> tuple[PitchLabel | None, tuple[Note, ...] | None]:
    notes = [path for name, path in paths.items() if name.startswith("notes")]
    if len(notes) > 1:
        raise CorpusError(f"{notes[0]} and {notes[1]} are both the notes of one song; keep one.")
    sung = check_notes(read_notes(notes[0]), duration_s, notes[0]) if notes else None
    if "f0.csv" in paths:
        return read_f0(paths["f0.csv"], duration_s), sung
    return (None if sung is None else notes_to_label(sung, duration_s, SUNG_NOTES)), sung
