"""Notes on a grid: order, lengths, pitches, keys."""

import numpy as np
import pytest

from majl_hf.models.notes_majl import SungNote
from majl_hf.notes.quantising import Key, estimate_key, estimate_tuning_cents, quantise
from majl_hf.notes.transcription import Tempo

TEMPO = Tempo(bpm=100.0, first_beat_s=0.13)
STEP_S = 0.15


def random_notes(num_notes=200, seed=0, shortest_s=0.02):
    generator = np.random.default_rng(seed)
    times_s = np.cumsum(generator.uniform(shortest_s, 0.5, 2 * num_notes))
    return tuple(
        SungNote(onset_s, offset_s, midi)
        for onset_s, offset_s, midi in zip(
            times_s[::2], times_s[1::2], generator.uniform(48, 72, num_notes), strict=True
        )
    )


def melody(tonic, scale, tuning=0.0, seed=0):
    """Notes of a scale, long on tonic and fifth."""
    generator = np.random.default_rng(seed)
    degrees = generator.choice(scale, 120)
    degrees[-8:] = 0
    onsets_s = 0.5 * np.arange(120)
    return tuple(
        SungNote(onset_s, onset_s + (0.45 if degree in (0, 7) else 0.2), 60 + tonic + degree + tuning)
        for onset_s, degree in zip(onsets_s, degrees, strict=True)
    )


@pytest.mark.parametrize("steps_per_beat", [1, 3, 4])
@pytest.mark.parametrize("shortest_s", [0.02, 0.2])
def test_on_the_grid_in_order_and_never_empty(steps_per_beat, shortest_s):
    notes = random_notes(shortest_s=shortest_s)
    quantised = quantise(notes, TEMPO, steps_per_beat)
    step_s = 60 / TEMPO.bpm / steps_per_beat
    steps = np.array([(note.onset_s, note.offset_s) for note in quantised])
    steps = (steps - TEMPO.first_beat_s) / step_s
    assert len(quantised) == len(notes)
    assert np.allclose(steps, np.round(steps), atol=1e-6)
    assert (steps[:, 1] - steps[:, 0] > 0.5).all()
    assert (steps[1:, 0] >= steps[:-1, 1] - 1e-6).all()
    assert quantised[0].onset_s >= 0


def test_notes_near_the_grid_go_to_its_nearest_lines():
    exact = [SungNote(0.13 + i * STEP_S * 4, 0.13 + (4 * i + 3) * STEP_S, 60.0) for i in range(50)]
    generator = np.random.default_rng(0)
    sung = [
        SungNote(*(np.array([note.onset_s, note.offset_s]) + generator.uniform(-0.07, 0.07, 2)), 60.1) for note in exact
    ]
    for note, wanted in zip(quantise(sung, TEMPO), exact, strict=True):
        assert (note.onset_s, note.offset_s, note.midi) == pytest.approx((wanted.onset_s, wanted.offset_s, 60.0))


def test_both_notes_of_a_fast_pair_move():
    onset_s = TEMPO.first_beat_s + 10 * STEP_S
    pair = [SungNote(onset_s - 0.01, onset_s + 0.02, 60.0), SungNote(onset_s + 0.02, onset_s + 0.4, 62.0)]
    far = SungNote(onset_s + 5 * STEP_S, onset_s + 6 * STEP_S, 60.0)
    first, second, third = quantise([*pair, far], TEMPO)
    assert second.onset_s - first.onset_s == pytest.approx(STEP_S)
    assert abs(first.onset_s - onset_s) <= STEP_S + 1e-9 and abs(second.onset_s - onset_s) <= STEP_S + 1e-9
    assert third.onset_s == pytest.approx(far.onset_s)


@pytest.mark.parametrize("tuning", [-0.45, -0.2, 0.0, 0.3, 0.42])
def test_tuning_is_found_and_removed(tuning):
    generator = np.random.default_rng(0)
    true = generator.integers(50, 70, 100)
    notes = [
        SungNote(i, i + 0.5, float(midi + tuning + error))
        for i, (midi, error) in enumerate(zip(true, generator.normal(0, 0.15, 100), strict=True))
    ]
    assert estimate_tuning_cents(notes) == pytest.approx(100 * tuning, abs=5)
    assert np.mean([note.midi for note in quantise(notes, TEMPO)] == true) > 0.97


def test_tuning_ignores_rap_and_slivers():
    notes = melody(0, (0, 2, 4, 5, 7, 9, 11), tuning=0.25)
    rap = tuple(SungNote(100 + i, 100.9 + i, 60.7, kind="rap") for i in range(100))
    slivers = tuple(SungNote(300 + i, 300.1 + i, 60.8) for i in range(100))
    assert estimate_tuning_cents(notes + rap + slivers) == pytest.approx(25, abs=1)
    assert estimate_tuning_cents(()) == 0


@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize("mode, scale", [("major", (0, 2, 4, 5, 7, 9, 11)), ("minor", (0, 2, 3, 5, 7, 8, 10))])
def test_keys_are_found(tonic, mode, scale):
    assert estimate_key(melody(tonic, scale, tuning=0.3, seed=tonic)) == Key(tonic, mode)


def test_pitches_go_to_the_scale_of_a_key():
    notes = [*melody(2, (0, 2, 4, 5, 7, 9, 11)), SungNote(100.0, 100.5, 63.2)]  # D sharp is not in D major
    assert quantise(notes, TEMPO)[-1].midi == 63
    assert quantise(notes, TEMPO, key=Key(2, "major"))[-1].midi == 64
    assert quantise(notes, TEMPO, key="estimated")[-1].midi == 64


def test_what_cannot_be_quantised():
    assert quantise((), TEMPO) == ()
    with pytest.raises(ValueError, match="steps_per_beat is 0"):
        quantise(random_notes(2), TEMPO, 0)
    with pytest.raises(ValueError, match="'guessed'"):
        quantise(random_notes(2), TEMPO, key="guessed")
    with pytest.raises(ValueError, match="at least one sung note"):
        estimate_key([SungNote(0.0, 1.0, 60.0, kind="speech")])
    with pytest.raises(ValueError, match="tonic 12"):
        Key(12, "major")
