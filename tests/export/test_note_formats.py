"""Every format of a transcription: what is written is what is read, also for awkward ones."""

import os
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from note_readers import PICTURES, READERS
from transcriptions import AWKWARD, SYLLABLES, scale, transcription_of
from ultrastar_parser import parse_ultrastar

from majl_hf.errors import AudioError, MajlError
from majl_hf.export.formats import NOTE_FORMATS, NoteWriter, write_note_file
from majl_hf.models.notes_majl import NOTE_KINDS, SungNote
from majl_hf.notes.transcription import NoteText, Tempo
from majl_hf.system.files import commit_together

EXACT = [name for name in READERS if name not in ("ultrastar", "musicxml")]  # to 1 ms and 1 cent


def assert_read_back(name, transcription):
    """Notes are equal to 1 ms and 1 cent."""
    read = READERS[name](NOTE_FORMATS[name].render(transcription))
    written = [(note.onset_s, note.offset_s, note.midi) for note in transcription.notes]
    assert len(read) == len(written)
    if written:
        difference = np.abs(np.subtract(read, written)).max(axis=0)
        assert (difference <= [0.001, 0.001, 0.01]).all(), difference


def test_every_format_has_a_reader_and_an_extension_of_its_own():
    assert {**READERS, **PICTURES}.keys() == NOTE_FORMATS.keys()
    assert len({format.extension for format in NOTE_FORMATS.values()}) == len(NOTE_FORMATS)
    assert all(name == format.name and format.description for name, format in NOTE_FORMATS.items())


@pytest.mark.parametrize("case", AWKWARD)
@pytest.mark.parametrize("name", EXACT)
def test_awkward_transcriptions_are_read_back(name, case):
    assert_read_back(name, AWKWARD[case])


@pytest.mark.parametrize("case", AWKWARD)
@pytest.mark.parametrize("name", ["ultrastar", "musicxml"])
def test_awkward_transcriptions_on_a_grid(name, case):
    transcription = AWKWARD[case]
    if name == "musicxml" and case == "four hours":  # an hour, with fewer notes: music21 needs half a minute
        notes = transcription.notes[:750:20]
        transcription = replace(transcription, notes=notes, tempo=Tempo(20.0))
    if name == "ultrastar" and not transcription.notes:
        with pytest.raises(MajlError, match="no notes"):
            NOTE_FORMATS[name].render(transcription)
        return
    read = READERS[name](NOTE_FORMATS[name].render(transcription))
    if case == "short notes":
        assert 1 <= len(read) < 40
        return
    step_s = 60 / transcription.tempo.bpm / 4
    while name == "ultrastar" and not 0.0375 <= step_s < 0.075:
        step_s *= 2 if step_s < 0.0375 else 0.5
    if name == "musicxml" and step_s > 0.4:  # several notes in a sixteenth
        return
    assert len(read) == len(transcription.notes)
    onsets_s = np.array([note.onset_s for note in transcription.notes])
    late_s = np.array([onset_s for onset_s, _, _ in read]) - onsets_s
    if name == "musicxml" and len(late_s):
        late_s -= late_s[0]  # the score begins at a bar
    assert np.abs(late_s).max(initial=0) <= 1.01 * step_s + 0.0005
    pitches = np.array([midi for _, _, midi in read]) - [note.midi for note in transcription.notes]
    assert np.abs(pitches - np.round(pitches / 12) * 12).max(initial=0) <= 0.5


@st.composite
def transcriptions(draw):
    at_s, notes = draw(st.floats(0, 3)), []
    for _ in range(draw(st.integers(1, 12))):
        at_s += draw(st.one_of(st.just(0.0), st.floats(0, 2)))
        length_s = draw(st.one_of(st.floats(0.004, 0.1), st.floats(0.1, 3)))
        midi, velocity = draw(st.floats(20, 110)), draw(st.integers(1, 127))
        notes.append(SungNote(at_s, at_s + length_s, midi, velocity, kind=draw(st.sampled_from(NOTE_KINDS))))
        at_s += length_s
    texts = st.builds(NoteText, st.text(max_size=6), st.booleans(), st.booleans(), st.booleans())
    lyrics = draw(st.none() | st.lists(texts, min_size=len(notes), max_size=len(notes)))
    bpm = draw(st.floats(20, 999))
    return transcription_of(notes, lyrics, hop_s=0.05, tempo=Tempo(bpm, draw(st.floats(0, 0.999)) * 60 / bpm))


