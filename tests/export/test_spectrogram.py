"""The spectrogram: everything is at the right place, in its values and in its picture."""

import io

import numpy as np
import pytest

from majl_hf.errors import MajlError
from majl_hf.export.spectrogram import (
    DRAWING_RATE,
    HIGHEST_HZ,
    LOWEST_HZ,
    DrawingCopy,
    as_mono,
    log_spectrogram_db,
    palette,
    spectrogram_jpeg,
)

RATE = 16000


@pytest.mark.parametrize("tone_hz", [110.0, 440.0, 1318.5])
def test_a_tone_is_the_brightest_row_at_its_pitch(tone_hz):
    tone = np.sin(2 * np.pi * tone_hz * np.arange(RATE) / RATE).astype(np.float32)
    levels_db = log_spectrogram_db(tone, RATE)
    row = levels_db[:, levels_db.shape[1] // 2].argmax()
    found_hz = LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ) ** ((row + 0.5) / len(levels_db))
    assert abs(1200 * np.log2(found_hz / tone_hz)) < 25
    assert levels_db.max() == pytest.approx(0.0, abs=1e-4)


def test_an_onset_is_at_its_column():
    audio = np.zeros(2 * RATE, dtype=np.float32)
    audio[RATE:] = np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE)
    loudest_db = log_spectrogram_db(audio, RATE).max(axis=0)
    onset = np.flatnonzero(loudest_db > -10)[0] / len(loudest_db) * 2
    assert onset == pytest.approx(1.0, abs=0.04)


def test_the_picture_has_high_notes_on_top_and_one_pixel_per_value():
    from PIL import Image

    tone = np.sin(2 * np.pi * 220 * np.arange(RATE) / RATE).astype(np.float32)
    picture = np.asarray(Image.open(io.BytesIO(spectrogram_jpeg(tone, RATE))).convert("L"), dtype=float)
    assert picture.shape == log_spectrogram_db(tone, RATE).shape
    share = np.log2(HIGHEST_HZ / 220) / np.log2(HIGHEST_HZ / LOWEST_HZ)
    assert picture.mean(axis=1).argmax() == pytest.approx(share * len(picture), abs=2)
    assert (np.diff(palette().astype(int).sum(axis=1)) >= 0).all()  # louder is lighter


@pytest.mark.parametrize("rate", [4_000, RATE, 44_100])
def test_a_copy_is_drawn_like_the_vocals(rate):
    tone = 1e-3 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate).astype(np.float32)
    copy = DrawingCopy(rate)
    for block in np.split(np.stack([2 * tone, 0 * tone]), [1, rate // 3, rate], axis=1):
        copy.push(block)
    vocals = copy.finish()
    assert vocals.shape == (2 * copy.sampling_rate,)
    assert copy.sampling_rate == min(rate, DRAWING_RATE)
    drawn, expected = (
        log_spectrogram_db(as_mono(vocals, copy.sampling_rate), copy.sampling_rate),
        log_spectrogram_db(tone, rate),
    )
    rows = expected[:, 100] > -20
    assert rows.any() and np.abs(drawn - expected)[rows, 20:-20].max() < 1


@pytest.mark.parametrize(("max_s", "is_too_long"), [(1.0, False), (0.99, True)])
def test_of_long_vocals_there_is_no_copy(max_s, is_too_long):
    copy = DrawingCopy(RATE, max_s)
    for _ in range(10):
        copy.push(np.ones((1, RATE // 10), dtype=np.float32))
    assert (copy.finish() is None) == copy.is_too_long == is_too_long


def test_no_samples():
    with pytest.raises(MajlError, match="no samples"):
        as_mono(np.zeros((2, 0)), 8_000)
