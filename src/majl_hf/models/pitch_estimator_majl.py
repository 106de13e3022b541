"""The pitch estimator contract: what every pitch backbone declares and returns.

A pitch estimator is a registered `PreTrainedModel` whose config is a `PitchEstimatorConfig`:

- input: a mono waveform, `(batch_size, num_samples)`, float, at `config.sampling_rate`;
- output: a `PitchEstimatorOutput` with `logits` of shape `(batch_size, num_frames, num_bins)`,
  `num_frames = 1 + num_samples // config.hop_length`, frame i centred at sample `i * hop_length`. The sigmoid of a
  logit is the posterior that the frame is sung with a pitch in that bin.
"""

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from .part_config_majl import PartConfig


class PitchEstimatorConfig(PartConfig):
    """What a pitch estimator declares about itself, its grid of bins above all.

    Args:
        sampling_rate (`int`): Rate in Hz at which the estimator works.
        hop_length (`int`): Samples from one frame's centre to the next.
        first_bin_hz (`float`): Centre of bin 0 in Hz.
        bin_cents (`float`): Distance of neighbouring bins in cents.
        num_bins (`int`): Number of bins.
        context (`int`, *optional*): Samples the network looks to each side; `None` where it is unbounded.
    """

    model_type = "majl-pitch-estimator"

    def __init__(
        self,
        sampling_rate=16_000,
        hop_length=160,
        first_bin_hz=32.7,
        bin_cents=20.0,
        num_bins=360,
        context=None,
        **kwargs,
    ):
        self.sampling_rate = sampling_rate
        self.hop_length = hop_length
        self.first_bin_hz = first_bin_hz
        self.bin_cents = bin_cents
        self.num_bins = num_bins
        self.context = context
        super().__init__(**kwargs)


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
    """Base of the pitch estimators: the input check that all of them share."""

    config_class = PitchEstimatorConfig
    base_model_prefix = "pitch_estimator"
    main_input_name = "waveform"
    input_modalities = "audio"

    def check_waveform(self, waveform: torch.Tensor) -> None:
        """Raise `ValueError` unless `waveform` is `(batch_size, num_samples >= 1)`."""
        if waveform.ndim != 2 or waveform.shape[1] == 0:
            raise ValueError(
                f"{type(self).__name__} needs a mono waveform of shape (batch_size, num_samples) with at least one "
                f"sample, but got {tuple(waveform.shape)}."
            )
