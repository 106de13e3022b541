"""Folders of your own: songs, stems, voices, music."""

import os
import shutil

import numpy as np
import pytest
from audio_files import stereo_tones, write_audio
from corpus_files import tone, write

from majl_hf.audio import read_audio
from majl_hf.corpora.folder import load_folder, load_music, load_stems, load_voices, read_f0
from majl_hf.corpora.labels import Note
from majl_hf.errors import CorpusError
from majl_hf.rows.convert import row_to_track, track_to_row

RATE = 8000


def write_parts(folder, *names, duration_s=1.0):
    for name in names:
        part = name.rpartition(".")[0].rpartition("/")[2].rpartition(".")[2]
        level = 0.4 if part == "mixture" else 0.2  # the sum of two equal tones
        write(folder / name, tone(220, duration_s, RATE, level), RATE)
    return folder


def write_f0(path, f0_hz, hop_s=0.01, header="", more=""):
    rows = "".join(f"{k * hop_s:.6f},{value}{more}\n" for k, value in enumerate(f0_hz))
    path.write_text(header + rows)
    return path


def test_the_kind_of_a_song_follows_from_its_files(tmp_path):
    write_parts(tmp_path, "Ähre/vocals.wav", "Ähre/accompaniment.flac", "Ähre/mixture.wav")
    write_f0(tmp_path / "Ähre" / "f0.csv", np.full(100, 220.0))
    write_parts(tmp_path, "b.c.vocals.wav", "b.c.accompaniment.wav", "d.mixture.ogg", "e.vocals.wav")
    (tmp_path / "d.notes.txt").write_text("0.1 0.9 57\n")
    write_f0(tmp_path / "e.f0.csv", np.full(100, 220.0))
    (tmp_path / "e.notes.csv").write_text("onset_s,offset_s,midi\n0.1,0.9,57\n")
    tracks = {track.song: track for track in load_folder(tmp_path, corpus="mine", licence="CC0-1.0")}
    assert {song: track.label_kind for song, track in tracks.items()} == {
        "b.c": "separation",
        "d": "pitch",
        "e": "vocals",
        "Ähre": "full",
    }
    assert tracks["e"].notes == (Note(0.1, 0.9, 57.0),) and tracks["e"].label.confidence is None
    assert tracks["d"].label.confidence.max() < 1 and tracks["d"].label.f0_hz[50] == pytest.approx(220)
    for track in tracks.values():
        again = row_to_track(track_to_row(track))
        assert (again.id, again.label_kind, again.licence) == (track.id, track.label_kind, "CC0-1.0")
        assert again.notes == track.notes
    assert [track.song for track in load_folder(tmp_path, include=["d"])] == ["d"]


def test_files_that_only_ffmpeg_reads(tmp_path):
    """As the command reads them; a video only where there is no audio of its name."""
    audio = stereo_tones(30_000)
    for name in ("one.m4a", "two.mp4", "three.mp4"):
        write_audio(tmp_path / name, audio)
    write_audio(tmp_path / "three.wav", audio[:, :9_000])
    one, three, two = load_voices(tmp_path)
    assert [track.song for track in (one, three, two)] == ["one", "three", "two"] and three.vocals.num_samples == 9_000
    samples, rate = read_audio(tmp_path / "one.m4a")
    part = one.vocals
    assert (part.sampling_rate, part.num_channels, part.num_samples, part.bits) == (rate, 2, samples.shape[1], 16)
    np.testing.assert_array_equal(part.read(0, part.num_samples), samples)
    np.testing.assert_array_equal(part.read(20_000, 500), samples[:, 20_000:20_500])
    np.testing.assert_array_equal(part.read(-7, 10)[:, 7:], samples[:, :3])
    assert track_to_row(two)["vocals"]["bytes"][:4] == b"fLaC"


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_linked_albums_are_read_once_and_hidden_files_are_not(tmp_path):
    write_parts(tmp_path / "elsewhere", "a.vocals.wav")
    (tmp_path / "voices").mkdir()
    for name in ("album", "same"):
        (tmp_path / "voices" / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "circle").symlink_to(tmp_path / "voices")
    shutil.copy(tmp_path / "elsewhere" / "a.vocals.wav", tmp_path / "voices" / ".b.wav")
    assert [track.song for track in load_voices(tmp_path / "voices")] == ["album/a.vocals"]


