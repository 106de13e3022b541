"""Teachers: complete checkpoints or single parts, packages, functions; their facts, and what is refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from majl_hf.checkpoints.loading import checkpoint_sha256
from majl_hf.errors import ConfigError, TeacherError
from majl_hf.evaluation.systems import PitchTrack
from majl_hf.models.modeling_majl import MajlModel
from majl_hf.models.streaming_majl import separate_array
from majl_hf.pseudo_labels import teachers
from majl_hf.pseudo_labels.teachers import (
    PitchTeacher,
    VocalsTeacher,
    describe_teacher,
    load_pitch_teacher,
    load_vocals_teacher,
)

RATE = 16_000


@pytest.fixture(scope="module")
def audio() -> np.ndarray:
    time_s = np.arange(RATE) / RATE
    noise = np.random.default_rng(0).normal(0.0, 0.01, RATE)
    return (0.2 * np.sin(2 * np.pi * 220 * time_s) + noise).astype(np.float32)


@pytest.fixture(scope="module")
def parts(tiny_model_folder, tmp_path_factory) -> dict[str, str]:
    """The tiny model's parts as separate checkpoints."""
    model, folder = MajlModel.from_pretrained(tiny_model_folder), tmp_path_factory.mktemp("parts")
    for name in ("separator", "pitch_estimator"):
        getattr(model, name).save_pretrained(folder / name)
    return {name: str(folder / name) for name in ("separator", "pitch_estimator")}


def test_a_model_reads_a_solo_voice_as_the_engine_does(tiny_model_folder, parts, audio):
    model = MajlModel.from_pretrained(tiny_model_folder).eval()
    frames = separate_array(model, audio[None], RATE, separate=False).frames
    for name in (tiny_model_folder, parts["pitch_estimator"]):
        reading = load_pitch_teacher(name).read(audio, RATE)
        assert np.array_equal(reading.f0_hz, frames.f0_hz) and np.array_equal(reading.voiced, frames.voiced)
        assert reading.posteriors.shape == (len(frames), model.config.pitch_estimator_config.num_bins)
        assert ((reading.posteriors >= 0) & (reading.posteriors <= 1)).all()
        peak = reading.posteriors.max(axis=1)
        assert frames.voicing == pytest.approx(peak, abs=1e-5)  # the tiny model is not calibrated


def test_a_model_hears_a_faster_voice(tiny_model_folder, audio):
    reading = load_pitch_teacher(tiny_model_folder).read(audio, RATE, speed=2.0)
    assert len(reading) == 1 + RATE // 2 // 320 and reading.hop_s == pytest.approx(0.04)
    assert reading.posteriors is None


def test_a_lone_separator_gives_the_cascades_vocals(tiny_model_folder, parts, audio):
    mixture = np.stack([audio, 0.5 * audio])
    model = MajlModel.from_pretrained(tiny_model_folder).eval()
    expected = separate_array(model, mixture, RATE).vocals
    for name in (tiny_model_folder, parts["separator"]):
        assert np.array_equal(load_vocals_teacher(name).separate(mixture, RATE), expected)


def test_a_checkpoint_is_known_by_its_weights_not_its_place(parts):
    facts = describe_teacher("pitch_teacher", parts["pitch_estimator"])
    sha256 = checkpoint_sha256(parts["pitch_estimator"])
    assert facts == {"id": "pitch_estimator", "kind": "checkpoint", "revision": None, "sha256": sha256}
    assert len(sha256) == 64 and describe_teacher("pitch_teacher", "majl-base")["sha256"] != sha256


def test_what_is_no_teacher_is_refused(parts, tmp_path):
    with pytest.raises(ConfigError, match=r"no pitch_teacher 'nobody'.*majl-base.*swift-f0, torchfcpe"):
        load_pitch_teacher("nobody")
    with pytest.raises(ConfigError, match=r"without config\.json"):
        load_vocals_teacher(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "majl"}')
    with pytest.raises(ConfigError, match=r"The vocals_teacher .* cannot be loaded: .*model\.safetensors"):
        load_vocals_teacher(str(tmp_path))
    with pytest.raises(ConfigError, match=r"not a pitch estimator \(its config has no bin_cents\)"):
        load_pitch_teacher(parts["separator"])
    with pytest.raises(ConfigError, match="not a separator"):
        load_vocals_teacher(parts["pitch_estimator"])


