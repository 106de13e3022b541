import numpy as np
import pytest
from corpus_files import MIR1K_RATE, steady_clip, tone, write, write_label, write_mir1k

from majl_hf.corpora.folder import load_music, load_stems, load_voices
from majl_hf.corpora.mir1k import load_mir1k
from majl_hf.errors import CorpusError

HEADER = "clip,singer,sex,song,duration_s,clip_split,singer_split\n"


@pytest.fixture
def mir1k(tmp_path):
    return write_mir1k(tmp_path / "mir 1k", {"amy_1_01": steady_clip(1.0), "bug_2_01": steady_clip(2.0)})


def write_rows(folder):
    (folder / "clips.csv").write_text(
        HEADER + "amy_1_01,amy,f,amy_1,1.0,train,train\nbug_2_01,bug,m,bug_2,2.0,train,test\n"
    )


# MIR-1K


def test_mir1k_channels_names_and_label_times(mir1k):
    tracks = load_mir1k(mir1k)
    assert [(t.id, t.song, t.singer, t.duration_s, t.sampling_rate) for t in tracks] == [
        ("mir1k/amy_1_01", "amy_1", "amy", 1.0, 16000),
        ("mir1k/bug_2_01", "bug_2", "bug", 2.0, 16000),
    ]
    accompaniment, vocals = steady_clip(1.0)
    np.testing.assert_array_equal(tracks[0].vocals.read(0, 16_000), vocals[None])
    np.testing.assert_array_equal(tracks[0].accompaniment.read(0, 16_000), accompaniment[None])
    assert len(tracks[0].label) == 49


def test_mir1k_line_k_is_centred_at_20_ms_times_k_plus_1(mir1k):
    semitones = np.zeros(49)
    semitones[24] = 69  # centred at 0.5 s
    write_label(mir1k, "amy_1_01", semitones)
    label = load_mir1k(mir1k)[0].label
    f0_hz, weight = label.at(np.array([0.0, 0.011, 0.48, 0.491, 0.5, 0.509, 0.52]))
    np.testing.assert_allclose(f0_hz, [0, 0, 0, 440, 440, 440, 0])
    assert weight.tolist() == [0, 1, 1, 1, 1, 1, 1]


def test_mir1k_selects_by_split(mir1k):
    write_rows(mir1k)
    assert [t.id for t in load_mir1k(mir1k, "singer_split", "test")] == ["mir1k/bug_2_01"]
    assert len(load_mir1k(mir1k, "clip_split", "train")) == 2


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("singer_split", "dev", r"no clip with singer_split = 'dev'; the values there are \['test', 'train'\]"),
        ("fold", "1", "no column 'fold'"),
        ("singer_split", None, "give both"),
    ],
)
def test_mir1k_refuses_impossible_splits(mir1k, column, value, message):
    write_rows(mir1k)
    with pytest.raises(CorpusError, match=message):
        load_mir1k(mir1k, column, value)


def test_mir1k_split_without_csv(mir1k):
    with pytest.raises(CorpusError, match=r"clips\.csv is missing"):
        load_mir1k(mir1k, "singer_split", "test")


def test_mir1k_listed_clip_without_audio(mir1k):
    write_rows(mir1k)
    (mir1k / "Wavfile" / "bug_2_01.wav").unlink()
    with pytest.raises(CorpusError, match="bug_2_01"):
        load_mir1k(mir1k, "singer_split", "test")


@pytest.mark.parametrize(
    ("semitones", "message"),
    [
        (np.full(45, 57.0), "amy_1_01.pv has 45 frames, but its clip of 1.000 s needs 49"),
        (np.full(53, 57.0), "amy_1_01.pv has 53 frames"),
        (np.where(np.arange(49) == 7, np.nan, 57.0), "amy_1_01.pv, number 8 is nan"),
        (np.where(np.arange(49) == 7, -1.0, 57.0), "amy_1_01.pv, number 8 is -1"),
    ],
)
def test_mir1k_refuses_labels_that_do_not_fit(mir1k, semitones, message):
    write_label(mir1k, "amy_1_01", semitones)
    with pytest.raises(CorpusError, match=message):
        load_mir1k(mir1k)


@pytest.mark.parametrize("frames", [46, 52])
def test_mir1k_takes_labels_three_frames_off(mir1k, frames):
    write_label(mir1k, "amy_1_01", np.full(frames, 57.0))
    assert len(load_mir1k(mir1k)[0].label) == frames


