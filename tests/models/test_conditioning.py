"""Level, balance, offset and polarity of a recording: what the model gets, and what comes back."""

import numpy as np
import pytest

from majl_hf import MajlConfig, MajlModel
from majl_hf.models.conditioning_majl import PEAK, REFERENCE_DB, VOICE_DB, Conditioner, VoiceMix, are_unlike, cancels
from majl_hf.models.streaming_majl import separate_stream

RATE = 8_000


@pytest.fixture(scope="module")
def song():
    """Eight seconds of stereo noise with little below 50 Hz: four quiet ones, then four 20 dB louder."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal((2, 8 * RATE)) / 10)
    spectrum[:, : 50 * 8] = 0
    audio = np.fft.irfft(spectrum).astype(np.float32)
    audio[:, : 4 * RATE] *= 0.1
    return audio


def condition(audio, sizes=(5_000,)):
    """What the model gets, and what comes back of it."""
    conditioner, parts, position = Conditioner(RATE, audio.shape[0]), [], 0
    while position < audio.shape[1]:
        size = sizes[len(parts) % len(sizes)]
        parts.append(conditioner.push(audio[:, position : position + size], position + size >= audio.shape[1]))
        position += size
    conditioned = np.concatenate(parts, axis=1)
    return conditioned, conditioner.restore(conditioned)


def level_db(audio):
    return 10 * np.log10(float(np.square(audio).mean()))


def tone(hz, amplitude=1.0, seconds=8):
    return (amplitude * np.cos(2 * np.pi * hz / RATE * np.arange(seconds * RATE))).astype(np.float32)


@pytest.mark.parametrize("num_samples", [1, 100, 4_000, 4_001, 40_000])
@pytest.mark.parametrize("num_channels", [1, 2])
def test_blocks_change_nothing_and_lengths_stay(song, num_samples, num_channels):
    audio = song[:num_channels, :num_samples]
    whole, restored = condition(audio, (1 << 20,))
    for blocks in ((1_000,), (7, 12_345)):
        assert all(map(np.array_equal, condition(audio, blocks), (whole, restored)))
    assert whole.shape == restored.shape == audio.shape


def test_what_comes_back_is_the_recording(song):
    conditioned, restored = condition(song)
    np.testing.assert_allclose(restored, song, rtol=0, atol=1e-7)
    assert not np.array_equal(conditioned, song)


@pytest.mark.parametrize("gain_db", [-70, -40, 30, 90])
def test_the_model_gets_every_level_alike(song, gain_db):
    gain = 10 ** (gain_db / 20)
    expected, _ = condition(song)
    conditioned, restored = condition(gain * song)
    np.testing.assert_allclose(conditioned, expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(restored / gain, song, rtol=0, atol=1e-6)


def test_the_gain_falls_before_a_louder_passage_and_stays_in_a_pause(song):
    conditioned, _ = condition(song)
    assert level_db(conditioned[:, :RATE]) == pytest.approx(REFERENCE_DB, abs=0.5)
    assert level_db(conditioned[:, 4 * RATE : 4 * RATE + 800]) == pytest.approx(REFERENCE_DB, abs=0.5)
    with_pause, _ = condition(np.concatenate([song[:, 4 * RATE :], song[:, : 4 * RATE]], axis=1))
    assert level_db(with_pause[:, -RATE:]) < REFERENCE_DB - 15


def test_what_stays_quiet_is_turned_up(song):
    conditioned, _ = condition(np.concatenate([song[:, 4 * RATE :]] + [song[:, : 4 * RATE] / 10] * 8, axis=1))
    assert REFERENCE_DB - 16 < level_db(conditioned[:, -4 * RATE :]) < REFERENCE_DB - 10


def test_a_click_moves_no_level_and_is_clipped(song):
    clicked = song.copy()
    clicked[:, 5 * RATE] = 30.0
    expected, conditioned = condition(song)[0], condition(clicked)[0]
    np.testing.assert_allclose(conditioned[:, : 5 * RATE], expected[:, : 5 * RATE], rtol=0, atol=0.05)
    assert np.abs(conditioned).max() == PEAK  # a model loses the seconds around a peak far above full scale


def test_silence_stays_silence(song):
    pause = np.zeros((2, 5 * RATE), dtype=np.float32)
    audio = np.concatenate([pause, song[:, 4 * RATE :], pause], axis=1)
    for silent in (audio, pause, pause[:1, :1]):
        for result in condition(silent):
            assert not result[silent == 0].any() and np.isfinite(result).all()


@pytest.mark.parametrize(("hz", "amplitude"), [(0, 0.1), (8, 0.1), (20, 0.1), (0, 3.0)])
def test_offset_and_rumble_reach_neither_model_nor_vocals(song, hz, amplitude):
    for result, plain in zip(condition(song + tone(hz, amplitude)), condition(song), strict=True):
        left = ((result - plain) @ tone(hz)) / np.square(tone(hz)).sum()
        assert np.abs(left).max() < 3e-3 * amplitude
        assert level_db(result - plain) < level_db(plain) - 15  # the song's own low end is all that goes with it


def test_notes_and_faint_low_sounds_stay(song):
    for low in (tone(60, 0.1), tone(8, 1e-4)):
        _, restored = condition(song + low)
        np.testing.assert_allclose(restored, song + low, rtol=0, atol=5e-4)


@pytest.mark.parametrize(("balance_db", "left_db"), [(2, 2), (3, 3), (4, 1.5), (5, 0), (10, 0), (18, 0)])
def test_channels_are_brought_together(song, balance_db, left_db):
    song = np.stack([song[0], 0.5 * song[0] + 0.75**0.5 * song[1]])  # alike enough to have one level
    panned = song * np.array([[1.0], [10 ** (-balance_db / 20)]], dtype=np.float32)
    conditioned, restored = condition(panned)
    assert level_db(conditioned[0]) - level_db(conditioned[1]) == pytest.approx(left_db, abs=0.5)
    np.testing.assert_allclose(restored, panned, rtol=0, atol=1e-7)


@pytest.mark.parametrize("share", [0.0, 1e-3, -1e-2])
def test_an_empty_channel_is_filled_and_gets_its_share_back(song, share):
    one_sided = np.stack([song[0], share * song[0]])
    for audio in (one_sided, one_sided[::-1]):
        conditioned, restored = condition(audio)
        np.testing.assert_allclose(conditioned[0], conditioned[1], rtol=0, atol=1e-5)
        np.testing.assert_allclose(restored, audio, rtol=0, atol=1e-6)


def test_a_channel_that_drops_out_is_soon_filled(song):
    audio = np.concatenate([song[:, 4 * RATE :]] * 4, axis=1)
    audio[1, 6 * RATE :] = 0
    conditioned, restored = condition(audio)
    np.testing.assert_allclose(conditioned[0, 13 * RATE :], conditioned[1, 13 * RATE :], rtol=0, atol=1e-5)
    np.testing.assert_allclose(restored[0], audio[0], rtol=0, atol=1e-6)
    assert level_db(restored[1, 13 * RATE :]) < -60


@pytest.mark.parametrize("level", [1e-3, 0.3])
def test_hiss_on_the_other_channel_is_no_voice(song, level):
    conditioned, restored = condition(np.stack([song[0], level * song[1]]))
    np.testing.assert_allclose(conditioned[0], conditioned[1], rtol=0, atol=1e-5)
    assert level_db(restored[1]) < level_db(level * song[1]) - 15


def test_a_voice_of_opposite_polarity_does_not_cancel(song):
    voice = song[0]
    assert not cancels(np.stack([voice, voice]))
    assert cancels(np.stack([voice, -0.5 * voice]))
    gain = 10 ** (VOICE_DB / 20)
    wide = voice + song[1]
    for right, expected in ((voice, voice), (-voice, voice), (0 * voice, voice / 2), (wide, (voice + wide) / 2)):
        stereo, mix = np.stack([voice, right]), VoiceMix(RATE)
        mixed = np.concatenate([mix.push(stereo[:, :5_000], False), mix.push(stereo[:, 5_000:], True)])
        assert np.array_equal(mixed, VoiceMix(RATE).push(stereo, True))
        np.testing.assert_allclose(mixed, gain * expected, rtol=1e-5, atol=1e-5)
    changing = VoiceMix(RATE).push(np.stack([voice, np.concatenate([voice[: 4 * RATE], -voice[4 * RATE :]])]), True)
    np.testing.assert_allclose(changing[-RATE:], gain * voice[-RATE:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", ["opposite polarity", "one on each channel", "alike", "silent"])
def test_unlike_channels_are_separated_each_on_its_own(song, case):
    voice, accompaniment = song
    mixture, vocals = {
        "opposite polarity": ((accompaniment + voice, accompaniment - voice), (voice, -voice)),
        "one on each channel": ((voice, accompaniment), (voice, 0 * voice)),
        "alike": ((accompaniment + voice, accompaniment / 2 + voice), (voice, voice)),
        "silent": ((0 * voice, 0 * voice), (0 * voice, 0 * voice)),
    }[case]
    is_unlike = are_unlike(np.stack(mixture), np.stack(vocals))
    assert is_unlike == (case in ("opposite polarity", "one on each channel"))


@pytest.mark.parametrize("given", [True, False])
def test_the_stream_separates_unlike_channels_each_on_its_own(song, given):
    parts = {"separator_config": {"preset": "mask-tiny", "num_channels": 2}, "pitch_estimator_config": "spectrum-tiny"}
    model = MajlModel(MajlConfig(**parts)).eval()
    seen = []
    model.separator.register_forward_hook(lambda part, inputs, output: seen.append(inputs[0]))
    list(separate_stream(model, [song], model.config.sampling_rate, condition=given))
    assert [len(mixture) for mixture in seen] == ([1, 2] if given else [1])
    assert all(np.array_equal(mixture[:, 0], mixture[:, 1]) for mixture in seen[1:])
