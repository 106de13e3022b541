"""What a list of per-clip scores says: centre, spread, and how far to trust the mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ..errors import EvaluationError

NUM_RESAMPLES = 10_000
LEVEL = 0.95
_MAX_DRAWS = 1 << 22  # indices drawn at a time: 32 MB


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
    values: Sequence[float] | np.ndarray, *, level: float = LEVEL, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean.

    The clips are drawn with replacement, all resamples at once in blocks. Clips of one song are not independent, so
    the interval tells about other clips of such a kind rather than about other singers.

    Args:
        values: finite, at least two.
        level: coverage, above 0 and below 1.
        seed: equal seeds give equal intervals.

    Raises:
        EvaluationError: fewer than two values, values that are not finite, or an impossible level.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise EvaluationError(f"A bootstrap needs at least two finite values in a list, got shape {values.shape}.")
    if not 0 < level < 1 or num_resamples < 1:
        raise EvaluationError(f"level is {level} and num_resamples {num_resamples}; they need 0 < level < 1 and >= 1.")
    generator = np.random.default_rng(seed)
    rows = max(1, _MAX_DRAWS // len(values))
    means = np.concatenate(
        [
            values[generator.integers(0, len(values), size=(min(rows, num_resamples - done), len(values)))].mean(axis=1)
            for done in range(0, num_resamples, rows)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def ratio_interval(
    numerators: Sequence[float] | np.ndarray,
    denominators: Sequence[float] | np.ndarray,
    *,
    level: float = LEVEL,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of `sum(numerators) / sum(denominators)`, such as a share of frames over songs.

    Groups (songs) are drawn with replacement, each with both its sums, so that frames of one song stay together.

    Args:
        numerators, denominators: one value a group, finite, at least two groups; denominators are counts or weights of
            at least 0 with a sum above 0. A resample whose denominators sum to 0 is left out.

    Raises:
        EvaluationError: fewer than two groups, lengths that differ, values that are not finite, or no weight at all.
    """
    numerators, denominators = (np.asarray(values, dtype=np.float64) for values in (numerators, denominators))
    if numerators.ndim != 1 or numerators.shape != denominators.shape or len(numerators) < 2:
        raise EvaluationError(
            f"Sums of shapes {numerators.shape} and {denominators.shape} were given; one each for at least two groups "
            "is needed."
        )
    if not (np.isfinite(numerators).all() and np.isfinite(denominators).all()) or denominators.sum() <= 0:
        raise EvaluationError("The sums of the groups hold values that are not finite, or no group has any weight.")
    generator = np.random.default_rng(seed)
    rows = max(1, _MAX_DRAWS // len(numerators))
    ratios = []
    for done in range(0, num_resamples, rows):
        drawn = generator.integers(0, len(numerators), size=(min(rows, num_resamples - done), len(numerators)))
        above, below = numerators[drawn].sum(axis=1), denominators[drawn].sum(axis=1)
        ratios.append(above[below > 0] / below[below > 0])
    low, high = np.quantile(np.concatenate(ratios), [(1 - level) / 2, (1 + level) / 2])
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
    """Summary of `first - second` clip by clip: is one system better than the other on the same clips?

    Args:
        first, second: score by clip id; both need the same ids.

    Raises:
        EvaluationError: the ids differ, or no difference is finite.
    """
    if first.keys() != second.keys():
        only = sorted(first.keys() ^ second.keys())
        raise EvaluationError(
            f"{len(only)} clips are in one of the two only, such as {only[:3]}; a paired difference needs the same "
            f"clips on both sides."
        )
    differences = np.array([first[key] - second[key] for key in sorted(first)])
    return summarise(differences, num_resamples=num_resamples, seed=seed)
