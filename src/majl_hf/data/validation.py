"""Whole clips for validation and reports: nothing is cut, scaled or drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .config import Mir1kCorpus, StemsCorpus
from .labels import PitchLabel


@dataclass(frozen=True, eq=False)
class ValidationClip:
    """A whole clip at its own rate.

    `mixture` and `vocals` are (num_channels, num_samples) float32, mixture = vocals + accompaniment as a float32 sum
    without scaling: for MIR-1K left + right, one channel, which is its published 0 dB mixture.
    """

    id: str
    song: str
    singer: str
    sampling_rate: int
    mixture: np.ndarray
    vocals: np.ndarray
    label: PitchLabel | None


def iter_validation_clips(corpus: Mir1kCorpus | StemsCorpus) -> Iterator[ValidationClip]:
    """Yield the corpus's clips one after the other, sorted; each is decoded when its turn comes.

    Raises:
        CorpusError: from the reader, with the name of the file.
    """
    for track in corpus.load():
        vocals = track.read_vocals(0.0, track.duration_s)
        accompaniment = track.read_accompaniment(0.0, track.duration_s)
        yield ValidationClip(
            track.id, track.song, track.singer, track.sampling_rate, vocals + accompaniment, vocals, track.label
        )
