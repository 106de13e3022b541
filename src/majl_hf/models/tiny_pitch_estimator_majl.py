"""A pitch estimator small enough for tests and ablations: a log-frequency spectrum, a harmonic sum and three layers."""

import torch
from torch import nn
from transformers import initialization as init

from .pitch_estimator_majl import PitchEstimator, PitchEstimatorConfig
from .pitch_majl import bins_to_hz
from .presets_majl import register_part
from .stft_majl import stft

HARMONICS = (0.5, 1.0, 2.0, 3.0, 4.0)  # multiples of a bin's frequency at which the spectrum is read


class TinyPitchEstimatorConfig(PitchEstimatorConfig):
    """Configuration of `TinyPitchEstimator`.

    Args:
        n_fft (`int`): STFT size in samples.
        hidden_channels (`int`): Channels of the convolutions.
    """

    model_type = "majl-tiny-pitch-estimator"

    hop_length: int = 320
    first_bin_hz: float = 65.0
    bin_cents: float = 40.0
    num_bins: int = 120
    n_fft: int = 2048
    hidden_channels: int = 16

    def __post_init__(self, **kwargs):
        if self.context is None:  # half a window and one frame per convolution
            self.context = self.n_fft // 2 + 3 * self.hop_length
        super().__post_init__(**kwargs)


class TinyPitchEstimator(PitchEstimator):
    """Convolutions over the spectrum read at a few harmonics of every bin's frequency."""

    config_class = TinyPitchEstimatorConfig

    def __init__(self, config: TinyPitchEstimatorConfig):
        super().__init__(config)
        channels = config.hidden_channels
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(len(HARMONICS), channels, (3, 5), padding=(1, 2)),
                nn.Conv2d(channels, channels, (3, 5), padding=(1, 2)),
            ]
        )
        self.head = nn.Conv2d(channels, 1, (3, 5), padding=(1, 2))
        self.post_init()

    def _init_weights(self, module: nn.Module):
        if module is self.head:
            self._init_head(module)
        elif isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="leaky_relu", a=0.2)
            init.zeros_(module.bias)

    def estimate(self, waveform: torch.Tensor) -> torch.Tensor:
        config = self.config
        magnitudes = torch.log1p(10 * stft(waveform, config.n_fft, config.hop_length).abs())
        # Linear interpolation between STFT bins at each multiple of each pitch bin's frequency.
        bins = torch.arange(config.num_bins, device=waveform.device, dtype=waveform.dtype)
        harmonics = torch.tensor(HARMONICS, device=waveform.device, dtype=waveform.dtype)
        position = harmonics[:, None] * bins_to_hz(bins, config) * (config.n_fft / config.sampling_rate)
        position = position.clamp(max=config.n_fft // 2 - 1)
        below = position.long()
        share = position - below
        hidden = magnitudes[..., below] * (1 - share) + magnitudes[..., below + 1] * share
        hidden = hidden.transpose(1, 2)  # (batch_size, num_harmonics, num_frames, num_bins)
        for layer in self.layers:
            hidden = nn.functional.leaky_relu(layer(hidden), 0.2)
        return self.head(hidden)[:, 0]


register_part(
    TinyPitchEstimatorConfig,
    TinyPitchEstimator,
    test_presets={"spectrum-tiny": {"n_fft": 1024, "hidden_channels": 4}},
)
