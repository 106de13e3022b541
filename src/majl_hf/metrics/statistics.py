"""Statistics of per-clip scores: centre, spread, and the confidence interval of the mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ..errors import EvaluationError

NUM_RESAMPLES = 10_000
LEVEL = 0.95
MAX_DRAWS = 1 << 22  # indices drawn at a time: 32 MB


@dataclass(frozen=True)
class Summary:
    """Statistics of finite values.

    Args:
        mean, median: of the finite values.
        std: sample standard deviation (n - 1); 0 for a single value.
        count: number of finite values, which everything else is computed from.
        low, high: percentile bootstrap interval of the mean; None for fewer than two values.
        non_finite: number of values left out because they were infinite or NaN.
    """

    mean: float
    median: float
    std: float
    count: int
    low: float | None
    high: float | None
    non_finite: int = 0

    def to_dict(self) -> dict:
        return asdict(self)


def bootstrap_interval(
    sums: Sequence[float] | np.ndarray,
    counts: Sequence[float] | np.ndarray | None = None,
    *,
    level: float = LEVEL,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over clusters, `sums.sum() / counts.sum()`.

    Clusters are drawn with replacement as a whole, because clips or frames of one song are not independent. If there
    are several seeds (training runs), they are also drawn, each with all its clusters; three seeds say little about the
    spread over seeds. Draws are made in blocks to bound the memory, which does not change the result.

    Args:
        sums: shape (num_clusters,) or (num_seeds, num_clusters), finite: the sum of each cluster's values.
        counts: number (or weight) of the values in each sum, at least 0, in the shape of `sums`; None for 1 each, if
            the clusters are single values. A resample whose counts are all 0 is left out.
        level: coverage, above 0 and below 1.
        seed: of the draws; equal seeds give equal intervals.

    Raises:
        EvaluationError: fewer than two sums, shapes that differ, values that are not finite, no count above 0, or an
            impossible level.
    """
    sums = np.asarray(sums, dtype=np.float64)
    counts = np.ones_like(sums) if counts is None else np.asarray(counts, dtype=np.float64)
    if sums.ndim not in (1, 2) or sums.size < 2 or sums.shape != counts.shape:
        raise EvaluationError(
            f"The bootstrap got sums of shape {sums.shape} and counts of shape {counts.shape}; it needs at least "
            "two of each, one for each cluster (and seed)."
        )
    if not (np.isfinite(sums).all() and np.isfinite(counts).all()) or counts.sum() <= 0:
        raise EvaluationError("A bootstrap needs sums and counts that are finite, and a count above 0.")
    if not 0 < level < 1 or num_resamples < 1:
        raise EvaluationError(f"level is {level} and num_resamples {num_resamples}; they need 0 < level < 1 and >= 1.")
    sums, counts = np.atleast_2d(sums), np.atleast_2d(counts)
    num_seeds, num_clusters = sums.shape
    of_clusters, of_seeds = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    block = max(1, MAX_DRAWS // sums.size)
    means = []
    for done in range(0, num_resamples, block):
        size = min(block, num_resamples - done)
        drawn = of_clusters.integers(0, num_clusters, size=(size, num_clusters))[:, None, :]
        runs = of_seeds.integers(0, num_seeds, size=(size, num_seeds))[:, :, None]
        above, below = sums[runs, drawn].sum(axis=(1, 2)), counts[runs, drawn].sum(axis=(1, 2))
        means.append(above[below > 0] / below[below > 0])
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def summarise(values: Sequence[float] | np.ndarray, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> Summary:
    """Summary of per-clip scores; infinite and NaN ones are left out and counted.

    Raises:
        EvaluationError: no finite value.
    """
    values = np.asarray(values, dtype=np.float64)
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        raise EvaluationError(f"None of the {values.size} values is finite, so there is nothing to summarise.")
    low = high = None
    if finite.size > 1:
        low, high = bootstrap_interval(finite, num_resamples=num_resamples, seed=seed)
    return Summary(
        mean=float(finite.mean()),
        median=float(np.median(finite)),
        std=float(finite.std(ddof=1)) if finite.size > 1 else 0.0,
        count=int(finite.size),
        low=low,
        high=high,
        non_finite=int(values.size - finite.size),
    )


def mean_scores(rows: Sequence[Mapping[str, float] | None]) -> dict[str, float]:
    """Means of per-clip scores (NaN where a score is finite in no clip), with `count` and `skipped` (None rows)."""
    kept = [row for row in rows if row is not None]
    means = {}
    for name in kept[0] if kept else ():
        finite = [row[name] for row in kept if np.isfinite(row[name])]
        means[name] = float(np.mean(finite)) if finite else float("nan")
    return {**means, "count": len(kept), "skipped": len(rows) - len(kept)}


def paired_difference(
    first: Mapping[str, float], second: Mapping[str, float], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Summary:
    """Summary of `first - second`, clip by clip, for two systems scored on the same clips.

    Args:
        first, second: score by clip id; both need the same ids.

    Raises:
        EvaluationError: the ids differ, or no difference is finite.
    """
    if first.keys() != second.keys():
        only = sorted(first.keys() ^ second.keys())
        raise EvaluationError(
            f"{len(only)} clips are only in one of the two, such as {only[:3]}; a paired difference needs the same "
            f"clips on both sides."
        )
    differences = np.array([first[key] - second[key] for key in sorted(first)])
    return summarise(differences, num_resamples=num_resamples, seed=seed)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and clips with its interval, which is None for a single cluster and seed.

    `per_seed` are the means of the seeds, `num_clips` the clips that have a score.
    """

    mean: float
    low: float | None
    high: float | None
    per_seed: tuple[float, ...]
    num_clips: int
    num_clusters: int


def estimate(scores: np.ndarray, clusters: Sequence[str], *, seed: int = 0) -> Estimate:
    """Mean of scores, or of differences of scores, with the interval of `bootstrap_interval`.

    Args:
        scores: shape (num_seeds, num_clips), NaN where there is none.
        clusters: the cluster (song, singer) that each clip belongs to.

    Raises:
        EvaluationError: shapes that do not fit, infinite scores, or a seed without any score.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] != len(clusters):
        raise EvaluationError(f"Scores of shape {scores.shape} do not fit {len(clusters)} clips of some seeds.")
    known = ~np.isnan(scores)
    if np.isinf(scores).any() or not known.any(axis=1).all():
        raise EvaluationError("Scores are infinite, or a seed has none; a mean needs finite scores of every seed.")
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.stack([np.bincount(member, row, len(names)) for row in np.where(known, scores, 0.0)])
    counts = np.stack([np.bincount(member, row, len(names)) for row in known])
    low, high = bootstrap_interval(sums, counts, seed=seed) if sums.size > 1 else (None, None)
    return Estimate(
        mean=float(sums.sum() / counts.sum()),
        low=low,
        high=high,
        per_seed=tuple((sums.sum(axis=1) / counts.sum(axis=1)).tolist()),
        num_clips=int(known.any(axis=0).sum()),
        num_clusters=len(names),
    )
