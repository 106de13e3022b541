"""FCPE's convolutional mel network as a pitch estimator.

"Fast Context-based Pitch Estimation" by CNChTu; code and weights are published as the package `torchfcpe`
(MIT). A log-mel spectrogram goes through two convolutions and a stack of residual convolution modules (pointwise,
gated, depthwise over 31 frames, pointwise) to 360 bins of 19.78 cents from 32.7 Hz.
"""

import math

import torch
from torch import nn
from transformers import initialization as init

from .layers_majl import Filterbank, mel_filters
from .pitch_estimator_majl import PitchEstimator, PitchEstimatorConfig, num_pitch_frames
from .presets_majl import register_part

BIN_CENTS = 1200.0 * math.log2(1975.5 / 32.7) / 359  # 360 bins from 32.7 to 1975.5 Hz


class FcpeConfig(PitchEstimatorConfig):
    """Configuration of `FcpePitchEstimator`.

    Args:
        n_fft (`int`): STFT size in samples.
        num_mels (`int`): Number of mel bands between 0 Hz and half the sampling rate.
        hidden_size (`int`): Width of the network.
        num_layers (`int`): Number of residual convolution modules.
        kernel_size (`int`): Frames that a depthwise convolution spans, odd.
    """

    model_type = "majl-fcpe"

    bin_cents: float = BIN_CENTS
    n_fft: int = 1024
    num_mels: int = 128
    hidden_size: int = 512
    num_layers: int = 6
    kernel_size: int = 31


class LogMel(Filterbank):
    """Waveform `(batch_size, num_samples)` to log-mel magnitudes `(batch_size, num_mels, num_frames)`."""

    @staticmethod
    def make_filters(config: FcpeConfig) -> torch.Tensor:
        """`(num_mels, n_fft // 2 + 1)`."""
        return mel_filters(config, 0.0, config.sampling_rate / 2, "slaney").T.contiguous()

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        with torch.autocast(waveform.device.type, enabled=False):  # logarithms of small numbers
            return self._log_mel(waveform)

    def _log_mel(self, waveform: torch.Tensor) -> torch.Tensor:
        num_frames = num_pitch_frames(waveform.shape[1], self.hop_length)
        # The published front end pads as if frames were hop-sized cells, and mirrors where the signal is long enough.
        before = (self.n_fft - self.hop_length) // 2
        behind = max((self.n_fft - self.hop_length + 1) // 2, self.n_fft - waveform.shape[1] - before)
        mode = "reflect" if behind < waveform.shape[1] else "constant"
        padded = nn.functional.pad(waveform[:, None], (before, behind), mode=mode)[:, 0]
        window = torch.hann_window(self.n_fft, device=waveform.device, dtype=waveform.dtype)
        spectrum = torch.stft(padded, self.n_fft, self.hop_length, window=window, center=False, return_complex=True)
        magnitudes = torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-9)
        mel = torch.log(torch.clamp(self.filters @ magnitudes, min=1e-5))
        missing = num_frames - mel.shape[2]
        if missing > 0:
            mel = torch.cat([mel, mel[:, :, -1:].expand(-1, -1, missing)], dim=2)
        return mel[:, :, :num_frames]


