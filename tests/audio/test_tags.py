"""Title, artist and so on, and the cover: read from songs, written to stems."""

import io
import struct

import numpy as np
import pytest
import soundfile
from audio_files import jpeg, png

from majl_hf.audio import ENCODINGS, AudioWriter, Tags, read_audio, read_tags

WAV_FIELDS = {
    "title": "Söng", "artist": "Ä & 日本", "album": "A", "track": "3/12", "date": "1999-05-01", "genre": "Pop",
}  # fmt: skip
FIELDS = {
    **WAV_FIELDS, "composer": "Ö", "album_artist": "Various = all", "disc": "1/2", "comment": "Live; 日本",
    "copyright": "© 1999 A", "lyrics": "la la\nlé",
}  # fmt: skip
MARKS = {"flac": b"\x06", "mp3": b"APIC", "m4a": b"covr", "opus": b"METADATA_BLOCK_PICTURE"}  # of a picture


def _write(path, encoding, tags):
    audio = np.random.default_rng(0).uniform(-0.1, 0.1, (2, 9000)).astype(np.float32)
    with AudioWriter(path, 48_000, 2, encoding, tags=tags) as writer:
        writer.write(audio)
    return path


@pytest.mark.parametrize("cover", [png(), jpeg()], ids=["png", "jpeg"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_is_written_is_read(tmp_path, encoding, cover):
    path = _write(tmp_path / "a", encoding, Tags(FIELDS, cover))
    found = read_tags(path)
    assert found.fields == (WAV_FIELDS if encoding.startswith("wav") else FIELDS)
    assert found.cover == (cover if encoding in MARKS else None)
    assert MARKS.get(encoding, b"") in path.read_bytes()
    assert np.array_equal(read_audio(path)[0], read_audio(_write(tmp_path / "b", encoding, None))[0])
    assert read_tags(path.read_bytes()) == read_tags(io.BytesIO(path.read_bytes())) == found


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_without_tags_nothing_is_written(tmp_path, encoding):
    path = _write(tmp_path / "a", encoding, Tags())
    assert read_tags(path) == Tags()
    assert not any(word in path.read_bytes() for word in (b"Lavf6", b"Lavc6", b"LIST", b"TSSE"))


def test_a_cover_alone_and_text_alone(tmp_path):
    assert read_tags(_write(tmp_path / "a", "mp3", Tags(cover=png()))) == Tags(cover=png())
    assert read_tags(_write(tmp_path / "b", "m4a", Tags({"artist": "A"}))) == Tags({"artist": "A"})


@pytest.mark.parametrize("cover", [b"GIF89a and so on", b"\x89PNG\r\n\x1a\nbroken", png()[:40]])
@pytest.mark.parametrize("encoding", MARKS)
def test_a_picture_that_is_damaged_or_of_another_kind_is_left_out(tmp_path, encoding, cover):
    assert read_tags(_write(tmp_path / "a", encoding, Tags(FIELDS, cover))) == Tags(FIELDS)


def test_files_of_other_programs(tmp_path):
    with soundfile.SoundFile(tmp_path / "a.ogg", "w", 44_100, 1) as file:
        file.title, file.comment = " Song ", "ripped by me"
        file.write(np.zeros(9000))
    assert read_tags(tmp_path / "a.ogg") == Tags({"title": "Song", "comment": "ripped by me"})
    (tmp_path / "text.mp3").write_text("la la la\n" * 300)
    assert read_tags(tmp_path / "text.mp3") == Tags()


def test_lyrics_of_an_mp3_are_found_whatever_their_language(tmp_path):
    text = b"\x00eng\x00la la\nla"
    frame = struct.pack(">4sIH", b"USLT", len(text), 0) + text
    tag = b"ID3\x03\x00\x00" + bytes((0, 0, 0, len(frame))) + frame
    path = _write(tmp_path / "a", "mp3", None)
    assert read_tags(tag + path.read_bytes()) == Tags({"lyrics": "la la\nla"})


def test_the_title_names_the_stem():
    stem = Tags(FIELDS, b"cover").of_stem("vocals")
    assert stem == Tags({**FIELDS, "title": "Söng (vocals)"}, b"cover")
    assert Tags({"artist": "A"}).of_stem("vocals") == Tags({"artist": "A"})
