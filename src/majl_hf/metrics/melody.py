"""Melody metrics of one clip, as `mir_eval.melody` defines them.

Conventions
    A reference is a time grid in seconds with f0 in Hz, 0 where nothing is sung. An estimate has a positive f0 in
    every frame and, separately, a voicing decision. Scores are fractions from 0 to 1; a pitch is right if it is
    strictly less than 50 cents off.

Metrics
    RPA  raw pitch accuracy: voiced reference frames with the right pitch, whatever the estimate's voicing says
    RCA  the same with octaves folded
    OA   overall accuracy: all frames; right if sung, estimated as sung and of the right pitch, or unsung in both
    VR   voicing recall: voiced reference frames estimated as sung
    VFA  voicing false alarm: unvoiced reference frames estimated as sung (lower is better)

Special cases
    mir_eval reads the pitch guess of an unvoiced frame from its negative frequency; zeros would count as RPA misses.
    It resamples the estimate linearly in cents to the reference's grid (voicing: the frame before), which is exact
    where frames coincide. A reference that starts after 0 s gets its first frame repeated at 0 s; an estimate that ends
    early is extended to the reference's last frame, which counts as unvoiced. A reference without a voiced frame has no
    RPA: `melody_scores` returns None, for the caller to skip and count.
"""

from __future__ import annotations

import mir_eval.melody
import numpy as np

from ..errors import EvaluationError

_NAMES = {
    "rpa": "Raw Pitch Accuracy",
    "rca": "Raw Chroma Accuracy",
    "oa": "Overall Accuracy",
    "vr": "Voicing Recall",
    "vfa": "Voicing False Alarm",
}


def melody_scores(
    reference_times_s: np.ndarray,
    reference_f0_hz: np.ndarray,
    times_s: np.ndarray,
    f0_hz: np.ndarray,
    voiced: np.ndarray,
) -> dict[str, float] | None:
    """`rpa`, `rca`, `oa`, `vr` and `vfa` of one clip, or None if the reference has no voiced frame.

    Args:
        reference_times_s, reference_f0_hz: shape (num_reference_frames,), seconds and Hz, 0 Hz = unvoiced.
        times_s, f0_hz, voiced: shape (num_frames,), at least 2 frames; f0 above 0 everywhere.

    Raises:
        EvaluationError: lengths that differ, times that do not increase, NaN, or a frequency out of its range.
    """
    reference_times_s, reference_f0_hz = _grid("reference", reference_times_s, reference_f0_hz)
    times_s, f0_hz = _grid("estimate", times_s, f0_hz)
    voiced = np.asarray(voiced, dtype=bool)
    if voiced.shape != f0_hz.shape:
        raise EvaluationError(f"voiced has shape {voiced.shape}; it needs one flag per frame, {f0_hz.shape}.")
    if (reference_f0_hz < 0).any():
        raise EvaluationError("The reference contains negative frequencies; it needs Hz, and 0 where nothing is sung.")
    if (f0_hz <= 0).any():
        raise EvaluationError(
            f"The estimate has {int((f0_hz <= 0).sum())} of {len(f0_hz)} frames at 0 Hz or below; it needs a positive "
            f"f0 in every frame and `voiced` to say which are sung."
        )
    if not (reference_f0_hz > 0).any():
        return None
    signed_hz = np.where(voiced, f0_hz, -f0_hz)
    scores = mir_eval.melody.evaluate(reference_times_s, reference_f0_hz, times_s, signed_hz)
    return {name: float(scores[long_name]) for name, long_name in _NAMES.items()}


def _grid(what: str, times_s: np.ndarray, f0_hz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    times_s, f0_hz = np.asarray(times_s, dtype=np.float64), np.asarray(f0_hz, dtype=np.float64)
    if times_s.ndim != 1 or times_s.shape != f0_hz.shape or len(times_s) < 2:
        raise EvaluationError(
            f"The {what} has times of shape {times_s.shape} and f0 of shape {f0_hz.shape}; both need (num_frames,) "
            f"with at least 2 frames."
        )
    if not (np.isfinite(times_s).all() and np.isfinite(f0_hz).all()):
        raise EvaluationError(f"The {what} contains NaN or infinite values; finite times and frequencies are needed.")
    if times_s[0] < 0 or (np.diff(times_s) <= 0).any():
        raise EvaluationError(f"The {what}'s times must start at 0 s or later and increase from frame to frame.")
    return times_s, f0_hz