def test_files_that_are_left_out_are_counted_and_named(tmp_path, caplog):
    write_parts(tmp_path, "a/vocals.wav", "a/accompaniment.wav", "a/drums.wav")
    for name in ("a/cover.jpg", "b.JPG", "f0.csv"):
        (tmp_path / name).write_text("")
    load_folder(tmp_path)
    load_stems(tmp_path)
    load_music(tmp_path, exclude=["drums", "vocals"], min_duration_s=1.0)
    with pytest.raises(CorpusError, match="among the 3 audio files"):
        load_music(tmp_path)
    write_parts(tmp_path, "long.wav", duration_s=2.0)
    load_music(tmp_path, min_duration_s=1.5)
    texts = [text.partition(": left out ")[2] for text in caplog.messages]
    assert texts[:3] == [
        "2 files: 2 .jpg",
        "1 file: 1 neither mixture nor vocals nor accompaniment of a song, such as drums.wav",
        "3 files: 2 .jpg, 1 .csv",
    ]
    assert texts[-1] == "3 files: 3 shorter than 1.5 s"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a.mixture.wav"], r"a.mixture.wav is the only file; .* a mixture needs a label"),
        (["a.vocals.wav"], r"a.vocals.wav is the only file"),
        (["a.accompaniment.wav"], r"a.accompaniment.wav is the only file"),
        (["a.mixture.wav", "a.vocals.wav"], r"a.mixture.wav has no accompaniment beside it"),
        (["a/mixture.wav", "a/accompaniment.wav"], r"has no vocals beside it"),
        (["a.vocals.wav", "a.vocals.flac"], r"both the vocals of 'a'"),
    ],
)
def test_unusable_files_are_refused(tmp_path, files, message):
    write_parts(tmp_path, *files)
    with pytest.raises(CorpusError, match=message):
        load_folder(tmp_path)


@pytest.mark.parametrize(("load", "alone"), [(load_folder, "is the only file"), (load_stems, "has no accompaniment")])
def test_songs_of_stems(tmp_path, load, alone):
    """In both layouts; what does not belong together is refused."""
    write_parts(tmp_path, "Ähre/vocals.wav", "Ähre/accompaniment.flac", "b.c.vocals.wav", "b.c.accompaniment.wav")
    tracks = load(tmp_path)
    assert [(track.song, track.label_kind) for track in tracks] == [("b.c", "separation"), ("Ähre", "separation")]
    assert all(track.label is None and track.accompaniment.read(4_000, 2_000).shape == (1, 2000) for track in tracks)
    assert [track.song for track in load(tmp_path, include=["Ähre"])] == ["Ähre"]
    assert [track.song for track in load(tmp_path, exclude=["Ähre"])] == ["b.c"]
    with pytest.raises(CorpusError, match="no song 'nope'"):
        load(tmp_path, include=["nope"])
    with pytest.raises(CorpusError, match="leave none of the 2 songs"):
        load(tmp_path, exclude=["Ähre", "b.c"])
    write_parts(tmp_path, "b.c.accompaniment.wav", duration_s=1.5)
    with pytest.raises(CorpusError, match=r"b\.c\.vocals\.wav lasts 1\.000 s .*1\.500 s"):
        load(tmp_path)
    write(tmp_path / "b.c.accompaniment.wav", tone(300, 1.0, 16000), 16000)
    with pytest.raises(CorpusError, match=r"b\.c\.vocals\.wav is at 8000 Hz .*16000 Hz"):
        load(tmp_path)
    (tmp_path / "b.c.accompaniment.wav").unlink()
    with pytest.raises(CorpusError, match=rf"b\.c\.vocals\.wav {alone}"):
        load(tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(CorpusError, match="No SONG/vocals"):
        load(tmp_path / "none")


def test_notes_twice_are_refused(tmp_path):
    write_parts(tmp_path, "a.vocals.wav", "a.accompaniment.wav")
    for name in ("a.notes.csv", "a.notes.txt"):
        (tmp_path / name).write_text("0.1 0.9 57\n")
    with pytest.raises(CorpusError, match=r"a\.notes\.csv and .*a\.notes\.txt are both"):
        load_folder(tmp_path)


def test_a_mixture_that_is_not_the_sum_is_refused_when_rows_are_made(tmp_path):
    write_parts(tmp_path, "a.vocals.wav", "a.accompaniment.wav")
    write(tmp_path / "a.mixture.wav", tone(300, 1.0, RATE), RATE)
    (track,) = load_folder(tmp_path)
    with pytest.raises(CorpusError, match="mixture of folder/a is not the sum"):
        track_to_row(track)


def test_f0_of_this_package_and_of_others(tmp_path):
    path = write_f0(tmp_path / "f0.csv", [220.0] * 100, header="time_s,f0_hz,voicing,confidence\n", more=",0.9,0.5")
    path.write_text(path.read_text().replace("0.500000,220.0,0.9", "0.500000,220.0,0.4"))
    label = read_f0(path, 1.0)
    assert label.hop_s == pytest.approx(0.01) and label.offset_s == 0.0 and len(label) == 100
    assert label.f0_hz[50] == 0 and (np.delete(label.f0_hz, 50) == 220).all() and (label.confidence == 0.5).all()
    label = read_f0(write_f0(path, [0, 220.0] * 86, hop_s=256 / 44100, more=",0.3"), 1.0)
    assert label.hop_s == pytest.approx(256 / 44100, rel=1e-5) and label.confidence is None and label.f0_hz[1] == 220


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.500000,220.0\n", "", "f0.csv: its times are not evenly spaced"),
        ("0.500000,220.0", "0.500000,nan", "f0.csv: The pitch label's frame 50 is nan"),
        ("0.500000,220.0", "0.500000,x", "f0.csv does not have 2 numbers per line"),
        ("0.500000,220.0", "0.500000", "f0.csv does not have 2 numbers per line"),
        ("time_s,f0_hz", "f0_hz,time_s", r"f0.csv has the columns \['f0_hz', 'time_s'\]"),
    ],
)
def test_broken_f0_files_are_refused(tmp_path, old, new, message):
    path = write_f0(tmp_path / "f0.csv", [220.0] * 100, header="time_s,f0_hz\n")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(CorpusError, match=message):
        read_f0(path, 1.0)


