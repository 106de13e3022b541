"""Summaries and bootstrap intervals."""

import math

import numpy as np
import pytest

from majl_hf.errors import EvaluationError
from majl_hf.metrics import statistics
from majl_hf.metrics.statistics import bootstrap_interval, estimate, mean_scores, paired_difference, summarise


def test_summary_of_known_values():
    summary = summarise([1.0, 2.0, 3.0, 10.0])
    assert (summary.mean, summary.median, summary.count, summary.non_finite) == (4.0, 2.5, 4, 0)
    assert summary.std == pytest.approx(math.sqrt(50 / 3))
    assert 1.0 <= summary.low < 4.0 < summary.high <= 10.0


def test_interval_agrees_with_theory_and_is_reproducible():
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)
    low, high = bootstrap_interval(values, seed=1)
    half = 1.96 * values.std() / math.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    assert (low, high) == bootstrap_interval(values, seed=1)
    assert (low, high) != bootstrap_interval(values, seed=2)


def test_interval_covers_the_true_mean_as_often_as_it_says():
    generator = np.random.default_rng(7)
    intervals = [bootstrap_interval(generator.normal(0, 1, 60), num_resamples=500) for _ in range(120)]
    assert 0.88 < np.mean([low < 0 < high for low, high in intervals]) < 0.99


def test_blocks_of_draws_fill_every_resample(monkeypatch):
    values = np.arange(50.0)
    whole = bootstrap_interval(values, num_resamples=1001)
    several_seeds = bootstrap_interval(values.reshape(5, 10), num_resamples=1001)
    monkeypatch.setattr(statistics, "MAX_DRAWS", 50 * 10)  # ten resamples per block, one left over
    assert bootstrap_interval(values, num_resamples=1001) == whole
    assert bootstrap_interval(values.reshape(5, 10), num_resamples=1001) == several_seeds


def test_two_valued_data_have_a_known_interval():
    # Means of two draws from {0, 1} are 0, 1/2, 1 with 1/4, 1/2, 1/4: the 2.5 % quantiles are the ends.
    assert bootstrap_interval([0.0, 1.0]) == (0.0, 1.0)


def test_one_value_has_no_interval():
    summary = summarise([3.0])
    assert (summary.mean, summary.std, summary.low, summary.high) == (3.0, 0.0, None, None)


def test_infinite_values_are_left_out_and_counted():
    summary = summarise([1.0, math.inf, 3.0, math.nan])
    assert (summary.mean, summary.count, summary.non_finite) == (2.0, 2, 2)


def test_nothing_finite_is_refused():
    with pytest.raises(EvaluationError, match="None of the 1 values"):
        summarise([math.inf])
    with pytest.raises(EvaluationError, match="None of the 0 values"):
        summarise([])


def test_paired_difference_is_tighter_than_the_scores():
    generator = np.random.default_rng(2)
    easy = generator.normal(10, 5, 50)
    first = {f"clip {i}": value + 0.5 + 0.01 * generator.standard_normal() for i, value in enumerate(easy)}
    second = {f"clip {i}": value for i, value in reversed(list(enumerate(easy)))}
    difference = paired_difference(first, second)
    assert difference.mean == pytest.approx(0.5, abs=0.01)
    assert difference.high - difference.low < 0.01


def test_paired_difference_needs_the_same_clips():
    with pytest.raises(EvaluationError, match=r"1 clips are only in one of the two.*'b'"):
        paired_difference({"a": 1.0, "b": 2.0}, {"a": 1.0})


def test_mean_scores_counts_skipped_rows_and_survives_infinity():
    means = mean_scores([{"x": 1.0, "y": math.inf}, None, {"x": 3.0, "y": math.inf}])
    assert (means["x"], means["count"], means["skipped"]) == (2.0, 2, 1)
    assert math.isnan(means["y"])
    assert mean_scores([None]) == {"count": 0, "skipped": 1}


def test_a_ratio_draws_groups_with_both_their_sums():
    """Two songs of 90 and 10 frames: the mean is over frames, and a resample is one of three mixtures of the songs."""
    hits, frames = [90.0, 0.0], [90.0, 10.0]
    low, high = bootstrap_interval(hits, frames, num_resamples=500)
    assert (low, high) == (0.0, 1.0)
    low, high = bootstrap_interval(np.full(20, 3.0), np.full(20, 4.0))
    assert low == high == 0.75
    assert bootstrap_interval([1, 2, 3], [4, 4, 4]) == bootstrap_interval([1, 2, 3], [4, 4, 4])


@pytest.mark.parametrize("sums", [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, np.nan], [1.0, 1.0]), ([1, 1], [0, 0])])
def test_a_ratio_of_too_little_is_refused(sums):
    with pytest.raises(EvaluationError):
        bootstrap_interval(*sums)


def test_means_and_intervals_by_hand():
    scores = np.array([[1.0, 3.0, 10.0]])
    result = estimate(scores, ["a", "a", "b"])
    # Two clusters are drawn twice with replacement: a quarter of the resamples contains only the one or the other.
    assert (result.mean, result.low, result.high) == (pytest.approx(14 / 3), 2.0, 10.0)
    assert (result.num_clips, result.num_clusters, result.per_seed) == (3, 2, (pytest.approx(14 / 3),))
    # Two seeds and one cluster: the same with seeds.
    result = estimate(np.array([[1.0, np.nan], [2.0, np.nan]]), ["a", "a"])
    assert (result.mean, result.low, result.high, result.per_seed, result.num_clips) == (1.5, 1.0, 2.0, (1.0, 2.0), 1)
    assert estimate(np.array([[1.0]]), ["a"]).low is None
    with pytest.raises(EvaluationError, match="infinite"):
        estimate(np.array([[np.inf, 1.0]]), ["a", "b"])
    with pytest.raises(EvaluationError, match="shape"):
        estimate(scores, ["a", "b"])


def test_the_interval_covers_what_it_should():
    """Clusters of equal clips: the interval is that of the clusters, not of the clips."""
    rng = np.random.default_rng(1)
    means = rng.normal(0.0, 1.0, 30)
    result = estimate(np.repeat(means, 20)[None], np.repeat([f"s{i}" for i in range(30)], 20).tolist())
    expected = 1.96 * means.std() / np.sqrt(30)
    assert result.high - result.low == pytest.approx(2 * expected, rel=0.05)
