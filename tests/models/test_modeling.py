"""The cascade, its losses and gradients, and what is specific to a part; the contract is in test_contract.py."""

import math

import pytest
import torch
from transformers import AutoModel

from majl_hf import MajlConfig, MajlModel
from majl_hf.models.backbones_majl import (
    FcpeConfig,
    FcpePitchEstimator,
    SpleeterConfig,
    SpleeterSeparator,
    TinyPitchEstimator,
    TinyPitchEstimatorConfig,
    TinySeparator,
    TinySeparatorConfig,
)
from majl_hf.models.fcpe_majl import depthwise_convolution
from majl_hf.models.losses_majl import pitch_loss, pitch_targets, separation_loss
from majl_hf.models.posteriors_majl import hz_to_bins
from majl_hf.models.presets_majl import preset_config
from majl_hf.models.spleeter_majl import UpConv
from majl_hf.models.stft_majl import istft, stft

SMALL_SPLEETER = {"n_fft": 256, "hop_length": 64, "num_mask_bins": 64, "hidden_channels": [2, 3, 4]}
SEPARATORS = {
    "tiny": lambda: TinySeparator(TinySeparatorConfig()),
    "spleeter": lambda: SpleeterSeparator(SpleeterConfig(**SMALL_SPLEETER)),
}
PITCH_ESTIMATORS = {
    "tiny": lambda: TinyPitchEstimator(TinyPitchEstimatorConfig()),
    "fcpe": lambda: FcpePitchEstimator(FcpeConfig(hidden_size=16, num_layers=2)),
}


def test_parts_come_from_registered_configs():
    config = MajlConfig(
        separator_config={"model_type": "majl-tiny-separator", "hidden_channels": 4},
        pitch_estimator_config=TinyPitchEstimatorConfig(),
    )
    model = AutoModel.from_config(config)
    assert isinstance(model, MajlModel) and isinstance(model.separator, TinySeparator)
    assert model.separator.config.hidden_channels == 4


def test_from_parts_uses_the_parts_as_they_are():
    separator, pitch_estimator = SEPARATORS["spleeter"](), PITCH_ESTIMATORS["fcpe"]()
    before = {name: tensor.clone() for name, tensor in separator.state_dict().items()}
    model = MajlModel.from_parts(separator, pitch_estimator, voicing_threshold=0.3)
    assert model.separator is separator and model.config.voicing_threshold == 0.3
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.separator.state_dict().items())


def make_cascade() -> MajlModel:
    return MajlModel.from_parts(SEPARATORS["tiny"](), PITCH_ESTIMATORS["tiny"]())


