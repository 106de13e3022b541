"""Resampling of streams: independent of the cuts, aligned in time, of an exact length."""

import numpy as np
import pytest

from majl_hf.audio import StreamResampler, resample, resampled_length_rounded

PAIRS = [(48000, 44100), (44100, 48000), (44100, 16000), (16000, 44100), (96000, 44100), (8000, 44100), (1000, 16000)]


def _pushed(audio, orig_rate, target_rate, sizes):
    resampler = StreamResampler(orig_rate, target_rate, audio.shape[0])
    parts, start, turn = [], 0, 0
    while start < audio.shape[1]:
        stop = start + sizes[turn % len(sizes)]
        parts.append(resampler.push(audio[:, start:stop], last=stop >= audio.shape[1]))
        start, turn = stop, turn + 1
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("orig_rate, target_rate", PAIRS)
def test_cuts_do_not_matter(orig_rate, target_rate):
    audio = (0.3 * np.random.default_rng(0).standard_normal((2, 20011))).astype(np.float32)
    whole = resample(audio, orig_rate, target_rate)
    for sizes in ([977], [1, 0, 5, 3000], [20011]):
        assert np.abs(_pushed(audio, orig_rate, target_rate, sizes) - whole).max() <= 1e-6


@pytest.mark.parametrize("orig_rate, target_rate", [*PAIRS, (44100, 44100)])
@pytest.mark.parametrize("num_samples", [1, 2, 100, 4801])
def test_length_is_the_rounded_one(orig_rate, target_rate, num_samples):
    audio = np.ones((1, num_samples), dtype=np.float32)
    wanted = max(1, int(num_samples * target_rate / orig_rate + 0.5))
    assert resampled_length_rounded(num_samples, orig_rate, target_rate) == wanted
    assert resample(audio, orig_rate, target_rate).shape == (1, wanted)
    assert _pushed(audio, orig_rate, target_rate, [7]).shape == (1, wanted)


@pytest.mark.parametrize("orig_rate, target_rate", PAIRS[:-1])
def test_a_tone_keeps_its_phase(orig_rate, target_rate):
    def tone(rate):
        return np.sin(2 * np.pi * 300 * np.arange(rate) / rate).astype(np.float32)

    output = resample(tone(orig_rate), orig_rate, target_rate)
    reference = tone(target_rate)
    assert output.ndim == 1
    middle = slice(target_rate // 10, -target_rate // 10)
    assert np.abs(output[middle] - reference[middle]).max() < 2e-4  # a shift by 1 us would give 2e-3


def test_the_same_rate_changes_nothing():
    audio = np.random.default_rng(0).standard_normal((2, 50)).astype(np.float32)
    assert np.array_equal(resample(audio, 8000, 8000), audio)


def test_misuse_is_an_error():
    resampler = StreamResampler(8000, 16000, 2)
    with pytest.raises(ValueError, match=r"\(2, any\)"):
        resampler.push(np.zeros((1, 5), dtype=np.float32))
    resampler.push(np.zeros((2, 5), dtype=np.float32), last=True)
    with pytest.raises(ValueError, match="last block"):
        resampler.push(np.zeros((2, 5), dtype=np.float32))
    for rate in (0, -8000, 44100.5):
        with pytest.raises(ValueError, match="whole number of Hz"):
            StreamResampler(rate, 16000, 1)
