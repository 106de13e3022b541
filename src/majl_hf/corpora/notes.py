"""Sung notes as a weak frame-wise pitch label with confidences.

Conventions
    A note is a flat pitch from its onset to its offset. Singers glide into notes, use vibrato and end them early, and
    annotators hear syllables, not frames. So a label made from notes has a confidence for every frame (`NoteTrust`),
    which is lower near the borders of notes and between them.
    Frame k is centred at `k * hop_s`; a frame belongs to the note that has begun and not yet ended at its centre.

Traps
    Two voices at once: the pitch of frames in two notes of different pitch is unknown (confidence 0). Spoken words have
    syllables but no pitch: such stretches are passed separately (`unknown`) and also have confidence 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import CorpusError
from ..models.pitch_majl import midi_to_hz
from .labels import Note, PitchLabel

HOP_S = 0.01
MAX_OVERHANG_S = 0.5  # of a note beyond the end of its recording; beyond that, the two do not belong together


@dataclass(frozen=True)
class NoteTrust:
    """Confidences of the frames of a label made from notes, each in [0, 1].

    Args:
        note: of frames inside a note.
        note_border: of those within `border_s` of an onset or offset.
        gap: of frames outside all notes, whose label is "unvoiced".
        gap_border: of those within `border_s` of an onset or offset.
        border_s: seconds on either side of a border.
    """

    note: float
    note_border: float
    gap: float
    gap_border: float
    border_s: float = 0.05


# Based on the shares of frames that an independent tracker confirms on the vocals: pitch within 50 cents in notes,
# unvoiced in gaps (scripts/experiments/measure_note_labels.py). In brackets: 95 % intervals over recordings.
#
# SSVD, tuned to the singing, the 43 labelled recordings up to number 1216: in notes .93 [.91, .94] beyond 100 ms from a
# border, .87 at 50 to 100, .78 at 20 to 50, .65 [.61, .69] nearer; in gaps .90 [.84, .95], .76, .49 and .23.
SUNG_NOTES = NoteTrust(note=0.9, note_border=0.7, gap=0.85, gap_border=0.4)
# UltraStar, whole semitones written for a game, 7 songs of 60 s by one artist, vocals separated, pitch modulo an
# octave, labels delayed as `ultrastar` does: in notes .89 [.86, .93] beyond 100 ms from a border, .70 at 50 to 100,
# .49 at 20 to 50, .47 [.44, .51] nearer; in gaps .95 [.91, .98], .56, .31 and .31. MIR-ST500: same values, unmeasured.
KARAOKE_NOTES = NoteTrust(note=0.9, note_border=0.55, gap=0.9, gap_border=0.35, border_s=0.1)


def notes_to_label(
    notes: Sequence[Note],
    duration_s: float,
    trust: NoteTrust,
    *,
    octave_reliable: bool = True,
    unknown: Iterable[tuple[float, float]] = (),
    hop_s: float = HOP_S,
) -> PitchLabel:
    """The flat f0 of `notes` over a recording of `duration_s` seconds, with a confidence for every frame.

    Args:
        notes: in order of onset.
        octave_reliable: False if the notes may be octaves off.
        unknown: stretches (start_s, end_s) of unknown pitch, such as speech; their confidence is 0.
    """
    times_s = np.arange(int(duration_s / hop_s + 1e-6) + 1) * hop_s
    semitones = np.zeros(len(times_s))
    clash = np.zeros(len(times_s), dtype=bool)
    for note in notes:
        frames = _frames(note.onset_s, note.offset_s, hop_s)
        clash[frames] |= (semitones[frames] > 0) & (semitones[frames] != note.midi)
        semitones[frames] = note.midi

    near = border_distance_s(times_s, np.array([border for note in notes for border in (note.onset_s, note.offset_s)]))
    near = near < trust.border_s
    confidence = np.where(
        semitones > 0,
        np.where(near, trust.note_border, trust.note),
        np.where(near, trust.gap_border, trust.gap),
    )
    confidence[clash] = 0.0
    for start_s, end_s in unknown:
        confidence[_frames(start_s, end_s, hop_s)] = 0.0
    return PitchLabel(midi_to_hz(semitones), hop_s, 0.0, confidence, octave_reliable)


def check_notes(notes: Iterable[Note], duration_s: float, path: Path) -> tuple[Note, ...]:
    """The notes in order of onset.

    Raises:
        CorpusError: no notes, or one that is not finite, starts before or ends after the recording, has no length or no
            MIDI pitch; the message names `path`.
    """
    notes = tuple(sorted(notes, key=lambda note: (note.onset_s, note.offset_s, note.midi)))
    if not notes:
        raise CorpusError(f"{path} contains no notes. Remove the song or add its notes.")
    for number, note in enumerate(notes, start=1):
        if not np.isfinite((note.onset_s, note.offset_s, note.midi)).all():
            raise CorpusError(f"{path}, note {number} is {note}; finite numbers are needed.")
        if not 0 <= note.onset_s < note.offset_s:
            raise CorpusError(
                f"{path}, note {number} lasts from {note.onset_s} to {note.offset_s} s; it must begin at 0 or later "
                "and end after its beginning."
            )
        if not 0 < note.midi < 128:
            raise CorpusError(f"{path}, note {number} has pitch {note.midi}; a MIDI semitone in (0, 128) is needed.")
    end_s = max(note.offset_s for note in notes)
    if end_s > duration_s + MAX_OVERHANG_S:
        raise CorpusError(
            f"{path}: the last note ends at {end_s:.2f} s, but the audio lasts {duration_s:.2f} s. Notes and audio "
            "belong to different recordings, or the audio is cut off."
        )
    return notes


def read_notes(path: Path) -> list[Note]:
    """Read a text file with one note per line: `onset_s offset_s midi`, separated by blanks, tabs or commas.

    A first line of words is a header; further columns are ignored.

    Raises:
        CorpusError: missing, or a line that does not start with three numbers.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise CorpusError(f"{path} is missing; it should have `onset_s offset_s midi` on every line.") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not a text file ({error}).") from error
    notes = []
    for number, line in enumerate(lines, start=1):
        fields = line.replace(",", " ").split()
        if not fields:
            continue
        try:
            onset_s, offset_s, midi = map(float, fields[:3])
        except ValueError:
            if number == 1 and not is_number(fields[0]):
                continue
            raise CorpusError(
                f"{path}, line {number} is {line!r}; three numbers are needed: onset_s offset_s midi."
            ) from None
        notes.append(Note(onset_s, offset_s, midi))
    return notes


def _frames(start_s: float, end_s: float, hop_s: float) -> slice:
    """Frames whose centre lies in [start_s, end_s); the small term undoes the rounding of `k * hop_s`."""
    first, end = (max(0, int(np.ceil(second / hop_s - 1e-6))) for second in (start_s, end_s))
    return slice(first, end)


def border_distance_s(times_s: np.ndarray, borders_s: np.ndarray) -> np.ndarray:
    """Seconds from each time to the nearest border, shape of `times_s`; infinite if there is none."""
    if not len(borders_s):
        return np.full(len(times_s), np.inf)
    borders_s = np.concatenate([[-np.inf], np.sort(borders_s), [np.inf]])
    after = np.searchsorted(borders_s, times_s)
    return np.minimum(times_s - borders_s[after - 1], borders_s[after] - times_s)


def is_number(text: str) -> bool:
    """Whether a field of a text file is a number and not part of a header."""
    try:
        float(text)
    except ValueError:
        return False
    return True
