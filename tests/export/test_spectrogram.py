"""The spectrogram: everything is at the right place, in its values and in its picture."""

import io

import numpy as np
import pytest

from majl_hf.errors import MajlError
from majl_hf.export.spectrogram import HIGHEST_HZ, LOWEST_HZ, as_mono, log_spectrogram_db, palette, spectrogram_jpeg

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


def test_no_samples():
    with pytest.raises(MajlError, match="no samples"):
        as_mono(np.zeros((2, 0)))