@pytest.mark.parametrize("frames", [0, 1, 80, 120])
def test_f0_of_another_length_is_refused(tmp_path, frames):
    path = write_f0(tmp_path / "f0.csv", [220.0] * frames)
    with pytest.raises(CorpusError, match=r"f0.csv (lasts from|has \d frames)"):
        read_f0(path, 1.0)


def test_voices_by_globs(tmp_path):
    (tmp_path / "notes.txt").write_text("no audio")
    for name in ("a_1.wav", "a_2.ogg", "deep/b_1.flac"):
        write(tmp_path / name, tone(300, 0.5, 16000), 16000)
    assert [t.song for t in load_voices(tmp_path)] == ["a_1", "a_2", "deep/b_1"]
    assert [t.song for t in load_voices(tmp_path, include=["a_*"], exclude=["*_2"])] == ["a_1"]
    assert [t.song for t in load_voices(tmp_path, exclude=["deep/*"])] == ["a_1", "a_2"]
    with pytest.raises(CorpusError, match="No audio file"):
        load_voices(tmp_path, include=["z*"])
    (tmp_path / "a_1.wav").write_text("text, not audio")
    with pytest.raises(CorpusError, match=r"a_1\.wav cannot be read as audio"):
        load_voices(tmp_path)


def test_music_leaves_out_short_files(tmp_path):
    write(tmp_path / "x" / "long.wav", np.zeros(21 * 1000, np.float32), 1000)
    write(tmp_path / "x" / "effect.wav", np.zeros(2 * 1000, np.float32), 1000)
    tracks = load_music(tmp_path)
    assert [(t.id, t.duration_s) for t in tracks] == [("music/x/long", 21.0)]
    assert len(load_music(tmp_path, min_duration_s=1.0)) == 2
    with pytest.raises(CorpusError, match=r"No piece of at least 20 s among the 1 audio files in .* \(exclude long\)"):
        load_music(tmp_path, exclude=["long"])
    with pytest.raises(CorpusError, match="x/long has no vocals"):
        tracks[0].part("vocals")
