"""Decoding: formats, sources, blocks, and every kind of file that is not what it says."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_files import (
    AAC_FRAME,
    EXTENSIONS,
    LOSSLESS,
    RATE,
    length_and_peak_bytes,
    stereo_tones,
    write_audio,
    write_packets,
)

from majl_hf.audio import AUDIO_EXTENSIONS, AudioError, AudioReader, read_audio


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    return {ext: write_audio(folder / f"a.{ext}", stereo_tones()) for ext in EXTENSIONS}


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_every_format_is_decoded_in_place_and_time(files, extension):
    audio, rate = read_audio(files[extension])
    reference = stereo_tones()
    assert audio.dtype == np.float32
    assert rate == (48000 if extension == "opus" else RATE)
    assert audio.shape == reference.shape
    assert abs(int(np.abs(audio[0]).argmax()) - 1001) <= 6  # the click: no encoder delay is left
    tolerance = 2e-4 if extension in LOSSLESS else 0.06
    middle = slice(5000, reference.shape[1] - 5000)
    assert np.abs(audio[:, middle] - reference[:, middle]).max() < tolerance


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_bytes_file_objects_and_block_sizes_give_the_same_samples(files, extension):
    audio, _ = read_audio(files[extension])
    with open(files[extension], "rb") as file:
        data = file.read()
        again, _ = read_audio(file)  # rewound, whatever was read before
    assert np.array_equal(audio, again)
    assert np.array_equal(audio, read_audio(data)[0])
    assert np.array_equal(audio, read_audio(io.BytesIO(data))[0])
    for block_size in (777, 10**7):
        with AudioReader(files[extension]) as reader:
            blocks = list(reader.blocks(block_size))
        assert np.array_equal(audio, np.concatenate(blocks, axis=1))
        assert {block.shape[1] for block in blocks[:-1]} <= {block_size}


@pytest.mark.parametrize("stated", [1, 340, 1023, 1024, 5000])
def test_only_the_last_frame_of_an_mp4_is_cut_and_only_as_far_as_it_says(tmp_path, stated):
    path = write_packets(tmp_path / "a.mp4", "aac", stereo_tones(30 * AAC_FRAME + 340), RATE)
    whole, _ = read_audio(path)
    assert whole.shape[1] == 30 * AAC_FRAME + 340
    data = bytearray(Path(path).read_bytes())
    at = data.index(b"stts") + 20  # behind 31 frames of 1024 samples: the priming and the whole ones
    assert data[at - 8 : at + 8] == struct.pack(">IIII", 31, AAC_FRAME, 1, 340)
    struct.pack_into(">I", data, at + 4, stated)
    audio, _ = read_audio(bytes(data))
    assert audio.shape[1] == 30 * AAC_FRAME + min(stated, AAC_FRAME)
    assert np.array_equal(audio[:, : whole.shape[1]], whole[:, : audio.shape[1]])


def test_facts_are_known_before_decoding(files):
    with AudioReader(files["flac"]) as reader:
        assert (reader.sampling_rate, reader.num_channels, reader.num_samples) == (RATE, 2, 3 * RATE + 777)
        assert reader.duration_s == pytest.approx(reader.num_samples / RATE)
    with AudioReader(files["m4a"]) as reader:
        assert reader.num_samples is None
        assert reader.duration_s == pytest.approx(3 + 777 / RATE, abs=0.03)


def test_a_reader_is_read_once(files):
    with AudioReader(files["wav"]) as reader:
        list(reader.blocks())
        with pytest.raises(AudioError, match="read already"):
            reader.blocks()


def test_mp3_without_length_in_its_header_is_read_to_its_end(files, tmp_path):
    data = Path(files["mp3"]).read_bytes()
    second_frame = data.index(data[:2], 100)
    audio, _ = read_audio(data[second_frame:])
    assert audio.shape[1] >= 3 * RATE + 777


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "ogg", "faststart.m4a", "voc"])
def test_a_truncated_file_gives_what_is_there_and_says_so(tmp_path, extension):
    options = {"movflags": "faststart"} if extension == "faststart.m4a" else {}
    path, audio = tmp_path / f"a.{extension}", stereo_tones(10 * RATE)
    if extension == "voc":
        write_packets(path, "pcm_s16le", audio, RATE)
    else:
        write_audio(path, audio, **options)
    data = path.read_bytes()
    with AudioReader(data) as reader:
        whole = np.concatenate(list(reader.blocks()), axis=1)
    assert reader.warnings == []
    with AudioReader(data[: len(data) // 2]) as reader:
        part = np.concatenate(list(reader.blocks()), axis=1)
    assert 0.3 < part.shape[1] / whole.shape[1] < 0.6
    assert np.array_equal(part[:, : RATE // 2], whole[:, : RATE // 2])
    assert any("cut short" in warning for warning in reader.warnings)


def test_mp3_in_a_wav_is_the_same_from_a_path_and_from_bytes(tmp_path):
    path = write_packets(tmp_path / "a.wav", "libmp3lame", stereo_tones(), RATE)
    data = Path(path).read_bytes()
    for source in (path, data, io.BytesIO(data)):
        with AudioReader(source) as reader:
            assert (reader.container, reader.codec) == ("wav", "mp3float")
            assert sum(block.shape[1] for block in reader.blocks()) >= 3 * RATE + 777
        assert reader.warnings == []


def test_a_damaged_part_of_an_m4a_becomes_silence_of_its_length(tmp_path):
    data = bytearray(Path(write_audio(tmp_path / "a.m4a", stereo_tones())).read_bytes())
    whole, _ = read_audio(bytes(data))
    middle = len(data) // 2
    data[middle : middle + 600] = b"\xff" * 600
    with AudioReader(bytes(data)) as reader:
        part = np.concatenate(list(reader.blocks()), axis=1)
    assert any("damaged packets" in warning for warning in reader.warnings)
    assert part.shape == whole.shape
    assert not np.array_equal(part, whole)
    assert np.array_equal(part[:, -RATE:], whole[:, -RATE:])


def _text_as_mp3(path):
    path.write_text("not a song\n" * 500)


def _m4a_without_index(path):
    data = Path(write_audio(path, stereo_tones())).read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _head_of_m4a(path):
    data = Path(write_audio(path, stereo_tones(), movflags="faststart")).read_bytes()
    path.write_bytes(data[:300])


def _playlist(path):
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.ts\n#EXT-X-ENDLIST\n")


BAD = {
    "empty.wav": (lambda path: path.write_bytes(b""), "empty"),
    "folder.wav": (lambda path: path.mkdir(), "is a folder"),
    "missing.wav": (lambda path: None, "does not exist"),
    "text.mp3": (_text_as_mp3, "not audio that can be decoded"),
    "noise.mp3": (lambda path: path.write_bytes(np.random.default_rng(0).bytes(50_000)), "decod"),
    "noise.wav": (lambda path: path.write_bytes(b"RIFF" + np.random.default_rng(0).bytes(50_000)), "soundfile"),
    "cut.m4a": (_m4a_without_index, "moov"),
    "head.m4a": (_head_of_m4a, "no audio stream|decod"),
    "playlist.mp3": (_playlist, "not audio that can be decoded"),
    "zero.wav": (lambda path: soundfile.write(path, np.zeros((0, 2)), RATE), "no samples"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_audio_is_a_clear_error(tmp_path, name):
    make, message = BAD[name]
    make(tmp_path / name)
    with pytest.raises(AudioError, match=message) as caught:
        read_audio(tmp_path / name)
    assert name in str(caught.value)


def test_a_file_that_may_not_be_read(files, monkeypatch):
    def forbidden(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", forbidden)
    with pytest.raises(AudioError, match="not readable"):
        AudioReader(files["wav"])


@pytest.mark.parametrize("source, message", [(b"", "empty"), (b"abc", "not audio"), (3, "a path"), (None, "a path")])
def test_objects_that_are_no_audio(source, message):
    with pytest.raises(AudioError, match=message):
        read_audio(source)


def test_file_objects_that_cannot_serve(files):
    with open(__file__) as text, pytest.raises(AudioError, match="binary mode"):
        read_audio(text)

    class Pipe(io.RawIOBase):
        def read(self, size=-1):
            return b""

    with pytest.raises(AudioError, match="not seekable"):
        read_audio(Pipe())


@pytest.mark.parametrize("name", ["ä ö 日本.wav", 'it\'s "quoted".m4a', "concat:a|b.mp3", "100%[x]*.flac", "-dash.ogg"])
def test_names_of_every_kind(tmp_path, name):
    audio, _ = read_audio(write_audio(tmp_path / name, stereo_tones(5000)))
    assert audio.shape[0] == 2


@pytest.mark.parametrize("num_samples", [1, 2, 1023])
def test_very_short_files(tmp_path, num_samples):
    path = write_audio(tmp_path / "a.wav", np.full((1, num_samples), 0.5, dtype=np.float32))
    audio, _ = read_audio(path)
    assert audio.shape == (1, num_samples)


def test_integer_formats_are_scaled_to_one(tmp_path):
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"):
        soundfile.write(tmp_path / "a.wav", np.full((100, 3), -0.5), 8000, subtype=subtype)
        audio, rate = read_audio(tmp_path / "a.wav")
        assert rate == 8000 and audio.shape == (3, 100)
        assert np.allclose(audio, -0.5, atol=1e-2 if subtype == "PCM_U8" else 1e-6, rtol=0)


@pytest.mark.parametrize("extension", ["flac", "mp3", "m4a", "ogg"])
def test_memory_does_not_grow_with_the_file(tmp_path, extension):
    path = write_audio(tmp_path / f"a.{extension}", stereo_tones(10 * 16000, 16000), 16000)
    num_samples, peak_bytes = length_and_peak_bytes(path)
    assert num_samples >= 10 * 16000
    assert peak_bytes < 600_000  # decoded, the file takes 1.3 MB


CONTAINERS = {  # extension -> FFmpeg's container and codec, as far as FFmpeg writes what it reads
    ".w64": ("w64", "pcm_s16le"),
    ".aifc": ("aiff", "pcm_s16be"),
    ".au": ("au", "pcm_s16be"),
    ".caf": ("caf", "pcm_s16le"),
    ".voc": ("voc", "pcm_s16le"),
    ".mp2": ("mp2", "mp2"),
    ".m4b": ("ipod", "aac"),
    ".ac3": ("ac3", "ac3"),
    ".eac3": ("eac3", "eac3"),
    ".aac": ("adts", "aac"),
    ".weba": ("webm", "libopus"),
    ".mov": ("mov", "aac"),
    ".mkv": ("matroska", "libopus"),
    ".avi": ("avi", "libmp3lame"),
    ".flv": ("flv", "libmp3lame"),
    ".mpg": ("mpeg", "mp2"),
    ".vob": ("vob", "ac3"),
    ".ts": ("mpegts", "ac3"),
    ".3gp": ("3gp", "aac"),
}


@pytest.mark.parametrize("extension", CONTAINERS)
def test_extensions_that_folders_are_searched_for_are_readable(tmp_path, extension):
    container, codec = CONTAINERS[extension]
    assert extension in AUDIO_EXTENSIONS
    write_packets(tmp_path / f"a{extension}", codec, stereo_tones(48_000, 48_000), 48_000, format=container)
    audio, rate = read_audio(tmp_path / f"a{extension}")
    assert rate == 48_000 and audio.shape[0] == 2 and 48_000 <= audio.shape[1] < 52_000
    assert 0.1 < np.sqrt(np.mean(audio[1] ** 2)) < 0.3
