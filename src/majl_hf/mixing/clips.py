"""Whole clips for validation and reports: nothing is cut, scaled or drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..corpora.labels import PitchLabel
from ..corpora.tracks import Track
from .config import Corpus


@dataclass(frozen=True, eq=False)
class ValidationClip:
    """A whole clip at its own rate.

    `mixture` and `vocals` are (num_channels, num_samples) float32, mixture = vocals + accompaniment as a float32 sum
    without scaling: for MIR-1K left + right, one channel, which is its published 0 dB mixture. `vocals` is None if
    only the mixture and its pitch are known.
    """

    id: str
    song: str
    singer: str
    sampling_rate: int
    mixture: np.ndarray
    vocals: np.ndarray | None
    label: PitchLabel | None


def iter_validation_clips(corpus: Corpus) -> Iterator[ValidationClip]:
    """The corpus's clips one after the other, sorted; each is decoded only when it is reached.

    Raises:
        CorpusError: from the reader, with the name of the file.
    """
    return map(whole_clip, corpus.load())


def whole_clip(track: Track) -> ValidationClip:
    """A whole track, decoded; errors as for `iter_validation_clips`."""
    parts = {"pitch": ("mixture",), "vocals": ("vocals",)}.get(track.label_kind, ("vocals", "accompaniment"))
    audio = {name: track.part(name).read(0, round(track.duration_s * track.sampling_rate)) for name in parts}
    mixture, vocals = sum(audio.values()), audio.get("vocals")
    return ValidationClip(track.id, track.song, track.singer, track.sampling_rate, mixture, vocals, track.label)


def loudest_part(sound: np.ndarray, length: int) -> int:
    """First sample of the `length` samples with the most energy, of `(num_channels, num_samples)`."""
    energy = np.concatenate([[0.0], np.cumsum(np.square(sound, dtype=np.float64).sum(axis=0))])
    return int(np.argmax(energy[length:] - energy[:-length]))


def evenly_spread(items: Sequence, count: int | None) -> list:
    """`count` items, evenly spread from the first to the last; all if `count` is None or not below their number."""
    if count is None or count >= len(items):
        return list(items)
    return [items[number] for number in np.linspace(0, len(items) - 1, count).round().astype(int)]
