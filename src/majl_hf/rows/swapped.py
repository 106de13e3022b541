"""Are vocals and accompaniment swapped? The labelled pitch shows it: it fits the voice and not the music.

Conventions
    The fit of a part is the mean, over voiced frames of the label, of cos(2 pi f / f0) weighted by the part's power at
    each frequency f: 1 where all of it lies on multiples of the labelled f0, 0 where it lies anywhere, -1 half way
    between. Octaves and transients matter little, levels and channels not at all.

Traps
    Only reliable labels of every frame are used: not notes written for a game, octaves that may be off or frames that
    are not trusted. Music that doubles the melody also fits; the voice still fits better.
"""

from __future__ import annotations

import numpy as np

from ..corpora.labels import PitchLabel

WINDOW_S = 0.064  # five periods of the lowest voices
MAX_HZ = 4_000.0  # above, a label's small errors, times the harmonic's number, blur the teeth of the comb
NUM_FRAMES, MIN_FRAMES = 50, 20  # voiced frames of a recording that are evaluated at most and needed at least
# Parts are swapped if the "accompaniment" fits at least this well and this much better than the "vocals". On MIR-1K
# (1,000 clips, half of them lossy) vocals fit by 0.75 or more and by 0.40 better than their accompaniment, median 0.89:
# no original clip is refused, and all 1,000 are when their channels are swapped (tests/rows/test_swapped.py).
MIN_FIT, MIN_DIFFERENCE = 0.5, 0.2


def label_fit(audio: np.ndarray, sampling_rate: int, label: PitchLabel) -> float | None:
    """How well `label` fits one part, in [-1, 1]; None if the label has too few voiced frames.

    Args:
        audio: shape (num_channels, num_samples), from the label's second 0 on.
    """
    mono = audio.mean(axis=0)
    size = round(WINDOW_S * sampling_rate)
    first = np.round(label.times_s * sampling_rate).astype(np.int64) - size // 2
    voiced = np.flatnonzero((label.f0_hz > 0) & (first >= 0) & (first + size <= len(mono)))
    if len(voiced) < MIN_FRAMES:
        return None
    voiced = voiced[np.linspace(0, len(voiced) - 1, min(NUM_FRAMES, len(voiced))).round().astype(np.int64)]
    frames = mono[first[voiced, None] + np.arange(size)] * np.hanning(size)
    frequency_hz = np.fft.rfftfreq(size, 1 / sampling_rate)
    frequency_hz = frequency_hz[frequency_hz < MAX_HZ]
    power = np.abs(np.fft.rfft(frames)[:, : len(frequency_hz)]) ** 2
    multiple = frequency_hz / label.f0_hz[voiced, None]
    power[multiple < 0.5] = 0.0  # a bass would count as near a multiple, zero
    total = power.sum(axis=1)
    on_multiples = (power * np.cos(2 * np.pi * multiple)).sum(axis=1)
    return float(np.mean(on_multiples / np.where(total > 0, total, 1.0)))


def find_swapped(vocals: np.ndarray, accompaniment: np.ndarray, sampling_rate: int, label: PitchLabel) -> str | None:
    """Why the two parts of a recording seem to be swapped, in words; None if they do not, or if the label cannot show.

    Args:
        vocals, accompaniment: shape (num_channels, num_samples).
        label: of the vocals.
    """
    if label.confidence is not None or not label.octave_reliable:
        return None
    fits = [label_fit(part, sampling_rate, label) for part in (vocals, accompaniment)]
    if None in fits or fits[1] < MIN_FIT or fits[1] - fits[0] < MIN_DIFFERENCE:
        return None
    return (
        f"the accompaniment fits the pitch label (by {fits[1]:.2f} of 1) and the vocals do not ({fits[0]:.2f}): the "
        "two are swapped; correct the channels or the names of the stems"
    )
