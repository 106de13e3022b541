"""Which frames are sung at a threshold, without computing anything else again, and statistics of the voice."""

from dataclasses import dataclass

import numpy as np

from ..models.decoding_majl import hysteresis_runs

# The vocal range leaves out this share of the sung frames at each end: onsets, slides and pitch errors.
RANGE_TAIL = 0.02


def decide_voiced(voicing: np.ndarray, policy: str, threshold: float) -> np.ndarray:
    """Decision `(num_frames,)` for a whole song, the same as `PitchDecoder` makes.

    Args:
        voicing: Probabilities `(num_frames,)` that a frame is sung.
        policy: The model's voicing policy. `"always"` ignores thresholds, so it is treated as `"threshold"`.
        threshold: Between 0 and 1.
    """
    if policy == "hysteresis":
        return hysteresis_runs(voicing, threshold)
    return voicing >= threshold


@dataclass(frozen=True)
class VoiceFacts:
    """Statistics of the sung frames: `lowest_hz` and `highest_hz` without the outermost 2 %, `median_hz`, and
    `sung_share` in [0, 1] of the whole song. All but the share are None if no frame is sung."""

    lowest_hz: float | None
    highest_hz: float | None
    median_hz: float | None
    sung_share: float


def describe_voice(f0_hz: np.ndarray, voiced: np.ndarray) -> VoiceFacts:
    """Facts from arrays of shape `(num_frames,)`."""
    sung_hz = f0_hz[voiced]
    if not len(sung_hz):
        return VoiceFacts(None, None, None, 0.0)
    lowest, median, highest = np.quantile(sung_hz, [RANGE_TAIL, 0.5, 1 - RANGE_TAIL])
    return VoiceFacts(float(lowest), float(highest), float(median), len(sung_hz) / len(f0_hz))
