"""Wrong headers: half a download, a recorder that crashed, a pipe, a tag in front, a wrong extension."""

import io
import struct

import numpy as np
import pytest
import soundfile
from audio_files import stereo_tones

from majl_hf.audio import AudioError, AudioReader

RATE = 44100
TONES = stereo_tones(2 * RATE)
FORMATS = {
    "wav": {"format": "WAV"},
    "float wav": {"format": "WAV", "subtype": "FLOAT"},
    "adpcm wav": {"format": "WAV", "subtype": "IMA_ADPCM"},
    "big-endian wav": {"format": "WAV", "endian": "BIG"},
    "rf64": {"format": "RF64"},
    "w64": {"format": "W64"},
    "aiff": {"format": "AIFF"},
    "float aiff": {"format": "AIFF", "subtype": "FLOAT"},
    "au": {"format": "AU"},
    "caf": {"format": "CAF"},
}
# Where the length of the samples is: the id of a chunk, bytes from there on, and how it is written.
LENGTHS = {name: (b"data", 4, "<I") for name in FORMATS} | {
    "big-endian wav": (b"data", 4, ">I"),
    "rf64": (b"ds64", 16, "<q"),
    "w64": (b"data\xf3", 16, "<q"),
    "aiff": (b"SSND", 4, ">I"),
    "float aiff": (b"SSND", 4, ">I"),
    "au": (b".snd", 8, ">I"),
    "caf": (b"data", 4, ">q"),
}
NO_LENGTH = "states no length"


def _file(name="wav", audio=TONES):
    file = io.BytesIO()
    soundfile.write(file, audio.T, RATE, **FORMATS[name])
    return file.getvalue()


def _with_length(name, length):
    """A file with another length of its samples in the header; `length` is a number or a function of the true one."""
    data = bytearray(_file(name))
    id, offset, code = LENGTHS[name]
    at = data.index(id) + offset
    written = struct.unpack_from(code, data, at)[0]
    struct.pack_into(code, data, at, length(written) if callable(length) else length)
    return bytes(data)


def _read(source):
    with AudioReader(source) as reader:
        return np.concatenate(list(reader.blocks()), axis=1), reader


def _assert_read_alike(tmp_path, data, expected, note):
    """From a path of any extension, bytes and a file object; all of `expected`, to the bit, and the note."""
    (tmp_path / "a.mp3").write_bytes(data)
    (tmp_path / "a.raw").write_bytes(data)
    with open(tmp_path / "a.raw", "rb") as file:
        for source in (tmp_path / "a.mp3", tmp_path / "a.raw", data, io.BytesIO(data), file):
            audio, reader = _read(source)
            assert np.array_equal(audio, expected)
            assert reader.num_samples == expected.shape[1]
            assert len(reader.warnings) == bool(note) and all(note in warning for warning in reader.warnings)


@pytest.mark.parametrize("name", FORMATS)
def test_a_whole_file_is_read_as_it_is(tmp_path, name):
    data = _file(name)
    expected = soundfile.read(io.BytesIO(data), dtype="float32")[0].T
    _assert_read_alike(tmp_path, data, expected, "")