def test_losses_and_their_weights():
    model = make_cascade().eval()
    mixture = 0.1 * torch.randn(2, 1, 16_000)
    num_frames = model.num_pitch_frames(16_000)
    f0_hz = torch.full((2, num_frames), 220.0)
    f0_hz[:, : num_frames // 2] = 0.0
    with torch.no_grad():
        output = model(mixture, vocals=0.5 * mixture, f0_hz=f0_hz)
        expected = output.separation_loss + model.config.pitch_loss_weight * output.pitch_loss
        torch.testing.assert_close(output.loss, expected)
        torch.testing.assert_close(output.accompaniment + output.vocals, mixture, atol=1e-7, rtol=0)
        assert model(mixture).loss is None
        assert model(mixture, f0_hz=f0_hz).separation_loss is None

        # weights choose items and frames
        only_first = model(mixture, vocals=0.5 * mixture, vocals_weight=torch.tensor([1.0, 0.0]))
        alone = model(mixture[:1], vocals=0.5 * mixture[:1])
        torch.testing.assert_close(only_first.separation_loss, alone.separation_loss, atol=1e-6, rtol=0)
        wrong = f0_hz.clone()
        wrong[:, ::2] = 900.0
        weight = torch.ones_like(f0_hz)
        weight[:, ::2] = 0.0
        torch.testing.assert_close(
            model(mixture, f0_hz=f0_hz, pitch_weight=weight).pitch_loss,
            model(mixture, f0_hz=wrong, pitch_weight=weight).pitch_loss,
        )


def test_unlabelled_items_skip_the_pitch_estimator_in_training():
    model = make_cascade().train()
    mixture = 0.1 * torch.randn(3, 1, 8_000)
    num_frames = model.num_pitch_frames(8_000)
    f0_hz, weight = torch.full((3, num_frames), 220.0), torch.ones(3, num_frames)
    weight[1] = 0.0
    output = model(mixture, f0_hz=f0_hz, pitch_weight=weight)
    assert output.pitch_logits.shape[:2] == (3, num_frames)
    assert not output.pitch_logits[1].any() and output.pitch_logits[2].any()
    full = model.eval()(mixture, f0_hz=f0_hz, pitch_weight=weight)
    torch.testing.assert_close(output.pitch_loss, full.pitch_loss)
    nothing = model.train()(mixture, vocals=mixture, f0_hz=f0_hz, pitch_weight=torch.zeros_like(weight))
    assert nothing.pitch_loss == 0
    nothing.loss.backward()


def test_gradient_scale_separates_the_tasks():
    gradients = {}
    for scale in (1.0, 0.5, 0.0):
        torch.manual_seed(0)
        model = make_cascade().train()
        model.config.separator_gradient_scale = scale
        mixture = 0.1 * torch.randn(1, 1, 8_000)
        model(mixture, f0_hz=torch.full((1, model.num_pitch_frames(8_000)), 220.0)).loss.backward()
        gradients[scale] = model.separator.head.weight.grad.clone()
        assert model.pitch_estimator.head.weight.grad.abs().sum() > 0
    assert gradients[1.0].abs().sum() > 0
    torch.testing.assert_close(gradients[0.5], 0.5 * gradients[1.0])
    assert not gradients[0.0].any()


def test_frozen_batch_norm_stays():
    separator = SEPARATORS["spleeter"]().train()
    before = separator.vocals.down[1].norm.running_mean.clone()
    separator(torch.randn(2, 2, 4_000))
    assert torch.equal(separator.vocals.down[1].norm.running_mean, before)
    thawed = SpleeterSeparator(SpleeterConfig(**SMALL_SPLEETER, freeze_batch_norm=False)).train()
    thawed(torch.randn(2, 2, 4_000))
    assert not torch.equal(thawed.vocals.down[1].norm.running_mean, before)


def test_decoder_dropout_acts_in_training_only():
    mixture = torch.randn(1, 2, 4_000)
    separator = SpleeterSeparator(SpleeterConfig(**SMALL_SPLEETER, decoder_dropout=0.5))
    plain = SpleeterSeparator(SpleeterConfig(**SMALL_SPLEETER))
    plain.load_state_dict(separator.state_dict())
    plain.eval(), separator.eval()
    assert torch.equal(separator(mixture).vocals, plain(mixture).vocals)
    separator.train()
    assert not torch.equal(separator(mixture).vocals, separator(mixture).vocals)
    assert [block.dropout.p for block in separator.vocals.up] == [0.5, 0.5, 0.5]
    deep = SpleeterSeparator(SpleeterConfig(**{**SMALL_SPLEETER, "hidden_channels": [2] * 5}, decoder_dropout=0.5))
    assert [block.dropout.p for block in deep.vocals.up] == [0.5, 0.5, 0.5, 0.0, 0.0]


def test_separation_loss_is_relative_to_the_mixture():
    vocals = 0.1 * torch.randn(1, 2, 20_000)
    mixture = vocals + 0.1 * torch.randn(1, 2, 20_000)
    assert separation_loss(vocals, vocals, mixture) == 0
    loud = separation_loss(mixture, vocals, mixture)
    quiet = separation_loss(0.25 * mixture, 0.25 * vocals, 0.25 * mixture)
    assert 0.3 < loud.item() < 2
    torch.testing.assert_close(loud, quiet, rtol=0.05, atol=0)


def test_pitch_targets_peak_at_the_label():
    config = FcpeConfig()
    f0_hz = torch.tensor([[0.0, 110.0, 233.3, 1000.0]])
    targets = pitch_targets(f0_hz, config)
    assert not targets[0, 0].any()
    expected = hz_to_bins(f0_hz[0, 1:], config).round().long()
    assert torch.equal(targets[0, 1:].argmax(dim=-1), expected)
    # 25 cents is one standard deviation
    on_bin = config.first_bin_hz * 2 ** (100 * config.bin_cents / 1200)
    off = pitch_targets(torch.tensor([[on_bin * 2 ** (25 / 1200)]]), config)[0, 0, 100]
    assert off.item() == pytest.approx(math.exp(-0.5), abs=1e-3)
    sure = 20 * (2 * targets - 1)
    assert pitch_loss(sure, f0_hz, config)[0, 1] > 0  # the flanks of the bump are not 0 or 1
    assert pitch_loss(torch.full_like(targets, -20.0), f0_hz, config)[0, 0] < 1e-4


def test_depthwise_backward_equals_autograd():
    frames = torch.randn(2, 95, 8, dtype=torch.double, requires_grad=True)
    weight = torch.randn(8, 1, 31, dtype=torch.double, requires_grad=True)
    bias = torch.randn(8, dtype=torch.double, requires_grad=True)
    plain = torch.nn.functional.conv1d(frames.transpose(1, 2), weight, bias, padding=15, groups=8).transpose(1, 2)
    fast = depthwise_convolution(frames, weight, bias)
    torch.testing.assert_close(fast, plain)
    gradient = torch.randn_like(plain)
    inputs = (frames, weight, bias)
    for ours, theirs in zip(
        torch.autograd.grad(fast, inputs, gradient), torch.autograd.grad(plain, inputs, gradient), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_the_separator_computes_the_same_with_and_without_gradients_and_after_its_weights_change():
    torch.manual_seed(0)
    config = SpleeterConfig(**SMALL_SPLEETER, residual_head=True, upper_band=True, second_pass_frames=3)
    separator = SpleeterSeparator(config).eval()
    mixture = torch.randn(2, config.num_channels, 5_000)
    for _ in range(2):
        with torch.no_grad():
            fast = separator(mixture).vocals
        torch.testing.assert_close(fast, separator(mixture).vocals.detach(), rtol=0, atol=1e-5)
        with torch.no_grad():
            for parameter in separator.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))