def test_a_packages_tracker_by_its_name(monkeypatch, audio):
    times_s = np.arange(100) * 0.01

    def tracker(mono, sampling_rate):
        assert len(mono) == RATE / 2 and sampling_rate == RATE  # played twice as fast, at the original rate
        return PitchTrack(times_s, np.full(100, 440.0), np.ones(100, dtype=bool), np.full(100, 0.9))

    monkeypatch.setitem(teachers.PITCH_PACKAGES, "soxr", (lambda: tracker, "soxr", {"threshold": 0.5}))
    teacher = load_pitch_teacher("soxr")
    assert teacher.facts["id"] == "soxr" and teacher.facts["kind"] == "package" and teacher.facts["version"]
    reading = teacher.read(audio, RATE, speed=2.0)
    assert reading.f0_hz == pytest.approx(220.0) and reading.hop_s == pytest.approx(0.02)


TRACK = PitchTrack(np.arange(10) * 0.01, np.full(10, 200.0), np.ones(10, dtype=bool), np.ones(10))


def test_a_teacher_with_a_refiner_gives_refined_vocals(tiny_model_folder, tmp_path, audio):
    tiny = MajlModel.from_pretrained(tiny_model_folder)
    refiner = {"n_fft": 256, "hop_length": 64, "num_bins": 64, "hidden_channels": 4}
    model = MajlModel.from_parts(tiny.separator, tiny.pitch_estimator, refiner_config=refiner).eval()
    torch.nn.init.normal_(model.refiner.head.weight, std=0.2, generator=torch.Generator().manual_seed(0))
    model.save_pretrained(tmp_path)
    vocals = load_vocals_teacher(str(tmp_path)).separate(audio[None], RATE)
    assert np.array_equal(vocals, separate_array(model, audio[None], RATE).vocals)
    assert np.abs(vocals - load_vocals_teacher(tiny_model_folder).separate(audio[None], RATE)).max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"f0_hz": np.full(10, np.nan)}, "fake returned f0_hz of which 10 of 10 values are NaN"),
        ({"certainty": np.full(10, np.inf)}, "certainty of which 10 of 10"),
        ({"f0_hz": np.zeros(10)}, "minimum f0 of 0 Hz"),
        ({"times_s": np.arange(10) ** 2 * 0.01}, "not evenly spaced"),
    ],
)
def test_readings_that_no_label_can_be_made_from(changes, message, audio):
    teacher = PitchTeacher(lambda mono, rate: dataclasses.replace(TRACK, **changes), {"id": "fake"})
    with pytest.raises(TeacherError, match=message):
        teacher.read(audio, RATE)


def test_vocals_that_are_none():
    mixture = np.zeros((1, 100), dtype=np.float32)
    with pytest.raises(TeacherError, match="fake returned vocals of which 100 of 100 values"):
        VocalsTeacher(lambda audio, rate: audio * np.nan, {"id": "fake"}).separate(mixture, RATE)
    with pytest.raises(TeacherError, match=r"shape \(1, 99\)"):
        VocalsTeacher(lambda audio, rate: audio[:, 1:], {"id": "fake"}).separate(mixture, RATE)


def test_logits_that_are_none(tiny_model_folder, audio):
    teacher = load_pitch_teacher(tiny_model_folder)
    with torch.no_grad():
        teacher.model.pitch_estimator.head.bias.fill_(torch.nan)
    with pytest.raises(TeacherError, match="returned pitch logits of which"):
        teacher.read(audio, RATE)


def test_audio_that_the_engine_refuses_is_the_teachers_error(tiny_model_folder):
    teacher = load_vocals_teacher(tiny_model_folder)
    with pytest.raises(TeacherError, match=f"{Path(tiny_model_folder).name} refused it: .*one or two channels"):
        teacher.separate(np.zeros((3, 100), dtype=np.float32), RATE)
