"""Folders of your own recordings, in four kinds: songs with labels, stems, solo vocals, music without vocals.

Conventions
    Any format that `majl` reads, any sampling rate and channel count. The file name says which part of a song a file
    is, in two layouts that can be mixed in one folder: `SONG/vocals.*`, `SONG/accompaniment.*` and so on, or
    `NAME.vocals.*`, `NAME.accompaniment.*` (what `majl separate` writes, so a teacher's output is a corpus).
    `load_folder`: `vocals`, `accompaniment`, `mixture`, `f0.csv`, `notes.csv` (or `notes.txt`). A song needs vocals and
    accompaniment, labelled or not, or a mixture with a label, or vocals with a label. A mixture beside both stems must
    be their sum (checked when rows are built).
        f0: one frame per line, `time_s,f0_hz`, at even times, 0 = unvoiced. A header may name the columns and add
        `voicing` (below 0.5 is unvoiced, for files of this package, whose f0 is positive in every frame) and
        `confidence`.
        Notes: `onset_s offset_s midi` per line. If both exist, frame labels come from the f0.
    `load_stems`: `vocals` and `accompaniment`, whose sum is the mixture; no labels.
    `load_voices`: every audio file below the folder is a recording of one unaccompanied voice; no labels.
    `load_music`: every audio file below the folder that is long enough is one piece, used as accompaniment.

Traps
    Songs: the output of a pitch tracker is not a manual label; a model trained on it learns the tracker's mistakes. f0
    files without the unvoiced frames are refused.
    Stems: vocals of real songs have long silent stretches: draw segments by their content. Lossy stems may differ in
    length by a codec frame; the shorter one is padded with zeros.
    Voices: exclude recordings with accompaniment, claps or a click track, which the separator would learn to assign to
    the vocals. Many recordings are shorter than a training segment.
    Music: folders of games also contain short sound effects and speech, which the minimum duration leaves out.
    Exclude pieces with choirs or vocal samples, which would teach the separator to miss vocals.

Licence
    That of the recordings; pass it as `licence`, as an SPDX identifier if there is one.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import CorpusError
from ..system.files import counted
from .labels import Note, PitchLabel
from .notes import SUNG_NOTES, check_notes, is_number, notes_to_label, read_notes
from .tracks import AudioPart, Track, find_audio, read_recordings, resolve_folder

STEMS = ("vocals", "accompaniment")
PARTS = ("mixture", *STEMS)
LABELS = ("f0.csv", "notes.csv", "notes.txt")
VOICING_THRESHOLD = 0.5
MAX_STEMS_DIFFERENCE_S = 0.1
MAX_LENGTH_DIFFERENCE = 3  # label frames,
MIN_LENGTH_DIFFERENCE_S = 0.1  # or this, if frames are short: analysis windows end before the recording does
_log = logging.getLogger(__name__)


def load_folder(
    folder: str | Path,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    corpus: str = "folder",
    licence: str = "",
) -> list[Track]:
    """Tracks of a folder of songs, sorted by song.

    Args:
        folder: `~` and environment variables are expanded, as by all readers.
        include: song names to keep; empty keeps all. exclude: song names to leave out.

    Raises:
        BadRecordings: songs with an unusable combination of files, different rates or lengths, or a label that does
            not fit; the others are in it.
        CorpusError: no song, or an unknown name.
    """
    root = resolve_folder(folder, corpus)
    return _read_songs(root, PARTS, include, exclude, corpus, licence)


def load_stems(
    folder: str | Path,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    corpus: str = "stems",
    licence: str = "",
) -> list[Track]:
    """Tracks of a folder of stems, sorted by song.

    Args:
        include: song names to keep; empty keeps all. exclude: song names to leave out.

    Raises:
        BadRecordings: songs without one of their stems, or with different rates or lengths; the others are in it.
        CorpusError: no song, or an unknown name.
    """
    return _read_songs(resolve_folder(folder, "stems"), STEMS, include, exclude, corpus, licence)


def load_voices(
    folder: str | Path,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    corpus: str = "voices",
    licence: str = "",
) -> list[Track]:
    """Tracks of a folder of solo vocals, sorted by path.

    Args:
        include, exclude: globs on the file's stem or its path below the folder; an empty include keeps all.

    Raises:
        BadRecordings: files that are not audio; the others are in it.
        CorpusError: no file is left.
    """
    root = resolve_folder(folder, "voices")
    paths = find_audio(root, include, exclude)
    if not paths:
        raise CorpusError(f"No audio file in {root}{_selection(include, exclude)}.")

    def read(path: Path) -> Track:
        return _whole_file(root, path, "vocals", corpus, licence, "Solo voice")

    return _read_files(root, paths, corpus, read)


def load_music(
    folder: str | Path,
    exclude: Sequence[str] = (),
    min_duration_s: float = 20.0,
    corpus: str = "music",
    licence: str = "",
) -> list[Track]:
    """Tracks of a folder of music without vocals, sorted by path.

    Args:
        exclude: globs on the file's stem or its path below the folder.
        min_duration_s: shorter files are left out.

    Raises:
        BadRecordings: files that are not audio; the others are in it.
        CorpusError: no file is left.
    """
    root = resolve_folder(folder, "music")
    paths = find_audio(root, exclude=exclude)
    short = []

    def read(path: Path) -> Track | None:
        track = _whole_file(root, path, "accompaniment", corpus, licence, "Music without voices")
        if track.duration_s >= min_duration_s:
            return track
        short.append(f"shorter than {min_duration_s:g} s")
        return None

    tracks = _read_files(root, paths, corpus, read)
    if not tracks:
        raise CorpusError(
            f"No piece of at least {min_duration_s:g} s among the {len(paths)} audio files in "
            f"{root}{_selection((), exclude)}."
        )
    if short:
        _log.warning("%s: left out %s", root, counted(short))
    return tracks


def read_f0(path: Path, duration_s: float) -> PitchLabel:
    """Read an f0 file that belongs to a recording of `duration_s` seconds.

    Raises:
        CorpusError: not numbers, uneven times, NaN, negative values, or another length than the recording.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    names = ["time_s", "f0_hz"]
    try:
        if rows and not is_number(rows[0][0]):
            names = [name.strip() for name in rows.pop(0)]
            if names[:2] != ["time_s", "f0_hz"]:
                raise CorpusError(f"{path} has the columns {names}; the first two must be time_s and f0_hz.")
        if len(rows) < 2:
            raise CorpusError(f"{path} has {len(rows)} frames; a curve needs at least 2.")
        table = np.array([[float(value) for value in row[: len(names)]] for row in rows])
        columns = dict(zip(names, table.T, strict=True))
    except CorpusError:
        raise
    except ValueError as error:
        raise CorpusError(f"{path} does not have {len(names)} numbers per line ({error}).") from error
    times_s, f0_hz = columns["time_s"], columns["f0_hz"]
    hop_s = (times_s[-1] - times_s[0]) / (len(times_s) - 1)
    even_s = times_s[0] + np.arange(len(times_s)) * hop_s
    if not hop_s > 0 or not np.allclose(times_s, even_s, rtol=0, atol=hop_s / 4):
        raise CorpusError(f"{path}: its times are not evenly spaced; write every frame, with 0 Hz in unvoiced ones.")
    tolerance_s = max(MAX_LENGTH_DIFFERENCE * hop_s, MIN_LENGTH_DIFFERENCE_S)
    if times_s[0] < 0 or times_s[0] > tolerance_s or abs(times_s[-1] - duration_s) > tolerance_s:
        raise CorpusError(
            f"{path} lasts from {times_s[0]:.3f} to {times_s[-1]:.3f} s, its recording from 0 to {duration_s:.3f} s "
            f"(at most {tolerance_s:.3f} s off). Label and audio belong to different recordings, or one is cut off."
        )
    if "voicing" in columns:
        f0_hz = np.where(columns["voicing"] >= VOICING_THRESHOLD, f0_hz, 0.0)
    return PitchLabel.of_file(path, f0_hz, float(hop_s), float(times_s[0]), columns.get("confidence"))