def _depthwise_forward(frames: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    # As a 2-D convolution of height one: in (batch, frames, channels) memory order CPUs run it six times faster.
    mixed = nn.functional.conv2d(
        frames.transpose(1, 2)[:, :, None],
        weight[:, :, None],
        bias,
        padding=(0, weight.shape[2] // 2),
        groups=weight.shape[0],
    )
    return mixed[:, :, 0].transpose(1, 2)


class _DepthwiseConvolution(torch.autograd.Function):
    """Depthwise convolution with a backward that stays in (batch, frames, channels) order: 4 times faster on CPUs."""

    WEIGHT_BLOCK = 40  # frames whose products fit into a core's cache

    @staticmethod
    def forward(ctx, frames, weight, bias):
        ctx.save_for_backward(frames, weight)
        return _depthwise_forward(frames, weight, bias)

    @staticmethod
    def backward(ctx, gradient):
        frames, weight = ctx.saved_tensors
        num_channels, _, kernel_size = weight.shape
        gradient = gradient.contiguous()
        frames_gradient = weight_gradient = bias_gradient = None
        if ctx.needs_input_grad[0]:
            frames_gradient = _depthwise_forward(gradient, weight.to(gradient).flip(2), None)
        if ctx.needs_input_grad[1]:
            half = kernel_size // 2
            padded = nn.functional.pad(frames, (0, 0, half, half)).contiguous()
            total = weight.new_zeros(kernel_size, num_channels)
            for item, item_gradient in zip(padded, gradient, strict=True):
                for first in range(0, gradient.shape[1], _DepthwiseConvolution.WEIGHT_BLOCK):
                    block = item_gradient[first : first + _DepthwiseConvolution.WEIGHT_BLOCK]
                    # (kernel_size, block, channels): the block as seen by each tap, without a copy
                    shifted = item.as_strided(
                        (kernel_size, *block.shape),
                        (num_channels, num_channels, 1),
                        storage_offset=item.storage_offset() + first * num_channels,
                    )
                    total += (shifted * block).sum(dim=1)
            weight_gradient = total.T[:, None]
        if ctx.needs_input_grad[2]:
            bias_gradient = gradient.sum(dim=(0, 1))
        return frames_gradient, weight_gradient, bias_gradient


def depthwise_convolution(frames: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Depthwise convolution along time, zero-padded to the same length.

    Args:
        frames (`torch.Tensor` of shape `(batch_size, num_frames, num_channels)`).
        weight (`torch.Tensor` of shape `(num_channels, 1, kernel_size)`): odd `kernel_size`.
        bias (`torch.Tensor` of shape `(num_channels,)`).
    """
    if torch.is_grad_enabled() and frames.device.type == "cpu":
        return _DepthwiseConvolution.apply(frames, weight, bias)
    return _depthwise_forward(frames, weight, bias)


class ConvModule(nn.Module):
    """Residual gated depthwise convolution along time: `(batch_size, num_frames, hidden_size)` in and out."""

    def __init__(self, config: FcpeConfig):
        super().__init__()
        width = 2 * config.hidden_size
        self.norm = nn.LayerNorm(config.hidden_size)
        self.pointwise_in = nn.Linear(config.hidden_size, 2 * width)
        self.depthwise = nn.Conv1d(width, width, config.kernel_size, padding=config.kernel_size // 2, groups=width)
        self.pointwise_out = nn.Linear(width, config.hidden_size)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        gated = nn.functional.glu(self.pointwise_in(self.norm(hidden)), dim=-1)
        mixed = depthwise_convolution(gated, self.depthwise.weight, self.depthwise.bias)
        return hidden + self.pointwise_out(nn.functional.silu(mixed))


class FcpePitchEstimator(PitchEstimator):
    """FCPE's network on a waveform; its posteriors are the sigmoid of the logits."""

    config_class = FcpeConfig

    def __init__(self, config: FcpeConfig):
        super().__init__(config)
        self.log_mel = LogMel(config)
        self.input_conv = nn.Conv1d(config.num_mels, config.hidden_size, 3, padding=1)
        self.input_norm = nn.GroupNorm(4, config.hidden_size)
        self.hidden_conv = nn.Conv1d(config.hidden_size, config.hidden_size, 3, padding=1)
        self.layers = nn.ModuleList(ConvModule(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.head = nn.Linear(config.hidden_size, config.num_bins)
        self.post_init()

    def _init_weights(self, module: nn.Module):
        if isinstance(module, (nn.Conv1d, nn.Linear)):
            init.kaiming_normal_(module.weight, nonlinearity="linear")
            init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    def estimate(self, waveform: torch.Tensor) -> torch.Tensor:
        hidden = self.input_norm(self.input_conv(self.log_mel(waveform)))
        hidden = self.hidden_conv(nn.functional.leaky_relu(hidden)).transpose(1, 2).contiguous()
        for layer in self.layers:
            hidden = layer(hidden)
        return self.head(self.norm(hidden))


register_part(
    FcpeConfig,
    FcpePitchEstimator,
    presets={"fcpe": {}, "fcpe-small": {"hidden_size": 192, "num_layers": 4}},
    test_presets={
        "fcpe-tiny": {
            "hop_length": 320,
            "n_fft": 512,
            "num_mels": 32,
            "hidden_size": 16,
            "num_layers": 1,
            "kernel_size": 7,
        }
    },
)
