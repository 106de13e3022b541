"""Pictures of notes: bars at their pitch and time, the curve, words; and unusual transcriptions."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from note_readers import NOTE_COLOUR, near, note_bars, note_pixels, pixels
from transcriptions import AWKWARD, SYLLABLES, scale, transcription_of

from majl_hf.errors import MajlError
from majl_hf.export import note_plot
from majl_hf.export.formats import NOTE_FORMATS
from majl_hf.export.note_plot import LINE_S, curve_midi, midi_in_view, minutes_and_seconds, png, svg

RATE = 8_000
CURVE_COLOUR = (0x35, 0xE0, 0xFF)


def test_bars_are_at_their_time_and_pitch():
    transcription = transcription_of([(1.0, 2.0, 60.0), (3.0, 4.0, 67.0)], title="", artist="")
    frames = replace(transcription.frames, voiced=np.zeros(len(transcription.frames), dtype=bool))
    bars = near(pixels(png(replace(transcription, frames=frames))), NOTE_COLOUR)
    left, inner = (note_plot.DPI * size for size in (note_plot.LEFT_IN, note_plot.WIDTH_IN))
    columns = np.flatnonzero(bars.any(axis=0))
    times_s = (columns - left) / inner * transcription.duration_s
    assert times_s[[0, -1]] == pytest.approx([1.0, 4.0], abs=0.02)
    assert not ((times_s > 2.02) & (times_s < 2.98)).any()
    low, high = midi_in_view(transcription)
    first, second = (
        np.flatnonzero(bars[:, columns[part]].any(axis=1)).mean() for part in (times_s < 2.5, times_s > 2.5)
    )
    semitone = note_plot.DPI * max(note_plot.LEAST_HEIGHT_IN, note_plot.SEMITONE_IN * (high - low)) / (high - low)
    assert (first - second) / semitone == pytest.approx(7.0, abs=0.1)


def test_uncertain_notes_are_fainter_and_rap_is_an_outline():
    def strength(**values):
        transcription = transcription_of([replace(scale(1)[0], **values)])
        return note_pixels(png(transcription))

    assert strength(confidence=1.0) > 3 * strength(confidence=0.0)
    assert strength(confidence=1.0) > 3 * strength(kind="rap")


def test_the_curve_is_drawn_where_the_voice_sounds_and_breaks_at_leaps():
    transcription = transcription_of([(0.5, 1.0, 60.0), (1.0, 1.5, 67.0)])
    curve = curve_midi(transcription)
    voiced = transcription.frames.voiced
    assert np.isnan(curve[~voiced]).all()
    assert np.isnan(curve[voiced]).sum() == 2  # where it begins, an octave from before, and the leap
    assert near(pixels(png(transcription)), CURVE_COLOUR, 60).sum() > 100


def test_a_song_is_drawn_in_lines(monkeypatch):
    monkeypatch.setattr(note_plot, "MAX_LINES", 3)
    monkeypatch.setattr(note_plot, "DPI", 20)

    def height(duration_s):
        return pixels(png(replace(transcription_of(scale(2)), duration_s=duration_s))).shape[0]

    one, two = height(LINE_S), height(1.5 * LINE_S)
    assert two - one > 40
    assert height(LINE_S / 10) == one
    assert height(3 * LINE_S) == height(40 * LINE_S) == pytest.approx(one + 2 * (two - one), abs=3)


@pytest.mark.parametrize("case", AWKWARD)
def test_awkward_transcriptions(case, monkeypatch):
    transcription = AWKWARD[case]
    if case == "four hours":  # to draw faster
        monkeypatch.setattr(note_plot, "MAX_LINES", 1)
        transcription = replace(transcription, notes=transcription.notes[::20])
    assert note_bars(svg(transcription)) == len(transcription.notes)


def test_words_are_text_in_svg_and_the_spectrogram_is_inside():
    transcription = transcription_of(scale(6), SYLLABLES)
    content = svg(transcription, np.random.default_rng(0).normal(size=(2, 4 * RATE)), RATE).decode()
    assert "Hel-" in content and "你" in content and "Ädele – Lied" in content
    assert "data:image/png;base64" in content
    assert content == svg(transcription, np.random.default_rng(0).normal(size=(2, 4 * RATE)), RATE).decode()


@pytest.mark.parametrize(("step_s", "num_rows"), [(1.0, 1), (0.5, 2), (0.2, 4)])
def test_words_that_are_close_are_below_each_other(step_s, num_rows):
    notes = [(number * step_s, (number + 0.9) * step_s, 60.0) for number in range(12)]
    transcription = replace(transcription_of(notes, ["through"] * 12), duration_s=LINE_S)
    root = ElementTree.fromstring(svg(transcription))
    texts = [text for text in root.iter("{http://www.w3.org/2000/svg}text") if text.text == "through"]
    rows: dict[int, list[float]] = {}
    for text in texts:
        rows.setdefault(round(float(text.get("y"))), []).append(float(text.get("x")))
    assert len(texts) == 12 and len(rows) == num_rows
    assert min(np.diff(sorted(rows)), default=10) >= 10  # points; the letters are 8 high
    assert all(np.diff(places).min() > 33 for places in rows.values())  # and the word 33 wide


def test_the_view_has_room_around_the_notes():
    low, high = midi_in_view(transcription_of([(0, 1, 60.0), (1, 2, 62.0)]))
    assert high - low == pytest.approx(note_plot.MIN_SEMITONES) and (low + high) / 2 == pytest.approx(61)
    low, high = midi_in_view(AWKWARD["no notes"])
    assert low < 40 and high > 90
    assert [minutes_and_seconds(s) for s in (0, 59.7, 187.2)] == ["0:00", "1:00", "3:07"]


@pytest.mark.parametrize("name", ["png", "svg", "html"])
def test_vocals_need_samples_and_their_rate(name):
    render = NOTE_FORMATS[name].render
    with pytest.raises(MajlError, match="sampling rate None"):
        render(AWKWARD["one note"], vocals=np.zeros(100))
    with pytest.raises(MajlError, match="no samples"):
        render(AWKWARD["one note"], vocals=np.zeros(0), sampling_rate=RATE)
