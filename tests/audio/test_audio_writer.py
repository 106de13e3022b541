"""Writing: exact samples, clipping, and files that are complete or not there."""

import errno
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from audio_files import WITHOUT_MODELS

from majl_hf.audio import ENCODINGS, AudioError, AudioWriter, Quantiser, read_audio, resample, to_24_bit_grid
from majl_hf.audio import encoders as encoders_module
from majl_hf.audio import writer as writer_module
from majl_hf.system.files import commit_together

RATE = 44100
LOSSY = [name for name, encoding in ENCODINGS.items() if encoding.bit_rates]
LOSSLESS = [name for name in ENCODINGS if name not in LOSSY]
FRAME = 1152  # samples, the longest of the lossy codecs


def _noise(num_samples=30_000, peak=0.9):
    audio = np.random.default_rng(0).uniform(-peak, peak, (2, num_samples))
    return audio.astype(np.float32)


def _write(path, audio, encoding="wav-float", rate=RATE, block_size=7001, **arguments):
    with AudioWriter(path, rate, audio.shape[0], encoding, **arguments) as writer:
        for start in range(0, audio.shape[1], block_size):
            writer.write(audio[:, start : start + block_size])
    return writer


@pytest.mark.parametrize("encoding", LOSSLESS)
def test_what_is_written_is_read(tmp_path, encoding):
    audio = _noise()
    path = tmp_path / "ä b'\".out"
    writer = _write(path, audio, encoding)
    read, rate = read_audio(path)
    assert rate == RATE and writer.clipped_samples == 0
    bits = ENCODINGS[encoding].bits
    assert np.array_equal(read, Quantiser(bits)(audio) if bits else audio)
    assert soundfile.info(str(path)).subtype == (f"PCM_{bits}" if bits else "FLOAT")
    assert os.listdir(tmp_path) == [path.name]


def test_float_keeps_samples_beyond_full_scale(tmp_path):
    audio = _noise(peak=3.0)
    _write(tmp_path / "a.wav", audio)
    assert np.array_equal(read_audio(tmp_path / "a.wav")[0], audio)


def _melody(rate, num_channels, seconds=1.3, peak=0.5):
    """Tones that begin at odd moments, below 3 kHz: what every lossy codec keeps, and what shows a delay."""
    time_s = np.arange(round(seconds * rate)) / rate
    generator = np.random.default_rng(2)
    audio = np.zeros((num_channels, len(time_s)))
    for start_s in generator.uniform(0, seconds, 12):
        tone = np.sin(2 * np.pi * generator.uniform(200, 3000) * (time_s - start_s)) * np.exp(-12 * (time_s - start_s))
        audio += np.where(time_s > start_s, tone, 0) * generator.uniform(0.5, 1, (num_channels, 1))
    return (peak * audio / np.abs(audio).max()).astype(np.float32)


@pytest.mark.parametrize(
    "rate, num_channels, stored",
    [
        (44100, 2, {"opus": 48000}),
        (48000, 1, {}),
        (96000, 2, {"mp3": 48000, "opus": 48000}),
        (18000, 2, {"mp3": 22050, "m4a": 22050, "opus": 48000}),
    ],
)
@pytest.mark.parametrize("encoding", LOSSY)
def test_lossy_files_start_in_sync_and_keep_their_length(tmp_path, encoding, rate, num_channels, stored):
    audio = _melody(rate, num_channels)
    writer = _write(tmp_path / "a", audio, encoding, rate)
    read, read_rate = read_audio(tmp_path / "a")
    stored_rate = stored.get(encoding, rate)
    assert read_rate == stored_rate and read.shape[0] == num_channels
    assert [str(stored_rate) in note for note in writer.notes] == [True] * (stored_rate != rate)
    expected = resample(audio, rate, stored_rate)
    assert 0 <= read.shape[1] - expected.shape[1] <= FRAME
    spectra = [np.fft.rfft(signal[0], 2**19) for signal in (expected, read)]
    delay = np.fft.irfft(spectra[1] * spectra[0].conj()).argmax()
    assert delay == 0
    error = read[:, : expected.shape[1]] - expected
    assert 10 * np.log10((expected**2).sum() / (error**2).sum()) > 15


