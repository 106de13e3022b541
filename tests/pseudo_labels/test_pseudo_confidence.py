"""Confidences on posteriors and readings made by hand."""

import numpy as np
import pytest

from majl_hf.corpora.labels import PitchLabel
from majl_hf.models.pitch_estimator_majl import PitchEstimatorConfig
from majl_hf.models.pitch_majl import cents_between
from majl_hf.pseudo_labels.reading import PitchReading, row_confidence, view_agreement, vocals_confidence

GRID = PitchEstimatorConfig(first_bin_hz=100.0, bin_cents=40.0, num_bins=61)  # two octaves


def posteriors(*frames: dict[float, float]) -> np.ndarray:
    """Frames by {semitones above 100 Hz, a multiple of 0.4: posterior}."""
    values = np.zeros((len(frames), GRID.num_bins), dtype=np.float32)
    for row, frame in zip(values, frames, strict=True):
        for semitones, posterior in frame.items():
            row[round(semitones * 100 / GRID.bin_cents)] = posterior
    return values


def hz(semitones: float) -> float:
    return 100.0 * 2 ** (semitones / 12)


def test_the_peak_is_near_the_decoded_pitch_and_what_is_left_where_nothing_is_sung():
    reading = PitchReading(
        f0_hz=np.array([hz(4.0), hz(4.0), hz(4.0), hz(12.0)]),
        voiced=np.array([True, True, True, False]),
        hop_s=0.01,
        posteriors=posteriors(
            {4.0: 0.8, 12.0: 0.3},  # decoded at its peak
            {4.4: 0.7, 4.8: 0.9},  # 0.4 semitones off counts, 0.8 does not
            {12.0: 0.9},  # decoded where there is no peak, as a decoder may
            {12.0: 0.25, 4.0: 0.1},  # unvoiced: the largest posterior is against it
        ),
        grid=GRID,
    )
    assert reading.agreement_with(reading.label) == pytest.approx([0.8, 0.7, 0.0, 0.75], abs=1e-6)


def test_a_teacher_without_posteriors_counts_by_its_certainty_or_voicing():
    f0_hz, voiced = np.array([200.0, 200.0, 200.0]), np.array([True, True, False])
    certain = PitchReading(f0_hz, voiced, 0.01, certainty=np.array([0.9, 0.6, 0.2]))
    assert certain.agreement_with(certain.label) == pytest.approx([0.9, 0.6, 0.8])
    unsure = PitchReading(f0_hz, voiced, 0.01)
    assert unsure.agreement_with(unsure.label).tolist() == [1.0, 1.0, 1.0]
    label = PitchLabel(np.array([200.0, 400.0, 0.0]), 0.01)
    assert certain.agreement_with(label) == pytest.approx([0.9, 0.0, 0.8])
    folded = PitchLabel(np.array([200.0, 400.0, 0.0]), 0.01, octave_reliable=False)
    assert certain.agreement_with(folded) == pytest.approx([0.9, 0.6, 0.8])


def test_agreement_reads_the_frame_nearest_to_the_label_and_its_octave():
    reading = PitchReading(
        np.full(4, hz(4.0)), np.ones(4, dtype=bool), 0.01, posteriors=posteriors({4.0: 0.1}, {4.0: 0.2}, {4.0: 0.3},
        {16.0: 0.9, 4.0: 0.4}), grid=GRID,
    )  # fmt: skip
    label = PitchLabel(np.array([hz(4.0), hz(4.0), 0.0]), 0.02, offset_s=0.012)  # at 12, 32 and 52 ms
    assert reading.agreement_with(label) == pytest.approx([0.2, 0.4, 0.1], abs=1e-6)
    label = PitchLabel(np.array([hz(4.0), hz(4.0), 0.0]), 0.02, offset_s=0.012, octave_reliable=False)
    assert reading.agreement_with(label) == pytest.approx([0.2, 0.9, 0.1], abs=1e-6)


def test_views_agree_in_voicing_and_within_50_cents():
    def view(cents: list[float], voiced: list[bool]) -> PitchReading:
        return PitchReading(200.0 * 2 ** (np.array(cents) / 1200), np.array(voiced), 0.01)

    reading = view([0, 0, 0, 0], [True, True, False, False])
    views = [
        view([40, 60, 0, 0], [True, True, False, True]),
        view([0, 0, 900, 0], [False, True, False, True]),
        view([-49, 1200, 0, 0], [True, True, False, False]),
        view([0, 0, 0, 0], [True, True, True, True]),
    ]
    assert view_agreement(reading, views).tolist() == [0.75, 0.5, 0.75, 0.25]
    assert view_agreement(reading, []).tolist() == [1.0] * 4


def test_a_view_is_mapped_back_in_time_and_pitch():
    """A glide of two octaves per second, read 1.2 times as fast: every frame is off without either mapping."""
    speed, hop_s = 1.2, 0.01

    def glide(times_s: np.ndarray) -> np.ndarray:
        return 100.0 * 2 ** (2.0 * times_s)

    reading = PitchReading(glide(hop_s * np.arange(100)), np.ones(100, dtype=bool), hop_s)
    played = PitchReading(speed * glide(speed * hop_s * np.arange(84)), np.ones(84, dtype=bool), hop_s)
    assert view_agreement(reading, [played.at_speed(speed)]).tolist() == [1.0] * 100
    assert view_agreement(reading, [played]).mean() < 0.1


def test_confidence_of_vocals_is_averaged_and_asks_trusted_labels():
    agreement = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    # 0.06 s of 0.02 s: one frame to each side
    assert vocals_confidence(agreement, None, 0.02, 0.06) == pytest.approx([1, 1, 2 / 3, 1 / 3, 0, 0])
    assert vocals_confidence(agreement, None, 0.02, 0.0).tolist() == agreement.tolist()
    weights = np.array([1.0, 1.0, 0.5, 0.25, 0.0, 0.0])
    expected = [1.0, 1.0, (1 + 0.5) / 1.75, 0.5 / 0.75, 0.0, 0.0]  # at the end the label is unknown
    assert vocals_confidence(agreement, weights, 0.02, 0.06) == pytest.approx(expected)


def test_a_row_is_judged_where_it_is_sung():
    confidence = np.array([1.0, 1.0, 1.0, 0.2, 0.4])
    assert row_confidence(confidence, np.array([0, 0, 0, 1, 1], dtype=bool)) == pytest.approx(0.3)
    assert row_confidence(confidence, np.zeros(5, dtype=bool)) == pytest.approx(0.72)


def test_distance_of_pitches():
    first, second = np.array([200.0, 0.0, 400.0, 150.0]), np.array([200.0, 200.0, 100.0, 100.0])
    assert cents_between(first, second) == pytest.approx([0.0, np.inf, 2400.0, 701.955], abs=1e-3)
    assert cents_between(first, second, fold_octaves=True) == pytest.approx([0.0, np.inf, 0.0, 498.045], abs=1e-3)
