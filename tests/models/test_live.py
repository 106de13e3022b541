"""Sound while it arrives: the pitch of a voice and the vocals of a song do not depend on blocks, nor on what is beyond
the look-ahead."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from listening import RATE, listening_model, melody

from majl_hf.models.decoding_majl import PitchFrames
from majl_hf.models.live_majl import (
    LIVE_SETTINGS,
    MAX_LOOKAHEAD_S,
    LivePitch,
    LiveSeparator,
    LiveSetting,
    RunningLevel,
)
from majl_hf.models.parts_majl import Parts
from majl_hf.models.streaming_majl import separate_array

SETTING = LiveSetting(window_s=0.5, lookahead_s=0.1, hop_s=0.08)


@pytest.fixture(scope="module")
def model():
    return listening_model()


def _frames(model, voice, block_length, rate=RATE, **arguments) -> PitchFrames:
    live = LivePitch(model, rate, **arguments)
    starts = range(0, len(voice), block_length)
    return PitchFrames.concatenate([live.push(voice[i : i + block_length], last=i == starts[-1]) for i in starts])


@pytest.mark.parametrize("block_length", [57, 160, 1000, 100_000])
def test_every_frame_comes_once_with_the_pitch_of_the_recording(model, block_length):
    voice = melody((60, 64, 67))[0]
    whole = separate_array(model, voice[None], RATE, separate=False).frames
    live = _frames(model, voice, block_length)
    np.testing.assert_allclose(live.times_s, whole.times_s, atol=1e-9)
    both = live.voiced & whole.voiced
    assert (live.voiced == whole.voiced).mean() > 0.9 and both.mean() > 0.3
    cents = 1200 * np.abs(np.log2(live.f0_hz[both] / whole.f0_hz[both]))
    assert (cents < 50).mean() > 0.95


@pytest.mark.parametrize("lookahead_s", [0.0, 0.06, MAX_LOOKAHEAD_S])
def test_a_frame_is_returned_when_its_look_ahead_was_heard(model, lookahead_s):
    voice, live, num_heard, num_seen = melody((62, 65))[0], LivePitch(model, RATE, lookahead_s), 0, 0
    hop = model.config.pitch_estimator_config.hop_length
    for block in np.array_split(voice, 150):
        num_heard += len(block)
        num_seen += len(live.push(block))
        known_s = max(0.0, num_heard / RATE - lookahead_s)
        assert num_seen * hop / RATE <= known_s + hop / RATE + 1e-6  # none too early
        assert num_seen * hop / RATE > known_s - 0.02 - 2 * hop / RATE - 1e-6  # none late
    assert num_seen


def test_a_slow_machine_keeps_up(model):
    voice, live, seen = melody((60, 64, 67))[0], LivePitch(model, RATE), []
    runs, estimator = [], live.parts.pitch_estimator
    live.parts = replace(live.parts, pitch_estimator=lambda window: runs.append(1) or estimator(window))
    for block in np.array_split(voice, 3):
        seen.append(live.push(block, newest_only=True).times_s)
    assert len(runs) == 3 and all(len(times_s) for times_s in seen)
    assert np.diff(np.concatenate(seen)).max() > 0.5  # left out
    assert seen[-1][-1] == pytest.approx(len(voice) / RATE - 0.04, abs=0.03)


def test_a_quiet_microphone_is_heard(model):
    voice = melody((60, 64, 67))[0]
    loud, quiet = _frames(model, voice, 400), _frames(model, 0.02 * voice, 400)
    assert (loud.voiced == quiet.voiced).mean() > 0.95
    assert RunningLevel(RATE, 1, -14.0).gain() == 1.0


def test_another_rate_is_resampled(model):
    voice = melody((60, 64), sampling_rate=2 * RATE)[0]
    live = _frames(model, voice, 441, rate=2 * RATE)
    assert live.times_s[-1] == pytest.approx(len(voice) / (2 * RATE), abs=0.03)


def test_what_cannot_be_heard_live_is_refused(model):
    with pytest.raises(ValueError, match="hysteresis"):
        LivePitch(model, RATE, policy="hysteresis")
    with pytest.raises(ValueError, match="lookahead_s is"):
        LivePitch(model, RATE, lookahead_s=0.3)
    nothing = SimpleNamespace(parts=lambda: replace(model.parts(), pitch_estimator=None, separator=None))
    with pytest.raises(ValueError, match="no pitch estimator"):
        LivePitch(nothing, RATE)
    with pytest.raises(ValueError, match="no separator"):
        LiveSeparator(nothing, 1, SETTING)
    with pytest.raises(ValueError, match="too short"):
        LiveSeparator(model, 1, replace(SETTING, window_s=0.1))


def _model(separator, num_channels=2):
    config = SimpleNamespace(sampling_rate=RATE, num_channels=num_channels)
    return SimpleNamespace(parts=lambda: Parts(config, separator=separator))


def _song(seconds, num_channels=2):
    return 0.1 * np.random.default_rng(0).standard_normal((num_channels, round(seconds * RATE))).astype(np.float32)


def _separated(model, song, block_length, setting=SETTING):
    live = LiveSeparator(model, len(song), setting)
    starts = range(0, song.shape[1], block_length)
    pairs = [live.push(song[:, i : i + block_length], last=i == starts[-1]) for i in starts]
    return tuple(np.concatenate(parts, axis=1) for parts in zip(*pairs, strict=True))


@pytest.mark.parametrize("setting", [SETTING, *LIVE_SETTINGS.values()])
@pytest.mark.parametrize("block_length", [100, 3000, 10**6])
@pytest.mark.parametrize("seconds", [0.01, 2.345])
def test_vocals_come_in_place_and_at_the_level_of_the_song(setting, block_length, seconds):
    song = _song(seconds)
    mixture, vocals = _separated(_model(lambda mixture: 0.5 * mixture), song, block_length, setting)
    np.testing.assert_array_equal(mixture, song)
    np.testing.assert_allclose(vocals, 0.5 * song, atol=1e-6)


@pytest.mark.parametrize("num_channels", [1, 2])
def test_channels_that_the_model_lacks_are_separated_each_on_its_own(num_channels):
    seen = []

    def separator(mixture):
        seen.append(mixture.shape[:2])
        return mixture * np.arange(1, 1 + mixture.shape[1])[:, None]

    song = _song(1.0, num_channels)
    _, vocals = _separated(_model(separator, 3 - num_channels), song, 700)
    factor = 1.0 if num_channels == 2 else 1.5  # the mean of 1 and 2
    np.testing.assert_allclose(vocals, factor * song, atol=1e-6)
    assert set(seen) == {(num_channels, 3 - num_channels)}


def test_what_lies_within_the_look_ahead_is_not_used():
    song, lookahead = _song(2.0), round(SETTING.lookahead_s * RATE)

    def separator(mixture):
        vocals = 0.5 * mixture
        vocals[..., -lookahead:] = np.nan
        vocals[..., :1000] = np.nan  # nor the start of the window
        return vocals

    _, vocals = _separated(_model(separator), song, 500)
    np.testing.assert_allclose(vocals, 0.5 * song, atol=1e-6)


def test_runs_that_differ_are_faded_into_each_other():
    signs = iter([1.0, -1.0] * 100)
    song = np.full((2, RATE), 0.1, dtype=np.float32)
    _, vocals = _separated(_model(lambda mixture: next(signs) * mixture), song, 500)
    assert vocals.min() < -0.09 and vocals.max() > 0.09
    assert np.abs(np.diff(vocals)).max() < 0.2 / (0.008 * RATE)  # no click of 0.2
