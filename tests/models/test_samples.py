"""Samples and rates as callers have them, and the feature extractor that takes them."""

import numpy as np
import pytest
import torch

from majl_hf import MajlFeatureExtractor
from majl_hf.models.samples_majl import check_sampling_rate, float_samples


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (np.array([-32768, 0, 16384], np.int16), [-1.0, 0.0, 0.5]),
        (np.array([0, 128, 192], np.uint8), [-1.0, 0.0, 0.5]),
        (np.array([-(2**31), 0, 2**30], np.int32), [-1.0, 0.0, 0.5]),
        (torch.tensor([-64, 0, 32], dtype=torch.int8), [-0.5, 0.0, 0.25]),
        (torch.tensor([-1.0, 0.5], dtype=torch.bfloat16, requires_grad=True), [-1.0, 0.5]),
        ([[0.5], [-2.0]], [[0.5], [-2.0]]),
    ],
)
def test_samples_of_every_type(samples, expected):
    found = float_samples(samples)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


@pytest.mark.parametrize("samples", [np.zeros(3, bool), np.zeros(3, complex), [1, 2], ["la"], [[0.0], [0.0, 0.0]]])
def test_samples_without_a_full_scale_are_refused(samples):
    with pytest.raises(ValueError, match=r"are needed\.|need equal lengths"):
        float_samples(samples)


@pytest.mark.parametrize("rate", [44_100, 44_100.0, "44100", np.int64(44_100), torch.tensor(44_100)])
def test_rates_of_every_type(rate):
    found = check_sampling_rate(rate)
    assert found == 44_100 and type(found) is int


@pytest.mark.parametrize("rate", [None, "44.1 kHz", 44_100.5, float("nan"), float("inf"), [44_100], 0, True, -8_000])
def test_rates_that_are_none_are_refused(rate):
    with pytest.raises(ValueError, match="The sampling rate is"):
        check_sampling_rate(rate)


def test_the_feature_extractor_scales_integers_and_reads_rates():
    extractor = MajlFeatureExtractor(feature_size=2, sampling_rate=16_000)
    samples = np.array([-32768, 16384], np.int16)
    (mixture,) = extractor(torch.from_numpy(samples), sampling_rate="16000")["mixture"]
    np.testing.assert_array_equal(mixture, [[-1.0, 0.5]] * 2)
    with pytest.raises(ValueError, match="needs audio at 16000 Hz"):
        extractor(samples, sampling_rate=44_100.0)
