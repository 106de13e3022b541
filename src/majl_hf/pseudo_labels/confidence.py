"""How far a pseudo label is trusted, from what teachers heard. Pure functions of arrays and readings.

pitch   peak posterior x agreement of views
        peak posterior: of a voiced frame the largest posterior within 50 cents of the decoded pitch, of an unvoiced
        one 1 minus the largest posterior. Agreement of views: the voice is also read transposed; the share of these
        readings that, mapped back, have the frame's voicing and, where it is voiced, its pitch within 50 cents.
vocals  agreement of the label with the pitch read from the estimated vocals, averaged over 0.2 s
row     mean over its voiced frames (over all where none is voiced): silence is easy and would hide the rest
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..models.pitch_majl import TOLERANCE_CENTS, cents_between, moving_average
from .reading import PitchReading


def view_agreement(reading: PitchReading, views: Sequence[PitchReading]) -> np.ndarray:
    """Share of views that agree with each frame, shape (num_frames,); 1 everywhere where there is no view.

    Args:
        views: readings of the same recording on time axes of their own, already mapped back (`PitchReading.at_speed`).
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


def peak_posterior(reading: PitchReading) -> np.ndarray:
    """How sure the teacher is of each frame, shape (num_frames,) in [0, 1]: how well it agrees with its own label."""
    return reading.agreement_with(reading.label)


def vocals_confidence(
    agreement: np.ndarray, label_confidence: np.ndarray | None, hop_s: float, smoothing_s: float
) -> np.ndarray:
    """Moving average of the agreement, shape (num_frames,) in [0, 1].

    Args:
        agreement: of the label with what is heard in the estimated vocals, shape (num_frames,) in [0, 1].
        label_confidence: how far each frame of the label is trusted, which is how much it counts in the average: where
            a weak label is wrong, disagreement says nothing about the vocals. None for 1 everywhere. Where nothing near
            is known of the label, nothing vouches for the vocals: 0.
        hop_s: seconds from frame to frame.
        smoothing_s: width of the average; it takes an odd number of frames.
    """
    weight = np.ones(len(agreement)) if label_confidence is None else np.asarray(label_confidence, dtype=np.float64)
    num_frames = round(smoothing_s / hop_s)
    both = torch.from_numpy(np.stack([agreement * weight, weight]))
    above, below = moving_average(both, num_frames).numpy()
    return np.clip(np.where(below > 1e-9, above / np.maximum(below, 1e-9), 0.0), 0.0, 1.0)


def row_confidence(confidence: np.ndarray, voiced: np.ndarray) -> float:
    """Mean of (num_frames,) confidences over the voiced frames, over all frames where none is voiced."""
    return float(confidence[voiced].mean() if voiced.any() else confidence.mean())