# Without shrinking, which would take minutes.
@settings(max_examples=15, deadline=None, phases=[Phase.generate])
@given(transcriptions())
def test_any_transcription_is_valid_in_every_format(transcription):
    for name in EXACT:
        assert_read_back(name, transcription)
    READERS["musicxml"](NOTE_FORMATS["musicxml"].render(transcription))
    song = parse_ultrastar(NOTE_FORMATS["ultrastar"].render(transcription))
    onsets_s = np.array([note.onset_s for note in transcription.notes])
    for note in song.notes:  # none is further from one of the transcription than half a beat and the delay of one
        assert np.abs(onsets_s - note.onset_s).min() <= 1.5 * 15 / float(song.header["BPM"]) + 0.001


@pytest.mark.parametrize("name", [name for name, format in NOTE_FORMATS.items() if format.package])
def test_a_missing_package_is_named_before_the_work(name, tmp_path, monkeypatch):
    format = NOTE_FORMATS[name]
    monkeypatch.setitem(sys.modules, format.package, None)
    advice = rf"needs {format.package}, which is not installed; run: pip install 'majl_hf\[{format.extra}\]'"
    with pytest.raises(MajlError, match=advice):
        NoteWriter(tmp_path / "a", name)
    with pytest.raises(MajlError, match=advice):
        format.render(AWKWARD["one note"])
    assert os.listdir(tmp_path) == []


def test_files_appear_together_or_not_at_all(tmp_path):
    transcription = transcription_of(scale(6), SYLLABLES, audio=None)
    names = ("csv", "npz", "ultrastar")

    def write(transcription):
        writers = [NoteWriter(tmp_path / f"a{NOTE_FORMATS[name].extension}", name) for name in names]
        try:
            for writer in writers:
                writer.write(transcription)
            commit_together(writers)
        finally:
            for writer in writers:
                writer.discard()

    with pytest.raises(MajlError, match="names its audio"):
        write(transcription)
    assert os.listdir(tmp_path) == []
    write(replace(transcription, audio="a.mp3"))
    assert sorted(os.listdir(tmp_path)) == ["a.notes.csv", "a.npz", "a.txt"]


def test_an_existing_file_is_only_replaced_when_allowed(tmp_path):
    path = tmp_path / "a.mid"
    path.write_text("precious")
    with pytest.raises(AudioError, match="exists already"):
        write_note_file(path, "midi", AWKWARD["one note"])
    with pytest.raises(MajlError, match="bend is 'wheel'"):
        write_note_file(path, "midi", AWKWARD["one note"], overwrite=True, bend="wheel")
    assert path.read_text() == "precious"
    write_note_file(path, "midi", AWKWARD["one note"], overwrite=True)
    assert path.read_bytes() == NOTE_FORMATS["midi"].render(AWKWARD["one note"])
    with pytest.raises(MajlError, match="no note format 'mp3'; choose from midi, "):
        NoteWriter(path, "mp3")


@pytest.mark.parametrize(
    ("notes", "values", "message"),
    [
        ([(0, 1, 60), (0.9, 2, 60)], {}, "Note 2 is from 0.9 to 2 s, and the one before ends at 1 s"),
        ([(1, 1, 60)], {}, "longer than 0 s"),
        ([(-0.1, 1, 60)], {}, "from 0 s on"),
        ([(0, float("inf"), 60)], {}, "Note 1 is from 0 to inf s"),
        ([(0, 1, float("nan"))], {}, "Note 1 has pitch nan"),
        ([(0, 1, 60, 0)], {}, "velocity 0"),
        ([(0, 1, 60)], {"tempo": Tempo(0.0)}, "tempo is 0.0 BPM"),
    ],
)
def test_impossible_notes_are_refused(notes, values, message):
    transcription = replace(AWKWARD["one note"], notes=tuple(SungNote(*note) for note in notes), texts=None, **values)
    for format in NOTE_FORMATS.values():
        with pytest.raises(MajlError, match=message):
            format.render(transcription)