def _selection(include: Sequence[str], exclude: Sequence[str]) -> str:
    """The globs that select files, in words; empty if there are none."""
    words = [f"{name} {', '.join(globs)}" for name, globs in (("include", include), ("exclude", exclude)) if globs]
    return f" ({'; '.join(words)})" if words else ""


def _read_files(root: Path, paths: Sequence[Path], corpus: str, read: Callable[[Path], Track | None]) -> list[Track]:
    """Tracks of files below `root`, each named by its path without the extension."""
    recordings: dict[str, Path] = {}
    failures: dict[str, str] = {}
    for path in paths:
        name = path.relative_to(root).with_suffix("").as_posix()
        if name in recordings:
            same = recordings[name].name
            failures[f"{name}{path.suffix}"] = f"{path} only differs from {same} in its extension; rename or remove it."
        else:
            recordings[name] = path
    return read_recordings(corpus, recordings, read, failures)


def _read_songs(
    root: Path, parts: Sequence[str], include: Sequence[str], exclude: Sequence[str], corpus: str, licence: str
) -> list[Track]:
    """Tracks of songs that consist of `parts`."""
    songs, failures = _find_songs(root, parts)
    for name in (*include, *exclude):
        if name not in songs:
            raise CorpusError(f"{root} has no song {name!r}; the songs there are {sorted(songs)}.")
    selected = [song for song in sorted(songs) if (not include or song in include) and song not in exclude]
    if not selected:
        raise CorpusError(f"include and exclude leave none of the {len(songs)} songs in {root}.")

    def read(song: str) -> Track:
        labels = _label_files(song, songs[song]) if parts == PARTS else None
        return _track(song, songs[song], corpus, licence, labels)

    failures = {song: failures[song] for song in selected if song in failures}
    return read_recordings(corpus, {song: song for song in selected if song not in failures}, read, failures)


