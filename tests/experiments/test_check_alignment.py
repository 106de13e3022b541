"""scripts/experiments/check_alignment.py distinguishes correct labels from labels that are a frame off."""

import json

import numpy as np
import pytest
import soundfile
from built_corpora import write_built

from majl_hf.corpora.labels import PitchLabel
from majl_hf.corpora.tracks import AudioPart, Track
from majl_hf.evaluation.systems import PitchTrack

RATE, HOP_S = 8_000, 0.02


def f0_at(times_s):
    """A wide, slow vibrato, so that a frame's shift is seen."""
    return 220 * 2 ** (0.5 * np.sin(2 * np.pi * 1.5 * times_s))


class ExactTracker:
    provenance = {"tracker": "the truth"}

    def __call__(self, mono, sampling_rate):
        times_s = np.arange(0, len(mono) / sampling_rate, 0.005)
        return PitchTrack(times_s, f0_at(times_s), np.ones(len(times_s), dtype=bool))


def build(folder, label_error_s):
    tracks = []
    for number in range(3):
        path = folder / f"{number}.wav"
        soundfile.write(path, 0.1 * np.random.default_rng(number).uniform(-1, 1, 3 * RATE), RATE)
        times_s = 0.01 + np.arange(140) * HOP_S
        label = PitchLabel(f0_at(times_s - label_error_s), HOP_S, 0.01)
        vocals = AudioPart.open(path)
        label = label if number else None
        tracks.append(Track(f"c/{number}", "c", f"{number}", "", 3.0, RATE, vocals=vocals, label=label))
    return write_built(folder / "built", tracks)


@pytest.mark.parametrize(("label_error_s", "best", "code"), [(0.0, "+0", 0), (0.02, "-1", 1), (-0.04, "+2", 1)])
def test_the_best_shift_is_found(load_script, tmp_path, monkeypatch, capsys, label_error_s, best, code):
    script = load_script("experiments/check_alignment")
    monkeypatch.setattr(script, "SwiftTracker", ExactTracker)
    folder = build(tmp_path, label_error_s)
    assert script.main([str(folder), "--output", str(tmp_path / "out.json")]) == code
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["count"] == 2, "the row without a label does not count"
    means = {shift: row["mean"] for shift, row in result["rpa"].items()}
    assert max(means, key=means.get) == best and means[best] > 0.99
    assert ("fit best when moved" in capsys.readouterr().err) == bool(code)


def test_a_corpus_without_labels_is_refused(load_script, tmp_path, monkeypatch, capsys):
    script = load_script("experiments/check_alignment")
    monkeypatch.setattr(script, "SwiftTracker", ExactTracker)
    path = tmp_path / "voice.wav"
    soundfile.write(path, np.full(RATE, 0.1), RATE)
    built = write_built(tmp_path / "built", [Track("c/a", "c", "a", "", 1.0, RATE, vocals=AudioPart.open(path))])
    assert script.main([str(built)]) == 1
    assert "no row with vocals and a pitch label" in capsys.readouterr().err
