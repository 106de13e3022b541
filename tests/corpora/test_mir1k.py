"""MIR-1K, and how the audio of any corpus is read."""

import numpy as np
import pytest
from corpus_files import MIR1K_RATE, steady_clip, tone, write, write_label, write_mir1k

from majl_hf.corpora.mir1k import load_mir1k
from majl_hf.errors import CorpusError
from majl_hf.rows.convert import track_to_row

CLIPS = """clip,singer,sex,song,duration_s,clip_split,singer_split
amy_1_01,amy,f,amy_1,1.0,train,train
bug_2_01,bug,m,bug_2,2.0,train,test
"""


@pytest.fixture
def mir1k(tmp_path):
    return write_mir1k(tmp_path / "mir 1k", {"amy_1_01": steady_clip(1.0), "bug_2_01": steady_clip(2.0)})


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
    row = track_to_row(tracks[0])
    assert row["label_kind"] == "full" and "by hand" in row["provenance"]


def test_mir1k_line_k_is_centred_at_20_ms_times_k_plus_1(mir1k):
    semitones = np.zeros(49)
    semitones[24] = 69  # centred at 0.5 s
    write_label(mir1k, "amy_1_01", semitones)
    label = load_mir1k(mir1k)[0].label
    f0_hz, weight = label.at(np.array([0.0, 0.011, 0.48, 0.491, 0.5, 0.509, 0.52]))
    np.testing.assert_allclose(f0_hz, [0, 0, 0, 440, 440, 440, 0])
    assert weight.tolist() == [0, 1, 1, 1, 1, 1, 1]


def test_mir1k_selects_by_split_and_takes_it_from_the_requested_column(mir1k):
    assert [t.split for t in load_mir1k(mir1k)] == ["", ""]
    with pytest.raises(CorpusError, match=r"clips\.csv is missing"):
        load_mir1k(mir1k, "singer_split", "test")
    (mir1k / "clips.csv").write_text(CLIPS)
    assert [t.id for t in load_mir1k(mir1k, "singer_split", "test")] == ["mir1k/bug_2_01"]
    assert len(load_mir1k(mir1k, "clip_split", "train")) == 2
    assert [t.split for t in load_mir1k(mir1k)] == ["train", "test"]
    assert [t.split for t in load_mir1k(mir1k, split_from="clip_split")] == ["train", "train"]
    for column, value, message in (
        ("singer_split", "dev", r"no clip with singer_split = 'dev'; the values there are \['test', 'train'\]"),
        ("fold", "1", "no column 'fold'"),
        ("singer_split", None, "give both"),
    ):
        with pytest.raises(CorpusError, match=message):
            load_mir1k(mir1k, column, value)
    with pytest.raises(CorpusError, match="no column 'fold'"):
        load_mir1k(mir1k, split_from="fold")
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
    for frames in (46, 52):  # three off
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
    write(mir1k / "Wavfile" / "amy_1_01.wav", tone(220, 1.0, MIR1K_RATE), MIR1K_RATE)
    with pytest.raises(CorpusError, match=r"amy_1_01\.wav has 1 channel"):
        load_mir1k(mir1k)
    write(mir1k / "Wavfile" / "amy_1_01.flac", np.zeros((2, 100), np.float32), MIR1K_RATE)
    with pytest.raises(CorpusError, match="same clip twice"):
        load_mir1k(mir1k)


# Reading


def test_readers_return_the_requested_length_and_pad_with_zeros(mir1k):
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
