"""Calibration curves of confidences of known quality, and the script that measures real ones."""

import json

import numpy as np
import pytest
from pseudo_label_calibration import calibration_curve, calibration_error, kept_above, rank_correlation, ranking


def test_a_curve_counts_frames_and_draws_songs():
    confidence = np.array([0.05, 0.55, 0.55, 0.95, 0.95, 0.95, 1.0])
    right = np.array([0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0])
    song = np.array(["a", "a", "b", "a", "a", "b", "b"])
    curve = calibration_curve(confidence, right, song)
    assert [(row["low"], row["count"], row["num_songs"]) for row in curve] == [(0.0, 1, 1), (0.5, 2, 2), (0.9, 4, 2)]
    assert [row["mean"] for row in curve] == [0.0, 0.5, 0.75]
    assert curve[0]["interval"] is None and curve[1]["interval"] == [0.0, 1.0]
    assert curve[2]["interval"] == [0.5, 1.0]  # song b twice, song a twice
    kept = kept_above(confidence, right, song, (0.0, 0.5, 0.96))
    assert [row["share"] for row in kept] == pytest.approx([1.0, 6 / 7, 1 / 7])
    assert [row["mean"] for row in kept] == pytest.approx([4 / 7, 4 / 6, 0.0])


def test_calibrated_confidences_have_no_error_and_rank():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(size=20_000)
    right = rng.uniform(size=20_000) < confidence
    assert calibration_error(confidence, right) < 0.02
    assert calibration_error(np.full(20_000, 0.9), right) == pytest.approx(0.4, abs=0.02)
    assert ranking(confidence, right) == pytest.approx(5 / 6, abs=0.01)  # of uniform confidences
    assert ranking(np.full(4, 0.5), np.array([1, 0, 1, 0])) == 0.5
    assert ranking(np.array([0.1, 0.9]), np.array([True, False])) == 0.0
    assert ranking(np.array([0.1, 0.9]), np.array([True, True])) is None


def test_rank_correlation():
    first = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(first, first**3) == pytest.approx(1.0)
    assert rank_correlation(first, -first) == pytest.approx(-1.0)
    assert rank_correlation(first, np.ones(4)) is None


def test_the_script_measures_both_directions(corpus, tiny_model_folder, load_script, tmp_path, capsys):
    script, output = load_script("experiments/measure_pseudo_labels"), tmp_path / "results" / "pseudo.json"
    teacher = ["--pitch-teachers", tiny_model_folder, "--vocals-teachers", tiny_model_folder]
    arguments = ["--rows", str(corpus), "--output", str(output), "--guide", tiny_model_folder, "--note", "Made up."]
    assert script.main([*arguments, *teacher, "--split", "train"]) == 0
    result = json.loads(output.read_text())
    assert (result["rows"], result["num_clips"], result["note"]) == ("built", 1, "Made up.")
    (pitch,), (vocals,) = result["pitch"].values(), result["vocals"].values()
    assert pitch["num_frames"] == pitch["num_voiced"] == 100
    assert sum(row["count"] for row in pitch["overall_accuracy"]) == 100
    assert vocals["num_seconds"] == sum(row["count"] for row in vocals["sdr_of_seconds_db"]) == 1
    assert "Made up." in output.with_suffix(".md").read_text()
    assert script.main([*arguments, "--split", "test"]) == 1
    assert "Test rows are for the final report" in capsys.readouterr().err


def test_truth_by_hand(load_script, pitch_teacher, vocals_teacher, corpus):
    """A tracker that is right, and vocals whose SDR is known: 0.3 (v + a) of tones v and a."""
    script = load_script("experiments/measure_pseudo_labels")
    (track,) = script.choose_tracks(str(corpus), "train", None)
    pitch = script.measure_pitch([track], pitch_teacher)
    assert pitch["overall_accuracy"][-1]["mean"] > 0.95 and pitch["scores"]["rpa"]["mean"] > 0.95
    vocals = script.measure_vocals([track], vocals_teacher, pitch_teacher)
    expected_db = 10 * np.log10(0.3**2 / ((0.7 * 0.3) ** 2 + (0.3 * 0.1) ** 2))
    (row,) = vocals["sdr_of_seconds_db"]
    assert [row["mean"], row["pooled_sdr_db"], vocals["clip_sdr_db"]["mean"]] == pytest.approx(
        [expected_db] * 3, abs=0.01
    )
