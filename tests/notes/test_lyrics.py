"""Files of lyrics: what is read, and what is refused and how."""

import json

import pytest

from majl_hf.errors import MajlError
from majl_hf.notes.lyrics import Line, Lyrics, Word, language_code, read_lyrics


@pytest.fixture
def read(tmp_path):
    def read(content, name="song.txt"):
        path = tmp_path / name
        if not isinstance(content, (str, bytes)):
            content = json.dumps(content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return read_lyrics(path)

    return read


def texts(lyrics):
    return [" ".join(word.text for word in line.words) for line in lyrics.lines]


def times(lyrics):
    return [(word.start_s, word.end_s) for line in lyrics.lines for word in line.words]


def test_plain_text(read):
    lyrics = read('\ufeff[Verse 1: X]\r\nHello - world (ooh)\r\n"Yes" ♪ !\r\n\r\n\r\n[Chorus]\r\nLa-la [x2]\r\n')
    assert texts(lyrics) == ["Hello world (ooh)", '"Yes"!', "La-la"]
    assert [line.ends_verse for line in lyrics.lines] == [False, True, False]
    assert times(lyrics) == [(None, None)] * 5


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(read, encoding):
    assert texts(read("Schöne Grüße".encode(encoding))) == ["Schöne Grüße"]


def test_text_is_composed(read):
    assert texts(read("Cafe\u0301")) == ["Café"]


def test_lrc_lines(read):
    lyrics = read(
        "[ti:A title]\n[ar: Someone ]\n[la:en]\n[length:03:20]\n[offset:+500]\n"
        "[00:10.5][01:30:50]Hello world\n[00:12]Second\n[00:14.00]\nwithout a time\n"
    )
    assert (lyrics.title, lyrics.artist, lyrics.language) == ("A title", "Someone", "en")
    assert texts(lyrics) == ["Hello world", "Second", "without a time", "Hello world"]
    assert [line.start_s for line in lyrics.lines] == [10.0, 11.5, None, 90.0]
    assert [line.end_s for line in lyrics.lines] == [None, 13.5, None, None]
    assert [line.ends_verse for line in lyrics.lines] == [False, True, False, False]


@pytest.mark.parametrize("brackets", ["<>", "[]"])
def test_lrc_words(read, brackets):
    line = "[00:01.00]<00:01.10>Hel<00:01.30>lo <00:01.60>big world <00:02.20>\n"
    lyrics = read(line.replace("<", brackets[0]).replace(">", brackets[1]))
    if brackets == "[]":  # the first word's time is then one of the line's
        assert texts(lyrics)[0] == "Hel lo big world"
        return
    assert lyrics.lines == (
        Line(
            (
                Word("Hel", 1.1, 1.3),
                Word("lo", 1.3, 1.6, joins=True),
                Word("big", 1.6),
                Word("world", end_s=2.2),
            ),
            1.0,
        ),
    )


def test_repeated_lrc_lines_move_the_times_of_words(read):
    lyrics = read("[00:01.00][00:11.00]<00:01.00>a <00:02.00>b<00:03.00>\n")
    assert times(lyrics) == [(1.0, 2.0), (2.0, 3.0), (11.0, 12.0), (12.0, 13.0)]


WHISPER = {
    "text": " Hello, don't go!",
    "language": "en",
    "segments": [
        {
            "id": 0,
            "start": 0.5,
            "end": 2.0,
            "text": " Hello, don't",
            "words": [
                {"word": " Hello,", "start": 0.5, "end": 0.9, "probability": 0.9},
                {"word": " don", "start": 1.0, "end": 1.2},
                {"word": "'t", "start": 1.2, "end": 1.3},
                {"word": " !!!!!", "start": 1.4, "end": 2.0},
            ],
        },
        {"id": 1, "start": 2.0, "end": 3.0, "text": " go!", "words": [{"word": " go!", "start": 2.1, "end": 2.8}]},
    ],
}


def test_whisper(read):
    lyrics = read(WHISPER)
    assert lyrics == Lyrics(
        (
            Line((Word("Hello,", 0.5, 0.9), Word("don't", 1.0, 1.3)), 0.5, 2.0),
            Line((Word("go!", 2.1, 2.8),), 2.0, 3.0),
        ),
        language="en",
    )


def test_whisperx_words_without_times(read):
    words = [
        {"word": "I", "start": 0.1, "end": 0.2, "score": 0.5},
        {"word": "3"},
        {"word": "go", "start": 0.5, "end": 0.4},
    ]
    lyrics = read({"segments": [{"start": 0, "end": 1, "text": "I 3 go", "words": words}], "word_segments": words})
    assert texts(lyrics) == ["I 3 go"]
    assert times(lyrics) == [(0.1, 0.2), (None, None), (0.5, 0.5)]


@pytest.mark.parametrize(
    "content",
    [
        [{"word": "we", "start": 0.0, "end": 0.5}, {"word": "go", "start": 0.6, "end": 0.9}],
        [{"text": "we", "start": 0.0, "end": 0.5}, {"text": "go", "start": 0.6, "end": 0.9}],
        {"words": [{"word": "we", "start": 0.0, "end": 0.5}, {"word": "go", "start": 0.6, "end": 0.9}]},
        {
            "text": "we go",
            "chunks": [{"text": " we", "timestamp": [0.0, 0.5]}, {"text": " go", "timestamp": [0.6, 0.9]}],
        },
    ],
)
@pytest.mark.parametrize("name", ["song.json", "song.txt"])
def test_lists_of_words(read, content, name):
    lyrics = read(content, name)
    assert texts(lyrics) == ["we go"]
    assert times(lyrics) == [(0.0, 0.5), (0.6, 0.9)]


def test_segments_without_words_are_lines(read):
    lyrics = read([{"text": " we go", "start": 1.0, "end": 2.0}, {"text": " home", "start": 3.0, "end": 4.0}])
    assert texts(lyrics) == ["we go", "home"]
    assert [(line.start_s, line.end_s) for line in lyrics.lines] == [(1.0, 2.0), (3.0, 4.0)]


def test_chinese_words_join_and_keep_their_times(read):
    lyrics = read([{"word": "我", "start": 0.0, "end": 0.5}, {"word": "愛", "start": 0.6, "end": 0.9}])
    assert lyrics.lines[0].words == (Word("我", 0.0, 0.5), Word("愛", 0.6, 0.9, joins=True))


@pytest.mark.parametrize(
    "content, name, message",
    [
        ("Hello\nhellö".encode("latin-1"), "a.txt", r"a\.txt, line 2 .*0xF6.*save the lyrics as UTF-8"),
        (b"\0\1\2abc", "a.txt", "not a text file"),
        ("\n[Chorus]\n", "a.txt", "contains no words"),
        ("1\n00:00:01,000 --> 00:00:02,000\nhi\n", "a.txt", r"line 2 .*subtitles"),
        ("#TITLE:x\n#BPM:300\n: 0 1 2 a\n", "a.txt", r"line 1 .*UltraStar"),
        ("<!DOCTYPE html>\n<p>hi", "a.txt", "line 1 .*plain text"),
        ("[offset:soon]\n[00:01.00]hi\n", "a.lrc", r"\[offset:soon\]; a number of milliseconds"),
        ("[00:01.00]<00:03.00>hi <00:02.00>you\n", "a.lrc", r"a\.lrc, line 1.*increase"),
        ('{"segments": [\n', "a.json", r"a\.json, line 2 is not JSON"),
        ({"a": 1}, "a.json", "an object with a; `segments`, `words`"),
        (["we", "go"], "a.json", "something else; `segments`"),
        ([{"x": 1}], "a.json", "entry 1 has 'x'; a string `word`"),
        ([{"word": "a", "start": "1"}], "a.json", "entry 1 has the time '1'; seconds"),
        ({"segments": [{"text": "a", "words": ["a"]}]}, "a.json", "segment 1, words are no list of objects"),
        ([], "a.json", "contains no words"),
    ],
)
def test_files_that_are_refused(read, content, name, message):
    with pytest.raises(MajlError, match=message):
        read(content, name)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(MajlError, match="cannot be read"):
            read_lyrics(path)


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("majl_hf.notes.lyrics.MAX_BYTES", 3)
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(MajlError, match="has 5 bytes"):
        read_lyrics(tmp_path / "a.txt")


@pytest.mark.parametrize(
    "name, code", [("en", "en"), ("en-US", "en"), ("English", "en"), ("deu", "de"), ("Klingon", ""), ("", "")]
)
def test_codes_of_languages(name, code):
    assert language_code(name) == code
