"""The decision at a threshold, and the statistics of a voice."""

import numpy as np
import pytest

from majl_hf import MajlConfig
from majl_hf.demo.voicing import decide_voiced, describe_voice
from majl_hf.models.decoding_majl import decode
from majl_hf.models.pitch_majl import hz_to_midi, note_and_cents, note_name


@pytest.mark.parametrize("policy", ["threshold", "hysteresis"])
@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.64, 0.9])
def test_decides_as_the_decoder_does(policy, threshold):
    config = MajlConfig(pitch_decoder="local_mean")
    num_bins = config.pitch_estimator_config.num_bins
    logits = np.random.default_rng(0).normal(-6, 2, (500, num_bins)) + np.repeat([[-3], [3], [0], [5], [-2]], 100, 0)
    frames = decode(logits, config, policy=policy, threshold=threshold)
    assert 0 < frames.voiced.sum() < 500 or threshold < 0.1
    np.testing.assert_array_equal(decide_voiced(frames.voicing, policy, threshold), frames.voiced)


def test_always_listens_to_the_slider():
    assert decide_voiced(np.array([0.2, 0.8]), "always", 0.5).tolist() == [False, True]


def test_facts():
    f0_hz = np.concatenate([np.full(1, 1500.0), np.full(48, 220.0), np.full(51, 440.0), np.full(100, 100.0)])
    voiced = np.arange(200) < 100
    facts = describe_voice(f0_hz, voiced)
    assert (facts.lowest_hz, facts.median_hz, facts.highest_hz) == (220.0, 440.0, 440.0)  # one outlier is left out
    assert facts.sung_share == 0.5
    assert describe_voice(f0_hz, np.zeros(200, dtype=bool)).median_hz is None


@pytest.mark.parametrize(
    ("hz", "name", "with_cents"),
    [(440.0, "A4", "A4 +0 ct"), (261.63, "C4", "C4 +0 ct"), (27.5, "A0", "A0 +0 ct"), (450.0, "A4", "A4 +39 ct"),
     (277.18 * 2 ** (-20 / 1200), "C♯4", "C♯4 −20 ct")],
)  # fmt: skip
def test_notes(hz, name, with_cents):
    assert note_name(hz_to_midi(hz)) == name
    assert note_and_cents(hz_to_midi(hz)) == with_cents
