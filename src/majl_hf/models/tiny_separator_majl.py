"""A separator small enough for tests and ablations: two convolution blocks on a folded spectrogram, 16 kHz mono."""

import itertools

import torch
from torch import nn
from transformers import initialization as init

from .presets_majl import register_part
from .separator_majl import Separator, SeparatorConfig
from .stft_majl import istft, stft


class TinySeparatorConfig(SeparatorConfig):
    """Configuration of `TinySeparator`.

    Args:
        n_fft (`int`): STFT size in samples; the network sees its lowest `n_fft // 2` bins.
        hop_length (`int`): STFT hop in samples.
        fold (`int`): Neighbouring bins that become channels, so that convolutions run on a small grid.
        hidden_channels (`int`): Channels of the convolutions.
        num_layers (`int`): Convolutions before the last one.
    """

    model_type = "majl-tiny-separator"

    sampling_rate: int = 16_000
    num_channels: int = 1
    n_fft: int = 1024
    hop_length: int = 256
    fold: int = 8
    hidden_channels: int = 16
    num_layers: int = 3
    alignment: int | None = None

    def __post_init__(self, **kwargs):
        self.alignment = self.alignment or self.hop_length
        if self.context is None:  # half a window for analysis, half for synthesis, and two frames per convolution
            self.context = self.n_fft + 2 * (self.num_layers + 1) * self.hop_length
        super().__post_init__(**kwargs)


class TinySeparator(Separator):
    """Mask estimation by a few 5x3 convolutions (time x folded frequency)."""

    config_class = TinySeparatorConfig

    def __init__(self, config: TinySeparatorConfig):
        super().__init__(config)
        folded = config.fold * config.num_channels
        sizes = [folded] + [config.hidden_channels] * config.num_layers
        self.layers = nn.ModuleList(
            nn.Conv2d(fan_in, fan_out, (5, 3), padding=(2, 1)) for fan_in, fan_out in itertools.pairwise(sizes)
        )
        self.head = nn.Conv2d(config.hidden_channels, folded, (5, 3), padding=(2, 1))
        self.post_init()

    def _init_weights(self, module: nn.Module):
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="leaky_relu", a=0.2)
            init.zeros_(module.bias)

    def estimate(self, mixture: torch.Tensor) -> torch.Tensor:
        config = self.config
        num_channels, num_samples = mixture.shape[1:]
        spectrum = stft(mixture, config.n_fft, config.hop_length)
        # (batch_size, channels, num_frames, num_bins) -> (batch_size, channels * fold, num_frames, num_bins / fold)
        features = torch.log1p(10 * spectrum[..., :-1].abs()).unflatten(-1, (-1, config.fold))
        hidden = features.permute(0, 1, 4, 2, 3).flatten(1, 2)
        for layer in self.layers:
            hidden = nn.functional.leaky_relu(layer(hidden), 0.2)
        mask = torch.sigmoid(self.head(hidden)).unflatten(1, (num_channels, config.fold))
        mask = mask.permute(0, 1, 3, 4, 2).flatten(-2)
        mask = nn.functional.pad(mask, (0, 1))  # the Nyquist bin is zero
        return istft(mask * spectrum, config.n_fft, config.hop_length, num_samples)


register_part(
    TinySeparatorConfig,
    TinySeparator,
    test_presets={"mask-tiny": {"n_fft": 512, "hop_length": 128, "hidden_channels": 4}},
)
