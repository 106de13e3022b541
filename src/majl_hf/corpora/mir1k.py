"""MIR-1K: 1,000 karaoke clips by 19 amateur singers, with manually labelled f0.

Conventions
    Folder in the layout of the original archive:
    `Wavfile/CLIP.*`      16 kHz stereo, accompaniment on the left, voice on the right (any format that `majl` reads)
    `PitchLabel/CLIP.pv`  one number per line, MIDI semitones, 0 = unvoiced
    `clips.csv`           optional; columns clip, singer, sex, song, duration_s, clip_split, singer_split
    Clips are named SINGER_SONG_NUMBER; song names are only unique together with the singer.

Traps
    The frames are 40 ms long with a hop of 20 ms and without padding, so line k (from 0) is centred at
    0.02 (k + 1) s; reading it as 0.02 k s shifts every note by 20 ms. The two channels have about equal level, so
    left + right is the 0 dB mixture; their mean has half the level. Several singers sing over the same accompaniment,
    so a split by clip leaks: split by singer and drop the shared accompaniments.

Licence
    Research only, no redistribution.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..audio import AUDIO_EXTENSIONS
from ..errors import CorpusError
from ..models.pitch_majl import midi_to_hz
from .labels import PitchLabel
from .tracks import AudioPart, Track, read_recordings, resolve_folder

LICENCE = "research only, no redistribution"
CITATION = """\
@article{hsu2010improvement,
  author  = {Hsu, Chao-Ling and Jang, Jyh-Shing Roger},
  title   = {On the Improvement of Singing Voice Separation for Monaural Recordings Using the {MIR-1K} Dataset},
  journal = {IEEE Transactions on Audio, Speech, and Language Processing},
  volume  = {18},
  number  = {2},
  pages   = {310--319},
  year    = {2010}
}"""
HOP_S = 0.02
OFFSET_S = 0.02
ACCOMPANIMENT_CHANNEL, VOCALS_CHANNEL = 0, 1
MAX_LENGTH_DIFFERENCE = 3  # label frames
SPLIT_COLUMN = "singer_split"


def load_mir1k(
    folder: str | Path,
    split_column: str | None = None,
    split_value: str | None = None,
    corpus: str = "mir1k",
    split_from: str = SPLIT_COLUMN,
) -> list[Track]:
    """Tracks of a MIR-1K folder, sorted by clip name.

    Args:
        folder: contains `Wavfile` and `PitchLabel`; `~` and environment variables are expanded.
        split_column, split_value: keep the rows of `clips.csv` that have this value in this column; give both or none.
        split_from: the column of `clips.csv`, if it exists, that becomes each track's split.

    Raises:
        BadRecordings: clips without audio or label, or with a label that does not fit; the others are in it.
        CorpusError: no clip, or a selection that `clips.csv` does not allow.
    """
    root = resolve_folder(folder, "MIR-1K")
    if (split_column is None) != (split_value is None):
        raise CorpusError(
            f"split_column is {split_column!r} and split_value is {split_value!r}; give both to select, or neither."
        )
    audio, failures = _audio_by_clip(root / "Wavfile")
    rows = _read_rows(root / "clips.csv")
    if split_from != SPLIT_COLUMN:
        _check_column(rows, split_from, root / "clips.csv")
    selected = sorted(audio) if split_column is None else _select(rows, split_column, split_value, root / "clips.csv")

    def read(clip: str) -> Track:
        return _track(root, clip, audio, rows.get(clip, {}), corpus, split_from)

    failures = {clip: reason for clip, reason in failures.items() if clip in selected}
    clips = {clip: clip for clip in selected if clip not in failures}
    return read_recordings(corpus, clips, read, failures)


def read_label(path: Path, duration_s: float) -> PitchLabel:
    """Read a `.pv` file that belongs to a clip of `duration_s` seconds.

    Raises:
        CorpusError: missing, not numbers, NaN, negative, or more than 3 frames off the clip's length.
    """
    try:
        semitones = np.array(path.read_text().split(), dtype=np.float64)
    except FileNotFoundError as error:
        raise CorpusError(f"The label {path} is missing; every clip in Wavfile needs one.") from error
    except ValueError as error:
        raise CorpusError(f"{path} does not have one number per line ({error}).") from error
    if not np.isfinite(semitones).all() or (semitones < 0).any():
        line = int(np.flatnonzero(~np.isfinite(semitones) | (semitones < 0))[0]) + 1
        raise CorpusError(
            f"{path}, number {line} is {semitones[line - 1]}; a MIDI semitone is needed, or 0 for unvoiced."
        )
    expected = int(duration_s / HOP_S + 1e-6) - 1  # whole 40 ms frames every 20 ms
    if abs(len(semitones) - expected) > MAX_LENGTH_DIFFERENCE or len(semitones) == 0:
        raise CorpusError(
            f"{path} has {len(semitones)} frames, but its clip of {duration_s:.3f} s needs {expected} "
            f"(at most {MAX_LENGTH_DIFFERENCE} off). Label and audio belong to different clips, or one is cut off."
        )
    return PitchLabel.of_file(path, midi_to_hz(semitones), HOP_S, OFFSET_S)


def _audio_by_clip(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """The audio of each clip, and why clips cannot be used."""
    paths = sorted(p for p in folder.glob("[!.]*") if p.suffix.lower() in AUDIO_EXTENSIONS)
    if not paths:
        raise CorpusError(f"No audio file in {folder}; the MIR-1K clips belong there.")
    by_clip: dict[str, Path] = {}
    failures: dict[str, str] = {}
    for path in paths:
        if path.stem in by_clip:
            failures[path.stem] = f"{path} and {by_clip[path.stem]} are the same clip twice; keep one."
        by_clip[path.stem] = path
    return by_clip, failures


def _read_rows(path: Path) -> dict[str, dict[str, str]]:
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows and "clip" not in rows[0]:
        raise CorpusError(f"{path} has the columns {sorted(map(str, rows[0]))}; it needs one called 'clip'.")
    return {row["clip"]: row for row in rows}


def _check_column(rows: dict[str, dict[str, str]], column: str, path: Path) -> None:
    if not rows:
        raise CorpusError(f"{path} is missing or empty; its column {column!r} is needed.")
    columns = list(next(iter(rows.values())))
    if column not in columns:
        raise CorpusError(f"{path} has no column {column!r}; it has {columns}.")


def _select(rows: dict[str, dict[str, str]], column: str, value: str, path: Path) -> list[str]:
    _check_column(rows, column, path)
    selected = sorted(clip for clip, row in rows.items() if row[column] == value)
    if not selected:
        values = sorted({str(row[column]) for row in rows.values()})
        raise CorpusError(f"{path} has no clip with {column} = {value!r}; the values there are {values}.")
    return selected


def _track(root: Path, clip: str, audio: dict[str, Path], row: dict[str, str], corpus: str, split_from: str) -> Track:
    if clip not in audio:
        raise CorpusError(f"{root / 'Wavfile' / clip}.* is missing, but clips.csv lists the clip.")
    vocals = AudioPart.open(audio[clip], VOCALS_CHANNEL)
    accompaniment = replace(vocals, channel=ACCOMPANIMENT_CHANNEL)
    return Track.of(
        corpus,
        clip,
        song=row.get("song") or clip.rpartition("_")[0] or clip,
        singer=row.get("singer") or clip.split("_")[0],
        vocals=vocals,
        accompaniment=accompaniment,
        label=read_label(root / "PitchLabel" / f"{clip}.pv", vocals.duration_s),
        split=row.get(split_from, ""),
        licence=LICENCE,
        provenance=f"MIR-1K, clip {clip}; pitch labelled by hand.",
    )
