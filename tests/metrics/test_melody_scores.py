"""Golden values of the melody metrics, and the alignment of frames."""

import numpy as np
import pytest

from majl_hf.errors import EvaluationError
from majl_hf.metrics.melody import melody_scores

TIMES_S = np.arange(4) * 0.02


def cents(f0_hz, difference):
    return np.asarray(f0_hz) * 2 ** (difference / 1200)


def test_golden_values():
    # One unsung frame, estimated as unsung; then: right; an octave up; right but estimated as unsung.
    scores = melody_scores(TIMES_S, [0, 220, 220, 220], TIMES_S, [100, 220, 440, 221], [False, True, True, False])
    assert scores == pytest.approx({"rpa": 2 / 3, "rca": 1.0, "oa": 1 / 2, "vr": 2 / 3, "vfa": 0.0}, abs=1e-12)


@pytest.mark.filterwarnings("ignore:Estimated melody has no voiced frames")
def test_raw_accuracies_do_not_depend_on_voicing():
    f0_hz = np.array([220.0, 330.0, 247.0, 196.0])
    scores = melody_scores(TIMES_S, f0_hz, TIMES_S, f0_hz, np.zeros(4, dtype=bool))
    assert scores == {"rpa": 1.0, "rca": 1.0, "oa": 0.0, "vr": 0.0, "vfa": 0.0}


@pytest.mark.parametrize(("off_cents", "hit"), [(49.99, 1.0), (-49.99, 1.0), (50.01, 0.0), (-50.01, 0.0)])
def test_a_hit_is_under_50_cents(off_cents, hit):
    f0_hz = np.array([220.0, 330.0, 247.0, 196.0])
    assert melody_scores(TIMES_S, f0_hz, TIMES_S, cents(f0_hz, off_cents), np.ones(4))["rpa"] == hit


def test_false_alarms():
    scores = melody_scores(TIMES_S, [0, 0, 0, 220], TIMES_S, [220] * 4, [True, False, False, True])
    assert scores["vfa"] == pytest.approx(1 / 3)
    assert scores["oa"] == pytest.approx(3 / 4)


class TestTenMillisecondsOnTwenty:
    """A 10 ms estimate against labels every 20 ms whose first frame is at 0.02 s, as in MIR-1K."""

    num_labels = 2000
    label_s = 0.02 * (np.arange(num_labels) + 1)
    grid_s = np.arange(2 * num_labels + 5) * 160 / 16000
    generator = np.random.default_rng(11)
    label_hz = generator.uniform(100, 800, num_labels) * (generator.random(num_labels) < 0.7)

    def estimate(self, shift_frames=0):
        """Right where frames coincide; two octaves off, and with the opposite voicing, in the frames between."""
        f0_hz = np.full(len(self.grid_s), 2000.0)
        voiced = np.zeros(len(self.grid_s), dtype=bool)
        at = 2 * (np.arange(self.num_labels) + 1) + shift_frames
        f0_hz[at] = np.where(self.label_hz > 0, self.label_hz, 50.0)
        voiced[at] = self.label_hz > 0
        voiced[at + 1] = ~voiced[at]
        # mir_eval repeats the first label at 0 s.
        f0_hz[0], voiced[0] = f0_hz[at[0]], voiced[at[0]]
        return f0_hz, voiced

    def test_coinciding_frames_are_compared_exactly(self):
        scores = melody_scores(self.label_s, self.label_hz, self.grid_s, *self.estimate())
        assert scores == {"rpa": 1.0, "rca": 1.0, "oa": 1.0, "vr": 1.0, "vfa": 0.0}

    def test_one_frame_of_shift_is_seen(self):
        scores = melody_scores(self.label_s, self.label_hz, self.grid_s, *self.estimate(shift_frames=1))
        assert scores["rpa"] < 0.1


def test_an_estimate_that_ends_early_is_held_up_to_the_references_last_frame():
    scores = melody_scores(TIMES_S, [220.0] * 4, TIMES_S[:2], [220.0] * 2, [True, True])
    assert scores["vr"] == pytest.approx(3 / 4)
    assert scores["rpa"] == pytest.approx(3 / 4)


def test_a_reference_without_singing_is_skipped():
    assert melody_scores(TIMES_S, np.zeros(4), TIMES_S, np.full(4, 100.0), np.zeros(4)) is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((TIMES_S, [220] * 4, TIMES_S, [220, 0, 220, 220], [1] * 4), "1 of 4 frames at 0 Hz"),
        ((TIMES_S, [220] * 4, TIMES_S, [220] * 4, [1] * 3), r"voiced has shape \(3,\)"),
        ((TIMES_S, [220] * 4, TIMES_S[::-1], [220] * 4, [1] * 4), "estimate's times"),
        ((TIMES_S, [220, -220, 0, 0], TIMES_S, [220] * 4, [1] * 4), "negative"),
        ((TIMES_S, [np.nan] * 4, TIMES_S, [220] * 4, [1] * 4), "reference contains NaN"),
        ((TIMES_S, [220] * 4, TIMES_S[:1], [220], [1]), "at least 2 frames"),
    ],
)
def test_what_cannot_be_scored_is_refused(arguments, words):
    with pytest.raises(EvaluationError, match=words):
        melody_scores(*arguments)
