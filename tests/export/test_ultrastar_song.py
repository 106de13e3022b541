"""UltraStar songs: a strict reader and the corpus reader accept them, lines and words are as a singer needs them."""

import re
from dataclasses import replace

import numpy as np
import pytest
from transcriptions import SYLLABLES, scale, transcription_of
from ultrastar_parser import parse_ultrastar

from majl_hf.corpora.ultrastar import read_song
from majl_hf.errors import MajlError
from majl_hf.export.formats import NOTE_FORMATS
from majl_hf.export.texts import TOOL
from majl_hf.models.notes_majl import SungNote
from majl_hf.notes.transcription import NoteText, Tempo

render = NOTE_FORMATS["ultrastar"].render


def song_of(notes, texts=None, **values):
    return parse_ultrastar(render(transcription_of(notes, texts, **values)))


def test_the_file_as_it_is():
    transcription = transcription_of(
        [(1.0, 1.4, 57.1), (1.5, 1.9, 60.0), (2.0, 2.4, 61.8), (2.5, 3.5, 64.0), (6.0, 7.0, 60.0), (7.5, 8.0, 59.0)],
        SYLLABLES,
        tempo=Tempo(120.0, 0.0),
        title=" Lied:\n#1 ",
        language="de",
        vocals="Lied.vocals.wav",
        accompaniment="Lied.accompaniment.wav",
    )
    expected = f"""#VERSION:1.1.0
#TITLE:Lied: #1
#ARTIST:Ädele
#LANGUAGE:German
#MP3:Lied.mp3
#AUDIO:Lied.mp3
#VOCALS:Lied.vocals.wav
#INSTRUMENTAL:Lied.accompaniment.wav
#BPM:240.000
#GAP:1000
#END:9000
#CREATOR:{TOOL}
#COMMENT:{TOOL}; model majl-base@main
: 0 6 -3 Hel
: 8 6 0 lo
: 16 6 2 ~ 
: 24 16 4 world 
- 56
: 80 16 0 你 
: 104 8 -1 été 
E
"""  # noqa: W291
    assert render(transcription).decode() == expected


def test_the_corpus_reader_reads_the_same(tmp_path):
    kinds = ["sung", "sung", "rap", "sung", "speech", "sung"]
    notes = [replace(note, kind=kind) for note, kind in zip(scale(6), kinds, strict=True)]
    content = render(transcription_of(notes, SYLLABLES, title="A # b: 'c' \"d\" \\ 😀"))
    (tmp_path / "song.txt").write_bytes(content)
    read, strict = read_song(tmp_path / "song.txt"), parse_ultrastar(content)
    np.testing.assert_allclose(
        [(n.onset_s, n.offset_s, n.midi - 60) for n in read.notes],
        [(n.onset_s, n.offset_s, n.pitch) for n in strict.notes if n.kind == ":"],
    )
    assert [note.kind for note in strict.notes] == [":", ":", "R", ":", "F", ":"]
    assert len(read.unpitched) == 2 and read.header == strict.header


@pytest.mark.parametrize("bpm", [20.0, 50.0, 100.0, 120.0, 133.337, 200.0001, 400.0002, 999.0])
def test_beats_do_not_drift(bpm):
    notes = scale(2000, 5.77, 0.5)
    song = song_of(notes, hop_s=10.0, tempo=Tempo(bpm, 0.04))
    beat_s = 15 / float(song.header["BPM"])
    assert max(abs(read.onset_s - note.onset_s) for read, note in zip(song.notes, notes, strict=True)) <= (
        0.5 * beat_s + 0.0006
    )


def test_words_end_with_a_blank_and_continue_with_a_tilde():
    song = song_of(scale(6), SYLLABLES)
    assert [note.text for note in song.notes] == ["Hel", "lo", "~ ", "world ", "你 ", "été "]
    assert [note.text for note in song_of(scale(3)).notes] == ["~ "] * 3
    assert "without lyrics" in song_of(scale(3)).header["COMMENT"]
    assert song_of(scale(2), [" \n", "a\nb"]).notes[1].text == "a b "


def test_lines_end_with_those_of_the_lyrics_and_at_rests_between_words():
    notes = [(0, 0.5, 60), (1, 1.5, 60), (2, 2.5, 60), (5, 5.5, 60), (6.6, 7, 60), (7.2, 8, 60)]
    texts = [
        NoteText("a", ends_line=True), NoteText("b"), NoteText("lon", ends_word=False),
        NoteText("ger", begins_word=False), NoteText("c"), NoteText("d", ends_line=True),
    ]  # fmt: skip
    song = song_of(notes, texts)
    assert [[note.text for note in line] for line in song.lines] == [["a "], ["b ", "lon", "ger "], ["c ", "d "]]