def _find_songs(root: Path, parts: Sequence[str]) -> tuple[dict[str, dict[str, Path]], dict[str, str]]:
    """Audio files by song and part, from files called `SONG/PART.*` or `SONG.PART.*` below `root`; and why songs cannot
    be used."""
    songs: dict[str, dict[str, Path]] = {}
    failures: dict[str, str] = {}
    others = []
    for path in find_audio(root, besides={Path(name).suffix for name in LABELS} if parts == PARTS else ()):
        song, _, part = path.stem.rpartition(".")
        if path.stem in parts:
            song, part = path.parent.name, path.stem
        if part not in parts:
            others.append(path.name)
            continue
        if part in songs.setdefault(song, {}):
            failures[song] = f"{path} and {songs[song][part]} are both the {part} of {song!r}; keep one."
        songs[song][part] = path
    if others:
        kind = f"neither {' nor '.join(parts)} of a song, such as {others[0]}"
        _log.warning("%s: left out %s", root, counted([kind] * len(others)))
    if not songs:
        raise CorpusError(
            f"No SONG/vocals.*, NAME.vocals.* or the like in {root}; put songs there or correct the folder."
        )
    return songs, failures


def _track(
    song: str, paths: Mapping[str, Path], corpus: str, licence: str, labels: Mapping[str, Path] | None = None
) -> Track:
    """The track of a song; without `labels`, of one that needs both stems."""
    some_path = next(iter(paths.values()))
    lacking = [name for name in reversed(STEMS) if name not in paths]
    if lacking and (labels is None or len(paths) > 1):
        raise CorpusError(f"{some_path} has no {lacking[0]} beside it; a song with a stem needs both.")
    if lacking and ("accompaniment" in paths or not labels):
        raise CorpusError(
            f"{some_path} is the only file; vocals need accompaniment, a mixture needs a label (f0.csv or notes.csv). "
            "Build folders that only contain vocals, or music without vocals, as the corpora voices and music."
        )
    parts = {name: AudioPart.open(paths[name]) for name in PARTS if name in paths}
    _check_alike(*parts.values())
    duration_s = max(part.duration_s for part in parts.values())
    label, notes = _read_labels(labels or {}, duration_s)
    return Track.of(
        corpus,
        song,
        **parts,
        label=label,
        notes=notes,
        licence=licence,
        provenance=f"{song}, with " + " and ".join([*parts, *(path.name for path in (labels or {}).values())]) + ".",
    )


def _whole_file(root: Path, path: Path, role: str, corpus: str, licence: str, title: str) -> Track:
    """The track of a file below `root`, whose only part is its "vocals" or "accompaniment" (`role`)."""
    name = path.relative_to(root).with_suffix("").as_posix()
    part = {role: AudioPart.open(path)}
    return Track.of(corpus, name, **part, licence=licence, provenance=f"{title}, recording {name}.")


def _check_alike(one: AudioPart, *others: AudioPart) -> None:
    """Refuse parts of one song that differ in rate, or in length by more than a codec's frame."""
    for other in others:
        if one.sampling_rate != other.sampling_rate:
            raise CorpusError(
                f"{one.path} is at {one.sampling_rate} Hz and {other.path} at {other.sampling_rate} Hz; the stems of a "
                "song need one rate."
            )
        if abs(one.duration_s - other.duration_s) > MAX_STEMS_DIFFERENCE_S:
            raise CorpusError(
                f"{one.path} lasts {one.duration_s:.3f} s and {other.path} {other.duration_s:.3f} s; the stems of a "
                f"song may differ by at most {MAX_STEMS_DIFFERENCE_S} s."
            )


def _label_files(song: str, paths: Mapping[str, Path]) -> dict[str, Path]:
    """Files of `LABELS` that belong to the song of the audio files `paths`."""
    audio = next(iter(paths.values()))
    prefix = "" if audio.stem in PARTS else f"{song}."
    return {name: path for name in LABELS if (path := audio.parent / f"{prefix}{name}").is_file()}


def _read_labels(paths: Mapping[str, Path], duration_s: float) -> tuple[PitchLabel | None, tuple[Note, ...] | None]:
    notes = [path for name, path in paths.items() if name.startswith("notes")]
    if len(notes) > 1:
        raise CorpusError(f"{notes[0]} and {notes[1]} are both the notes of one song; keep one.")
    sung = check_notes(read_notes(notes[0]), duration_s, notes[0]) if notes else None
    if "f0.csv" in paths:
        return read_f0(paths["f0.csv"], duration_s), sung
    return (None if sung is None else notes_to_label(sung, duration_s, SUNG_NOTES)), sung
