"""Golden values of the separation metrics; each can be computed by hand."""

import math

import numpy as np
import pytest

from majl_hf.errors import EvaluationError
from majl_hf.metrics.separation import is_silent, nsdr_db, sdr_db, separation_scores, si_sdr_db

S = np.array([[3.0, 0.0, -3.0, 0.0]])
N = np.array([[0.0, 3.0, 0.0, -3.0]])  # orthogonal to S, of equal energy


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [(S + 0.1 * N, 20.0), (S + N, 0.0), (S + 10 * N, -20.0), (0.5 * S, 20 * math.log10(2)), (0 * S, 0.0)],
)
def test_sdr(estimate, expected):
    assert sdr_db(S, estimate) == pytest.approx(expected, abs=1e-12)


def test_sdr_of_an_exact_estimate_is_infinite():
    assert sdr_db(S, S.copy()) == math.inf


def test_nsdr_is_the_gain_over_the_mixture():
    assert nsdr_db(S, S + 0.1 * N, S + 10 * N) == pytest.approx(40.0, abs=1e-12)
    assert nsdr_db(S, S + 0.3 * N, S + 0.3 * N) == 0.0


@pytest.mark.parametrize("gain", [1e-3, 1.0, -2.0, 500.0])
def test_si_sdr_ignores_the_estimates_gain(gain):
    assert si_sdr_db(S, gain * (S + 0.1 * N)) == pytest.approx(20.0, abs=1e-9)


def test_si_sdr_uses_one_scale_for_all_channels_and_keeps_the_mean():
    # Worked out by hand: s = (1, 1 | 1, 1), e = (1, 1 | 0, 0): scale 1/2, target energy 1, residual energy 1.
    assert si_sdr_db(np.ones((2, 2)), np.array([[1.0, 1.0], [0.0, 0.0]])) == pytest.approx(0.0, abs=1e-12)


def test_si_sdr_of_a_silent_estimate_is_minus_infinity():
    assert si_sdr_db(S, 0 * S) == -math.inf


def test_energies_are_summed_over_channels_not_averaged_in_db():
    reference = np.concatenate([10 * S, S])
    estimate = np.concatenate([10 * S + N, S])  # channel 0 alone: 20 dB; channel 1 alone: infinite
    assert sdr_db(reference, estimate) == pytest.approx(10 * math.log10(101), abs=1e-12)


def test_scores_skip_a_silent_reference():
    assert separation_scores(0 * S, S, S) is None
    scores = separation_scores(S, S + 0.1 * N, S + N)
    assert scores == pytest.approx({"sdr_db": 20.0, "nsdr_db": 20.0, "si_sdr_db": 20.0}, abs=1e-9)


def test_codec_noise_counts_as_silence_and_quiet_singing_does_not():
    noise = np.random.default_rng(0).standard_normal((1, 1000))
    assert is_silent(1e-5 * noise)
    assert not is_silent(1e-3 * noise)


@pytest.mark.parametrize(
    ("reference", "estimate", "words"),
    [
        (S, S[:, :3], r"\(1, 4\).*\(1, 3\)"),
        (S[0], S[0], "num_channels, num_samples"),
        (S, S * np.nan, "estimate contains NaN"),
        (S * 0, S, "all zeros"),
    ],
)
def test_what_cannot_be_scored_is_refused(reference, estimate, words):
    with pytest.raises(EvaluationError, match=words):
        sdr_db(reference, estimate)
