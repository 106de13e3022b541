"""MIR-ST500: sung notes of 500 pop songs, whose audio the user supplies.

Conventions
    `MIR-ST500_corrected.json` (or MIR-ST500.json): `{"ID": [[onset_s, offset_s, midi], ...]}`, whole semitones.
    Audio of song ID (any format that `majl` reads), anywhere below the folder: `ID.*`, or a folder `ID` with one audio
    file or one called `mixture.*`.
    Songs 1 to 400 are for training, 401 to 500 for test.

Traps
    The archive contains notes and URLs of videos, some of which were deleted, so most copies are partial: see
    `missing_ok`. A song from another source may be another recording: notes beyond its end are refused, but an offset
    at the start cannot be detected. Only the lead vocals are annotated, so gaps between notes may be sung.

Licence
    The songs belong to their owners; no redistribution.
"""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import CorpusError
from .labels import Note
from .notes import KARAOKE_NOTES, check_notes, notes_to_label
from .tracks import AudioPart, Track, files_below, find_audio, is_video, read_recordings, resolve_folder

LICENCE = "audio all rights reserved, supplied by the user: no redistribution"
CITATION = """\
@inproceedings{wang2021preparation,
  author    = {Wang, Jun-You and Jang, Jyh-Shing Roger},
  title     = {On the Preparation and Validation of a Large-Scale Dataset of Singing Transcription},
  booktitle = {IEEE International Conference on Acoustics, Speech and Signal Processing (ICASSP)},
  year      = {2021}
}"""
ANNOTATIONS = ("MIR-ST500_corrected.json", "MIR-ST500.json")
LAST_TRAINING_ID = 400


def load_mir_st500(
    folder: str | Path,
    annotations: str | Path | None = None,
    missing_ok: bool = False,
    corpus: str = "mir_st500",
) -> list[Track]:
    """Tracks of MIR-ST500, in order of their number.

    Args:
        folder: contains the audio; `~` and environment variables are expanded.
        annotations: the JSON file; by default it is searched for in `folder`.
        missing_ok: leave out songs without audio instead of refusing the corpus.

    Raises:
        BadRecordings: songs without audio (unless `missing_ok`), with several files or without notes, or whose notes
            do not fit; the others are in it.
        CorpusError: no annotations, or no audio at all.
    """
    root = resolve_folder(folder, "MIR-ST500")
    path = _find_annotations(root) if annotations is None else Path(annotations).expanduser()
    notes = _read_annotations(path)
    audio = _audio_by_id(root)
    if not audio:
        raise CorpusError(f"No audio called ID.* or ID/mixture.* in {root}, where ID is a number as in {path}.")

    def read(number: int) -> Track:
        if number not in audio:
            raise CorpusError(
                f"Song {number} has no audio in {root}. Add it, or pass missing_ok to leave such songs out."
            )
        if number not in notes:
            raise CorpusError(f"{audio[number][0]} has no notes in {path}; remove it or correct its number.")
        return _track(number, audio[number], notes[number], path, corpus)

    numbers = sorted(audio if missing_ok else {*audio, *notes})
    return read_recordings(corpus, {_name(number): number for number in numbers}, read)


def _name(number: int) -> str:
    return f"{number:03d}"


def _find_annotations(root: Path) -> Path:
    for name in ANNOTATIONS:
        if found := sorted(path for path in files_below(root) if path.name == name):
            return found[0]
    raise CorpusError(f"No {' or '.join(ANNOTATIONS)} in {root}; put it there or pass annotations.")


def _read_annotations(path: Path) -> dict[int, list[Note]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        notes = {
            int(number): [Note(float(onset_s), float(offset_s), float(midi)) for onset_s, offset_s, midi in rows]
            for number, rows in content.items()
        }
    except FileNotFoundError as error:
        raise CorpusError(f"{path} is missing; it contains the notes of MIR-ST500.") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise CorpusError(
            f"{path} is not the JSON of MIR-ST500, {{ID: [[onset_s, offset_s, midi], ...]}} ({error})."
        ) from error
    if not notes:
        raise CorpusError(f"{path} contains no song.")
    return notes


def _audio_by_id(root: Path) -> dict[int, list[Path]]:
    """Audio files by the number of their song; a song that can be used has one."""
    found: dict[int, list[Path]] = {}
    for path in find_audio(root, besides=(".json",)):
        number = path.stem if path.stem.isdecimal() else path.parent.name
        if number.isdecimal():
            found.setdefault(int(number), []).append(path)
    for number, paths in found.items():
        mixtures = [path for path in paths if path.stem.casefold() == "mixture"] or paths
        mixtures = [path for path in mixtures if not is_video(path)] or mixtures
        found[number] = mixtures
    return found


def _track(number: int, audio: list[Path], notes: list[Note], path: Path, corpus: str) -> Track:
    if len(audio) > 1:
        raise CorpusError(f"Song {number} has {len(audio)} audio files: {', '.join(map(str, audio))}; keep one.")
    mixture = AudioPart.open(audio[0])
    try:
        checked = check_notes(notes, mixture.duration_s, audio[0])
    except CorpusError as error:
        raise CorpusError(f"Song {number} of {path}: {error}") from error
    return Track.of(
        corpus,
        _name(number),
        mixture=mixture,
        label=notes_to_label(checked, mixture.duration_s, KARAOKE_NOTES),
        notes=checked,
        split="train" if number <= LAST_TRAINING_ID else "test",
        licence=LICENCE,
        provenance=f"MIR-ST500, song {number}; pitch from annotated notes, audio supplied by the user.",
    )