@pytest.mark.parametrize(
    ("rest_s", "after_s", "before_beats"), [(5.0, 2.0, None), (3.0, 1.0, None), (1.0, None, 4), (0.25, None, 2)]
)
def test_the_next_line_appears_after_or_before_its_rest(rest_s, after_s, before_beats):
    notes = [(0.0, 1.0, 60), (1.0 + rest_s, 2.0 + rest_s, 60)]
    song = song_of(notes, [NoteText("a", ends_line=True), NoteText("b")])
    (line_break,) = song.breaks
    if after_s is not None:
        assert line_break * 15 / float(song.header["BPM"]) == pytest.approx(1.0 + after_s, abs=0.07)
    else:
        assert song.notes[1].start - line_break == before_beats


@pytest.mark.parametrize("text", ["never", "你好", ""])
def test_long_lines_are_divided_between_words(text):
    texts = [NoteText(text, begins_word=i % 3 == 0, ends_word=i % 3 == 2) for i in range(120)]
    song = song_of(scale(120, 0.3, 0.2), texts)
    for line in song.lines:
        width = sum(len(note.text) + note.text.count("你") * 2 for note in line)
        assert 8 <= width <= 48 and line[-1].text.endswith(" ")
    endless = [NoteText("a", begins_word=False, ends_word=False)] * 100  # a word is not divided
    assert len(song_of(scale(100, 0.3, 0.2), endless).lines) == 1


def test_notes_that_are_too_close_are_delayed_or_merged_and_no_text_is_lost():
    notes = scale(9, 0.02, 0.015, start_s=0.0) + scale(1, start_s=1.0)
    texts = [NoteText(letter, ends_word=letter in "cf") for letter in "abcdefghij"]
    song = song_of(notes, texts)
    assert re.sub("[ ~]", "", "".join(note.text for note in song.notes)) == "abcdefghij"
    assert "".join(note.text for note in song.notes).startswith("abc def ghi")
    merged = int(re.search(r"(\d+) short notes merged into", song.header["COMMENT"])[1])
    into = int(re.search(r"merged into (\d+)", song.header["COMMENT"])[1])
    assert merged - into == 10 - len(song.notes) > 0
    close = song_of([(0.0, 0.06, 60), (0.063, 0.3, 62)], tempo=Tempo(120))  # one beat apart
    assert [(note.start, note.length) for note in close.notes] == [(0, 1), (2, 3)]
    assert "merged" not in close.header["COMMENT"]


def test_a_merged_note_has_the_pitch_and_kind_of_the_longest():
    notes = [SungNote(0, 0.01, 60), SungNote(0.01, 0.02, 61), SungNote(0.02, 1, 67, kind="rap")]
    song = song_of(notes, ["a", "b", "c"])
    assert (song.notes[-1].kind, song.notes[-1].pitch) == ("R", 7)


@pytest.mark.parametrize(
    ("midis", "expected"),
    [([60, 84], [0, 24]), ([85, 100], [25 - 36, 40 - 36]), ([85, 84], [25, 24]), ([12, 30], [-48 + 36, -30 + 36])],
)
def test_a_song_that_is_out_of_range_is_transposed_by_octaves(midis, expected):
    song = song_of([(i, i + 0.9, midi) for i, midi in enumerate(midis)])
    assert [note.pitch for note in song.notes] == expected
    assert ("transposed" in song.header["COMMENT"]) == (expected[0] != midis[0] - 60)


def test_the_gap_is_on_the_beat_of_the_tempo_and_not_negative():
    song = song_of([(10.0, 10.5, 60)], tempo=Tempo(120, 0.27))
    assert (int(song.header["GAP"]) - 270) % 62.5 in (0.5, 0.0) and song.notes[0].start == 0
    song = song_of([(0.0, 0.5, 60)], tempo=Tempo(120, 0.04))
    assert (song.header["GAP"], song.notes[0].start) == ("0", 0)


@pytest.mark.parametrize("name", ["a\nb.mp3", " a.mp3", "C:\\a.mp3", "/a.mp3", "a\ud800.mp3"])
def test_file_names_that_cannot_be_written_are_refused(name):
    with pytest.raises(MajlError, match="cannot be written in an UltraStar song; rename the file"):
        render(transcription_of(scale(1), audio=name))
    with pytest.raises(MajlError, match="rename the file"):
        render(transcription_of(scale(1), vocals=name))


def test_a_song_without_audio_or_with_too_many_lines_is_refused():
    with pytest.raises(MajlError, match="give the transcription the name of the audio file"):
        render(transcription_of(scale(1), audio=None))
    texts = [NoteText("a", ends_line=True)] * 5001
    with pytest.raises(MajlError, match="has 5001 lines; UltraStar Deluxe reads 5000 at most"):
        render(transcription_of(scale(5001), texts, hop_s=10.0))
