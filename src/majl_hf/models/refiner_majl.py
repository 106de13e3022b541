"""A refiner: it corrects the vocals at the harmonics of the pitch that the pitch estimator found.

The parts of MAJL form a cascade, mixture -> vocals -> pitch. The refiner adds the way back. A small U-Net sees the
mixture's and the estimated vocals' spectra and a comb, `cos(2 pi f / f0)` and `sin(2 pi f / f0)` over the bins'
frequencies f, scaled by the pitch estimator's confidence. It returns complex corrections from the vocals and from the
mixture, the same for all channels. Its last layer starts at zero: a new refiner returns the vocals unchanged.

It takes waveforms and f0, so it fits any separator and any pitch estimator. No gradient flows through f0.
"""

import math

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from .posteriors_majl import moving_average
from .stft_majl import istft, stft

NUM_FEATURES = 7
MIN_MAGNITUDE = 1e-2  # of an STFT bin, where a sine of full scale has n_fft / 4
MAX_RATIO = 2.0  # of vocals and mixture, in a bin
LEVEL_FRAMES = 16  # to each side, over which the level is the mean


class RefinerConfig(PreTrainedConfig):
    """Configuration of `HarmonicRefiner`.

    Args:
        sampling_rate (`int`): Rate in Hz at which it works, the same as the separator's.
        n_fft (`int`): STFT size in samples.
        hop_length (`int`): STFT hop in samples.
        num_bins (`int`): Number of lowest STFT bins that are refined; a multiple of 8.
        hidden_channels (`int`): Channels of the first level; the second and third have two and three times as many.
    """

    model_type = "majl-refiner"

    sampling_rate: int = 44_100
    n_fft: int = 4096
    hop_length: int = 1024
    num_bins: int = 768
    hidden_channels: int = 16

    def __post_init__(self, **kwargs):
        if self.num_bins % 8 or not 0 < self.num_bins <= self.n_fft // 2:
            raise ValueError(
                f"num_bins is {self.num_bins}; a multiple of 8 up to n_fft // 2 = {self.n_fft // 2} is needed."
            )
        super().__post_init__(**kwargs)

    @property
    def alignment(self) -> int:
        """A window must start at a multiple of this many samples for its output to equal that of a longer window."""
        return self.hop_length * 4  # two levels halve time

    @property
    def context(self) -> int:
        """Samples that the network looks to each side."""
        # Convolutions see a frame to each side, the first one two; at the lower levels a frame spans two, then four.
        return self.hop_length * (LEVEL_FRAMES + (2 + 1 + 1) + 2 * 4 + 4 * 5) + self.n_fft


