"""Means and differences over seeds and clips, with intervals that know that clips of one song are not independent.

Conventions
    Scores are `(num_seeds, num_clips)`; NaN marks a clip that has no score. A mean is over all scores that there are.
    The bootstrap draws seeds and clusters (songs, singers) with replacement, each cluster with all its clips and for
    all drawn seeds. With three seeds it tells little about the spread over seeds; the count stands beside the figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from majl_hf.errors import EvaluationError
from majl_hf.metrics.statistics import LEVEL, NUM_RESAMPLES


@dataclass(frozen=True)
class Estimate:
    """A mean with its percentile bootstrap interval, which is None where there is a single cluster and a single seed.

    `per_seed` are the means of the seeds, `num_clips` the clips that have a score.
    """

    mean: float
    low: float | None
    high: float | None
    per_seed: tuple[float, ...]
    num_clips: int
    num_clusters: int


def estimate(
    scores: np.ndarray,
    clusters: Sequence[str],
    *,
    level: float = LEVEL,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Mean of scores, or of differences of scores, with its interval.

    Args:
        scores: shape (num_seeds, num_clips), NaN where there is none.
        clusters: the cluster that each clip belongs to.

    Raises:
        EvaluationError: shapes that do not fit, infinite scores, or no score of a seed at all.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] != len(clusters):
        raise EvaluationError(f"Scores of shape {scores.shape} were given for {len(clusters)} clips of some seeds.")
    known = ~np.isnan(scores)
    if np.isinf(scores).any() or not known.any(axis=1).all():
        raise EvaluationError("Scores are infinite, or a seed has none; a mean needs finite scores of every seed.")
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    sums, counts = (np.zeros((len(scores), len(names))) for _ in range(2))
    for row in range(len(scores)):
        sums[row] = np.bincount(member, np.where(known[row], scores[row], 0.0), len(names))
        counts[row] = np.bincount(member, known[row], len(names))
    low = high = None
    if sums.size > 1:
        generator = np.random.default_rng(seed)
        of_seeds = generator.multinomial(len(scores), np.full(len(scores), 1 / len(scores)), num_resamples)
        of_clusters = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), num_resamples)
        above = np.einsum("rs,sc,rc->r", of_seeds, sums, of_clusters, optimize=True)
        below = np.einsum("rs,sc,rc->r", of_seeds, counts, of_clusters, optimize=True)
        means = above[below > 0] / below[below > 0]  # a resample may have drawn clusters without a score only
        low, high = (float(value) for value in np.quantile(means, [(1 - level) / 2, (1 + level) / 2]))
    return Estimate(
        mean=float(sums.sum() / counts.sum()),
        low=low,
        high=high,
        per_seed=tuple((sums.sum(axis=1) / counts.sum(axis=1)).tolist()),
        num_clips=int(known.any(axis=0).sum()),
        num_clusters=len(names),
    )