@pytest.mark.parametrize("name", FORMATS)
def test_half_a_download_says_so(tmp_path, name):
    data = _file(name)
    audio, reader = _read(data[: len(data) // 2])
    assert audio.shape[1] / RATE == pytest.approx(1.0, abs=0.05)
    assert reader.warnings == ["ends after 1.0 s although its header says 2.0 s: it may be cut short"]
    _assert_read_alike(tmp_path, data[: len(data) // 2], audio, "cut short")
    first = slice(RATE * 9 // 10)  # the last block of ADPCM is not complete
    assert np.array_equal(audio[:, first], _read(data)[0][:, first])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("length", [0, 2**31 - 1, 2**31 - 4096, -1])
def test_a_length_that_was_never_written_hides_nothing(tmp_path, name, length):
    if length == -1 and LENGTHS[name][2].endswith("I"):
        length = 2**32 - 1
    _assert_read_alike(tmp_path, _with_length(name, length), _read(_file(name))[0], NO_LENGTH)


@pytest.mark.parametrize("name", FORMATS)
def test_the_length_at_the_last_time_that_a_recorder_wrote_it(tmp_path, name):
    data = _with_length(name, lambda length: length // 4)
    _assert_read_alike(tmp_path, data, _read(_file(name))[0], "its header says 0.5 s, but the file contains 2.0 s")


def _wav(chunks_before=b"", chunks_after=b"", riff_size=None, data_size=None, audio=TONES):
    data = _file("wav", audio)
    at = data.index(b"data")
    samples = data[at + 8 :]
    size = len(samples) if data_size is None else data_size
    body = data[8:at] + chunks_before + b"data" + struct.pack("<I", size) + samples + chunks_after
    return b"RIFF" + struct.pack("<I", len(body) if riff_size is None else riff_size) + body


def _chunk(id, content):
    return id + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


LIST = _chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 6) + b"Lavf6\0")
ID3 = b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)


@pytest.mark.parametrize(
    "data, note",
    [
        (_wav(_chunk(b"JUNK", bytes(28)) + _chunk(b"bext", bytes(603)) + LIST), ""),
        (_wav(_chunk(b"iXML", b"<x/>" * 400_000)), ""),  # farther in than a search would look
        (_wav(chunks_after=LIST + _chunk(b"id3 ", bytes(6000))), ""),
        (_wav(chunks_after=b"TAG" + b"a" * 125), ""),
        (_wav(chunks_after=b"\xff\xfe" * 500), ""),
        (_wav(chunks_after=bytes(30_000)), ""),
        (_wav(riff_size=0), ""),
        (_wav(riff_size=2**32 - 1), ""),
        (_wav(riff_size=0, data_size=0), NO_LENGTH),
        (_wav(riff_size=2**31 + 35, data_size=2**31 - 1), NO_LENGTH),
        (_wav(LIST, riff_size=36, data_size=0), NO_LENGTH),
        (_wav(b"odd " + struct.pack("<I", 3) + b"abc"), ""),  # not padded
        (_wav(b"bad " + struct.pack("<I", 2**31) + bytes(8)), ""),  # a chunk that is longer than the file
        (ID3 + _wav(), ""),
        (ID3 + bytes(2048) + _wav(), ""),
        (ID3 + ID3 + _wav(riff_size=0, data_size=0), NO_LENGTH),
        (b"ID3\x04\0\x10\0\0\x02\0" + bytes(256) + b"3DI\x04\0\x10\0\0\x02\0" + _wav(), ""),  # with a footer
    ],
    ids=range(17),
)
def test_chunks_tags_and_sizes_of_wav(tmp_path, data, note):
    _assert_read_alike(tmp_path, data, _read(_file())[0], note)


def test_bw64_and_an_rf64_that_crashed_before_it_became_one(tmp_path):
    expected, rf64 = _read(_file())[0], _file("rf64")
    assert np.array_equal(_read(b"BW64" + rf64[4:])[0], expected)
    reserved = b"RIFF" + bytes(4) + rf64[8:12] + b"JUNK" + rf64[16:]
    at = reserved.index(b"data") + 4
    _assert_read_alike(tmp_path, reserved[:at] + bytes(4) + reserved[at + 4 :], expected, NO_LENGTH)


def test_a_wav_of_more_than_4_gib_is_read_whatever_its_32_bits_say(tmp_path):
    head = _file()[:44]
    num_bytes = 5 * 2**30 + 8
    for size in (0, 2**32 - 1, num_bytes % 2**32):
        with open(tmp_path / "a.wav", "wb") as file:  # sparse, it takes no room
            file.write(head[:40] + struct.pack("<I", size))
            for place in (num_bytes % 2**32, 2**32 - 1, num_bytes - 3):
                file.seek(44 + place)
                file.write(b"\x99\x01" * (3 if place > 2**32 else 3000))
            file.truncate(44 + num_bytes)
        with AudioReader(tmp_path / "a.wav") as reader:
            assert reader.num_samples == num_bytes // 4
            assert len(reader.warnings) == 1


@pytest.mark.parametrize("prefix", [ID3, ID3 + bytes(100)])
@pytest.mark.parametrize("format", [("FLAC", "PCM_16"), ("AIFF", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_a_tag_in_front_of_other_formats(tmp_path, prefix, format):
    file = io.BytesIO()
    soundfile.write(file, TONES.T, 48000, format=format[0], subtype=format[1])
    expected, _ = _read(file.getvalue())
    for source in (prefix + file.getvalue(), io.BytesIO(prefix + file.getvalue())):
        assert np.array_equal(_read(source)[0], expected)


def test_an_odd_chunk_of_aiff_with_and_without_its_padding(tmp_path):
    data = _file("aiff")
    for padding in (b"\0", b""):
        named = data[:12] + b"NAME" + struct.pack(">I", 3) + b"abc" + padding + data[12:]
        _assert_read_alike(tmp_path, named, _read(data)[0], "")


def test_a_flac_from_a_pipe_has_no_length(tmp_path):
    file = io.BytesIO()
    soundfile.write(file, TONES.T, RATE, format="FLAC")
    data = bytearray(file.getvalue())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    audio, reader = _read(bytes(data))
    assert np.array_equal(audio, _read(file.getvalue())[0]) and reader.num_samples is None


@pytest.mark.parametrize("stated", [1, 4000, RATE // 2, -5000])
def test_a_flac_is_read_to_its_end_though_its_header_states_less(tmp_path, stated):
    file = io.BytesIO()
    soundfile.write(file, np.tile(TONES, 4).T, RATE, format="FLAC")
    whole, reader = _read(file.getvalue())
    assert reader.warnings == [] and reader.num_samples == whole.shape[1]
    data = bytearray(file.getvalue())
    data[22:26] = (stated % whole.shape[1]).to_bytes(4, "big")
    (tmp_path / "a.flac").write_bytes(data)
    for source in (tmp_path / "a.flac", bytes(data)):
        audio, reader = _read(source)
        assert np.array_equal(audio, whole) and reader.num_samples is None
        assert len(reader.warnings) == 1 and "but the file contains 8.0 s" in reader.warnings[0]


def test_a_flac_is_read_to_where_it_is_cut(tmp_path):
    file = io.BytesIO()
    soundfile.write(file, np.tile(TONES, 4).T, RATE, format="FLAC")
    data, whole = file.getvalue(), _read(file.getvalue())[0]
    (tmp_path / "a.flac").write_bytes(data[: len(data) // 2])
    audio, reader = _read(tmp_path / "a.flac")
    assert 0.4 < audio.shape[1] / whole.shape[1] < 0.6
    assert np.array_equal(audio, whole[:, : audio.shape[1]])
    assert "although its header says 8.0 s" in reader.warnings[-1]
    with AudioReader(data[: len(data) // 2]) as again:
        blocks = list(again.blocks(1000))
    assert np.array_equal(np.concatenate(blocks, axis=1), audio)
    assert {block.shape[1] for block in blocks[:-1]} == {1000}


@pytest.mark.parametrize("format", ["NIST", "IRCAM", "PAF"])
def test_soundfile_reads_what_ffmpeg_refuses(tmp_path, format):
    soundfile.write(tmp_path / "a.bin", TONES.T, RATE, format=format, subtype="PCM_16")
    assert np.array_equal(_read(tmp_path / "a.bin")[0], _read(_file())[0])


@pytest.mark.parametrize("chunks_before", [b"", LIST])
@pytest.mark.parametrize("chunks_after", [b"", LIST])
def test_no_samples_stay_an_error(chunks_before, chunks_after):
    for data in (_wav(chunks_before, chunks_after, audio=TONES[:, :0]), _file()[:44]):
        with pytest.raises(AudioError, match="no samples"):
            AudioReader(data)


@pytest.mark.parametrize("extension", ["wav", "raw", "vox", "mp3", "flac", "ogg"])
def test_garbage_is_refused_whatever_its_extension_says(tmp_path, extension):
    random = np.random.default_rng(0)
    for data in (random.bytes(20_000), b"RIFF" + random.bytes(9000), b"fLaC" + random.bytes(9000), b"words\n" * 900):
        (tmp_path / f"a.{extension}").write_bytes(data)
        for source in (tmp_path / f"a.{extension}", data):
            with pytest.raises(AudioError, match="decod"):
                _read(source)


def test_the_file_is_closed_unless_it_is_the_callers(tmp_path):
    (tmp_path / "a.wav").write_bytes(_file())
    with open(tmp_path / "a.wav", "rb") as file:
        _read(file)
        assert not file.closed
    with AudioReader(tmp_path / "a.wav") as reader:
        pass
    assert reader._source.opened.closed
