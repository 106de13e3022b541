"""Resampling between the parts: exact length, no delay, no aliasing, the same as a stream."""

import math

import numpy as np
import pytest
import torch

from majl_hf.models.resampling_majl import ResampleStream, resampled_length_ceil
from majl_hf.models.torch_resampling_majl import resample


def sine(rate: int, hz: float, num_samples: int) -> torch.Tensor:
    return torch.sin(2 * math.pi * hz * torch.arange(num_samples, dtype=torch.float64) / rate).float()[None]


@pytest.mark.parametrize(("orig", "new"), [(44_100, 16_000), (16_000, 44_100), (48_000, 16_000), (16_000, 16_000)])
@pytest.mark.parametrize("hz", [100.0, 1_000.0, 6_500.0])
def test_sine_stays_where_it_is(orig, new, hz):
    out = resample(sine(orig, hz, orig // 2), orig, new)
    expected = sine(new, hz, out.shape[1])
    middle = slice(new // 20, -new // 20)
    assert torch.abs(out - expected)[:, middle].max() < 2e-4


def test_what_does_not_fit_is_removed():
    out = resample(sine(44_100, 9_000.0, 44_100), 44_100, 16_000)
    assert out[:, 800:-800].abs().max() < 1e-4


@pytest.mark.parametrize("length", [1, 2, 440, 441, 442, 10_007])
def test_length(length):
    assert resample(torch.randn(2, length), 44_100, 16_000).shape == (2, resampled_length_ceil(length, 44_100, 16_000))
    assert resampled_length_ceil(length, 44_100, 16_000) == math.ceil(length * 160 / 441)


@pytest.mark.parametrize("block", [1_000, 441, 7, 20_000])
@pytest.mark.parametrize(("orig", "new"), [(44_100, 16_000), (16_000, 16_000)])
def test_stream_equals_whole(block, orig, new):
    waveform = np.random.default_rng(0).standard_normal(10_007).astype(np.float32)
    stream = ResampleStream(orig, new)
    pieces = np.split(waveform, range(block, len(waveform), block))
    out = np.concatenate([stream.push(piece, last=i == len(pieces) - 1) for i, piece in enumerate(pieces)])
    whole = resample(torch.from_numpy(waveform)[None], orig, new)[0].numpy()
    assert out.shape == whole.shape
    assert np.abs(out - whole).max() < 2e-6


def test_gradient_flows():
    waveform = torch.randn(1, 1_000, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: resample(x, 44_100, 16_000)[:, ::37], waveform[:, :200].detach().requires_grad_()
    )


def test_training_may_follow_inference():
    """A kernel first created in inference mode can be used for training afterwards."""
    with torch.inference_mode():
        resample(torch.randn(1, 500), 32_000, 11_025)
    waveform = torch.randn(1, 500, requires_grad=True)
    resample(waveform, 32_000, 11_025).sum().backward()
    assert waveform.grad.abs().sum() > 0
