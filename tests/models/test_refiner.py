"""The refiner: identity at first, exact in windows, and it learns to use pitch."""

import numpy as np
import pytest
import torch

from majl_hf import MajlConfig, MajlModel
from majl_hf.models.pitch_majl import bins_to_hz
from majl_hf.models.posteriors_majl import likeliest_pitch
from majl_hf.models.refiner_majl import HarmonicRefiner, RefinerConfig
from majl_hf.models.streaming_majl import separate_array, separate_stream

SMALL = {"n_fft": 512, "hop_length": 128, "num_bins": 64, "hidden_channels": 4}


def small_refiner(**arguments) -> HarmonicRefiner:
    torch.manual_seed(0)
    return HarmonicRefiner(RefinerConfig(sampling_rate=16_000, **{**SMALL, **arguments})).eval()


def trained(refiner: HarmonicRefiner) -> HarmonicRefiner:
    """With a last layer as training might leave it."""
    torch.nn.init.normal_(refiner.head.weight, std=0.2, generator=torch.Generator().manual_seed(1))
    return refiner


def small_model(**arguments) -> MajlModel:
    torch.manual_seed(0)
    model = MajlModel(
        MajlConfig(
            separator_config="mask-tiny",
            pitch_estimator_config="spectrum-tiny",
            refiner_config=SMALL,
            window_s=0.5,
            margin_s=0.1,
            **arguments,
        )
    ).eval()
    trained(model.refiner)
    return model


@pytest.mark.parametrize("num_samples", [1, 127, 128, 5_000])
def test_a_new_refiner_changes_nothing(num_samples):
    refiner = small_refiner()
    mixture, vocals = torch.randn(2, 3, 2, num_samples)
    num_frames = 1 + num_samples // 128
    refined = refiner(mixture, vocals, torch.full((3, num_frames), 220.0), torch.ones(3, num_frames))
    torch.testing.assert_close(refined, vocals, atol=1e-5, rtol=0)


def test_bad_input_is_named():
    refiner = small_refiner()
    waveform, pitch = torch.zeros(1, 1, 1_000), torch.ones(1, 8)
    with pytest.raises(ValueError, match=r"one shape .* \(1, 1, 1000\) .* \(1, 1, 999\)"):
        refiner(waveform, waveform[..., :999], pitch, pitch)
    with pytest.raises(ValueError, match=r"of shape \(1, 8\), .* have \(1, 7\)"):
        refiner(waveform, waveform, pitch[:, :7], pitch)
    with pytest.raises(ValueError, match="num_bins is 60"):
        RefinerConfig(num_bins=60)
    with pytest.raises(ValueError, match="refiner works at 8000 Hz and the separator at 44100"):
        MajlConfig(refiner_config={"sampling_rate": 8_000})


