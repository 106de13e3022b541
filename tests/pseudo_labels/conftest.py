"""Teachers that are functions with known output, and a corpus of tones for them."""

from pathlib import Path

import numpy as np
import pytest
from built_corpora import make_rows, write_built

from majl_hf.evaluation.systems import PitchTrack
from majl_hf.pseudo_labels.teachers import PitchTeacher, VocalsTeacher

COUNTS = {"separation": 2, "pitch": 2, "vocals": 1, "full": 1, "accompaniment": 1}
HOP_S = 0.02


def tone_tracker(mono: np.ndarray, sampling_rate: int) -> PitchTrack:
    """Pitch of a single tone: the centre of mass of its spectrum's highest peak in windows of 60 ms."""
    times_s = np.arange(0, len(mono) / sampling_rate, HOP_S)
    width, padded = round(0.06 * sampling_rate), np.pad(mono, round(0.06 * sampling_rate))
    f0_hz, peak = [], []
    for time_s in times_s:
        first = round(time_s * sampling_rate) + width - width // 2
        spectrum = np.abs(np.fft.rfft(padded[first : first + width] * np.hanning(width), 1 << 13))
        near = int(spectrum[1:].argmax()) + 1
        f0_hz.append(near * sampling_rate / (1 << 13))
        peak.append(spectrum[near] / width)
    return PitchTrack(times_s, np.array(f0_hz), np.array(peak) > 1e-3)


@pytest.fixture
def pitch_teacher() -> PitchTeacher:
    return PitchTeacher(tone_tracker, {"id": "tone-tracker", "kind": "function", "version": "1.0"})


@pytest.fixture
def vocals_teacher() -> VocalsTeacher:
    """Returns 0.3 of the mixture as vocals: not a multiple of a 16-bit step."""
    return VocalsTeacher(lambda mixture, sampling_rate: 0.3 * mixture, {"id": "a-third", "kind": "function"})


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """Tones of 220 and 230 Hz, 1 s each, labelled with these pitches if the kind has a label."""
    return write_built(tmp_path_factory.mktemp("corpus") / "built", make_rows(COUNTS, duration_s=1.0), num_shards=2)
