"""What a pitch teacher heard in one recording, and how well that agrees with a label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..corpora.labels import PitchLabel
from ..models.pitch_estimator_majl import PitchEstimatorConfig
from ..models.pitch_majl import TOLERANCE_CENTS, agreement, cents_between

_BLOCK_FRAMES = 4096  # that are compared at a time: posteriors of a whole song, times a few, are gigabytes


@dataclass(frozen=True, eq=False)
class PitchReading:
    """A pitch curve with what its teacher knows of its certainty; frame k is centred at `offset_s + k * hop_s`.

    Args:
        f0_hz: shape (num_frames,), above 0 in every frame.
        voiced: shape (num_frames,), whether the frame is sung.
        posteriors: shape (num_frames, num_bins) in [0, 1] on the grid of `grid`; None where the teacher has none.
        certainty: shape (num_frames,) in [0, 1], where there are no posteriors: how sure the teacher is that the frame
            is sung with this pitch; None where it does not say, and `voiced` counts as 1 or 0.
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
        """How well each frame of a label agrees with what was heard nearest to it, shape (len(label),) in [0, 1].

        With posteriors it is `models.pitch_majl.agreement`: the largest one within 50 cents of a voiced label (of
        it in any octave where the label's octave is unreliable), one minus the largest one at an unvoiced label.
        Without them the certainty stands at the decoded pitch as the only posterior.
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
        """The reading of a recording that was played `speed` times as fast, as of the recording itself: times longer,
        pitch lower by that factor. Posteriors are left behind."""
        return PitchReading(
            self.f0_hz / speed, self.voiced, self.hop_s * speed, self.offset_s * speed, certainty=self.certainty
        )
