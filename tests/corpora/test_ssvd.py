"""SSVD: solo recordings with notes."""

import pytest
from corpus_files import tone, write

from majl_hf.corpora.labels import Note
from majl_hf.corpora.ssvd import load_ssvd
from majl_hf.errors import CorpusError
from majl_hf.rows.convert import row_to_track, track_to_row

RATE = 16000


@pytest.fixture
def ssvd(tmp_path):
    for name, text in {"1217": "0.1000\t0.4000\t57.25\n", "man1_bell": "0.2 0.3 60\n0.5 0.9 62.5\n"}.items():
        write(tmp_path / f"{name}.ogg", tone(220, 1.0, RATE), RATE)
        (tmp_path / f"{name}.txt").write_text(text)
    return tmp_path


def test_recordings_with_notes_become_labelled_vocals(ssvd):
    tracks = load_ssvd(ssvd)
    assert [(t.id, t.song, t.singer, t.label_kind) for t in tracks] == [
        ("ssvd/1217", "1217", "", "vocals"),
        ("ssvd/man1_bell", "bell", "man1", "vocals"),
    ]
    assert tracks[0].notes == (Note(0.1, 0.4, 57.25 - 0.23),)
    assert tracks[0].label.f0_hz[20] == pytest.approx(440 * 2 ** (-11.98 / 12))  # 23 cents below the note
    assert load_ssvd(ssvd, as_published=True)[0].label.f0_hz[20] == pytest.approx(440 * 2 ** (-11.75 / 12))
    assert tracks[0].label.octave_reliable
    again = row_to_track(track_to_row(tracks[1]))
    assert again.notes == tracks[1].notes and again.label_kind == "vocals" and again.singer == "man1"


def test_recordings_whose_notes_are_mistuned_come_without_a_label(ssvd):
    for name in ("man1_bell.ogg", "man1_bell.txt"):
        (ssvd / name).rename(ssvd / name.replace("man1_bell", "man1_twinkle"))
    track = load_ssvd(ssvd)[1]
    assert (track.song, track.label, track.notes, track.label_kind) == ("twinkle", None, None, "vocals")
    assert "mistuned" in track_to_row(track)["provenance"]
    assert load_ssvd(ssvd, as_published=True)[1].label is not None


def test_what_does_not_fit_is_refused(ssvd, tmp_path):
    (ssvd / "1217.txt").write_text("0.1 1.9 57\n")
    with pytest.raises(CorpusError, match=r"1217.txt: the last note ends at 1.90 s, but the audio lasts 1.00 s"):
        load_ssvd(ssvd)
    (ssvd / "1217.txt").write_text("0.1 0.9 nan\n")
    with pytest.raises(CorpusError, match=r"1217.txt, note 1"):
        load_ssvd(ssvd)
    (ssvd / "1217.txt").unlink()
    with pytest.raises(CorpusError, match=r"1217.txt is missing"):
        load_ssvd(ssvd)
    (ssvd / "1217.ogg").unlink()
    (ssvd / "7.txt").write_text("0.1 0.9 60\n")
    with pytest.raises(CorpusError, match=r"7.txt has no recording"):
        load_ssvd(ssvd)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="No audio file"):
        load_ssvd(tmp_path / "empty")
