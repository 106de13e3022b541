"""The separator contract: what every separation backbone declares and returns.

A separator is a registered `PreTrainedModel` whose config is a `SeparatorConfig`:

- input: the mixture, `(batch_size, num_channels, num_samples)`, float, at `config.sampling_rate`;
- output: a `SeparatorOutput` whose `vocals` has the same shape, for every length from one sample on.
"""

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from .part_config_majl import PartConfig


class SeparatorConfig(PartConfig):
    """What a separator declares about itself.

    Args:
        sampling_rate (`int`): Rate in Hz at which the separator works.
        num_channels (`int`): Number of audio channels it takes and returns.
        alignment (`int`): A window must start at a multiple of this many samples for its output to equal that of a
            longer window. 1 where the network has no such grid.
        context (`int`, *optional*): Samples the network looks to each side; `None` where a recurrent layer or a
            normalisation over time makes it unbounded.
    """

    model_type = "majl-separator"

    def __init__(self, sampling_rate=44_100, num_channels=2, alignment=1, context=None, **kwargs):
        self.sampling_rate = sampling_rate
        self.num_channels = num_channels
        self.alignment = alignment
        self.context = context
        super().__init__(**kwargs)


@dataclass
class SeparatorOutput(ModelOutput):
    """Output of a separator.

    Args:
        vocals (`torch.FloatTensor` of shape `(batch_size, num_channels, num_samples)`): Estimated vocals.
    """

    vocals: torch.FloatTensor | None = None


class Separator(PreTrainedModel):
    """Base of the separators: the input check that all of them share."""

    config_class = SeparatorConfig
    base_model_prefix = "separator"
    main_input_name = "mixture"
    input_modalities = "audio"

    def check_mixture(self, mixture: torch.Tensor) -> None:
        """Raise `ValueError` unless `mixture` is `(batch_size, config.num_channels, num_samples >= 1)`."""
        num_channels = self.config.num_channels
        if mixture.ndim != 3 or mixture.shape[1] != num_channels or mixture.shape[2] == 0:
            raise ValueError(
                f"{type(self).__name__} needs a mixture of shape (batch_size, {num_channels}, num_samples) with at "
                f"least one sample, but got {tuple(mixture.shape)}."
            )
