"""Tempo of synthetic drums, and none where there is no beat."""

import numpy as np
import pytest

from majl_hf.notes.tempo import TempoEstimator
from majl_hf.notes.transcription import Tempo


def drums(bpm, first_s, duration_s=60.0, sampling_rate=16000, noise=0.02, seed=0):
    """A drum on each beat, a quieter, higher one between beats, and noise, as `(1, num_samples)`."""
    generator = np.random.default_rng(seed)
    samples = np.zeros(int(duration_s * sampling_rate))
    t = np.arange(int(0.1 * sampling_rate)) / sampling_rate
    drum = np.exp(-t / 0.02) * (np.sin(2 * np.pi * 80 * t) + 0.3 * generator.standard_normal(len(t)))
    hat = 0.1 * np.exp(-t / 0.01) * generator.standard_normal(len(t))
    for delay_s, hit in ((0, drum), (30 / bpm, hat)):
        for onset_s in np.arange(first_s + delay_s, duration_s - 0.11, 60 / bpm):
            at = round(onset_s * sampling_rate)
            samples[at : at + len(hit)] += hit
    return (samples + noise * generator.standard_normal(len(samples))).astype(np.float32)[None]


def estimate(samples, sampling_rate=16000, block_size=65536, bpm=None):
    estimator = TempoEstimator(sampling_rate)
    for start in range(0, samples.shape[1], block_size):
        estimator.push(samples[:, start : start + block_size])
    return estimator.finish(bpm)


def check_beat(tempo, bpm, first_s):
    """Of a slow song the quieter drum may be a beat too, so that the tempo is the double."""
    assert tempo.is_estimated
    assert min(abs(tempo.bpm - bpm), abs(tempo.bpm / 2 - bpm) if bpm < 100 else np.inf) < 0.02
    assert 0 <= tempo.first_beat_s < 60 / tempo.bpm
    beats = (first_s - tempo.first_beat_s) * tempo.bpm / 60
    assert abs(beats - round(beats)) * 60 / tempo.bpm < 0.01


@pytest.mark.parametrize(
    "bpm, first_s, sampling_rate, noise",
    [
        (60.0, 0.3, 16000, 0.02),
        (73.37, 0.1, 16000, 0.02),
        (90.0, 0.05, 22050, 0.1),
        (104.6, 0.55, 44100, 0.02),
        (120.0, 0.21, 16000, 0.1),
        (128.5, 0.4, 48000, 0.0),
        (140.0, 0.0, 16000, 0.1),
        (174.2, 0.2, 11025, 0.02),
        (180.0, 0.1, 16000, 0.05),
    ],
)
def test_tempo_and_beat(bpm, first_s, sampling_rate, noise):
    tempo = estimate(drums(bpm, first_s, sampling_rate=sampling_rate, noise=noise), sampling_rate)
    check_beat(tempo, bpm, first_s)


@pytest.mark.parametrize("bpm", [60.0, 120.0])
def test_the_beat_of_a_known_tempo(bpm):
    samples = drums(120.0, 0.2, duration_s=20.0)
    tempo = estimate(samples, bpm=bpm)
    assert tempo.bpm == bpm and not tempo.is_estimated
    assert tempo.first_beat_s % 0.5 == pytest.approx(0.2, abs=0.01)
    assert estimate(np.zeros_like(samples), bpm=bpm) == Tempo(bpm)


def test_a_song_of_four_minutes_does_not_drift():
    bpm, first_s, duration_s = 117.43, 0.2, 240.0
    tempo = estimate(drums(bpm, first_s, duration_s, sampling_rate=11025, noise=0.1), 11025)
    last = int((duration_s - first_s) * bpm / 60)
    begin = round((first_s - tempo.first_beat_s) * tempo.bpm / 60)
    drift_s = tempo.first_beat_s + (begin + last) * 60 / tempo.bpm - (first_s + last * 60 / bpm)
    assert abs(drift_s) < 0.015


def test_blocks_level_and_polarity_do_not_matter():
    samples = drums(100.0, 0.3, 20.0)
    tempo = estimate(samples)
    assert estimate(samples, block_size=777) == tempo
    quiet = estimate(0.01 * samples)
    assert (quiet.bpm, quiet.first_beat_s) == pytest.approx((tempo.bpm, tempo.first_beat_s), abs=1e-3)
    opposite = estimate(np.concatenate([samples, -samples]))
    assert (opposite.bpm, opposite.first_beat_s) == pytest.approx((tempo.bpm, tempo.first_beat_s), abs=1e-3)


def test_a_silent_introduction_and_a_break_keep_the_beat():
    samples = drums(96.0, 0.1, 60.0)
    samples[:, : 10 * 16000] = 0
    samples[:, 30 * 16000 : 38 * 16000] = 0
    check_beat(estimate(samples), 96.0, 0.1)


@pytest.mark.parametrize("kind", ["nothing", "silence", "short", "noise", "tone", "random clicks"])
def test_the_default_without_a_beat(kind):
    generator = np.random.default_rng(0)
    t = np.arange(20 * 16000) / 16000
    clicks = np.zeros(len(t))
    clicks[generator.integers(0, len(t), 40)] = 1.0
    samples = {
        "nothing": np.zeros(0),
        "silence": np.zeros(len(t)),
        "short": drums(120.0, 0.1, 2.0)[0],
        "noise": 0.1 * generator.standard_normal(len(t)),
        "tone": 0.5 * np.sin(2 * np.pi * 220 * t),
        "random clicks": clicks,
    }[kind]
    assert estimate(samples.astype(np.float32)[None]) == Tempo()


def test_a_sampling_rate_of_zero_is_refused():
    with pytest.raises(ValueError, match="at least 1 Hz"):
        TempoEstimator(0)
