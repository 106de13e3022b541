"""Clips as they sound after what recordings go through."""

from dataclasses import replace

import numpy as np
import pytest

from majl_hf.errors import EvaluationError
from majl_hf.evaluation import MixtureSystem, evaluate
from majl_hf.evaluation.conditions import CONDITIONS
from majl_hf.metrics.separation import sdr_db
from majl_hf.mixing.clips import ValidationClip
from majl_hf.mixing.config import FOLDERS

RATE = 16_000
LINEAR = (
    "left",
    "inverted",
    "telephone",
    "reverb",
    *(name for name in CONDITIONS if name.startswith(("level", "right"))),
)
ADDING = ("dc", "rumble", "hiss", "mp3")


def tone(hz: float, gain: float = 0.2) -> np.ndarray:
    return (gain * np.sin(2 * np.pi * hz * np.arange(2 * RATE) / RATE)).astype(np.float32)


@pytest.fixture
def clip():
    """Two seconds of stereo: a voice at 440 Hz in the middle, a tone at 660 Hz on the right and one at 5 kHz."""
    vocals = np.stack([tone(440), tone(440)])
    other = np.stack([tone(5000, 0.05), tone(660)])
    return ValidationClip("x/1", "song", "singer", RATE, vocals + other, vocals, None)


@pytest.mark.parametrize("name", CONDITIONS)
def test_clips_stay_clips(clip, name):
    changed = CONDITIONS[name](clip)
    assert changed.mixture.shape == changed.vocals.shape and changed.mixture.shape[1] == clip.mixture.shape[1]
    assert changed.mixture.dtype == changed.vocals.dtype == np.float32 and np.isfinite(changed.mixture).all()
    assert np.array_equal(CONDITIONS[name](clip).mixture, changed.mixture), "it is the same each time"
    assert not np.array_equal(changed.mixture, clip.mixture)


@pytest.mark.parametrize("name", LINEAR)
def test_what_is_linear_changes_the_parts_alike(clip, name):
    other = replace(clip, mixture=clip.mixture - clip.vocals, vocals=None)
    changed = CONDITIONS[name](clip)
    remaining = changed.mixture - changed.vocals
    error = np.abs(remaining - CONDITIONS[name](other).mixture).max()
    assert error < 1e-5 * max(np.abs(changed.mixture).max(), 1e-9)


@pytest.mark.parametrize("name", ADDING)
def test_what_is_added_is_accompaniment(clip, name):
    changed = CONDITIONS[name](clip)
    assert changed.vocals is clip.vocals
    assert 3 < sdr_db(clip.mixture, changed.mixture) < 60


def test_levels_sides_and_polarity(clip):
    np.testing.assert_allclose(CONDITIONS["level-40"](clip).mixture, clip.mixture / 100, rtol=1e-6)
    assert not CONDITIONS["left"](clip).mixture[1].any()
    left, right = CONDITIONS["right-20"](clip).vocals
    np.testing.assert_allclose(right, left / 10, rtol=1e-5)
    vocals = CONDITIONS["voice-inverted"](clip).vocals
    np.testing.assert_array_equal(vocals[0], -vocals[1])
    apart = CONDITIONS["voice-left"](clip)
    np.testing.assert_allclose(apart.mixture[0], tone(440), atol=1e-7)
    assert not apart.vocals[1].any()


def test_a_telephone_has_no_high_tones_and_mp3_stays_in_time(clip):
    def level(sound, hz):
        spectrum = np.abs(np.fft.rfft(sound[0] * np.hanning(sound.shape[1])))
        return spectrum[round(hz * 2) - 3 : round(hz * 2) + 4].max()

    changed = CONDITIONS["telephone"](clip)
    assert level(changed.mixture, 5000) < 0.1 * level(clip.mixture, 5000)
    assert level(changed.mixture, 440) == pytest.approx(level(clip.mixture, 440), rel=0.2)
    coded = CONDITIONS["mp3"](clip).mixture[1]
    lags = np.arange(-20, 21)
    best = max(lags, key=lambda lag: float(np.dot(np.roll(coded, -lag)[4000:-4000], clip.mixture[1][4000:-4000])))
    assert best == 0


def test_conditions_of_the_voice_need_a_voice(clip):
    with pytest.raises(EvaluationError, match="x/1 has no vocals"):
        CONDITIONS["voice-left"](replace(clip, vocals=None))


def test_an_evaluation_under_a_condition(stems_folder):
    corpus = FOLDERS["stems"](folder=str(stems_folder))
    plain = evaluate(MixtureSystem(), corpus)
    quiet = evaluate(MixtureSystem(), corpus, condition="level-40")
    hiss = evaluate(MixtureSystem(), corpus, condition="hiss")
    assert (plain.condition, quiet.condition) == (None, "level-40")
    for before, after, worse in zip(plain.items, quiet.items, hiss.items, strict=True):
        assert after.scores["sdr_db"] == pytest.approx(before.scores["sdr_db"], abs=1e-3)
        assert before.scores["sdr_db"] - 0.1 < worse.scores["sdr_db"] < before.scores["sdr_db"]
    with pytest.raises(EvaluationError, match="no condition 'vinyl'; there are level-80"):
        evaluate(MixtureSystem(), corpus, condition="vinyl")
