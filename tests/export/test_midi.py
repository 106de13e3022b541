"""MIDI: what a synthesizer plays, and what programs show."""

import io

import mido
import numpy as np
import pytest
from note_readers import read_midi
from transcriptions import SYLLABLES, frames_of, scale, transcription_of

from majl_hf.errors import MajlError
from majl_hf.export.formats import NOTE_FORMATS
from majl_hf.models.pitch_majl import hz_to_midi, midi_to_hz
from majl_hf.notes.transcription import Tempo, Transcription

render = NOTE_FORMATS["midi"].render


def gliding(depth_semitones: float, midi: float = 60.3, outlier_midi: float | None = None) -> Transcription:
    """A note from 1 to 2 s that is approached from below and has vibrato; maybe one frame elsewhere."""
    transcription = transcription_of([(1.0, 2.0, midi), (2.5, 3.0, 50.0)])
    frames = frames_of(transcription.notes, transcription.duration_s)
    since_s = frames.times_s[100:200] - 1.0
    contour = midi - depth_semitones * np.exp(-since_s / 0.05) + 0.4 * np.sin(2 * np.pi * 5.5 * since_s)
    frames.f0_hz[100:200] = midi_to_hz(contour)
    if outlier_midi is not None:
        frames.f0_hz[150] = midi_to_hz(outlier_midi)
    return Transcription(transcription.notes, frames, transcription.duration_s)


@pytest.mark.parametrize(("depth", "bend_range"), [(0.0, 2), (1.0, 2), (5.0, 12), (11.0, 12)])
def test_bends_follow_the_pitch_to_a_cent_and_are_not_clipped(depth, bend_range):
    transcription, bends = gliding(depth), []
    content = render(transcription)
    read_midi(content, bends)
    times_s, played = np.array(bends[0]).T
    frames = transcription.frames
    last = np.searchsorted(times_s, frames.times_s[100:200] + 0.001) - 1  # bend that is on at each frame
    assert np.abs(played[last] - hz_to_midi(frames.f0_hz[100:200])).max() <= 0.01
    file = mido.MidiFile(file=io.BytesIO(content))
    assert [m.value for m in file.tracks[1] if m.type == "control_change" and m.control == 6] == [bend_range]


def test_a_frame_an_octave_off_does_not_bend_the_note():
    bends = []
    read_midi(render(gliding(0.0, outlier_midi=60.3 + 12.4)), bends)
    assert max(midi for _, midi in bends[0]) < 61


@pytest.mark.parametrize(("bend", "expected"), [("constant", 60.3), ("none", 60.0)])
def test_bends_can_be_constant_or_left_out(bend, expected):
    bends = []
    notes = read_midi(render(gliding(5.0), bend=bend), bends)
    assert notes[0][2] == pytest.approx(expected, abs=0.001)
    assert [len(of_note) for of_note in bends] == [1, 1]


def test_every_bend_is_reset_at_the_end_of_its_note():
    """Also where the next note begins at once, and unbent."""
    transcription = transcription_of([(1.0, 2.0, 60.4), (2.0, 3.0, 64.0)])
    track = mido.MidiFile(file=io.BytesIO(render(transcription))).tracks[1]
    messages = [(m.type, getattr(m, "pitch", None)) for m in track if m.type in ("note_on", "note_off", "pitchwheel")]
    assert messages == [
        ("pitchwheel", 1638), ("note_on", None), ("note_off", None), ("pitchwheel", 0),
        ("pitchwheel", 0), ("note_on", None), ("note_off", None), ("pitchwheel", 0),
    ]  # fmt: skip


@pytest.mark.parametrize("bpm", [4.0, 20.0, 61.7, 120.0, 999.0])
def test_times_do_not_drift_at_any_tempo(bpm):
    transcription = transcription_of(scale(200, 71.3, 0.37), hop_s=10.0, tempo=Tempo(bpm))
    read = np.array(read_midi(render(transcription)))
    written = [(note.onset_s, note.offset_s) for note in transcription.notes]
    assert np.abs(read[:, :2] - written).max() <= 0.0006
    file = mido.MidiFile(file=io.BytesIO(render(transcription)))
    assert file.length == pytest.approx(transcription.duration_s, abs=0.001)
    assert mido.tempo2bpm(file.tracks[0][1].tempo) == pytest.approx(bpm, rel=1e-5)


def test_lyrics_and_names_are_utf8():
    content = render(transcription_of(scale(6), SYLLABLES, title="Lied\n😀"))
    track = mido.MidiFile(file=io.BytesIO(content), charset="utf-8").tracks[1]
    assert [m.text for m in track if m.type == "lyrics"] == ["Hel", "lo", "world \r", "你 ", "été "]
    assert track.name == "Lied 😀"


def test_what_midi_cannot_express_is_refused():
    with pytest.raises(MajlError, match="more than an octave beyond the pitches of MIDI"):
        render(transcription_of([(0, 1, 140.0)]))
    with pytest.raises(MajlError, match="tempo is 3 BPM"):
        render(transcription_of([(0, 1, 60.0)], tempo=Tempo(3)))
