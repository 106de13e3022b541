"""How well confidences predict errors on labelled data.

Conventions
    Frames (or seconds) of all recordings are concatenated: `confidence`, `value` (1 for right and 0 for wrong, or a
    level in dB) and `song`, each of shape (n,). Frames of one song are not independent: intervals are percentile
    bootstraps over songs (`metrics.statistics.bootstrap_interval`), and None for a single song.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import mannwhitneyu, spearmanr

from majl_hf.metrics.statistics import bootstrap_interval

NUM_BINS = 10  # of confidence, equal ones of [0, 1]


def bins_of(confidence: np.ndarray) -> np.ndarray:
    """The bin number of each confidence; 1 is in the last bin."""
    return np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)


def calibration_curve(confidence: np.ndarray, value: np.ndarray, song: np.ndarray) -> list[dict]:
    """One dict per non-empty bin: `low`, `high`, `count`, `num_songs`, `mean_confidence`, `mean` (of the values)
    and its `interval`."""
    curve = []
    for number in np.unique(bins_of(confidence)):
        chosen = bins_of(confidence) == number
        curve.append(
            {
                "low": float(number / NUM_BINS),
                "high": float((number + 1) / NUM_BINS),
                "count": int(chosen.sum()),
                "num_songs": len(np.unique(song[chosen])),
                "mean_confidence": float(confidence[chosen].mean()),
                **_mean(value[chosen], song[chosen]),
            }
        )
    return curve


def kept_above(confidence: np.ndarray, value: np.ndarray, song: np.ndarray, thresholds: Sequence[float]) -> list[dict]:
    """What a threshold keeps: `threshold`, `share` of the frames, `mean` of their values and its `interval`."""
    chosen = {threshold: confidence >= threshold for threshold in thresholds}
    return [
        {"threshold": float(threshold), "share": float(kept.mean()), **_mean(value[kept], song[kept])}
        for threshold, kept in chosen.items()
        if kept.any()
    ]


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error (Naeini et al., 2015): mean over frames of |accuracy - mean confidence| of their
    bin."""
    gaps = np.bincount(bins_of(confidence), weights=right - confidence)
    return float(np.abs(gaps).sum() / len(confidence))


def ranking(confidence: np.ndarray, right: np.ndarray) -> float | None:
    """Area under the ROC curve: probability that a right frame has more confidence than a wrong one, ties counting
    half; None if all are right or all wrong."""
    right = np.asarray(right, dtype=bool)
    if right.all() or not right.any():
        return None
    statistic = mannwhitneyu(confidence[right], confidence[~right], method="asymptotic").statistic
    return float(statistic / (right.sum() * (~right).sum()))


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Spearman's rank correlation of two (n,) arrays; None if one is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first, second).statistic)


def _mean(value: np.ndarray, song: np.ndarray) -> dict:
    songs, number = np.unique(song, return_inverse=True)
    sums, counts = np.bincount(number, weights=value), np.bincount(number)
    interval = list(bootstrap_interval(sums, counts)) if len(songs) > 1 else None
    return {"mean": float(value.mean()), "interval": interval}
