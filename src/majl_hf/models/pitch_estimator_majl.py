"""The pitch estimator contract: what every pitch backbone declares and returns.

A pitch estimator is a registered `PreTrainedModel` whose config is a `PitchEstimatorConfig`:

- input: a mono waveform, `(batch_size, num_samples)`, float, at `config.sampling_rate`;
- output: a `PitchEstimatorOutput` with `logits` of shape `(batch_size, num_frames, num_bins)`,
  `num_frames = 1 + num_samples // config.hop_length`, frame i centred at sample `i * hop_length`. The sigmoid of a
  logit is the posterior that the frame is sung with a pitch in that bin.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .layers_majl import Filterbank


class PitchEstimatorConfig(PreTrainedConfig):
    """What a pitch estimator declares about itself: its rate, its frames and its grid of bins.

    Args:
        sampling_rate (`int`): Rate in Hz at which the estimator works.
        hop_length (`int`): Samples from one frame's centre to the next.
        first_bin_hz (`float`): Centre of bin 0 in Hz.
        bin_cents (`float`): Distance of neighbouring bins in cents.
        num_bins (`int`): Number of bins.
        context (`int`, *optional*): Samples the network looks to each side; `None` where it is unbounded.
    """

    model_type = "majl-pitch-estimator"

    sampling_rate: int = 16_000
    hop_length: int = 160
    first_bin_hz: float = 32.7
    bin_cents: float = 20.0
    num_bins: int = 360
    context: int | None = None


def num_pitch_frames(num_samples: int, hop_length: int) -> int:
    """Number of frames for a waveform of `num_samples`, one centred on each multiple of `hop_length` up to its end."""
    return 1 + num_samples // hop_length


@dataclass
class PitchEstimatorOutput(ModelOutput):
    """Output of a pitch estimator.

    Args:
        logits (`torch.FloatTensor` of shape `(batch_size, num_frames, num_bins)`): Pitch logits.
    """

    logits: torch.FloatTensor | None = None


class PitchEstimator(PreTrainedModel):
    """Base of the pitch estimators: checks the waveform and leaves the rest to `estimate`."""

    config_class = PitchEstimatorConfig
    base_model_prefix = "pitch_estimator"
    main_input_name = "waveform"
    input_modalities = "audio"

    def _init_weights(self, module: nn.Module):
        """The initialisation that all backbones share; they initialise their own layers themselves."""
        if isinstance(module, Filterbank):
            init.copy_(module.filters, module.make_filters(self.config))
        else:
            super()._init_weights(module)

    def _init_head(self, layer: nn.Module):
        """Initialise the last layer. Hardly any bin is sung: posteriors of one half or more would start with a loss so
        large that its gradient permanently damages a new separator."""
        init.normal_(layer.weight, std=0.01)
        init.constant_(layer.bias, -math.log(self.config.num_bins))

    def forward(self, waveform: torch.Tensor, **kwargs) -> PitchEstimatorOutput:
        r"""
        Args:
            waveform (`torch.Tensor` of shape `(batch_size, num_samples)`):
                Mono waveform of one voice at `config.sampling_rate`, full scale at 1.

        Returns:
            `PitchEstimatorOutput` with `logits` of shape `(batch_size, 1 + num_samples // hop_length, num_bins)`.

        Raises:
            ValueError: another number of dimensions, or no samples.
        """
        if waveform.ndim != 2 or waveform.shape[1] == 0:
            raise ValueError(
                f"{type(self).__name__} needs a mono waveform of shape (batch_size, num_samples) with at least one "
                f"sample, but got {tuple(waveform.shape)}."
            )
        return PitchEstimatorOutput(logits=self.estimate(waveform))

    def estimate(self, waveform: torch.Tensor) -> torch.Tensor:
        """Logits `(batch_size, num_frames, num_bins)` of a waveform `(batch_size, num_samples)`."""
        raise NotImplementedError(f"{type(self).__name__} needs a method `estimate`, or a `forward` of its own.")
