"""The plot: everything is at the right place, and unusual input does not break it."""

import builtins

import numpy as np
import pytest

from majl_hf.errors import MajlError
from majl_hf.export.plot import plot_pitch

RATE = 16000


@pytest.mark.parametrize(("num_samples", "num_frames"), [(1, 200), (2 * RATE, 0)])
def test_pictures_of_silence_and_of_a_curve(tmp_path, num_samples, num_frames):
    from matplotlib.image import imread

    times_s = np.arange(num_frames) * 0.01
    path = plot_pitch(
        tmp_path / "ä.png",
        np.zeros((2, num_samples), dtype=np.float32),
        RATE,
        times_s,
        220 * 2 ** (times_s / 2),
        times_s % 0.5 > 0.2,
        title="Cash $$ _and_ \\more",
    )
    pixels = imread(path)
    assert min(pixels.shape[:2]) > 500
    blue = (np.abs(pixels[..., :3] - np.array([0x35, 0xE0, 0xFF]) / 255) < 0.05).all(axis=-1)
    drawn = 300 if num_frames and num_samples > 1 else 20  # the curve, or only its key
    assert blue.sum() > drawn
    assert (blue.sum() < 300) == (drawn == 20)


def test_wrong_arrays_and_missing_matplotlib_are_reported(tmp_path, monkeypatch):
    with pytest.raises(MajlError, match="one value per frame"):
        plot_pitch(tmp_path / "a.png", np.zeros(10), RATE, np.zeros(3), np.ones(2), np.ones(3))
    with pytest.raises(MajlError, match="no samples"):
        plot_pitch(tmp_path / "a.png", np.zeros(0), RATE, np.zeros(0), np.ones(0), np.ones(0))
    real_import = builtins.__import__

    def without_matplotlib(name, *arguments, **keywords):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real_import(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    with pytest.raises(MajlError, match=r"majl_hf\[plot\]"):
        plot_pitch(tmp_path / "a.png", np.zeros(10), RATE, np.zeros(0), np.ones(0), np.ones(0))
    assert not (tmp_path / "a.png").exists()
