"""How well confidences predict errors on labelled data: how good frames of a given confidence are.

Conventions
    Frames (or seconds) of all recordings stand one after the other: `confidence`, `value` (1 for right and 0 for wrong,
    or a level in dB) and `song`, each of shape (n,). Frames of one song are not independent: intervals are percentile
    bootstraps over songs (`metrics.statistics.bootstrap_interval`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import mannwhitneyu, spearmanr

from majl_hf.metrics.statistics import bootstrap_interval

NUM_BINS = 10


def calibration_curve(
    confidence: np.ndarray, value: np.ndarray, song: np.ndarray, edges: Sequence[float] | None = None
) -> list[dict]:
    """One dict a bin of confidence that holds anything: `low`, `high`, `count`, `num_songs`, `mean_confidence`, `mean`
    (of the values) and its `interval` (two values, None for a single song).

    Args:
        edges: of the bins, increasing; the last bin includes its upper edge. None for `NUM_BINS` equal ones of [0, 1].
    """
    edges = np.linspace(0.0, 1.0, NUM_BINS + 1) if edges is None else np.asarray(edges, dtype=np.float64)
    numbers = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, len(edges) - 2)
    inside = (confidence >= edges[0]) & (confidence <= edges[-1])
    curve = []
    for number in range(len(edges) - 1):
        chosen = inside & (numbers == number)
        if not chosen.any():
            continue
        mean, interval, num_songs = _mean(value[chosen], song[chosen])
        curve.append(
            {
                "low": float(edges[number]),
                "high": float(edges[number + 1]),
                "count": int(chosen.sum()),
                "num_songs": num_songs,
                "mean_confidence": float(confidence[chosen].mean()),
                "mean": mean,
                "interval": interval,
            }
        )
    return curve


def kept_above(confidence: np.ndarray, value: np.ndarray, song: np.ndarray, thresholds: Sequence[float]) -> list[dict]:
    """What a threshold keeps: `threshold`, `share` of the frames, `mean` of their values and its `interval`."""
    rows = []
    for threshold in thresholds:
        chosen = confidence >= threshold
        if chosen.any():
            mean, interval, _ = _mean(value[chosen], song[chosen])
            rows.append(
                {"threshold": float(threshold), "share": float(chosen.mean()), "mean": mean, "interval": interval}
            )
    return rows


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error (Naeini et al., 2015): mean over frames of |accuracy - mean confidence| of their bin,
    `NUM_BINS` equal bins."""
    number = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    gaps = [abs(float(right[number == n].sum()) - float(confidence[number == n].sum())) for n in range(NUM_BINS)]
    return sum(gaps) / len(confidence)


def ranking(confidence: np.ndarray, right: np.ndarray) -> float | None:
    """Area under the ROC curve: probability that a frame that is right has more confidence than one that is wrong, ties
    counting half; None where all are right or all wrong."""
    right = np.asarray(right, dtype=bool)
    if right.all() or not right.any():
        return None
    statistic = mannwhitneyu(confidence[right], confidence[~right], method="asymptotic").statistic
    return float(statistic / (right.sum() * (~right).sum()))


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Spearman's rank correlation of two (n,) arrays; None where one is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first, second).statistic)


def _mean(value: np.ndarray, song: np.ndarray) -> tuple[float, list[float] | None, int]:
    songs, number = np.unique(song, return_inverse=True)
    if len(songs) < 2:
        return float(value.mean()), None, len(songs)
    sums, counts = np.bincount(number, weights=value), np.bincount(number)
    return float(value.mean()), list(bootstrap_interval(sums, counts)), len(songs)
