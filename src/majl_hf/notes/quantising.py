"""Notes on the grid of a tempo, and on the semitones of a tuning or the scale of a key.

What a score needs and a recording does not have. The timing and the intonation of the singer are lost, so it is an
option, never the default.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..models.notes_majl import SungNote
from .transcription import Tempo

MODES = ("major", "minor")
# Krumhansl and Kessler, "Tracing the dynamic changes in perceived tonal organization in a spatial representation of
# musical keys", 1982: how well each pitch class fits the key, from the tonic up.
KEY_PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}
# Semitones above the tonic; the minor scale has the leading note too.
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10, 11)}
NUM_LONG_NOTES = 8  # fewer than this many notes of `LONG_S`, and all notes count for the tuning
LONG_S = 0.2


@dataclass(frozen=True)
class Key:
    """A key.

    Args:
        tonic: Its pitch class, 0 for C to 11 for B.
        mode: One of `MODES`.
    """

    tonic: int
    mode: str

    def __post_init__(self):
        if self.tonic not in range(12) or self.mode not in MODES:
            raise ValueError(
                f"The key has tonic {self.tonic!r} and mode {self.mode!r}; a pitch class from 0 to 11 and one of "
                f"{', '.join(MODES)} are needed."
            )


def quantise(
    notes: Sequence[SungNote], tempo: Tempo, steps_per_beat: int = 4, key: Key | str | None = None
) -> tuple[SungNote, ...]:
    """The notes with onsets, offsets and pitches rounded.

    Onsets are moved by the least sum of squares by which no two are on the same step, so that both notes of a fast pair
    move, instead of the second alone. Each note is at least one step long, and none overlaps the next. Pitches become
    whole semitones at 440 Hz: those relative to the singer's tuning.

    Args:
        notes: In order of onset.
        tempo: Its grid.
        steps_per_beat: Steps of the grid in a quarter note: 4 are sixteenths, 3 triplets of quavers.
        key: Pitches are rounded to the scale of this key; "estimated" for the key of these notes. Default: all
            semitones.

    Returns:
        As many notes in the same order.

    Raises:
        ValueError: steps_per_beat below 1, an unknown key, or "estimated" without a sung note.
    """
    if steps_per_beat < 1:
        raise ValueError(f"steps_per_beat is {steps_per_beat}; at least 1 is needed.")
    if isinstance(key, str):
        if key != "estimated":
            raise ValueError(f"key is {key!r}; a Key, 'estimated' or None is needed.")
        key = estimate_key(notes)
    if not notes:
        return ()
    step_s = 60 / tempo.bpm / steps_per_beat
    first = int(np.ceil(-tempo.first_beat_s / step_s - 1e-9))  # the first step that is not before the recording
    onsets = (np.array([note.onset_s for note in notes]) - tempo.first_beat_s) / step_s
    offsets = (np.array([note.offset_s for note in notes]) - tempo.first_beat_s) / step_s
    # Steps that increase are numbers that do not decrease, plus 0, 1, 2, ...
    ramp = np.arange(len(notes))
    begin = np.floor(np.maximum(_not_decreasing(onsets - ramp), first) + 0.5).astype(int) + ramp
    end = np.maximum(np.floor(offsets + 0.5).astype(int), begin + 1)
    end[:-1] = np.minimum(end[:-1], begin[1:])

    tuning = estimate_tuning_cents(notes) / 100
    semitones = np.arange(128) if key is None else _scale(key)
    pitches = np.array([note.midi for note in notes]) - tuning
    nearest = semitones[np.abs(pitches[:, None] - semitones).argmin(axis=1)]
    return tuple(
        replace(
            note,
            onset_s=float(tempo.first_beat_s + b * step_s),
            offset_s=float(tempo.first_beat_s + e * step_s),
            midi=float(midi),
        )
        for note, b, e, midi in zip(notes, begin, end, nearest, strict=True)
    )


def estimate_tuning_cents(notes: Sequence[SungNote]) -> float:
    """How far the notes are above the semitones at 440 Hz, in [-50, 50) cents.

    The circular mean of the notes' distances from semitones, weighted by their durations. Only long notes count, unless
    there are few, and none of rap or speech. 0 without notes.
    """
    sung = [note for note in notes if note.kind == "sung"]
    long = [note for note in sung if note.duration_s >= LONG_S]
    counted = long if len(long) >= NUM_LONG_NOTES else sung
    turns = sum(note.duration_s * np.exp(2j * np.pi * note.midi) for note in counted)
    if abs(turns) < 1e-9:
        return 0.0
    return float((np.angle(turns) / (2 * np.pi) + 0.5) % 1 - 0.5) * 100


def estimate_key(notes: Sequence[SungNote]) -> Key:
    """The key whose profile correlates best with the durations of the pitch classes (Krumhansl and Schmuckler, in
    Krumhansl, "Cognitive Foundations of Musical Pitch", 1990).

    Raises:
        ValueError: no sung note.
    """
    sung = [note for note in notes if note.kind == "sung"]
    if not sung:
        raise ValueError(f"None of {len(notes)} notes is sung; at least one sung note is needed to estimate a key.")
    tuning = estimate_tuning_cents(sung) / 100
    classes = [int(np.floor(note.midi - tuning + 0.5)) % 12 for note in sung]
    durations = np.bincount(classes, weights=[note.duration_s for note in sung], minlength=12)
    durations = durations - durations.mean()

    def correlation(key: Key) -> float:
        profile = np.roll(KEY_PROFILES[key.mode], key.tonic)
        return float(durations @ (profile - profile.mean()) / profile.std())

    return max((Key(tonic, mode) for mode in MODES for tonic in range(12)), key=correlation)


def _scale(key: Key) -> np.ndarray:
    """The MIDI pitches of its scale."""
    pitches = np.arange(128)
    return pitches[np.isin((pitches - key.tonic) % 12, SCALES[key.mode])]


def _not_decreasing(values: np.ndarray) -> np.ndarray:
    """The nearest numbers, by the sum of squares, that do not decrease (pool adjacent violators: Ayer et al., 1955)."""
    pools: list[tuple[float, int]] = []  # mean and number of values
    for value in values:
        mean, count = float(value), 1
        while pools and pools[-1][0] > mean:
            last, number = pools.pop()
            mean, count = (mean * count + last * number) / (count + number), count + number
        pools.append((mean, count))
    means, counts = zip(*pools, strict=True)
    return np.repeat(means, counts)
