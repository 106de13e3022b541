"""A harmonic network on a log-frequency axis as a pitch estimator, after HarmoF0.

Wei, Li, Li, Bai and Bai, "HarmoF0: Logarithmic Scale Dilated Convolution For Pitch Estimation", ICME 2022. On a
logarithmic frequency axis the harmonics of a tone lie at the same distances from its fundamental, whatever its pitch.
The first convolution therefore has its taps at those distances (multiple-rate dilated convolution); the later ones
have theirs an octave away (dilated by the bins of an octave), and see whether a candidate is another one's harmonic.
A network of little more than a hundred thousand weights is enough.

The log-frequency spectrum is differentiable: STFT powers are summed by triangular filters, each as wide as its bin or
as the STFT's resolution there, and compressed by a logarithm.
"""

import math

import torch
from torch import nn
from transformers import initialization as init

from .layers_majl import Filterbank
from .pitch_estimator_majl import PitchEstimator, PitchEstimatorConfig
from .pitch_majl import OCTAVE_CENTS, bins_to_hz
from .presets_majl import register_part
from .stft_majl import stft

POWER_FLOOR = 1e-7  # of a bin, where a sine of full scale has about 0.25


class HarmonicConfig(PitchEstimatorConfig):
    """Configuration of `HarmonicPitchEstimator`.

    Args:
        n_fft (`int`): STFT size in samples.
        num_harmonics (`int`): Harmonics that the first layer sees, including the fundamental.
        hidden_channels (`list[int]`): Channels of the blocks; the first is the harmonic one.
        head_channels (`int`): Channels of the layer before the last.
        time_kernel_size (`int`): Frames that a block's convolution along time spans, odd.
    """

    model_type = "majl-harmonic"

    first_bin_hz: float = 27.5
    bin_cents: float = 25.0
    num_bins: int = 352
    n_fft: int = 2048
    num_harmonics: int = 12
    hidden_channels: list[int] | tuple = (32, 64, 128, 128)
    head_channels: int = 64
    time_kernel_size: int = 3

    def __post_init__(self, **kwargs):
        self.hidden_channels = list(self.hidden_channels)
        reach_frames = len(self.hidden_channels) * (self.time_kernel_size // 2)
        self.context = self.context or self.n_fft // 2 + reach_frames * self.hop_length
        super().__post_init__(**kwargs)

    def bins_above(self, ratio: float) -> int:
        """Bins between a frequency and `ratio` times that frequency, rounded."""
        return round(OCTAVE_CENTS * math.log2(ratio) / self.bin_cents)


class LogFrequencySpectrum(Filterbank):
    """Waveform `(batch_size, num_samples)` to log powers `(batch_size, num_frames, num_bins)` on the config's grid,
    frame i centred on sample `i * hop_length`, silence beyond the ends."""

    @staticmethod
    def make_filters(config: HarmonicConfig) -> torch.Tensor:
        """Triangular filters `(n_fft // 2 + 1, num_bins)`, the weights of each adding up to 1; bins above half the
        sampling rate have no filter."""
        resolution_hz = config.sampling_rate / config.n_fft
        bins = torch.arange(config.num_bins, dtype=torch.float64)
        centres_hz = bins_to_hz(bins, config)
        widths_hz = (centres_hz * (2.0 ** (config.bin_cents / OCTAVE_CENTS) - 1.0)).clamp(min=resolution_hz)
        frequencies_hz = torch.arange(config.n_fft // 2 + 1, dtype=torch.float64) * resolution_hz
        filters = (1.0 - (frequencies_hz[:, None] - centres_hz).abs() / widths_hz).clamp(min=0.0)
        return (filters / filters.sum(dim=0).clamp(min=1.0)).float()

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        with torch.autocast(waveform.device.type, enabled=False):  # logarithms of small numbers
            spectrum = stft(waveform, self.n_fft, self.hop_length) / (self.n_fft / 2)  # by the window's sum
            power = (spectrum.real.square() + spectrum.imag.square()) @ self.filters
            return torch.log(power + POWER_FLOOR)


class HarmonicConvolution(nn.Module):
    """Convolution whose taps along frequency lie at a bin's harmonics: it sees `(batch_size, 1, num_frames, num_bins)`
    shifted down by the distance of each harmonic, as channels, with `fill` above the highest bin."""

    def __init__(self, config: HarmonicConfig):
        super().__init__()
        self.shifts = [config.bins_above(number) for number in range(1, config.num_harmonics + 1)]
        self.conv = nn.Conv2d(len(self.shifts), config.hidden_channels[0], 1, bias=False)

    def forward(self, spectrum: torch.Tensor, fill: torch.Tensor) -> torch.Tensor:
        num_bins = spectrum.shape[-1]
        above = fill.expand(*spectrum.shape[:-1], max(self.shifts))
        extended = torch.cat([spectrum, above], dim=-1)
        harmonics = torch.cat([extended[..., shift : shift + num_bins] for shift in self.shifts], dim=1)
        return self.conv(harmonics)


class DilatedBlock(nn.Module):
    """Convolution along frequency (harmonic, or with taps an octave away), then one along time, each with normalisation
    and ReLU; the second has a residual connection."""

    def __init__(self, config: HarmonicConfig, in_channels: int | None, out_channels: int):
        super().__init__()
        octave = config.bins_above(2.0)
        self.over_frequency = None
        if in_channels is not None:
            self.over_frequency = nn.Conv2d(
                in_channels, out_channels, (1, 3), padding=(0, octave), dilation=(1, octave), bias=False
            )
        self.norm_1 = nn.BatchNorm2d(out_channels, momentum=0.01)
        kernel_size = (config.time_kernel_size, 3)
        padding = (config.time_kernel_size // 2, 1)
        self.over_time = nn.Conv2d(
            out_channels, out_channels, kernel_size, padding=padding, groups=out_channels, bias=False
        )
        self.mix = nn.Conv2d(out_channels, out_channels, 1, bias=False)
        self.norm_2 = nn.BatchNorm2d(out_channels, momentum=0.01)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if self.over_frequency is not None:
            hidden = self.over_frequency(hidden)
        hidden = nn.functional.relu(self.norm_1(hidden))
        return hidden + nn.functional.relu(self.norm_2(self.mix(self.over_time(hidden))))


class HarmonicPitchEstimator(PitchEstimator):
    """A network after HarmoF0 on a waveform; its posteriors are the sigmoid of the logits."""

    config_class = HarmonicConfig

    def __init__(self, config: HarmonicConfig):
        super().__init__(config)
        channels = config.hidden_channels
        self.spectrum = LogFrequencySpectrum(config)
        self.input_norm = nn.BatchNorm2d(1, momentum=0.01)
        self.harmonic = HarmonicConvolution(config)
        self.blocks = nn.ModuleList(
            DilatedBlock(config, channels[index - 1] if index else None, channels[index])
            for index in range(len(channels))
        )
        self.head_in = nn.Conv2d(channels[-1], config.head_channels, 1)
        self.head_out = nn.Conv2d(config.head_channels, 1, 1)
        self.post_init()

    def _init_weights(self, module: nn.Module):
        if module is self.head_out:
            self._init_head(module)
        elif isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    def estimate(self, waveform: torch.Tensor) -> torch.Tensor:
        spectrum = self.spectrum(waveform)[:, None]
        both = torch.cat([spectrum, torch.full_like(spectrum[..., :1], POWER_FLOOR).log()], dim=-1)
        both = self.input_norm(both)  # bins above the axis read as silence
        hidden = self.harmonic(both[..., :-1], both[..., -1:])
        for block in self.blocks:
            hidden = block(hidden)
        return self.head_out(nn.functional.leaky_relu(self.head_in(hidden), 0.2))[:, 0]


register_part(
    HarmonicConfig,
    HarmonicPitchEstimator,
    presets={
        "harmonic": {},
        "harmonic-small": {
            "hop_length": 320,
            "first_bin_hz": 55.0,
            "num_bins": 288,
            "num_harmonics": 8,
            "hidden_channels": (16, 24, 32),
            "head_channels": 32,
        },
    },
    test_presets={
        "harmonic-tiny": {
            "hop_length": 320,
            "first_bin_hz": 55.0,
            "bin_cents": 50.0,
            "num_bins": 120,
            "num_harmonics": 4,
            "hidden_channels": (4, 4),
            "head_channels": 4,
        }
    },
)
