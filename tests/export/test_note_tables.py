"""Tables, labels and arrays of notes: all that a transcription has."""

import csv
import io

import numpy as np
import pytest
from transcriptions import STRANGE, SYLLABLES, scale, transcription_of

from majl_hf.export.formats import NOTE_FORMATS
from majl_hf.export.note_tables import cents_name
from majl_hf.export.texts import one_line
from majl_hf.models.notes_majl import SungNote
from majl_hf.notes.transcription import Tempo

NOTE = SungNote(1.25, 2.5, 69.13, 100, 0.75, "rap", 5.5, 40.0, -150.0, 20.0)


def test_the_texts_of_one_note():
    transcription = transcription_of([NOTE], ['say "a, b"'])
    assert NOTE_FORMATS["csv"].render(transcription).decode() == (
        "onset_s,offset_s,midi,velocity,confidence,kind,vibrato_hz,vibrato_cents,glide_in_cents,glide_out_cents,"
        "text,begins_word,ends_word,ends_line\n"
        '1.250000,2.500000,69.1300,100,0.7500,rap,5.500,40.00,-150.00,20.00,"say ""a, b""",1,1,0\n'
    )
    assert NOTE_FORMATS["labels"].render(transcription) == b'1.250000\t2.500000\tA4+13 say "a, b"\n'
    assert NOTE_FORMATS["sv-csv"].render(transcription) == b'1.250000,69.1300,1.250000,0.7874,"say ""a, b"""\n'
    without = transcription_of([NOTE])
    assert NOTE_FORMATS["csv"].render(without).decode().splitlines()[1].endswith(",20.00")
    assert NOTE_FORMATS["labels"].render(without) == b"1.250000\t2.500000\tA4+13\n"
    assert NOTE_FORMATS["sv-csv"].render(without).endswith(b",A4+13\n")


def test_every_line_is_a_note_whatever_the_text():
    transcription = transcription_of(scale(2), [STRANGE, STRANGE])
    assert NOTE_FORMATS["labels"].render(transcription).decode().splitlines() == [
        f"1.000000\t1.400000\tG♯3+61 {one_line(STRANGE)}".replace("G♯3+61", cents_name(transcription.notes[0].midi)),
        f"1.500000\t1.900000\t{cents_name(transcription.notes[1].midi)} {one_line(STRANGE)}",
    ]
    rows = list(csv.reader(io.StringIO(NOTE_FORMATS["csv"].render(transcription).decode(), newline="")))
    assert [row[10] for row in rows[1:]] == [one_line(STRANGE)] * 2


def test_arrays_have_everything_and_need_no_pickle():
    transcription = transcription_of([NOTE, *scale(5, start_s=3.0)], SYLLABLES, tempo=Tempo(97.3, 0.2, True))
    arrays = np.load(io.BytesIO(NOTE_FORMATS["npz"].render(transcription)), allow_pickle=False)
    for name in NOTE.__dataclass_fields__:
        assert arrays[f"note_{name}"].tolist() == [getattr(note, name) for note in transcription.notes]
    for name in ("text", "begins_word", "ends_word", "ends_line"):
        assert arrays[name].tolist() == [getattr(text, name) for text in SYLLABLES]
    for name in transcription.frames.__dataclass_fields__:
        np.testing.assert_array_equal(arrays[name], getattr(transcription.frames, name))
    assert (arrays["tempo_bpm"], arrays["first_beat_s"], arrays["duration_s"]) == (97.3, 0.2, transcription.duration_s)
    assert (str(arrays["title"]), str(arrays["artist"]), str(arrays["model"])) == ("Lied", "Ädele", "majl-base@main")
    empty = np.load(io.BytesIO(NOTE_FORMATS["npz"].render(transcription_of([]))), allow_pickle=False)
    assert empty["note_midi"].shape == empty["note_kind"].shape == (0,) and "text" not in empty


@pytest.mark.parametrize(
    ("midi", "name"), [(69.0, "A4"), (69.13, "A4+13"), (68.6, "A4-40"), (60.996, "C♯4"), (2.9, "D♯-1-10")]
)
def test_names_with_cents(midi, name):
    assert cents_name(midi) == name


def test_text_is_on_one_line_and_can_be_encoded():
    assert one_line(" a\r\n\tb\x00c\u2028d\x85 ") == "a b c d"
    assert one_line("\ud800x\uffff") == "\ufffdx\ufffd"
    assert one_line("e\u0301 👩‍🎤 中") == "e\u0301 👩‍🎤 中"
