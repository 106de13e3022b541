"""Surround: the layout of a file decides how it is mixed down to stereo."""

import io

import av
import numpy as np
import pytest
import soundfile
from audio_files import write_aac

from majl_hf.audio import AudioError, AudioReader, read_audio

RATE = 48_000
HALF = 0.5**0.5
BACK = {"BL": (HALF, 0), "BR": (0, HALF)}
SIDE = {"SL": (HALF, 0), "SR": (0, HALF)}
FRONT = {"FL": (1, 0), "FR": (0, 1)}
CENTRE = {"FC": (HALF, HALF)}
LFE = {"LFE": (0, 0)}
# What ITU-R BS.775 gives each channel of left and right, by the number of channels of a flac file.
FLAC = {
    3: FRONT | CENTRE,
    4: FRONT | BACK,
    5: FRONT | CENTRE | SIDE,
    6: FRONT | CENTRE | LFE | SIDE,
    7: FRONT | CENTRE | LFE | {"BC": (0.5, 0.5)} | SIDE,
    8: FRONT | CENTRE | LFE | BACK | SIDE,
}


def _noise(num_channels):
    return np.random.default_rng(0).integers(-3000, 3000, (num_channels, 5000)).astype(np.float32) / 2**15


def _file(audio, container):
    file = io.BytesIO()
    soundfile.write(file, audio.T, RATE, format=container, subtype="PCM_16")
    return file


def _read(source):
    with AudioReader(source, mixdown=True) as reader:
        return np.concatenate(list(reader.blocks(777)), axis=1), reader


@pytest.mark.parametrize("num_channels", FLAC)
def test_the_shares_are_those_of_the_standard(num_channels):
    audio, shares = _noise(num_channels), FLAC[num_channels]
    stereo, reader = _read(_file(audio, "FLAC"))
    assert reader.num_channels == 2 and stereo.dtype == np.float32
    assert np.abs(stereo - np.array([*shares.values()]).T @ audio).max() < 1e-6
    assert reader.warnings == [f"{num_channels} channels ({' '.join(shares)}) are mixed down to stereo"]
    assert np.array_equal(read_audio(_file(audio, "FLAC"), mixdown=True)[0], stereo)  # whatever the block size
    assert read_audio(_file(audio, "FLAC"))[0].shape == audio.shape  # only if asked


def test_the_layout_is_the_files_own():
    audio = _noise(6)
    named, unnamed = (_read(_file(audio, container))[1] for container in ("WAVEX", "WAV"))
    assert named.warnings == ["6 channels (FL FR FC LFE BL BR) are mixed down to stereo"]
    assert unnamed.warnings == ["6 channels (FL FR FC LFE BL BR, taken as 5.1) are mixed down to stereo"]
    wide = _file(_noise(8), "WAVEX")
    expected = np.array([*(FRONT | CENTRE | LFE | BACK | {"FLC": (1, 0), "FRC": (0, 1)}).values()]).T @ _noise(8)
    assert np.abs(_read(wide)[0] - expected).max() < 1e-6


def test_a_lossy_surround_file(tmp_path):
    time_s = np.arange(RATE) / RATE
    audio = 0.1 * np.sin(2 * np.pi * np.arange(300, 900, 100)[:, None] * time_s).astype(np.float32)
    write_aac(tmp_path / "a.m4a", [audio], RATE, "5.1", bit_rate=640_000)
    stereo, reader = _read(tmp_path / "a.m4a")
    expected = np.array([*(FRONT | CENTRE | LFE | BACK).values()]).T @ audio
    middle = slice(5000, 40_000)
    assert "FL FR FC LFE BL BR" in reader.warnings[0]
    assert np.abs(stereo[:, middle] - expected[:, middle]).max() < 0.02


@pytest.mark.parametrize("num_channels", [1, 2])
def test_mono_and_stereo_stay_as_they_are(num_channels):
    audio = _noise(num_channels)
    read, reader = _read(_file(audio, "WAV"))
    assert np.array_equal(read, audio) and reader.warnings == []


def test_what_has_no_standard_mix_is_an_error(monkeypatch):
    with pytest.raises(AudioError, match="9 channels; there is no standard mix"):
        _read(_file(_noise(9), "WAV"))
    monkeypatch.setattr("majl_hf.audio.decoders.channels_of", lambda layout: ("AMBI0", "AMBI1", "AMBI2", "AMBI3"))
    with pytest.raises(AudioError, match="BytesIO given has 4 channels; there is no standard mix of AMBI0"):
        _read(_file(_noise(4), "FLAC"))


def test_a_layout_that_cannot_be_read_is_the_usual_one(monkeypatch):
    def unreadable(source):
        raise av.error.InvalidDataError(1, "no")

    monkeypatch.setattr("majl_hf.audio.decoders.open_container", unreadable)
    assert "taken as 5.1" in _read(_file(_noise(6), "FLAC"))[1].warnings[0]
