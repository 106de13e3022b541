"""Writing: exact samples, clipping, and files that are whole or not there."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from audio_files import WITHOUT_MODELS

from majl_hf.audio import ENCODINGS, AudioError, AudioWriter, read_audio, to_24_bit_grid
from majl_hf.audio import writer as writer_module
from majl_hf.system.files import commit_together

RATE = 44100


def _noise(num_samples=30_000, peak=0.9):
    audio = np.random.default_rng(0).uniform(-peak, peak, (2, num_samples))
    return audio.astype(np.float32)


def _write(path, audio, encoding="wav-float", **arguments):
    with AudioWriter(path, RATE, audio.shape[0], encoding, **arguments) as writer:
        for start in range(0, audio.shape[1], 7001):
            writer.write(audio[:, start : start + 7001])
    return writer


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_is_written_is_read(tmp_path, encoding):
    audio = _noise()
    path = tmp_path / "ä b'\".out"
    writer = _write(path, audio, encoding)
    read, rate = read_audio(path)
    assert rate == RATE and writer.clipped_samples == 0
    assert np.array_equal(read, to_24_bit_grid(audio) if ENCODINGS[encoding].is_integer else audio)
    assert soundfile.info(str(path)).subtype == ENCODINGS[encoding].subtype
    assert os.listdir(tmp_path) == [path.name]


def test_float_keeps_what_lies_beyond_full_scale(tmp_path):
    audio = _noise(peak=3.0)
    _write(tmp_path / "a.wav", audio)
    assert np.array_equal(read_audio(tmp_path / "a.wav")[0], audio)


@pytest.mark.parametrize("encoding", ["wav-24", "flac"])
def test_integers_clip_and_count(tmp_path, encoding):
    audio = np.array([[0.0, 1.5, -1.5, 1.0, -1.0, 0.5, 2.0**-23]], dtype=np.float32)
    writer = _write(tmp_path / "a", audio, encoding)
    top = 1 - 2.0**-23
    assert writer.clipped_samples == 2
    assert np.array_equal(read_audio(tmp_path / "a")[0], np.float32([[0.0, top, -1.0, top, -1.0, 0.5, 2.0**-23]]))


def test_stems_on_the_24_bit_grid_add_up_exactly():
    generator = np.random.default_rng(1)
    mixture, vocals = (generator.uniform(-0.99, 0.99, (2, 50_000)).astype(np.float32) for _ in range(2))
    rounded = to_24_bit_grid(vocals)
    accompaniment = to_24_bit_grid(mixture) - rounded
    assert np.array_equal(to_24_bit_grid(accompaniment), accompaniment)  # it survives the file unchanged
    assert np.array_equal(rounded + accompaniment, to_24_bit_grid(mixture))
    assert np.abs(to_24_bit_grid(mixture) - mixture).max() <= 2.0**-24


def test_an_existing_file_is_kept_unless_told(tmp_path):
    path = tmp_path / "a.wav"
    path.write_text("precious")
    with pytest.raises(AudioError, match="exists already"):
        AudioWriter(path, RATE, 2)
    assert path.read_text() == "precious"
    _write(path, _noise(), overwrite=True)
    assert read_audio(path)[0].shape == (2, 30_000)


def test_a_file_that_came_meanwhile_is_kept(tmp_path):
    path = tmp_path / "a.wav"
    with pytest.raises(AudioError, match="exists already"), AudioWriter(path, RATE, 2) as writer:
        writer.write(_noise())
        path.write_text("precious")
    assert path.read_text() == "precious"
    assert os.listdir(tmp_path) == ["a.wav"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_exception_leaves_nothing(tmp_path, error, encoding):
    path = tmp_path / "a.wav"
    with pytest.raises(error), AudioWriter(path, RATE, 2, encoding) as writer:
        writer.write(_noise())
        assert len(os.listdir(tmp_path)) == 1 and not path.exists()
        assert os.listdir(tmp_path)[0].startswith(".")
        raise error
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("allowed_bytes", [0, 1000, 100_000])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch, encoding, allowed_bytes):
    class SmallDisk(writer_module._GuardedFile):
        def __init__(self, file):
            super().__init__(_Limited(file))

    class _Limited:
        def __init__(self, file):
            self.file, self.left = file, allowed_bytes
            self.seek, self.tell, self.read = file.seek, file.tell, file.read

        def write(self, data):
            self.left -= len(data)
            if self.left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self.file.write(data)

    monkeypatch.setattr(writer_module, "_GuardedFile", SmallDisk)
    with pytest.raises(AudioError, match="No space left"):
        _write(tmp_path / "a.wav", _noise(), encoding)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="the resource module is not there on Windows")
def test_a_real_limit_of_the_file_size(tmp_path):
    """The operating system refuses to write on: the error comes through libsndfile unharmed, and no noise with it."""
    code = (
        "import resource, sys, numpy as np\n"
        "from majl_hf.audio import AudioError, AudioWriter\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "noise = np.random.default_rng(0).uniform(-1, 1, (2, 60_000)).astype(np.float32)\n"
        "for encoding in ('wav-float', 'wav-24', 'flac'):\n"
        "    try:\n"
        "        with AudioWriter(sys.argv[1] + '/a', 44100, 2, encoding) as writer:\n"
        "            writer.write(noise)\n"
        "    except AudioError as error:\n"
        "        print('told', error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_MODELS + code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert result.stdout.count("told") == 3 and "File too large" in result.stdout
    assert "Traceback" not in result.stderr
    assert os.listdir(tmp_path) == []


def test_several_files_appear_together_or_not_at_all(tmp_path, monkeypatch):
    def open_three():
        writers = [AudioWriter(tmp_path / name, RATE, 2) for name in "abc"]
        for writer in writers:
            writer.write(_noise(1000))
        return writers

    replace = os.replace

    def failing(source, target):
        if str(target).endswith("c"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    writers = open_three()
    with pytest.raises(AudioError, match="Input/output error"):
        commit_together(writers)
    for writer in writers:
        writer.discard()
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr(os, "replace", replace)
    commit_together(open_three())
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


def test_more_than_four_gigabytes(tmp_path, monkeypatch):
    _write(tmp_path / "large.wav", _noise(100), expected_num_samples=2**30)
    assert (tmp_path / "large.wav").read_bytes()[:4] == b"RF64"
    assert np.array_equal(read_audio(tmp_path / "large.wav")[0], _noise(100))
    _write(tmp_path / "small.wav", _noise(100), expected_num_samples=100)
    assert (tmp_path / "small.wav").read_bytes()[:4] == b"RIFF"
    monkeypatch.setattr(writer_module, "_WAV_LIMIT_BYTES", 100_000)
    with pytest.raises(AudioError, match="4 GiB"):
        _write(tmp_path / "unexpected.wav", _noise())
    assert not (tmp_path / "unexpected.wav").exists()


def test_misuse_is_an_error(tmp_path):
    with pytest.raises(AudioError, match="wav-float, wav-24, flac"):
        AudioWriter(tmp_path / "a", RATE, 2, "mp3")
    with pytest.raises(AudioError, match="flac cannot store 9 channels"):
        AudioWriter(tmp_path / "a", RATE, 9, "flac")
    with pytest.raises(AudioError, match="No such file"):
        AudioWriter(tmp_path / "no" / "a", RATE, 2)
    with pytest.raises(AudioError, match="is a folder"):
        AudioWriter(tmp_path, RATE, 2, overwrite=True)
    with AudioWriter(tmp_path / "a", RATE, 2) as writer:
        with pytest.raises(AudioError, match=r"\(2, num_samples\)"):
            writer.write(np.zeros((3, 10)))
        with pytest.raises(AudioError, match="NaN"):
            writer.write(np.full((2, 10), np.nan))
