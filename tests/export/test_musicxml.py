"""MusicXML: what a musician reads in the score."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from note_readers import read_musicxml
from transcriptions import SYLLABLES, scale, transcription_of

from majl_hf.errors import MajlError
from majl_hf.export.formats import NOTE_FORMATS
from majl_hf.notes.transcription import NoteText, Tempo

render = NOTE_FORMATS["musicxml"].render
EIGHTH_S = 0.25  # at 120 BPM


def written(notes, texts=None, **values) -> ElementTree.Element:
    return ElementTree.fromstring(render(transcription_of(notes, texts, **values)))


def melody(*midis, **values) -> ElementTree.Element:
    """Eighth notes."""
    return written([(i * EIGHTH_S, (i + 1) * EIGHTH_S, midi) for i, midi in enumerate(midis)], **values)


def spelled(root) -> list[str]:
    """Pitches of the notes, those with a printed accidental in brackets."""
    names = []
    for note in root.iterfind(".//note[pitch]"):
        name = note.findtext("pitch/step") + {"1": "#", "-1": "b", "0": ""}[note.findtext("pitch/alter", "0")]
        names.append(f"({name})" if note.find("accidental") is not None else name)
    return names


def test_music21_reads_the_score_back():
    from music21 import converter

    transcription = transcription_of(scale(6), SYLLABLES)
    text = render(transcription).decode()
    score = converter.parseData(text, format="musicxml")
    notes = list(score.recurse().notes)
    assert [note.pitch.midi for note in notes] == [round(note.midi) for note in transcription.notes]
    assert [note.lyric for note in notes] == ["Hel", "lo", None, "world", "你", "été"]
    assert (score.metadata.bestTitle, score.metadata.composer) == ("Lied", None)
    assert '<creator type="performer">Ädele</creator>' in text


@pytest.mark.parametrize(
    ("midis", "fifths", "names"),
    [
        ([60, 62, 64, 65, 67, 69, 71, 72] * 2, 0, ["C", "D", "E", "F", "G", "A", "B", "C"] * 2),
        ([65, 67, 69, 70, 72, 74, 76, 77] * 2, -1, ["F", "G", "A", "Bb", "C", "D", "E", "F"] * 2),
        ([68, 70, 72, 73, 75, 77, 79, 80] * 2, -4, ["Ab", "Bb", "C", "Db", "Eb", "F", "G", "Ab"] * 2),
        ([64, 66, 68, 69, 71, 73, 75, 76] * 2, 4, ["E", "F#", "G#", "A", "B", "C#", "D#", "E"] * 2),
        ([62, 64, 66, 67, 69, 71, 73, 74] * 2, 2, ["D", "E", "F#", "G", "A", "B", "C#", "D"] * 2),
        (
            [65, 67, 69, 70, 72, 74, 76, 77] * 6 + [71, 71, 70, 65, 66, 65, 65, 65], -1,
            ["F", "G", "A", "Bb", "C", "D", "E", "F"] * 6 + ["(B)", "B", "(Bb)", "F", "(F#)", "(F)", "F", "F"],
        ),
    ],
)  # fmt: skip
def test_the_key_is_estimated_and_notes_are_spelled_in_it(midis, fifths, names):
    root = melody(*midis)
    assert root.findtext(".//fifths") == str(fifths)
    assert spelled(root) == names


def test_syllables_belong_to_words_and_notes_of_one_are_slurred():
    texts = [*SYLLABLES, NoteText("a", ends_word=False), NoteText("bc", False, False), NoteText("d", False)]
    notes = list(written(scale(9, 0.5, 0.5), texts).iterfind(".//note[pitch]"))
    lyrics = [(note.findtext("lyric/text"), note.findtext("lyric/syllabic")) for note in notes]
    assert lyrics == [
        ("Hel", "begin"), ("lo", "end"), (None, None), ("world", "single"), ("你", "single"), ("été", "single"),
        ("a", "begin"), ("bc", "middle"), ("d", "end"),
    ]  # fmt: skip
    slurs = [[slur.get("type") for slur in note.iterfind(".//slur")] for note in notes]
    assert slurs == [[], ["start"], ["stop"], [], [], [], [], [], []]


def test_short_rests_are_not_written_and_longer_ones_are():
    root = written([(0, 0.9, 60), (1.0, 1.5, 62), (1.75, 2.0, 64)])  # a sixteenth of 0.125 s, an eighth
    durations = [(note.find("rest") is not None, int(note.findtext("duration"))) for note in root.iterfind(".//note")]
    quarter = int(root.findtext(".//divisions"))
    assert durations[:4] == [(False, 2 * quarter), (False, quarter), (True, quarter // 2), (False, quarter // 2)]


def test_the_first_beat_begins_a_bar():
    notes = [(0.3, 0.8, 60), (1.3, 1.8, 62)]
    assert read_musicxml(render(transcription_of(notes, tempo=Tempo(120, 0.3))))[0][0] == 0.0
    notes = [(0.05, 0.3, 60), (0.3, 0.8, 62)]  # an upbeat
    assert [n[0] for n in read_musicxml(render(transcription_of(notes, tempo=Tempo(120, 0.3))))] == [1.75, 2.0]


def test_notes_are_tied_over_bars_and_rap_has_crosses():
    notes = [replace(note, kind=kind) for note, kind in zip(scale(2, 4.0, 3.9), ("sung", "rap"), strict=True)]
    root = written(notes)
    assert len(read_musicxml(render(transcription_of(notes)))) == 2
    pieces = list(root.iterfind(".//note[pitch]"))
    heads = [(note.findtext("pitch/step"), note.findtext("notehead")) for note in pieces]
    assert set(heads) == {("A", None), ("E", "x")} and len(pieces) > 3
    assert sum(note.find("tie") is not None for note in pieces) == len(pieces)


def test_a_note_between_two_quarters_is_divided_at_the_next():
    root = written([(0.25, 0.75, 60), (1.0, 2.0, 62)])
    quarter = int(root.findtext(".//divisions"))
    lengths = [int(note.findtext("duration")) / quarter for note in root.iterfind(".//note[pitch]")]
    assert lengths == [0.5, 0.5, 2.0]


def test_names_are_given_and_nothing_is_made_up():
    text = render(transcription_of([], title='<b> & "q"', artist="")).decode()
    assert re.search(r"<work-title>&lt;b&gt; &amp; \"q\"</work-title>", text)
    assert "<creator" not in text and "Music21" not in text
    assert "<per-minute>120</per-minute>" in text


@pytest.mark.parametrize("midi", [11.0, 132.0])
def test_pitches_beyond_the_octaves_are_refused(midi):
    with pytest.raises(MajlError, match="octaves 0 to 9"):
        render(transcription_of([(0, 1, midi)]))
