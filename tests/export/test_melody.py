"""The melody as sound: the right pitch at the right time, the same in any blocks, soft and without clicks."""

import numpy as np
import pytest

from majl_hf.export.melody import LEVEL, Melody, render_melody
from majl_hf.models.decoding_majl import PitchFrames
from majl_hf.models.notes_majl import SungNote
from majl_hf.models.pitch_majl import midi_to_hz

RATE = 22_050


def frames_of(midi, voiced=None):
    midi = np.asarray(midi, dtype=float)
    ones = np.ones(len(midi))
    voiced = ones.astype(bool) if voiced is None else voiced
    return PitchFrames(np.arange(len(midi)) * 0.01, midi_to_hz(midi), ones, ones, voiced)


def rendered(notes, frames=None, seconds=2.0, rate=RATE):
    return np.concatenate(list(render_melody(notes, frames, rate, round(seconds * rate))))


def frequency_hz(sound, rate=RATE):
    """Of the highest peak of the spectrum, exact to a fraction of a bin."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 16 * len(sound)))
    return spectrum.argmax() * rate / (16 * len(sound))


def cents(one_hz, other_hz):
    return 1200 * np.log2(one_hz / other_hz)


NOTES = (
    SungNote(0.1, 0.5, 60.3, 100),
    SungNote(0.5, 0.51, 72.0, 127),  # joined to its neighbours and shorter than a fade
    SungNote(0.51, 1.1, 64.0, 127),
    SungNote(1.9, 2.3, 69.0, 127),  # beyond the end
)


@pytest.mark.parametrize("rate", [8_000, RATE, 96_000])
def test_notes_have_their_pitch_and_place(rate):
    sound = rendered(NOTES, rate=rate)
    assert sound.shape == (2 * rate,) and sound.dtype == np.float32
    assert abs(cents(frequency_hz(sound[round(0.15 * rate) : round(0.5 * rate)], rate), midi_to_hz(60.3))) < 5
    assert abs(cents(frequency_hz(sound[round(0.65 * rate) : round(1.1 * rate)], rate), midi_to_hz(64.0))) < 5
    assert not sound[: round(0.1 * rate)].any() and not sound[round(1.2 * rate) : round(1.9 * rate)].any()


def test_it_follows_the_frames_and_ignores_those_that_do_not_belong():
    times_s = np.arange(200) * 0.01
    contour = 60 + 0.5 * (times_s > 0.8)
    contour[20:25] = 72.0  # an octave off
    voiced = np.ones(200, dtype=bool)
    contour[100:110], voiced[100:110] = 61.9, False
    sound = rendered([SungNote(0.0, 1.6, 60.2)], frames_of(contour, voiced))
    assert abs(cents(frequency_hz(sound[round(0.1 * RATE) : round(0.7 * RATE)]), midi_to_hz(60.0))) < 5
    assert abs(cents(frequency_hz(sound[round(0.85 * RATE) : round(1.5 * RATE)]), midi_to_hz(60.5))) < 5


def test_vibrato_is_heard():
    times_s = np.arange(200) * 0.01
    note = SungNote(0.0, 2.0, 69.0)
    sound = rendered([note], frames_of(69 + 0.5 * np.sin(2 * np.pi * 5 * times_s)))
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 16 * len(sound)))
    level = {hz: spectrum[round(hz * 16 * len(sound) / RATE)] for hz in (435.0, 440.0, 445.0, 437.5)}
    assert level[435.0] > 5 * level[437.5] and level[445.0] > 5 * level[437.5]  # side bands at the vibrato's rate


def test_any_part_alone_is_the_same():
    melody = Melody(NOTES, frames_of(np.linspace(58, 66, 200)), RATE, 2 * RATE)
    whole = melody.samples(0, 2 * RATE)
    for first, stop in ((0, 1), (5_000, 12_345), (12_345, 30_000), (43_000, 44_100), (7, 7)):
        np.testing.assert_array_equal(melody.samples(first, stop), whole[first:stop])
    np.testing.assert_array_equal(np.concatenate(list(melody.blocks())), whole)


def test_no_clicks_and_no_clipping():
    rng = np.random.default_rng(0)
    onsets_s = np.cumsum(rng.uniform(0.02, 0.4, 30))
    notes = [
        SungNote(onset_s, offset_s, midi, velocity=127)
        for onset_s, offset_s, midi in zip(onsets_s, onsets_s[1:], rng.uniform(45, 76, 29), strict=False)
    ]
    contour = frames_of(np.interp(np.arange(800) * 0.01, onsets_s[:-1], [n.midi for n in notes]))
    for frames in (None, contour):
        sound = rendered(notes, frames, onsets_s[-1] + 0.001, 44_100)  # the last note is cut by the end
        assert np.abs(sound).max() <= 2 * LEVEL
        assert np.abs(sound[[0, -1]]).max() < 0.01
        # A click is a step: energy far above the highest harmonic, 5 * 660 Hz.
        spectrum = np.abs(np.fft.rfft(sound.astype(float) * np.hanning(len(sound)))) ** 2
        highs = spectrum[round(9_000 * len(sound) / 44_100) :].sum() / spectrum.sum()
        assert highs < 1e-8
        # The measure sees a step of a tenth of the peak.
        sound[len(sound) // 2 :] += 0.1 * np.abs(sound).max()
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
        assert spectrum[round(9_000 * len(sound) / 44_100) :].sum() / spectrum.sum() > 1e-7


def test_louder_notes_and_rap():
    loud, soft = (np.abs(rendered([SungNote(0.2, 1.0, 60, velocity)])).max() for velocity in (127, 20))
    assert 1.5 * soft < loud < 1
    assert not rendered([SungNote(0.2, 1.0, 60, kind="rap"), SungNote(1.1, 1.4, 60, kind="speech")]).any()
    assert not rendered([]).any()


def test_high_notes_leave_out_harmonics_that_would_alias():
    sound = rendered([SungNote(0.0, 1.9, 93.0)], rate=8_000)  # 1,760 Hz: the third is above half the rate
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    at = np.arange(len(spectrum)) * 8_000 / len(sound)
    others = (np.abs(at - 1_760) > 30) & (np.abs(at - 3_520) > 30)
    assert spectrum[others].max() < 1e-3 * spectrum.max()