def test_the_declared_context_is_all_that_it_looks_at():
    refiner = trained(small_refiner())
    hop, context = refiner.config.hop_length, refiner.config.context
    mixture, vocals = torch.randn(2, 1, 1, 20_000)
    pitch, sure = 200.0 + 100.0 * torch.rand(1, 157), torch.rand(1, 157)
    whole = refiner(mixture, vocals, pitch, sure)
    start = -(-context // refiner.config.alignment) * refiner.config.alignment
    cut = refiner(mixture[..., start:], vocals[..., start:], pitch[:, start // hop :], sure[:, start // hop :])
    torch.testing.assert_close(cut[..., context:], whole[..., start + context :], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(cut[..., :1_000], whole[..., start : start + 1_000], atol=1e-3)


def test_the_likeliest_pitch_is_the_mean_around_the_highest_bin():
    config = MajlConfig(pitch_estimator_config="fcpe").pitch_estimator_config
    logits = torch.full((1, 2, config.num_bins), -12.0)
    logits[0, 0, 100:102] = 2.0
    logits[0, 1, config.num_bins - 1] = 1.0
    f0_hz, confidence = likeliest_pitch(logits, config)
    cents = 1200 * torch.log2(f0_hz[0] / bins_to_hz(torch.tensor([100.5, config.num_bins - 1]), config))
    assert cents.abs().max() < 0.5
    torch.testing.assert_close(confidence[0], torch.sigmoid(torch.tensor([2.0, 1.0])))


def test_a_model_with_a_refiner_survives_saving(tmp_path):
    model = small_model()
    model.save_pretrained(tmp_path)
    loaded = MajlModel.from_pretrained(tmp_path).eval()
    assert loaded.config.refiner_config.num_bins == 64 and loaded.config.refiner_config.sampling_rate == 16_000
    mixture = torch.randn(1, model.config.num_channels, 12_000)
    with torch.no_grad():
        before, after = model(mixture), loaded(mixture)
    assert torch.equal(before.vocals, after.vocals) and torch.equal(before.pitch_logits, after.pitch_logits)
    with torch.no_grad():
        assert not torch.allclose(after.vocals, loaded.separator(mixture).vocals, atol=1e-3)
        assert torch.equal(after.pitch_logits, loaded.estimate_pitch(loaded.separator(mixture).vocals))


@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("block_length", [1_000, 7_777, 60_000])
def test_the_stream_equals_the_whole(num_channels, block_length):
    """Separator and pitch estimator declare their context too, so windows are exact."""
    model = small_model()
    rate = model.config.sampling_rate
    audio = np.random.default_rng(0).standard_normal((num_channels, 3 * rate + 333)).astype(np.float32) * 0.1
    with torch.no_grad():
        mixture = torch.from_numpy(audio)[:, None].expand(-1, model.config.num_channels, -1)
        vocals = model.separator(mixture).vocals.mean(dim=1)[None]
        logits = model.estimate_pitch(vocals)
        whole = model.refine(torch.from_numpy(audio)[None], vocals, logits)[0].numpy()
    blocks = [audio[:, start : start + block_length] for start in range(0, audio.shape[1], block_length)]
    chunks = list(separate_stream(model, blocks, rate, condition=False))
    vocals = np.concatenate([chunk.vocals for chunk in chunks], axis=1)
    assert vocals.shape == audio.shape
    np.testing.assert_allclose(vocals, whole, atol=2e-5)
    assert sum(len(chunk.frames) for chunk in chunks) == model.num_pitch_frames(audio.shape[1])
    unread = list(separate_stream(model, blocks, rate, read_pitch=False, condition=False))
    assert np.array_equal(np.concatenate([chunk.vocals for chunk in unread], axis=1), vocals)
    assert not any(len(chunk.frames) for chunk in unread)
    if block_length == 1_000:
        assert sum(chunk.vocals.shape[1] > 0 for chunk in chunks) > 3  # it comes in pieces


def test_a_solo_voice_is_not_refined():
    model = small_model()
    audio = np.random.default_rng(0).standard_normal((1, 20_000)).astype(np.float32)
    assert np.array_equal(separate_array(model, audio, model.config.sampling_rate, separate=False).vocals, audio)


def test_pitch_distinguishes_two_voices():
    """Two tones of many harmonics that only differ in pitch: only f0 says which one is wanted."""
    torch.manual_seed(0)
    refiner = small_refiner(hidden_channels=8).train()
    optimizer = torch.optim.AdamW(refiner.parameters(), lr=5e-3)
    times = torch.arange(8_192) / 16_000

    def voices(batch_size):
        f0 = 150.0 + 150.0 * torch.rand(batch_size, 2)
        numbers = torch.arange(1, 7)
        phases = 6.2832 * (f0[..., None, None] * numbers[:, None] * times + torch.rand(batch_size, 2, 6, 1))
        return f0[:, 0], 0.1 * torch.sin(phases).sum(dim=2, keepdim=True)

    def error_db(refiner, f0, both, sure):
        mixture, wanted = both.sum(dim=1), both[:, 0]
        pitch = f0[:, None].expand(-1, 1 + 8_192 // 128)
        refined = refiner(mixture, 0.5 * mixture, pitch, torch.full_like(pitch, sure))
        return 10 * torch.log10((refined - wanted).square().mean() / wanted.square().mean())

    for _ in range(60):
        loss = error_db(refiner, *voices(4), sure=1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    refiner.eval()
    with torch.no_grad():
        f0, both = voices(16)
        assert error_db(refiner, f0, both, sure=1.0) < -6.0
        assert error_db(refiner, f0.flip(0), both, sure=1.0) > -4.0


def test_training_reads_the_pitch_of_items_without_a_label():
    """Their vocals are refined as well; their pitch has no loss."""
    model = small_model().train()
    mixture = torch.randn(2, model.config.num_channels, 8_000)
    weight = torch.ones(2, model.num_pitch_frames(8_000))
    weight[1] = 0.0
    output = model(mixture, pitch_weight=weight)
    torch.testing.assert_close(output.pitch_logits, model(mixture).pitch_logits)
    torch.testing.assert_close(model(mixture, pitch_weight=weight).vocals, model(mixture).vocals)
    output.pitch_logits[1].sum().backward()
    assert not model.pitch_estimator.head.weight.grad.any()
