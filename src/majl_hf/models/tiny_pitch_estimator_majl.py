"""A pitch estimator small enough for tests and ablations: a log-frequency spectrum, a harmonic sum and three layers."""

import math

import torch
from torch import nn
from transformers import AutoConfig, AutoModel
from transformers import initialization as init

from .pitch_estimator_majl import PitchEstimator, PitchEstimatorConfig, PitchEstimatorOutput
from .pitch_majl import bins_to_hz

HARMONICS = (0.5, 1.0, 2.0, 3.0, 4.0)  # multiples of a bin's frequency at which the spectrum is read


class TinyPitchEstimatorConfig(PitchEstimatorConfig):
    """Configuration of `TinyPitchEstimator`.

    Args:
        n_fft (`int`): STFT size in samples.
        hidden_channels (`int`): Channels of the convolutions.
    """

    model_type = "majl-tiny-pitch-estimator"

    def __init__(
        self,
        sampling_rate=16_000,
        hop_length=320,
        first_bin_hz=65.0,
        bin_cents=40.0,
        num_bins=120,
        n_fft=2048,
        hidden_channels=16,
        context=None,
        **kwargs,
    ):
        self.n_fft = n_fft
        self.hidden_channels = hidden_channels
        if context is None:  # half a window and one frame a convolution
            context = n_fft // 2 + 3 * hop_length
        super().__init__(
            sampling_rate=sampling_rate,
            hop_length=hop_length,
            first_bin_hz=first_bin_hz,
            bin_cents=bin_cents,
            num_bins=num_bins,
            context=context,
            **kwargs,
        )


class Head(nn.Conv2d):
    """The last layer. A type of its own, since it is initialised in its own way."""


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
        self.head = Head(channels, 1, (3, 5), padding=(1, 2))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        if isinstance(module, Head):
            # Hardly any bin is sung: posteriors of one half or more would begin with a loss so large that its gradient
            # spoils a young separator for good.
            init.normal_(module.weight, std=0.01)
            init.constant_(module.bias, -math.log(self.config.num_bins))
        elif isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="leaky_relu", a=0.2)
            init.zeros_(module.bias)

    def forward(self, waveform: torch.Tensor, **kwargs) -> PitchEstimatorOutput:
        r"""
        Args:
            waveform (`torch.Tensor` of shape `(batch_size, num_samples)`):
                Mono waveform of one voice at `config.sampling_rate`, full scale at 1.

        Returns:
            `PitchEstimatorOutput` with `logits` of shape `(batch_size, 1 + num_samples // hop_length, num_bins)`.
        """
        self.check_waveform(waveform)
        config = self.config
        window = torch.hann_window(config.n_fft, device=waveform.device, dtype=waveform.dtype)
        spectrum = torch.stft(
            waveform, config.n_fft, config.hop_length, window=window, center=True, pad_mode="constant",
            return_complex=True,
        )  # fmt: skip
        magnitudes = torch.log1p(10 * spectrum.abs()).transpose(1, 2)
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
        return PitchEstimatorOutput(logits=self.head(hidden)[:, 0])


AutoConfig.register(TinyPitchEstimatorConfig.model_type, TinyPitchEstimatorConfig, exist_ok=True)
AutoModel.register(TinyPitchEstimatorConfig, TinyPitchEstimator, exist_ok=True)
