"""The pitch CSV: what is written is what is read."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from majl_hf.audio import AudioError
from majl_hf.errors import MajlError
from majl_hf.export import F0CsvWriter, read_f0_csv


def _frames(num_frames=300, hop_s=0.01, first=0):
    generator = np.random.default_rng(first)
    return SimpleNamespace(
        times_s=(first + np.arange(num_frames)) * hop_s,
        f0_hz=40.0 * 2 ** generator.uniform(0, 5, num_frames),
        voicing=generator.uniform(0, 1, num_frames),
        confidence=generator.uniform(0, 1, num_frames).astype(np.float32),
        voiced=generator.uniform(0, 1, num_frames) > 0.5,
    )


@pytest.mark.parametrize("hop_s", [0.01, 256 / 44100, 0.016])
def test_round_trip_to_a_millisecond_and_a_twentieth_of_a_cent(tmp_path, hop_s):
    parts = [_frames(200, hop_s), _frames(0, hop_s, 200), _frames(100, hop_s, 200)]
    with F0CsvWriter(tmp_path / "a.f0.csv") as writer:
        for part in parts:
            writer.write(part)
    read = read_f0_csv(tmp_path / "a.f0.csv")

    def whole(name):
        return np.concatenate([getattr(part, name) for part in parts])

    assert list(read) == ["time_s", "f0_hz", "voicing", "confidence"]
    assert writer.num_frames == 300
    assert np.abs(read["time_s"] - whole("times_s")).max() <= 1e-6
    assert np.abs(1200 * np.log2(read["f0_hz"] / whole("f0_hz"))).max() < 0.05
    assert np.abs(read["voicing"] - whole("voicing")).max() <= 5.1e-5
    assert np.abs(read["confidence"] - whole("confidence")).max() <= 5.1e-5


def test_the_text_is_plain(tmp_path):
    frames = _frames(2)
    frames.f0_hz, frames.voicing, frames.confidence = [220.0, 1046.5023], [0.98, 1.0], [0.9125, 0.0]
    with F0CsvWriter(tmp_path / "a.csv") as writer:
        writer.write(frames)
    assert (tmp_path / "a.csv").read_bytes() == (
        b"time_s,f0_hz,voicing,confidence\n0.000,220.000,0.9800,0.9125\n0.010,1046.502,1.0000,0.0000\n"
    )


def test_unvoiced_frames_keep_their_pitch_by_default(tmp_path):
    frames = _frames()
    for as_zero in (False, True):
        with F0CsvWriter(tmp_path / "a.csv", overwrite=True, unvoiced_as_zero=as_zero) as writer:
            writer.write(frames)
        f0_hz = read_f0_csv(tmp_path / "a.csv")["f0_hz"]
        assert np.array_equal(f0_hz > 0, frames.voiced if as_zero else np.ones_like(frames.voiced))


def test_it_is_whole_or_not_there(tmp_path):
    with pytest.raises(KeyboardInterrupt), F0CsvWriter(tmp_path / "a.csv") as writer:
        writer.write(_frames())
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []
    (tmp_path / "a.csv").write_text("precious")
    with pytest.raises(AudioError, match="exists already"):
        F0CsvWriter(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "precious"


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "header"),
        ("time,f0\n0,1\n", "header"),
        ("time_s,f0_hz,voicing,confidence\n0,1,2,3\n0,1,2\n", "line 3"),
        ("time_s,f0_hz,voicing,confidence\n0,one,2,3\n", "line 2"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(MajlError, match=message):
        read_f0_csv(tmp_path / "a.csv")


def test_no_frames_are_no_rows(tmp_path):
    with F0CsvWriter(tmp_path / "a.csv"):
        pass
    assert read_f0_csv(tmp_path / "a.csv")["f0_hz"].shape == (0,)