@pytest.mark.parametrize("rate", [8000, 44100, 48000, 96000])
@pytest.mark.parametrize("encoding", LOSSY)
def test_lossy_files_have_the_written_length(tmp_path, encoding, rate):
    if encoding == "opus" or (encoding == "mp3" and rate > 48000):
        rate = 48000  # what is stored
    for num_samples in (1, 1000, 1024, 1025, 3 * rate, 3 * rate + 777):
        _write(tmp_path / "a", _noise(num_samples)[:1], encoding, rate, overwrite=True)
        # At some lengths, mp3 files state up to 47 samples too many.
        tolerance = 50 if encoding == "mp3" else 0
        assert 0 <= read_audio(tmp_path / "a")[0].shape[1] - num_samples <= tolerance


@pytest.mark.parametrize("encoding", LOSSY)
def test_bit_rates(tmp_path, encoding):
    audio = _noise(4 * RATE)
    sizes = {}
    for bit_rate in (None, 64, 128):
        _write(tmp_path / "a", audio, encoding, bit_rate=bit_rate, overwrite=True)
        sizes[bit_rate] = 8 * os.path.getsize(tmp_path / "a") / 4 / 1000  # kbit/s
    assert sizes[64] == pytest.approx(64, rel=0.25) and sizes[128] == pytest.approx(128, rel=0.25)
    assert sizes[None] == pytest.approx(ENCODINGS[encoding].bit_rate, rel=0.25)
    assert "the bit rate is" in _write(tmp_path / "b", audio[:1, :9000], encoding, 8000, bit_rate=320).notes[-1]
    for bit_rate in (7, 1000):
        with pytest.raises(AudioError, match=f"bit rate is {bit_rate} kbit/s; {encoding} takes"):
            AudioWriter(tmp_path / "c", RATE, 2, encoding, bit_rate=bit_rate)
    with pytest.raises(AudioError, match="flac has no bit rate"):
        AudioWriter(tmp_path / "c", RATE, 2, "flac", bit_rate=128)


@pytest.mark.parametrize("encoding", [*LOSSY, "flac"])
def test_equal_samples_give_equal_files(tmp_path, encoding):
    for name, block_size in (("a", 7001), ("b", 100)):
        _write(tmp_path / name, _noise(9000), encoding, block_size=block_size)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("num_samples", [1, 2000])
def test_very_short_files(tmp_path, encoding, num_samples):
    _write(tmp_path / "a", np.full((1, num_samples), 0.5, dtype=np.float32), encoding)
    read, rate = read_audio(tmp_path / "a")
    assert 0 <= read.shape[1] - num_samples * rate // RATE <= FRAME


def test_a_missing_encoder_is_an_error_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(encoders_module.ENCODINGS, "mp3", replace(ENCODINGS["mp3"], codec="no-such-encoder"))
    with pytest.raises(AudioError, match="no-such-encoder, which mp3 needs"):
        AudioWriter(tmp_path / "a", RATE, 2, "mp3")
    assert os.listdir(tmp_path) == []


def test_16_bits_are_dithered():
    quiet = np.full((2, 100_000), 0.3 / 2**15, dtype=np.float32)  # 0.3 steps; rounding alone would give silence
    steps = Quantiser(16)(quiet) * 2**15
    assert set(np.unique(steps)) == {-1, 0, 1}
    for channel in steps:
        assert channel.mean() == pytest.approx(0.3, abs=0.01)
        assert channel.var() == pytest.approx(0.25, abs=0.01)  # of triangular dither, whatever the signal
    assert abs(np.corrcoef(steps)[0, 1]) < 0.02
    cut = Quantiser(16)
    assert np.array_equal(np.concatenate([cut(quiet[:, :777]), cut(quiet[:, 777:])], axis=1) * 2**15, steps)
    assert not np.array_equal(Quantiser(16, seed=1)(quiet) * 2**15, steps)


def test_silence_and_16_bit_samples_stay_as_they_are():
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, (2, 1000)) / np.float32(2**15)
    for audio in (np.zeros((2, 1000), dtype=np.float32), samples.astype(np.float32)):
        assert np.array_equal(Quantiser(16)(audio), audio)


