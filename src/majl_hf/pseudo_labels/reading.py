"""What a pitch teacher read from one recording, and how far the pseudo labels made from it are trusted.

pitch   peak posterior x agreement of views
        peak posterior: of a voiced frame the largest posterior within 50 cents of the decoded pitch, of an unvoiced
        one 1 minus the largest posterior: how well the reading agrees with its own label. Agreement of views: the
        voice is also read transposed; the share of these readings that, mapped back, have the frame's voicing and,
        where it is voiced, its pitch within 50 cents.
vocals  agreement of the label with the pitch read from the estimated vocals, averaged over 0.2 s
row     mean over its voiced frames (over all if none is voiced): silence is easy and would hide the rest
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..corpora.labels import PitchLabel
from ..models.pitch_estimator_majl import PitchEstimatorConfig
from ..models.pitch_majl import TOLERANCE_CENTS, cents_between
from ..models.posteriors_majl import agreement, moving_average

_BLOCK_FRAMES = 4096  # compared at a time: several copies of a whole song's posteriors would be gigabytes


@dataclass(frozen=True, eq=False)
class PitchReading:
    """A pitch curve with its teacher's certainty; frame k is centred at `offset_s + k * hop_s`.

    Args:
        f0_hz: shape (num_frames,), above 0 in every frame.
        voiced: shape (num_frames,), whether the frame is sung.
        posteriors: shape (num_frames, num_bins) in [0, 1] on the grid of `grid`; None if the teacher has none.
        certainty: shape (num_frames,) in [0, 1], if there are no posteriors: how sure the teacher is that the frame is
            sung with this pitch; None if it does not report this, in which case `voiced` counts as 1 or 0.
    """

    f0_hz: np.ndarray
    voiced: np.ndarray
    hop_s: float
    offset_s: float = 0.0
    posteriors: np.ndarray | None = None
    grid: PitchEstimatorConfig | None = None
    certainty: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.f0_hz)

    @property
    def label(self) -> PitchLabel:
        """The curve as a label, 0 where it is unvoiced."""
        return PitchLabel(np.where(self.voiced, self.f0_hz, 0.0), self.hop_s, self.offset_s)

    def nearest(self, times_s: np.ndarray) -> np.ndarray:
        """Frames nearest to times in seconds, shape (n,)."""
        frames = np.round((np.asarray(times_s) - self.offset_s) / self.hop_s).astype(np.int64)
        return np.clip(frames, 0, len(self) - 1)

    def agreement_with(self, label: PitchLabel) -> np.ndarray:
        """How well each frame of a label agrees with the nearest frame that was read, shape (len(label),) in [0, 1].

        With posteriors it is `models.pitch_majl.agreement`: the largest one within 50 cents of a voiced label (in any
        octave if the label's octave is unreliable), one minus the largest one for an unvoiced label. Without them the
        certainty is used as the only posterior, at the decoded pitch.
        """
        frames = self.nearest(label.times_s)
        if self.posteriors is None:
            sung = (self.voiced if self.certainty is None else self.certainty)[frames].astype(np.float64)
            near = cents_between(self.f0_hz[frames], label.f0_hz, not label.octave_reliable) <= TOLERANCE_CENTS
            return np.where(label.f0_hz > 0, sung * near, 1.0 - sung)
        values = np.empty(len(label))
        reliable = torch.tensor([label.octave_reliable])
        for first in range(0, len(label), _BLOCK_FRAMES):
            block = slice(first, first + _BLOCK_FRAMES)
            posteriors = torch.from_numpy(np.ascontiguousarray(self.posteriors[frames[block]]))[None]
            f0_hz = torch.from_numpy(label.f0_hz[block])[None]
            values[block] = agreement(posteriors, f0_hz, reliable, self.grid)[0].numpy()
        return values

    def at_speed(self, speed: float) -> PitchReading:
        """Map the reading of a recording played `speed` times as fast back to the recording: times longer, pitch lower
        by that factor. Posteriors are dropped."""
        return PitchReading(
            self.f0_hz / speed, self.voiced, self.hop_s * speed, self.offset_s * speed, certainty=self.certainty
        )


def view_agreement(reading: PitchReading, views: Sequence[PitchReading]) -> np.ndarray:
    """Share of views that agree with each frame, shape (num_frames,); 1 everywhere without views.

    Args:
        views: readings of the same recording on their own time axes, already mapped back (`PitchReading.at_speed`).
    """
    label = reading.label
    if not views:
        return np.ones(len(label))
    agreeing = np.zeros(len(label))
    for view in views:
        view_hz, _ = view.label.at(np.clip(label.times_s, view.label.times_s[0], view.label.times_s[-1]))
        same = cents_between(view_hz, label.f0_hz) <= TOLERANCE_CENTS
        agreeing += np.where(label.f0_hz > 0, same, view_hz == 0)
    return agreeing / len(views)


def vocals_confidence(
    agreement: np.ndarray, label_confidence: np.ndarray | None, hop_s: float, smoothing_s: float
) -> np.ndarray:
    """Moving average of the agreement, shape (num_frames,) in [0, 1].

    Args:
        agreement: of the label with what is read from the estimated vocals, shape (num_frames,) in [0, 1].
        label_confidence: how far each frame of the label is trusted, used as its weight in the average: where a weak
            label is wrong, disagreement says nothing about the vocals. None for 1 everywhere. Where all frames nearby
            have confidence 0, so have the vocals.
        hop_s: seconds from frame to frame.
        smoothing_s: width of the average, rounded to an odd number of frames.
    """
    weight = np.ones(len(agreement)) if label_confidence is None else np.asarray(label_confidence, dtype=np.float64)
    num_frames = round(smoothing_s / hop_s)
    both = torch.from_numpy(np.stack([agreement * weight, weight]))
    above, below = moving_average(both, num_frames).numpy()
    return np.clip(np.where(below > 1e-9, above / np.maximum(below, 1e-9), 0.0), 0.0, 1.0)


def row_confidence(confidence: np.ndarray, voiced: np.ndarray) -> float:
    """Mean of (num_frames,) confidences over the voiced frames, over all frames if none is voiced."""
    return float(confidence[voiced].mean() if voiced.any() else confidence.mean())
