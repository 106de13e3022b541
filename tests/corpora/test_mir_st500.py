"""MIR-ST500: notes in one JSON file, audio from the user."""

import json

import numpy as np
import pytest
from corpus_files import tone, write

from majl_hf.corpora.labels import Note
from majl_hf.corpora.mir_st500 import load_mir_st500
from majl_hf.errors import CorpusError
from majl_hf.rows.convert import row_to_track, track_to_row

RATE = 8000
NOTES = {"2": [[0.1, 0.4, 60]], "401": [[0.2, 0.5, 62], [0.5, 0.9, 64]]}


@pytest.fixture
def corpus(tmp_path):
    write(tmp_path / "train" / "2" / "Mixture.ogg", tone(300, 1.0, RATE), RATE)
    write(tmp_path / "train" / "2" / "Vocal.wav", tone(300, 1.0, RATE), RATE)
    write(tmp_path / "401.flac", tone(300, 1.0, RATE), RATE)
    annotate(tmp_path, NOTES)
    return tmp_path


def annotate(folder, notes):
    (folder / "MIR-ST500_corrected.json").write_text(json.dumps(notes))


def test_songs_become_labelled_mixtures_in_order_of_number(corpus):
    tracks = load_mir_st500(corpus)
    assert [(t.id, t.split, t.label_kind) for t in tracks] == [
        ("mir_st500/002", "train", "pitch"),
        ("mir_st500/401", "test", "pitch"),
    ]
    assert tracks[0].mixture.path.name == "Mixture.ogg"
    assert tracks[1].notes == (Note(0.2, 0.5, 62.0), Note(0.5, 0.9, 64.0))
    np.testing.assert_allclose(tracks[1].label.f0_hz[[19, 20, 50, 90]], [0, 293.6648, 329.6276, 0], rtol=1e-6)
    assert tracks[1].label.confidence.max() < 1 and tracks[1].label.octave_reliable
    again = row_to_track(track_to_row(tracks[1]))
    assert again.notes == tracks[1].notes and again.label_kind == "pitch"


def test_the_annotations_may_be_elsewhere(corpus, tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "notes.json"
    (corpus / "MIR-ST500_corrected.json").rename(path)
    with pytest.raises(CorpusError, match=r"No MIR-ST500_corrected\.json or MIR-ST500\.json"):
        load_mir_st500(corpus)
    assert len(load_mir_st500(corpus, annotations=path)) == 2


def test_songs_without_audio_are_reported_or_left_out(corpus):
    annotate(corpus, {**NOTES, "3": [[0, 1, 60]]})
    with pytest.raises(CorpusError, match=r"1 of 3 recordings .*\n.*/003: Song 3 has no audio in .*missing_ok"):
        load_mir_st500(corpus)
    assert [track.song for track in load_mir_st500(corpus, missing_ok=True)] == ["002", "401"]


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        ({"2": NOTES["2"]}, r"401.flac has no notes"),
        ({**NOTES, "401": [[0.2, 1.9, 62]]}, r"Song 401 .*401.flac: the last note ends at 1.90 s"),
        ({**NOTES, "401": []}, r"401.flac contains no notes"),
        ({**NOTES, "401": [[0.2, None, 62]]}, r"corrected.json is not the JSON of MIR-ST500"),
        ({**NOTES, "401": [[0.2, 0.5]]}, r"corrected.json is not the JSON of MIR-ST500"),
        ([1, 2], r"corrected.json is not the JSON of MIR-ST500"),
        ({}, r"corrected.json contains no song"),
    ],
)
def test_broken_annotations_are_refused(corpus, notes, message):
    annotate(corpus, notes)
    with pytest.raises(CorpusError, match=message):
        load_mir_st500(corpus)


def test_nan_and_audio_twice_or_nowhere(corpus, tmp_path_factory):
    (corpus / "MIR-ST500_corrected.json").write_text('{"2": [[0.1, NaN, 60]], "401": [[0.2, 0.5, 62]]}')
    with pytest.raises(CorpusError, match=r"Song 2 .*note 1 is .*finite"):
        load_mir_st500(corpus)
    annotate(corpus, NOTES)
    write(corpus / "2.wav", tone(300, 1.0, RATE), RATE)
    (corpus / "train" / "2" / "Mixture.ogg").unlink()
    with pytest.raises(CorpusError, match=r"Song 2 has 2 audio files"):
        load_mir_st500(corpus)
    empty = tmp_path_factory.mktemp("empty")
    annotate(empty, NOTES)
    with pytest.raises(CorpusError, match=r"No audio called ID"):
        load_mir_st500(empty)
