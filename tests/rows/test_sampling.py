"""Sampling weights: shares of kinds and corpora, minutes within them, tempering, and what is refused."""

import numpy as np
import pytest

from majl_hf.errors import MajlError
from majl_hf.rows.sampling import SamplingConfig, sampling_weights

KINDS = ["full", "full", "full", "pitch", "vocals"]
CORPORA = ["a", "a", "b", "c", "a"]
DURATIONS_S = [10.0, 30.0, 360.0, 100.0, 25.0]


def weights(**config):
    result = sampling_weights(KINDS, CORPORA, DURATIONS_S, SamplingConfig(**config))
    assert result.sum() == pytest.approx(1, abs=1e-12)
    return result


def test_without_tempering_every_minute_counts_the_same():
    assert weights(tempering=1) == pytest.approx(np.array(DURATIONS_S) / sum(DURATIONS_S))


def test_full_tempering_gives_kinds_and_their_corpora_equal_shares():
    assert weights(tempering=0) == pytest.approx([1 / 24, 3 / 24, 1 / 6, 1 / 3, 1 / 3])


def test_tempering_by_half_is_the_root_of_minutes():
    result = sampling_weights(["full", "pitch"], ["a", "b"], [100.0, 900.0])
    assert result == pytest.approx([0.25, 0.75])


def test_given_shares_are_kept():
    kind_shares = {"full": 2, "pitch": 1, "vocals": 1, "separation": 10}  # the last does not occur
    result = weights(kind_shares=kind_shares, corpus_shares={"a": 3, "b": 1, "c": 1})
    assert result == pytest.approx([0.5 * 0.75 * 0.25, 0.5 * 0.75 * 0.75, 0.5 * 0.25, 0.25, 0.25])


def test_a_share_of_zero_leaves_rows_out():
    result = weights(kind_shares={"full": 1, "pitch": 0, "vocals": 0})
    assert list(result[3:]) == [0, 0] and (result[:3] > 0).all()


def test_order_of_rows_does_not_matter():
    order = np.array([3, 0, 4, 2, 1])
    shuffled = sampling_weights([KINDS[i] for i in order], [CORPORA[i] for i in order], [DURATIONS_S[i] for i in order])
    assert shuffled == pytest.approx(sampling_weights(KINDS, CORPORA, DURATIONS_S)[order], rel=1e-12)


def test_no_rows_no_weights():
    assert sampling_weights([], [], []).shape == (0,)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"tempering": 1.5}, "tempering\n.* less than or equal to 1"),
        ({"kind_shares": {"full": -1}}, "kind_shares.full\n.* greater than or equal to 0"),
        ({"kind_shares": {"full": 1}}, r"label kind \['pitch', 'vocals'\]"),
        ({"corpus_shares": {"a": 1, "b": 1}}, r"corpus of kind 'pitch' \['c'\]"),
        ({"kind_shares": {"full": 0, "pitch": 0, "vocals": 0}}, "are 0"),
    ],
)
def test_bad_shares_are_refused(config, message):
    with pytest.raises((MajlError, ValueError), match=message):
        weights(**config)


def test_bad_rows_are_refused():
    with pytest.raises(MajlError, match="1 label kinds, 1 corpora and 2 durations"):
        sampling_weights(["full"], ["a"], [1.0, 2.0])
    with pytest.raises(MajlError, match=r"Row 1 lasts nan s"):
        sampling_weights(["full", "full"], ["a", "a"], [1.0, float("nan")])
