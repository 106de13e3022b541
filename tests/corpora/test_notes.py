"""Notes as frame labels: which frame belongs to which note, and how far each is trusted."""

from pathlib import Path

import numpy as np
import pytest

from majl_hf.corpora.labels import Note
from majl_hf.corpora.notes import KARAOKE_NOTES, SUNG_NOTES, NoteTrust, check_notes, notes_to_label, read_notes
from majl_hf.errors import CorpusError

TRUST = NoteTrust(note=0.9, note_border=0.6, gap=0.8, gap_border=0.3, border_s=0.05)
PATH = Path("song.txt")


def test_a_frame_belongs_to_the_note_at_its_centre():
    label = notes_to_label([Note(0.2, 0.5, 69.0), Note(0.5, 0.7, 57.5)], 1.0, TRUST)
    assert (label.hop_s, label.offset_s, len(label)) == (0.01, 0.0, 101)
    np.testing.assert_array_equal(label.f0_hz[[19, 20, 49]], [0, 440, 440])
    np.testing.assert_allclose(label.f0_hz[[50, 69, 70]], [440 * 2 ** (-11.5 / 12)] * 2 + [0])


def test_confidence_is_low_near_borders_and_between_notes():
    label = notes_to_label([Note(0.3, 0.6, 60.0)], 1.0, TRUST)
    at = dict(zip(np.round(label.times_s, 2), label.confidence, strict=True))
    assert [at[t] for t in (0.0, 0.2, 0.26, 0.29, 0.3, 0.34, 0.45, 0.56, 0.59, 0.6, 0.64, 0.7)] == [
        *(0.8, 0.8, 0.3, 0.3),
        *(0.6, 0.6, 0.9, 0.6, 0.6),
        *(0.3, 0.3, 0.8),
    ]


def test_nothing_is_known_of_speech_and_of_two_pitches_at_once():
    notes = [Note(0.1, 0.5, 60.0), Note(0.4, 0.8, 64.0), Note(0.6, 0.8, 64.0)]
    label = notes_to_label(notes, 1.2, TRUST, unknown=[(0.9, 1.0)])
    nothing = np.flatnonzero(label.confidence == 0)
    assert nothing.tolist() == [*range(40, 50), *range(90, 100)]
    assert label.octave_reliable
    assert not notes_to_label(notes, 1.2, TRUST, octave_reliable=False).octave_reliable


def test_a_note_beyond_the_end_is_cut():
    label = notes_to_label([Note(0.5, 1.2, 60.0)], 1.0, TRUST)
    assert len(label) == 101 and label.f0_hz[-1] > 0


@pytest.mark.parametrize("trust", [SUNG_NOTES, KARAOKE_NOTES])
def test_shipped_trust_is_a_probability_and_lower_at_borders(trust):
    assert 0 < trust.note_border < trust.note < 1
    assert 0 < trust.gap_border < trust.gap < 1


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        ([], "song.txt contains no notes"),
        ([Note(0.1, 0.2, np.nan)], "song.txt, note 1 is .*finite"),
        ([Note(0.1, 0.2, 60), Note(0.5, 0.5, 60)], "note 2 lasts from 0.5 to 0.5 s"),
        ([Note(-0.1, 0.2, 60)], "note 1 lasts from -0.1"),
        ([Note(0.1, 0.2, 0)], "note 1 has pitch 0"),
        ([Note(0.1, 1.6, 60)], "last note ends at 1.60 s, but the audio lasts 1.00 s"),
    ],
)
def test_impossible_notes_are_refused(notes, message):
    with pytest.raises(CorpusError, match=message):
        check_notes(notes, 1.0, PATH)


def test_notes_are_sorted():
    late, early = Note(0.5, 0.6, 60.0), Note(0.1, 0.2, 62.0)
    assert check_notes([late, early], 1.0, PATH) == (early, late)


@pytest.mark.parametrize(
    "text",
    [
        "0.1\t0.2\t60.25\n\n0.5 0.75 61\n",
        "\ufeffonset_s,offset_s,midi,word\n0.1,0.2,60.25,la\n0.5,0.75,61,lo\n",
    ],
)
def test_text_files_of_notes(tmp_path, text):
    path = tmp_path / "notes.txt"
    path.write_text(text, encoding="utf-8")
    assert read_notes(path) == [Note(0.1, 0.2, 60.25), Note(0.5, 0.75, 61.0)]


@pytest.mark.parametrize(("text", "line"), [("0.1 0.2\n", 1), ("0.1 0.2 60\n0.3 x 60\n", 2), ("a b c\nd e f\n", 2)])
def test_broken_text_files_are_refused(tmp_path, text, line):
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(CorpusError, match=rf"notes.txt, line {line} is"):
        read_notes(path)
