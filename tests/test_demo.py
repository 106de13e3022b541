"""`scripts/demo.py` on a given song, and how it finds its own song."""

import sys
import zipfile

import numpy as np
import pytest
import soundfile

from majl_hf.errors import MajlError
from majl_hf.export import read_f0_csv


@pytest.fixture(scope="module")
def demo(load_script):
    return load_script("demo")


def test_any_song(demo, tmp_path, tiny_model_folder, monkeypatch, capsys):
    mixture = np.random.default_rng(0).uniform(-0.3, 0.3, (2, 22_050)).astype(np.float32)
    soundfile.write(tmp_path / "ein Lied.wav", mixture.T, 22_050, subtype="FLOAT")
    arguments = [str(tmp_path / "ein Lied.wav"), "--model", tiny_model_folder, "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["demo.py", *arguments])
    demo.main()

    stems = [soundfile.read(tmp_path / "out" / f"{name}.wav", dtype="float32") for name in ("vocals", "accompaniment")]
    assert all(rate == 22_050 for _, rate in stems)
    assert np.abs(stems[0][0] + stems[1][0] - mixture.T).max() <= np.spacing(np.float32(0.3))
    assert (read_f0_csv(tmp_path / "out" / "f0.csv")["f0_hz"] > 0).all()
    assert (tmp_path / "out" / "f0.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "ein Lied: 1.0 s, 22050 Hz, 2 channel(s)" in printed and "SDR" not in printed


def test_excerpt_is_taken_from_the_wheel(demo, tmp_path):
    with zipfile.ZipFile(tmp_path / demo.WHEEL, "w") as wheel:
        wheel.writestr("stempeg/data/A - B.stem.mp4", b"streams")
        wheel.writestr("stempeg/__init__.py", "")
    assert demo.fetch_excerpt(tmp_path).read_bytes() == b"streams"


def test_failed_download_says_what_to_do(demo, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(MajlError, match=r"could not download stempeg.*song of your own"):
        demo.fetch_excerpt(tmp_path / "cache")