def test_mir1k_refuses_missing_broken_or_double_files(mir1k, tmp_path):
    with pytest.raises(CorpusError, match="nowhere does not exist"):
        load_mir1k(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"No audio file in .*Wavfile"):
        load_mir1k(tmp_path / "empty")
    (mir1k / "PitchLabel" / "amy_1_01.pv").write_text("57\nx\n")
    with pytest.raises(CorpusError, match=r"amy_1_01\.pv does not have one number per line"):
        load_mir1k(mir1k)
    (mir1k / "PitchLabel" / "amy_1_01.pv").unlink()
    with pytest.raises(CorpusError, match=r"amy_1_01\.pv is missing"):
        load_mir1k(mir1k)
    write(mir1k / "Wavfile" / "amy_1_01.flac", np.zeros((2, 100), np.float32), MIR1K_RATE)
    with pytest.raises(CorpusError, match="same clip twice"):
        load_mir1k(mir1k)


def test_mir1k_refuses_mono(tmp_path):
    write(tmp_path / "Wavfile" / "a_1_01.wav", tone(220, 1.0, MIR1K_RATE), MIR1K_RATE)
    with pytest.raises(CorpusError, match=r"a_1_01\.wav has 1 channel"):
        load_mir1k(tmp_path)


# Reading


def test_readers_return_the_asked_length_and_pad_with_zeros(mir1k):
    vocals = load_mir1k(mir1k)[0].vocals
    whole = vocals.read(0, 16_000)
    past = vocals.read(12_000, 8_000)
    assert past.shape == (1, 8000) and past.dtype == np.float32
    np.testing.assert_array_equal(past[:, :4000], whole[:, 12000:])
    assert not past[:, 4000:].any()
    before = vocals.read(-4_000, 8_000)
    assert not before[:, :4000].any()
    np.testing.assert_array_equal(before[:, 4000:], whole[:, :4000])
    assert not vocals.read(80_000, 1_600).any()


def test_nan_in_audio_is_refused_with_the_name(mir1k):
    accompaniment, vocals = steady_clip(1.0)
    vocals[500] = np.nan
    write_mir1k(mir1k, {"amy_1_01": (accompaniment, vocals)})
    track = load_mir1k(mir1k)[0]
    with pytest.raises(CorpusError, match=r"amy_1_01\.wav contains NaN"):
        track.vocals.read(0, 8_000)


def test_environment_variables_in_folders(mir1k, monkeypatch):
    monkeypatch.setenv("MAJL_TEST_FOLDER", str(mir1k.parent))
    assert len(load_mir1k("$MAJL_TEST_FOLDER/mir 1k")) == 2
    monkeypatch.delenv("MAJL_TEST_FOLDER")
    with pytest.raises(CorpusError, match="variable is not set"):
        load_mir1k("$MAJL_TEST_FOLDER/mir 1k")


# Stems


@pytest.fixture
def stems(tmp_path):
    stereo = np.stack([tone(300, 1.0, 8000), tone(400, 1.0, 8000)])
    for name in ("Ähre/vocals.wav", "Ähre/accompaniment.flac", "b.c.vocals.wav", "b.c.accompaniment.wav"):
        write(tmp_path / "stems" / name, stereo, 8000)
    return tmp_path / "stems"


def test_stems_in_both_layouts(stems):
    tracks = load_stems(stems)
    assert [t.song for t in tracks] == ["b.c", "Ähre"]
    assert all(t.label is None and t.accompaniment.read(4_000, 2_000).shape == (2, 2000) for t in tracks)
    assert [t.song for t in load_stems(stems, include=["Ähre"])] == ["Ähre"]
    assert [t.song for t in load_stems(stems, exclude=["Ähre"])] == ["b.c"]


def test_stems_refusals(stems, tmp_path):
    with pytest.raises(CorpusError, match="no song 'nope'"):
        load_stems(stems, include=["nope"])
    with pytest.raises(CorpusError, match="leave none of the 2 songs"):
        load_stems(stems, exclude=["Ähre", "b.c"])
    write(stems / "b.c.accompaniment.wav", tone(300, 1.5, 8000), 8000)
    with pytest.raises(CorpusError, match=r"b\.c\.vocals\.wav lasts 1\.000 s .*1\.500 s"):
        load_stems(stems)
    write(stems / "b.c.accompaniment.wav", tone(300, 1.0, 16000), 16000)
    with pytest.raises(CorpusError, match=r"b\.c\.vocals\.wav is at 8000 Hz .*16000 Hz"):
        load_stems(stems)
    (stems / "b.c.accompaniment.wav").unlink()
    with pytest.raises(CorpusError, match=r"b\.c\.vocals\.wav has no accompaniment"):
        load_stems(stems)
    (tmp_path / "none").mkdir()
    with pytest.raises(CorpusError, match="No SONG/vocals"):
        load_stems(tmp_path / "none")


# Voices and music


def test_voices_by_globs(tmp_path):
    for name in ("a_1.wav", "a_2.ogg", "deep/b_1.flac", "notes.txt"):
        path = tmp_path / name
        if path.suffix == ".txt":
            path.write_text("no audio")
        else:
            write(path, tone(300, 0.5, 16000), 16000)
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