class ConvBlock(nn.Module):
    """Convolution and leaky ReLU. No normalisation: its statistics would vary with the songs and silence in a batch."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return nn.functional.leaky_relu_(self.conv(hidden), 0.1)


class Residual(nn.Module):
    """Convolution blocks with a residual connection."""

    def __init__(self, num_channels: int, num_blocks: int):
        super().__init__()
        self.blocks = nn.Sequential(*(ConvBlock(num_channels, num_channels) for _ in range(num_blocks)))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + self.blocks(hidden)


class CorrectionHead(nn.ConvTranspose2d):
    """Transposed convolution that doubles frequency and starts at zero."""

    def __init__(self, in_channels: int):
        super().__init__(in_channels, 4, kernel_size=(3, 4), stride=(1, 2), padding=(1, 1))


class HarmonicRefiner(PreTrainedModel):
    """Pitch-informed correction of separated vocals; see the docstring of this file."""

    config_class = RefinerConfig
    base_model_prefix = "refiner"
    main_input_name = "mixture"
    input_modalities = "audio"

    def __init__(self, config: RefinerConfig):
        super().__init__(config)
        width = config.hidden_channels
        self.down = nn.ModuleList(
            [
                ConvBlock(NUM_FEATURES, width, kernel_size=5, stride=(1, 2)),
                nn.Sequential(ConvBlock(width, 2 * width, stride=2), Residual(2 * width, 1)),
                nn.Sequential(
                    ConvBlock(2 * width, 3 * width, stride=2), Residual(3 * width, 2), Residual(3 * width, 2)
                ),
            ]
        )
        self.up = nn.ModuleList(
            [
                nn.ConvTranspose2d(3 * width, 2 * width, kernel_size=4, stride=2, padding=1),
                nn.ConvTranspose2d(2 * width, width, kernel_size=4, stride=2, padding=1),
            ]
        )
        self.middle = Residual(2 * width, 1)
        self.head = CorrectionHead(width)
        self.post_init()

    def _init_weights(self, module: nn.Module):
        if isinstance(module, CorrectionHead):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5.0))
            init.zeros_(module.bias)

    def forward(
        self,
        mixture: torch.Tensor,
        vocals: torch.Tensor,
        f0_hz: torch.Tensor,
        confidence: torch.Tensor,
    ) -> torch.Tensor:
        r"""
        Args:
            mixture, vocals (`torch.Tensor` of shape `(batch_size, num_channels, num_samples)`):
                Waveforms at `config.sampling_rate`, full scale at 1.
            f0_hz (`torch.Tensor` of shape `(batch_size, 1 + num_samples // config.hop_length)`):
                Pitch of each frame of the STFT, positive.
            confidence (`torch.Tensor` of shape `(batch_size, 1 + num_samples // config.hop_length)`):
                Confidence of the pitch in [0, 1]; 0 where unvoiced.

        Returns:
            Refined vocals, of the vocals' shape.
        """
        config = self.config
        if mixture.ndim != 3 or mixture.shape != vocals.shape or mixture.shape[2] == 0:
            raise ValueError(
                "Mixture and vocals of one shape (batch_size, num_channels, num_samples) with at least one sample are "
                f"needed, but the mixture has {tuple(mixture.shape)} and the vocals have {tuple(vocals.shape)}."
            )
        both = stft(torch.cat([mixture, vocals], dim=1), config.n_fft, config.hop_length)
        spectrum = both[:, mixture.shape[1] :]
        if f0_hz.shape != spectrum.shape[:3:2] or confidence.shape != f0_hz.shape:
            raise ValueError(
                f"f0 and confidence of shape {tuple(spectrum.shape[:3:2])}, one value per frame of the spectrum, are "
                f"needed, but they have {tuple(f0_hz.shape)} and {tuple(confidence.shape)}."
            )
        lower_mixture, lower = both[..., : config.num_bins].chunk(2, dim=1)
        features = self.features(lower_mixture.mean(dim=1), lower.mean(dim=1), f0_hz, confidence)
        correction = torch.tanh(self._network(features).float())[:, :, None, : f0_hz.shape[1]]
        of_vocals = torch.complex(1.0 + correction[:, 0], correction[:, 1])
        of_mixture = torch.complex(correction[:, 2], correction[:, 3])
        corrected = of_vocals * lower + of_mixture * lower_mixture
        refined = torch.cat([corrected, spectrum[..., config.num_bins :]], dim=-1)
        return istft(refined, config.n_fft, config.hop_length, mixture.shape[2])

    def features(
        self, mixture: torch.Tensor, vocals: torch.Tensor, f0_hz: torch.Tensor, confidence: torch.Tensor
    ) -> torch.Tensor:
        """What the network sees, `(batch_size, NUM_FEATURES, num_frames, num_bins)`: both magnitudes in units of two
        nats over the mixture's level around the frame, the ratio's real and imaginary part, comb and confidence.

        Args:
            mixture, vocals: Spectra, complex `(batch_size, num_frames, num_bins)`.
            f0_hz, confidence: `(batch_size, num_frames)`.
        """
        magnitudes = mixture.abs()
        log_mixture = torch.log(magnitudes + MIN_MAGNITUDE)
        level = moving_average(log_mixture.mean(dim=2), 2 * LEVEL_FRAMES + 1)[..., None]
        ratio = vocals * mixture.conj() / magnitudes.square().clamp(min=MIN_MAGNITUDE**2)
        ratio = ratio * (MAX_RATIO / ratio.abs().clamp(min=MAX_RATIO))
        resolution_hz = self.config.sampling_rate / self.config.n_fft
        frequencies_hz = torch.arange(self.config.num_bins, device=mixture.device) * resolution_hz
        phase = 2.0 * math.pi * frequencies_hz / f0_hz.detach()[..., None]
        sure = confidence.detach()[..., None]
        features = torch.stack(  # features last in memory, the order in which convolutions are fast
            [
                (log_mixture - level) / 2.0,
                (torch.log(vocals.abs() + MIN_MAGNITUDE) - level) / 2.0,
                ratio.real,
                ratio.imag,
                torch.cos(phase) * sure,
                torch.sin(phase) * sure,
                sure.expand_as(phase),
            ],
            dim=-1,
        )
        return features.permute(0, 3, 1, 2)

    def _network(self, features: torch.Tensor) -> torch.Tensor:
        """Features to the correction's four planes, `(batch_size, 4, time, num_bins)`, time rounded up to 4 frames."""
        features = nn.functional.pad(features, (0, 0, 0, -features.shape[2] % 4))
        first = self.down[0](features)
        second = self.down[1](first)
        third = self.down[2](second)
        second = self.middle(second + nn.functional.leaky_relu_(self.up[0](third), 0.1))
        first = nn.functional.leaky_relu_(first + self.up[1](second), 0.1)
        return self.head(first)


AutoConfig.register(RefinerConfig.model_type, RefinerConfig, exist_ok=True)
AutoModel.register(RefinerConfig, HarmonicRefiner, exist_ok=True)
