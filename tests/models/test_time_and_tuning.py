"""The shipped model on a synthetic voice with known vibrato, glides and rests: errors in time and pitch."""

import numpy as np
import pytest

from majl_hf import MajlModel
from majl_hf.checkpoints import SHIPPED
from majl_hf.models.streaming_majl import separate_array

pytestmark = pytest.mark.skipif("majl-base" not in SHIPPED, reason="this installation has no majl-base")

RATE = 44_100
SECONDS = 6.0
FORMANTS = ((600, 80), (1200, 100), (2700, 150), (3500, 200))  # centre and half width in Hz


def sing(centre_hz: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Time, f0 (vibrato, a glide of 4 semitones to each side), loudness (0.4 s of rest every 2 s) and waveform."""
    time_s = np.arange(int(SECONDS * RATE)) / RATE
    semitones = 0.6 * np.sin(2 * np.pi * 5.5 * time_s) + 4.0 * np.sin(2 * np.pi * 0.25 * time_s)
    f0_hz = centre_hz * 2 ** (semitones / 12)
    phase = 2 * np.pi * np.cumsum(f0_hz) / RATE
    voice = np.zeros_like(time_s)
    for harmonic in range(1, 40):
        hz = harmonic * f0_hz
        resonance = sum(1 / (1 + ((hz - centre) / width) ** 2) for centre, width in FORMANTS)
        voice += np.where(hz < 15_000, (resonance + 0.02) / harmonic, 0.0) * np.sin(harmonic * phase)
    ramp = np.hanning(int(0.02 * RATE))
    loudness = np.convolve((time_s % 2.0) < 1.6, ramp / ramp.sum(), mode="same")
    waveform = voice * loudness
    return time_s, f0_hz, loudness, (0.3 * waveform / np.abs(waveform).max()).astype(np.float32)


def chords(time_s: np.ndarray, level: float = 0.05) -> np.ndarray:
    """Plucked chords, one per second."""
    beat = time_s % 1.0
    roots = 110.0 * 2 ** (np.array([0, 5, 7, 3, 8, 0])[np.minimum(time_s.astype(int), 5)] / 12)
    tones = sum(np.sin(2 * np.pi * roots * ratio * harmonic * beat) / harmonic**2
                for ratio in (1.0, 1.26, 1.5) for harmonic in (1, 2, 3))  # fmt: skip
    return (level * tones * np.exp(-2 * beat)).astype(np.float32)


def errors_cents(frames, time_s, f0_hz, loudness, shift_s: float = 0.0) -> np.ndarray:
    """Deviation of the frames that lie well inside singing."""
    times_s = frames.times_s + shift_s
    inside = np.interp(times_s, time_s, loudness) > 0.95
    return 1200 * np.log2(frames.f0_hz[inside] / np.interp(times_s[inside], time_s, f0_hz))


def best_shift_s(frames, time_s, f0_hz, loudness) -> float:
    """Shift of the truth at which the curve fits best."""
    shifts = np.arange(-0.03, 0.0301, 0.001)
    return shifts[int(np.argmin([np.abs(errors_cents(frames, time_s, f0_hz, loudness, s)).mean() for s in shifts]))]


@pytest.fixture(scope="module")
def model():
    return MajlModel.from_pretrained("majl-base").eval()


@pytest.fixture(scope="module", params=[105.0, 160.0, 250.0, 400.0, 640.0, 790.0])
def clean_voice(model, request):
    """Centre in Hz, what was sung, and the frames that the model reads."""
    time_s, f0_hz, loudness, voice = sing(request.param)
    return request.param, time_s, f0_hz, loudness, separate_array(model, voice[None], RATE).frames


def test_clean_voice(clean_voice):
    _, time_s, f0_hz, loudness, frames = clean_voice
    errors = errors_cents(frames, time_s, f0_hz, loudness)
    assert abs(best_shift_s(frames, time_s, f0_hz, loudness)) < 0.005
    assert np.abs(errors).max() < 600  # no frame an octave off
    assert np.median(np.abs(errors)) < 10


def test_clean_voice_is_voiced(clean_voice, request):
    centre_hz, time_s, _, loudness, frames = clean_voice
    if centre_hz > 700:
        # Strict: once a checkpoint finds them, remove this mark.
        reason = "majl-base calls 44 % of these high frames sung at its threshold"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    sung = np.interp(frames.times_s, time_s, loudness)
    assert frames.voiced[sung > 0.95].mean() > 0.9
    assert frames.voiced[sung < 0.01].mean() < 0.1


@pytest.mark.parametrize("centre_hz", [160.0, 250.0, 400.0])
def test_voice_over_chords(model, centre_hz):
    time_s, f0_hz, loudness, voice = sing(centre_hz)
    stereo = np.stack([voice + chords(time_s), voice + 0.7 * chords(time_s)])
    frames = separate_array(model, stereo, RATE).frames
    errors = errors_cents(frames, time_s, f0_hz, loudness)
    assert abs(best_shift_s(frames, time_s, f0_hz, loudness)) < 0.005
    assert (np.abs(errors) < 50).mean() > 0.95
