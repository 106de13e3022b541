import numpy as np
import pytest

from majl_hf.corpora.labels import PitchLabel
from majl_hf.errors import MajlError
from majl_hf.models.pitch_majl import midi_to_hz


def test_semitones_to_hz():
    np.testing.assert_allclose(midi_to_hz([69, 57, 81, 0]), [440, 220, 880, 0], rtol=1e-12)


def test_frame_k_stands_at_offset_plus_k_hops():
    label = PitchLabel(np.array([100.0, 0.0, 300.0]), hop_s=0.02, offset_s=0.02)
    np.testing.assert_allclose(label.times_s, [0.02, 0.04, 0.06])
    f0_hz, weight = label.at(label.times_s)
    np.testing.assert_allclose(f0_hz, [100, 0, 300])
    assert weight.tolist() == [1, 1, 1]


def test_interpolates_in_cents_between_voiced_frames():
    label = PitchLabel(np.array([200.0, 400.0]), hop_s=0.02)
    f0_hz, _ = label.at(np.array([0.0, 0.005, 0.01, 0.02]))
    np.testing.assert_allclose(f0_hz, [200, 200 * 2**0.25, 200 * 2**0.5, 400], rtol=1e-9)


def test_next_to_silence_the_nearest_frame_decides():
    label = PitchLabel(np.array([200.0, 0.0, 300.0]), hop_s=0.02)
    f0_hz, weight = label.at(np.array([0.009, 0.011, 0.029, 0.031]))
    np.testing.assert_allclose(f0_hz, [200, 0, 0, 300])
    assert weight.all()


def test_a_part_keeps_the_frames_times():
    label = PitchLabel(np.array([100.0, 110.0, 120.0, 130.0, 140.0]), hop_s=0.02, offset_s=0.01)
    part = label.between(0.04, 0.08)
    assert part.f0_hz.tolist() == [120.0, 130.0]
    np.testing.assert_allclose(part.times_s, [0.01, 0.03], atol=1e-12)
    weighed = PitchLabel(np.full(5, 100.0), hop_s=0.02, confidence=np.linspace(0, 1, 5)).between(0.02, 0.06)
    assert weighed.confidence.tolist() == [0.25, 0.5, 0.75]


def test_weight_ends_half_a_hop_beyond_the_label():
    label = PitchLabel(np.array([200.0, 200.0]), hop_s=0.02, offset_s=0.1)
    f0_hz, weight = label.at(np.array([0.0, 0.089, 0.091, 0.129, 0.131, 9.0]))
    assert weight.tolist() == [0, 0, 1, 1, 0, 0]
    np.testing.assert_allclose(f0_hz, [0, 0, 200, 200, 0, 0])


@pytest.mark.parametrize(
    ("f0_hz", "hop_s", "message"),
    [
        ([], 0.02, "at least 1"),
        ([[1.0]], 0.02, r"shape \(1, 1\)"),
        ([1.0, np.nan], 0.02, "frame 1 is nan"),
        ([-1.0], 0.02, "frame 0 is -1.0"),
        ([1.0], 0.0, "hop is 0.0 s"),
    ],
)
def test_refuses(f0_hz, hop_s, message):
    with pytest.raises(MajlError, match=message):
        PitchLabel(np.array(f0_hz), hop_s)