@pytest.mark.parametrize(("n_fft", "hop_length"), [(512, 128), (512, 110), (256, 64)])
@pytest.mark.parametrize("num_samples", [1, 600, 5120])
def test_the_inverse_transform_is_that_of_torch(n_fft, hop_length, num_samples):
    waveform = torch.randn(2, 3, num_samples, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spectrum = stft(waveform, n_fft, hop_length)
    changed = spectrum * torch.rand(spectrum.shape, dtype=torch.float64)
    window = torch.hann_window(n_fft, dtype=torch.float64)
    expected = torch.istft(changed.flatten(0, 1).transpose(1, 2), n_fft, hop_length, window=window, length=num_samples)
    result = istft(changed, n_fft, hop_length, num_samples).flatten(0, 1)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(istft(spectrum, n_fft, hop_length, num_samples), waveform, rtol=0, atol=1e-12)


def test_shuffled_up_convolution_equals_the_transposed_one():
    torch.manual_seed(0)
    layer = UpConv(6, 3).double()
    hidden = torch.randn(2, 6, 5, 7, dtype=torch.float64)
    plain = torch.nn.functional.conv_transpose2d(hidden, layer.weight, layer.bias, stride=2, padding=1)
    assert torch.allclose(layer(hidden), plain[:, :, :-1, :-1], rtol=0, atol=1e-12)
    layer.max_shuffled_channels = 0
    assert torch.equal(layer(hidden), plain[:, :, :-1, :-1])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"second_pass_frames": 3},
        {"residual_head": False, "second_pass_frames": 5},
        {"upper_band": False, "accompaniment_network": True},
        {"num_channels": 2, "accompaniment_network": True, "residual_head": False, "upper_band": False},
    ],
)
@pytest.mark.parametrize("num_samples", [64 * 64, 5000])
def test_masks_without_gradients_equal_those_with(changes, num_samples):
    torch.manual_seed(0)
    part = SpleeterSeparator(preset_config("spleeter-tiny", "separator", **changes)).eval()
    with torch.no_grad():
        for parameter in part.parameters():  # nothing that starts as zero
            parameter.add_(0.1 * torch.randn_like(parameter))
        for module in part.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(std=0.2)
                module.running_var.uniform_(0.5, 2.0)
    mixture = torch.randn(2, part.config.num_channels, num_samples)
    expected = part.estimate(mixture).detach()
    with torch.inference_mode():
        actual = part.estimate(mixture)
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-6)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        actual = part.estimate(mixture)
    assert (actual - expected).square().mean() < 1e-3 * expected.square().mean()