@pytest.mark.parametrize("encoding", ["wav-24", "flac"])
def test_integers_clip_and_count(tmp_path, encoding):
    audio = np.array([[0.0, 1.5, -1.5, 1.0, -1.0, 0.5, 2.0**-23]], dtype=np.float32)
    writer = _write(tmp_path / "a", audio, encoding)
    top = 1 - 2.0**-23
    assert writer.clipped_samples == 2
    assert np.array_equal(read_audio(tmp_path / "a")[0], np.float32([[0.0, top, -1.0, top, -1.0, 0.5, 2.0**-23]]))


@pytest.mark.parametrize("encoding", [*LOSSY, "wav-16"])
def test_the_other_encodings_clip_and_count(tmp_path, encoding):
    audio = _melody(48000, 2, peak=1.5)
    beyond = int(np.count_nonzero(np.abs(audio) > 1 + 2**-15))
    assert _write(tmp_path / "a", audio, encoding, 48000).clipped_samples == pytest.approx(beyond, abs=5) and beyond
    assert _write(tmp_path / "b", audio / 2, encoding, 48000).clipped_samples == 0
    assert np.abs(read_audio(tmp_path / "a")[0]).max() < 1.2


def test_stems_on_the_24_bit_grid_add_up_exactly():
    generator = np.random.default_rng(1)
    mixture, vocals = (generator.uniform(-0.99, 0.99, (2, 50_000)).astype(np.float32) for _ in range(2))
    rounded = to_24_bit_grid(vocals)
    accompaniment = to_24_bit_grid(mixture) - rounded
    assert np.array_equal(to_24_bit_grid(accompaniment), accompaniment)  # it survives the file unchanged
    assert np.array_equal(rounded + accompaniment, to_24_bit_grid(mixture))
    assert np.abs(to_24_bit_grid(mixture) - mixture).max() <= 2.0**-24


def test_an_existing_file_is_kept_by_default(tmp_path):
    path = tmp_path / "a.wav"
    path.write_text("precious")
    with pytest.raises(AudioError, match="exists already"):
        AudioWriter(path, RATE, 2)
    assert path.read_text() == "precious"
    _write(path, _noise(), overwrite=True)
    assert read_audio(path)[0].shape == (2, 30_000)


def test_a_file_created_meanwhile_is_kept(tmp_path):
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
@pytest.mark.parametrize("allowed_bytes", [0, 1000, 10_000])
def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path, monkeypatch, encoding, allowed_bytes):
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
    """The operating system refuses to write more: the error comes through libsndfile unharmed, and no noise with it."""
    code = (
        "import resource, sys, numpy as np\n"
        "from majl_hf.audio import AudioError, AudioWriter\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))\n"
        "noise = np.random.default_rng(0).uniform(-1, 1, (2, 60_000)).astype(np.float32)\n"
        "for encoding in ('wav-float', 'wav-24', 'flac', 'm4a'):\n"
        "    try:\n"
        "        with AudioWriter(sys.argv[1] + '/a', 44100, 2, encoding) as writer:\n"
        "            writer.write(noise)\n"
        "    except AudioError as error:\n"
        "        print('refused', error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_MODELS + code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert result.stdout.count("refused") == 4 and "File too large" in result.stdout
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
    with pytest.raises(AudioError, match="wav-float, wav-24, wav-16, flac, mp3"):
        AudioWriter(tmp_path / "a", RATE, 2, "ogg")
    for encoding, num_channels in (("flac", 9), ("mp3", 3)):
        with pytest.raises(AudioError, match=f"{encoding} cannot store {num_channels} channels"):
            AudioWriter(tmp_path / "a", RATE, num_channels, encoding)
    with pytest.raises(AudioError, match="No such file"):
        AudioWriter(tmp_path / "no" / "a", RATE, 2)
    with pytest.raises(AudioError, match="is a folder"):
        AudioWriter(tmp_path, RATE, 2, overwrite=True)
    with AudioWriter(tmp_path / "a", RATE, 2) as writer:
        with pytest.raises(AudioError, match=r"\(2, num_samples\)"):
            writer.write(np.zeros((3, 10)))
        with pytest.raises(AudioError, match="NaN"):
            writer.write(np.full((2, 10), np.nan))
