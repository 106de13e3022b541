"""JAMS: valid by its schema, with the pitch curve, lyrics and provenance."""

import numpy as np
from note_readers import load_jams
from transcriptions import SYLLABLES, scale, transcription_of

from majl_hf.export.formats import NOTE_FORMATS
from majl_hf.export.texts import TOOL
from majl_hf.system.provenance import __version__


def test_annotations_and_their_metadata():
    transcription = transcription_of(scale(6), SYLLABLES)
    song = load_jams(NOTE_FORMATS["jams"].render(transcription))
    metadata = song.file_metadata
    assert (metadata.title, metadata.artist, metadata.duration) == ("Lied", "Ädele", transcription.duration_s)
    assert [annotation.namespace for annotation in song.annotations] == ["note_midi", "pitch_contour", "lyrics"]
    for annotation in song.annotations:
        about = annotation.annotation_metadata
        assert (about.annotation_tools, about.version, about.annotator["model"]) == (
            TOOL, __version__, "majl-base@main",
        )  # fmt: skip
        assert (annotation.time, annotation.duration) == (0, transcription.duration_s)
    assert [item.confidence for item in song.annotations[0].data] == [1.0] * 6
    assert song.annotations[0].sandbox.velocity == [80] * 6 and song.annotations[0].sandbox.kind == ["sung"] * 6


def test_the_pitch_contour_has_every_frame():
    transcription = transcription_of(scale(3))
    (contour,) = load_jams(NOTE_FORMATS["jams"].render(transcription)).search(namespace="pitch_contour")
    frames = transcription.frames
    values = [item.value for item in contour.data]
    np.testing.assert_allclose([item.time for item in contour.data], frames.times_s, atol=1e-6)
    np.testing.assert_allclose([value["frequency"] for value in values], frames.f0_hz, atol=5.1e-4)
    assert [value["voiced"] for value in values] == frames.voiced.tolist()
    assert {value["index"] for value in values} == {0} and {item.duration for item in contour.data} == {0}


def test_a_syllable_lasts_over_all_its_notes():
    (lyrics,) = load_jams(NOTE_FORMATS["jams"].render(transcription_of(scale(6), SYLLABLES))).search(namespace="lyrics")
    assert [item.value for item in lyrics.data] == ["Hel", "lo", "world", "你", "été"]
    assert [(item.time, round(item.time + item.duration, 6)) for item in lyrics.data][:3] == [
        (1.0, 1.4), (1.5, 2.4), (2.5, 2.9),
    ]  # fmt: skip
    assert lyrics.sandbox.ends_word == [False, True, True, True, True]
    assert lyrics.sandbox.ends_line == [False, False, True, False, False]
