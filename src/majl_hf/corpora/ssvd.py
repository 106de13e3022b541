"""SSVD (Sight-Singing Vocal Data): solo recordings with notes, sung from a score.

Conventions
    `NAME.*`    one unaccompanied voice (any format that `majl` reads), in the same folder as
    `NAME.txt`  one note per line: `onset_s offset_s midi`, with fractional MIDI semitones (the cents of the sung note)
    Names like man1_butterfly are SINGER_SONG; the others are numbers that do not identify the singer.

Traps
    The pitch is that of notes, not frames: a weak label (see `notes`), although tuned to the singing, not to a scale.
    All notes are sharp: by 23 cents in the median of the 43 recordings up to number 1216 (95 % interval 21 to 29, from
    0 to 44; swift-f0 in the middle of notes, scripts/experiments/measure_note_labels.py; those from 1217 on are kept
    for validation), so notes and frame labels are lowered by `SHARP_CENTS`. In seven more recordings (`MISTUNED`) they
    are off by 58 to 152 cents, most by about a semitone: these have neither. `as_published` keeps everything as
    published.
    Some songs are sung by several singers, and one singer may have many numbers: a split by number may leak.
    313 and 1311 are one performance recorded twice: their pitch agrees within 2 cents (median of 874 frames), and its
    movement within 110 ms correlates by 0.93, by 0.03 when shifted by 50 ms. `combine` finds the pair by its audio.

Licence
    None is stated; research only, no redistribution.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import CorpusError
from .notes import SUNG_NOTES, check_notes, notes_to_label, read_notes
from .tracks import AudioPart, Track, files_below, find_audio, read_recordings, resolve_folder

LICENCE = "none stated: research only, no redistribution"
CITATION = "SSVD: a sight-singing vocal dataset with annotated notes, version 2.0."
SHARP_CENTS = 23.0
MISTUNED = frozenset({"1252", "4193", "4380", "man1_butterfly", "man1_schoolbell", "man1_twinkle", "man2_schoolbell"})


def load_ssvd(folder: str | Path, as_published: bool = False, corpus: str = "ssvd") -> list[Track]:
    """Tracks of a folder of recordings with notes, sorted by name.

    Args:
        folder: `~` and environment variables are expanded.
        as_published: label all recordings with the published pitch of their notes.

    Raises:
        BadRecordings: recordings without notes, notes without a recording, notes that do not fit; the others are in it.
        CorpusError: no recording.
    """
    root = resolve_folder(folder, "SSVD")
    paths = find_audio(root, besides=(".txt",))
    if not paths:
        raise CorpusError(f"No audio file in {root}; the SSVD recordings belong there.")
    recordings = {_name(root, path): path for path in paths}
    failures = {
        name: f"{path} has no recording beside it; every notes file needs one."
        for path in sorted(files_below(root))
        if path.suffix == ".txt" and (name := _name(root, path)) not in recordings and "readme" not in path.stem.lower()
    }
    return read_recordings(corpus, recordings, lambda path: _track(root, path, as_published, corpus), failures)


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).with_suffix("").as_posix()


def _track(root: Path, path: Path, as_published: bool, corpus: str) -> Track:
    vocals = AudioPart.open(path)
    notes_path = path.with_suffix(".txt")
    notes = check_notes(read_notes(notes_path), vocals.duration_s, notes_path)
    name = _name(root, path)
    singer, _, song = path.stem.partition("_")
    provenance = "pitch from annotated notes."
    if not as_published and path.stem in MISTUNED:
        notes, provenance = None, "its notes are mistuned and left out."
    elif not as_published:
        notes = tuple(replace(note, midi=note.midi - SHARP_CENTS / 100) for note in notes)
        provenance = f"pitch from annotated notes, lowered by {SHARP_CENTS:.0f} cents."
    return Track.of(
        corpus,
        name,
        song=song or name,
        singer=singer if song else "",
        vocals=vocals,
        label=None if notes is None else notes_to_label(notes, vocals.duration_s, SUNG_NOTES),
        notes=notes,
        licence=LICENCE,
        provenance=f"SSVD 2.0, recording {name}; {provenance}",
    )
