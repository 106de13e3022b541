"""Pitch trackers of other packages: frame times, pitch and voicing, with the packages and with stand-ins for them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from optional_packages import installed, stand_in

from majl_hf.checkpoints import SHIPPED
from majl_hf.evaluation import build_system
from majl_hf.evaluation.registry import TRACKERS
from majl_hf.models.modeling_majl import SHIPPED_CHECKPOINTS

CENTS_PER_S = 600.0
DURATION_S = 3.0
REAL = {
    "praat": installed("parselmouth"),
    "crepe_tiny": installed("torchcrepe", "librosa"),
    "melodia": installed("essentia"),
    "fcpe": installed("torchfcpe"),
    "swift": installed("swift_f0"),
}


def f0_at(times_s, direction=1):
    """A glide over an octave and a half, upwards or downwards."""
    return 160 * 2 ** (
        CENTS_PER_S / 1200 * (np.asarray(times_s) if direction > 0 else DURATION_S - np.asarray(times_s))
    )


def glide(direction, rate):
    times_s = np.arange(round(DURATION_S * rate)) / rate
    phase = 2 * np.pi * np.cumsum(f0_at(times_s, direction)) / rate
    return (0.2 * sum(np.sin(k * phase) / k for k in range(1, 9))).astype(np.float32)


def error_cents(track, direction=1):
    inside = (track.times_s > 0.4) & (track.times_s < DURATION_S - 0.4)
    return 1200 * np.log2(track.f0_hz[inside] / f0_at(track.times_s[inside], direction))


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("name", [pytest.param(name, marks=mark) for name, mark in REAL.items()])
def test_frames_are_where_they_say(name, rate):
    """Upwards a frame that is late reads too low, downwards too high; a wrong tuning would err the same way twice."""
    tracker = TRACKERS[name]()
    up, down = (np.median(error_cents(tracker(glide(direction, rate), rate), direction)) for direction in (1, -1))
    assert abs(up - down) / 2 / CENTS_PER_S < 0.005, "seconds off"
    assert abs(up + down) / 2 < 10, "cents off"


@pytest.mark.parametrize("name", [pytest.param(name, marks=REAL[name]) for name in ("praat", "crepe_tiny")])
def test_a_voice_is_sung_and_what_follows_is_not(name):
    audio = np.concatenate([glide(1, 16_000), 1e-4 * np.random.default_rng(0).standard_normal(16_000)])
    track = TRACKERS[name]()(audio.astype(np.float32), 16_000)
    assert (track.f0_hz > 0).all() and np.isfinite(track.f0_hz).all()
    assert track.voiced[(track.times_s > 0.3) & (track.times_s < 2.7)].mean() > 0.95
    assert track.voiced[(track.times_s > 3.2) & (track.times_s < 3.8)].mean() < 0.2


@pytest.mark.parametrize("name", [pytest.param(name, marks=REAL[name]) for name in ("praat", "crepe_tiny", "melodia")])
def test_silence_has_a_pitch_and_no_voice(name):
    track = TRACKERS[name]()(np.zeros(16_000, dtype=np.float32), 16_000)
    assert (track.f0_hz > 0).all() and np.isfinite(track.f0_hz).all() and not track.voiced.any()


def crepe_stand_in(monkeypatch, calls):
    def predict(audio, sample_rate, hop_length, fmin, fmax, model, *, return_periodicity, batch_size):
        assert audio.shape[0] == 1 and sample_rate == 16_000 and return_periodicity
        calls.append((model, fmin, fmax, np.random.uniform()))
        times_s = np.arange(1 + audio.shape[1] // hop_length) * hop_length / sample_rate
        periodicity = np.where(times_s < 2, 0.21, 0.2)
        return torch.from_numpy(f0_at(times_s))[None], torch.from_numpy(periodicity)[None]

    median = SimpleNamespace(median=lambda periodicity, length: periodicity)
    stand_in(monkeypatch, torchcrepe={"predict": predict, "filter": median})


def test_crepe_is_asked_in_its_range_and_leaves_the_random_numbers_alone(monkeypatch):
    calls = []
    crepe_stand_in(monkeypatch, calls)
    state = np.random.get_state()[1].copy()
    track = build_system("crepe_tiny")(np.zeros((1, 3 * 44_100), dtype=np.float32), 44_100).pitch
    assert np.abs(error_cents(track)).max() < 1e-6
    assert track.voiced.tolist() == (track.times_s < 2).tolist()
    build_system("crepe")(np.zeros((1, 16_000), dtype=np.float32), 16_000)
    assert [call[:3] for call in calls] == [("tiny", 50.0, 1100.0), ("full", 50.0, 1100.0)]
    assert calls[0][3] == calls[1][3] and (np.random.get_state()[1] == state).all()


def test_provenance_has_version_settings_and_licence(monkeypatch):
    crepe_stand_in(monkeypatch, [])
    provenance = build_system("crepe_tiny").provenance
    assert provenance["tracker"] == "torchcrepe 1.2, tiny, 50 to 1100 Hz" and provenance["tracker_licence"] == "MIT"


def test_praat_guesses_where_it_decides_against_a_voice(monkeypatch):
    class Sound:
        def __init__(self, values, sampling_frequency):
            assert values.dtype == np.float64
            self.duration_s = len(values) / sampling_frequency

        def to_pitch_ac(self, *, time_step, pitch_floor, pitch_ceiling, **thresholds):
            times_s = np.arange(0.02, self.duration_s - 0.02, time_step)  # its frames do not begin at 0
            f0_hz = f0_at(times_s)
            if not thresholds:
                f0_hz[times_s > 2] = 0
            f0_hz[times_s > 2.7] = 0  # nothing at all
            return SimpleNamespace(xs=lambda: times_s, selected_array={"frequency": f0_hz})

    stand_in(monkeypatch, parselmouth={"Sound": Sound})
    track = build_system("praat")(np.zeros((1, 48_000), dtype=np.float32), 16_000).pitch
    inside = track.times_s < 2.69
    np.testing.assert_allclose(track.f0_hz[inside], f0_at(track.times_s[inside]))
    np.testing.assert_allclose(track.f0_hz[~inside], track.f0_hz[inside][-1], rtol=0.01)
    assert track.voiced.tolist() == (track.times_s <= 2).tolist()


def test_what_melodia_guesses_is_not_sung(monkeypatch):
    class PredominantPitchMelodia:
        def __init__(self, guessUnvoiced, hopSize):
            assert guessUnvoiced
            self.hop = hopSize

        def __call__(self, audio):
            times_s = np.arange(len(audio) // self.hop) * self.hop / 44_100
            return f0_at(times_s).astype(np.float32), np.where(times_s < 2, 0.1, -0.1).astype(np.float32)

    names = {"EqualLoudness": lambda: lambda audio: audio, "PredominantPitchMelodia": PredominantPitchMelodia}
    log = SimpleNamespace(infoActive=True)
    stand_in(monkeypatch, essentia={"log": log}, essentia__standard=names)
    track = build_system("melodia")(np.zeros((1, 48_000), dtype=np.float32), 16_000).pitch
    assert np.abs(error_cents(track)).max() < 0.01
    assert track.voiced.tolist() == (track.times_s < 2).tolist()
    assert not log.infoActive


def test_a_tracker_follows_the_vocals_of_a_model(monkeypatch, tiny_model_folder):
    heard = []

    def tracker(mono, sampling_rate):
        heard.append(mono)

    monkeypatch.setitem(TRACKERS, "crepe", lambda: tracker)
    for names in (SHIPPED, SHIPPED_CHECKPOINTS):
        monkeypatch.setitem(names, "majl-tiny", tiny_model_folder)
    mixture = 0.1 * np.random.default_rng(0).standard_normal((1, 16_000)).astype(np.float32)
    alone, followed = build_system("majl-tiny"), build_system("majl-tiny-crepe")
    vocals = followed(mixture, 16_000).vocals
    np.testing.assert_array_equal(vocals, alone(mixture, 16_000).vocals)
    np.testing.assert_array_equal(heard[0], vocals[0])
    assert followed.provenance["checkpoint_sha256"] == alone.provenance["checkpoint_sha256"]
