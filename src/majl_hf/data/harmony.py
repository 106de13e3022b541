"""Chords that fit a sung melody, for accompaniments made around a voice.

A remix of two songs teaches a separator voices and instruments that have nothing to do with each other. In a real song
they share their key, and the instruments hold the very tones that are sung, which is harder. Chords chosen by the
melody bring that back for accompaniments that were never recorded with the voice.

Conventions: a pitch class is an integer in [0, 12), 0 = C; melodies are f0 in Hz, 0 where unvoiced, tuned to A4 = 440.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PITCH_CLASS_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
# Degree of the scale in semitones, third in semitones, how much rarer than the tonic (in melody tones a chord).
DEGREES = ((0, 4, 0.0), (2, 3, 0.15), (4, 3, 0.25), (5, 4, 0.05), (7, 4, 0.05), (9, 3, 0.05))
SEVENTHS = {4: ("7", "M7"), 3: ("m7", "m7")}
STRANGE_TONE = 0.4  # what a melody tone outside the chord costs, where one inside wins 1


@dataclass(frozen=True)
class Chord:
    """A triad, perhaps with a seventh: `root` is a pitch class, `third` 3 or 4 semitones, `seventh` what is written
    behind the name instead of the triad's quality."""

    root: int
    third: int
    seventh: str = ""

    @property
    def name(self) -> str:
        return PITCH_CLASS_NAMES[self.root] + (self.seventh or ("" if self.third == 4 else "m"))

    @property
    def tones(self) -> tuple[int, int, int]:
        return self.root, (self.root + self.third) % 12, (self.root + 7) % 12


def pitch_class_shares(f0_hz: np.ndarray) -> np.ndarray:
    """Share of each of the 12 pitch classes in the voiced frames of `f0_hz`, shape (num_frames,); zeros if none is."""
    voiced = f0_hz[f0_hz > 0]
    if voiced.size == 0:
        return np.zeros(12)
    classes = np.round(69 + 12 * np.log2(voiced / 440.0)).astype(int) % 12
    return np.bincount(classes, minlength=12) / voiced.size


def find_key(f0_hz: np.ndarray, rng: np.random.Generator) -> int:
    """Tonic of the major scale that holds most of the melody; drawn among equals. Its minor scale has the same
    tones."""
    shares = pitch_class_shares(f0_hz)
    inside = np.array([sum(shares[(tonic + tone) % 12] for tone in MAJOR_SCALE) for tonic in range(12)])
    return int(rng.choice(np.flatnonzero(inside >= inside.max() - 1e-9)))


def harmonise(
    stretches: Sequence[np.ndarray], rng: np.random.Generator, variation: float = 0.15, seventh_probability: float = 0.2
) -> list[Chord]:
    """A chord for each stretch of a melody, of one key.

    Args:
        stretches: f0 in Hz of each, (num_frames,) of any length.
        rng: draws what the melody leaves open.
        variation: standard deviation of what is added to a chord's share of the melody; the larger, the more often
            another chord than the best is taken.
        seventh_probability: of a chord to get a seventh.
    """
    key = find_key(np.concatenate(list(stretches)) if stretches else np.zeros(0), rng)
    chords = []
    for stretch in stretches:
        shares = pitch_class_shares(stretch)
        scores = []
        for degree, third, rarity in DEGREES:
            inside = shares[list(Chord((key + degree) % 12, third).tones)].sum()
            scores.append(inside - STRANGE_TONE * (shares.sum() - inside) - rarity + rng.normal(0.0, variation))
        degree, third, _ = DEGREES[int(np.argmax(scores))]
        seventh = ""
        if rng.random() < seventh_probability:
            dominant, other = SEVENTHS[third]
            seventh = dominant if degree == 7 else other
        chords.append(Chord((key + degree) % 12, third, seventh))
    return chords
