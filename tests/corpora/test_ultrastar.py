"""UltraStar songs in folders as people have them."""

import numpy as np
import pytest
from corpus_files import tone, write

from majl_hf.corpora.ultrastar import load_ultrastar, read_song
from majl_hf.errors import CorpusError
from majl_hf.rows.convert import row_to_track, track_to_row

RATE = 8000
HEADER = "#TITLE:Lied\n#ARTIST:Ädele\n#MP3:audio.mp3\n#BPM:150\n#GAP:1500\n"  # a beat is 0.1 s
NOTES = ": 0 5 9 La\n* 5 3 -3 la\n- 9\nF 10 5 0 spo\nR 15 5 0 ken\n: 25 5 0 la \nE\n"


def write_song(folder, text=HEADER + NOTES, audio="audio.ogg", encoding="utf-8", duration_s=6.0):
    write(folder / audio, tone(440, duration_s, RATE), RATE)
    (folder / "song.txt").write_bytes(text.encode(encoding))
    return folder


def test_song_becomes_a_track_of_a_mixture_with_notes(tmp_path):
    write_song(tmp_path / "a b")
    (tmp_path / "a b" / "license.txt").write_text(
        "MP3: http://creativecommons.org/licenses/by-nc/3.0/\nCover: http://creativecommons.org/licenses/by/2.0/"
    )
    (track,) = load_ultrastar(tmp_path)
    assert (track.id, track.song, track.singer) == ("ultrastar/a b", "Ädele - Lied", "Ädele")
    assert (track.label_kind, track.licence, track.vocals) == ("pitch", "CC-BY-NC-3.0", None)
    assert [(round(n.onset_s, 9), round(n.offset_s, 9), n.midi) for n in track.notes] == [
        (1.53, 2.03, 69.0),
        (2.03, 2.33, 57.0),
        (4.03, 4.53, 60.0),
    ]
    f0_hz, confidence = track.label.at(np.array([1.0, 1.75, 2.15, 2.75, 3.25, 4.25]) + 0.1)
    np.testing.assert_allclose(f0_hz, [0, 440, 220, 0, 0, 261.6256], rtol=1e-6)
    assert (confidence > 0).tolist() == [True, True, True, False, False, True]
    assert not track.label.octave_reliable and "delayed by 100 ms" in track.provenance
    (as_written,) = load_ultrastar(tmp_path, delay_s=0.0)
    np.testing.assert_array_equal(as_written.label.f0_hz[149:151] > 0, [False, True])
    np.testing.assert_array_equal(track.label.f0_hz[159:161] > 0, [False, True])
    again = row_to_track(track_to_row(track))
    assert again.notes == track.notes and not again.label.octave_reliable and again.licence == track.licence


def test_decimal_commas_and_old_encodings(tmp_path):
    text = HEADER.replace(":1500", ":12650,5").replace(":150", ":319,95") + NOTES
    song = read_song(write_song(tmp_path, text, encoding="cp1252") / "song.txt")
    assert song.header["ARTIST"] == "Ädele"
    assert song.notes[1].onset_s == pytest.approx(5 / 319.95 / 4 * 60 + 12.6505, abs=1e-9)


def test_a_byte_order_mark_and_windows_line_ends(tmp_path):
    song = read_song(write_song(tmp_path, (HEADER + NOTES).replace("\n", "\r\n"), encoding="utf-8-sig") / "song.txt")
    assert song.header["TITLE"] == "Lied" and len(song.notes) == 3 and len(song.unpitched) == 2


def test_gap_is_optional(tmp_path):
    song = read_song(write_song(tmp_path, HEADER.replace("#GAP:1500\n", "") + NOTES) / "song.txt")
    assert song.notes[0].onset_s == 0.0


def test_duet_with_voices_in_unison_and_apart(tmp_path):
    text = HEADER + "P1\n: 0 5 9 La\n: 10 5 0 lo\nP2\n: 0 5 9 La\n: 12 5 4 lu\nE\n"
    (track,) = load_ultrastar(write_song(tmp_path / "duet", text).parent)
    assert [n.midi for n in track.notes] == [69.0, 60.0, 64.0]
    _, confidence = track.label.at(np.array([1.75, 2.6, 2.85, 3.1]) + 0.1)
    assert (confidence > 0).tolist() == [True, True, False, True]


def test_several_songs_of_a_folder_have_names_of_their_own(tmp_path):
    write_song(tmp_path)
    (tmp_path / "other.txt").write_text(HEADER + NOTES, encoding="utf-8")
    (tmp_path / "readme.txt").write_text("no song: at all")
    assert [track.id for track in load_ultrastar(tmp_path)] == ["ultrastar/other", "ultrastar/song"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("#BPM:150", "#BPM:fast", "song.txt has #BPM:fast"),
        ("#BPM:150", "#BPM:0", "song.txt has #BPM:0; a number above 0"),
        ("#BPM:150\n", "", "song.txt has #BPM:None"),
        ("#GAP:1500", "#RELATIVE:yes", "RELATIVE"),
        ("#MP3:audio.mp3\n", "", "names no audio"),
        ("audio.mp3", "other.mp3", "other.mp3, or the same with another extension; there is none"),
        ("audio.mp3", "../up/audio2.mp3", "needs the audio .*audio2.mp3"),
        ("- 9", "B 9 120", "line 8 changes the tempo"),
        ("- 9", "% 9", "line 8 is '% 9'"),
        (": 0 5 9 La\n* 5 3 -3 la\n", "", "note 1 has pitch"),
        (": 25 5", ": 250 5", r"song.txt: the last note ends at 27.00 s, but the audio lasts 6.00 s"),
    ],
)
def test_broken_songs_are_refused_by_name(tmp_path, old, new, message):
    text = (HEADER + NOTES).replace(old, new)
    assert text != HEADER + NOTES
    if message == "note 1 has pitch":
        text = text.replace(": 25 5 0", ": 25 5 99")
    with pytest.raises(CorpusError, match=message):
        load_ultrastar(write_song(tmp_path / "song", text).parent)


def test_no_song_no_notes_and_audio_twice(tmp_path):
    with pytest.raises(CorpusError, match="No UltraStar song"):
        load_ultrastar(tmp_path)
    folder = write_song(tmp_path / "song", HEADER + "E\n")
    with pytest.raises(CorpusError, match=r"song.txt contains no notes"):
        load_ultrastar(tmp_path)
    write_song(folder, audio="audio.flac")
    with pytest.raises(CorpusError, match=r"\['audio.flac', 'audio.ogg'\] exist: keep one"):
        load_ultrastar(tmp_path)


def test_the_audio_is_preferred_to_the_video_of_its_name(tmp_path):
    """Where the header names neither."""
    write_song(tmp_path / "a")
    (tmp_path / "a" / "audio.mp4").write_bytes(b"a video")
    (track,) = load_ultrastar(tmp_path)
    assert track.mixture.path.name == "audio.ogg"
