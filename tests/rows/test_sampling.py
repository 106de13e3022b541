"""Sampling weights: shares of kinds and corpora, minutes within them, tempering, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest

from majl_hf.errors import MajlError
from majl_hf.rows.sampling import SamplingConfig, sampling_weights

ROWS = [("full", "a", 10.0), ("full", "a", 30.0), ("full", "b", 360.0), ("pitch", "c", 100.0), ("vocals", "a", 25.0)]


def weigh(rows, config=None):
    names = ("id", "label_kind", "corpus", "duration_s")
    refs = [SimpleNamespace(**dict(zip(names, (f"r{i}", *row), strict=True))) for i, row in enumerate(rows)]
    return sampling_weights(refs, config)


def weights(**config):
    result = weigh(ROWS, SamplingConfig(**config))
    assert result.sum() == pytest.approx(1, abs=1e-12)
    return result


def test_tempering_is_between_equal_minutes_and_equal_shares_of_kinds_and_their_corpora():
    durations = np.array([row[2] for row in ROWS])
    assert weights(tempering=1) == pytest.approx(durations / durations.sum())
    assert weights(tempering=0) == pytest.approx([1 / 24, 3 / 24, 1 / 6, 1 / 3, 1 / 3])
    assert weigh([("full", "a", 100.0), ("pitch", "b", 900.0)]) == pytest.approx([0.25, 0.75])  # roots of minutes


def test_given_shares_are_kept():
    kind_shares = {"full": 2, "pitch": 1, "vocals": 1, "separation": 10}  # the last does not occur
    result = weights(kind_shares=kind_shares, corpus_shares={"a": 3, "b": 1, "c": 1})
    assert result == pytest.approx([0.5 * 0.75 * 0.25, 0.5 * 0.75 * 0.75, 0.5 * 0.25, 0.25, 0.25])


def test_a_share_of_zero_leaves_rows_out():
    result = weights(kind_shares={"full": 1, "pitch": 0, "vocals": 0})
    assert list(result[3:]) == [0, 0] and (result[:3] > 0).all()


def test_order_of_rows_does_not_matter():
    order = [3, 0, 4, 2, 1]
    assert weigh([ROWS[i] for i in order]) == pytest.approx(weigh(ROWS)[order], rel=1e-12)
    assert weigh([]).shape == (0,)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"tempering": 1.5}, "tempering\n.* less than or equal to 1"),
        ({"kind_shares": {"full": -1}}, "kind_shares.full\n.* greater than or equal to 0"),
        ({"kind_shares": {"full": 1}}, r"label kind \['pitch', 'vocals'\]"),
        ({"corpus_shares": {"a": 1, "b": 1}}, r"corpus of kind 'pitch' \['c'\]"),
        ({"kind_shares": {"full": 0, "pitch": 0, "vocals": 0}}, "is 0"),
    ],
)
def test_bad_shares_are_refused(config, message):
    with pytest.raises((MajlError, ValueError), match=message):
        weights(**config)


@pytest.mark.parametrize("duration_s", [float("nan"), float("inf"), 0.0])
def test_bad_rows_are_refused(duration_s):
    with pytest.raises(MajlError, match=rf"Row r1 lasts {duration_s} s"):
        weigh([("full", "a", 1.0), ("full", "a", duration_s)])
