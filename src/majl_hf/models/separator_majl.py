"""The separator contract: what every separation backbone declares and returns.

A separator is a registered `PreTrainedModel` whose config is a `SeparatorConfig`:

- input: the mixture, `(batch_size, num_channels, num_samples)`, float, at `config.sampling_rate`;
- output: a `SeparatorOutput` whose `vocals` has the same shape, for every length from one sample on.
"""

from dataclasses import dataclass

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput


class SeparatorConfig(PreTrainedConfig):
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

    sampling_rate: int = 44_100
    num_channels: int = 2
    alignment: int = 1
    context: int | None = None


@dataclass
class SeparatorOutput(ModelOutput):
    """Output of a separator.

    Args:
        vocals (`torch.FloatTensor` of shape `(batch_size, num_channels, num_samples)`): Estimated vocals.
    """

    vocals: torch.FloatTensor | None = None


class Separator(PreTrainedModel):
    """Base of the separators: checks the mixture and leaves the rest to `estimate`."""

    config_class = SeparatorConfig
    base_model_prefix = "separator"
    main_input_name = "mixture"
    input_modalities = "audio"

    def forward(self, mixture: torch.Tensor, **kwargs) -> SeparatorOutput:
        r"""
        Args:
            mixture (`torch.Tensor` of shape `(batch_size, num_channels, num_samples)`):
                Waveform at `config.sampling_rate`, full scale at 1.

        Returns:
            `SeparatorOutput` with `vocals` of the mixture's shape.

        Raises:
            ValueError: another number of channels or dimensions, or no samples.
        """
        num_channels = self.config.num_channels
        if mixture.ndim != 3 or mixture.shape[1] != num_channels or mixture.shape[2] == 0:
            raise ValueError(
                f"{type(self).__name__} needs a mixture of shape (batch_size, {num_channels}, num_samples) with at "
                f"least one sample, but got {tuple(mixture.shape)}."
            )
        return SeparatorOutput(vocals=self.estimate(mixture))

    def estimate(self, mixture: torch.Tensor) -> torch.Tensor:
        """Vocals of a mixture of the right layout, both `(batch_size, num_channels, num_samples)`."""
        raise NotImplementedError(f"{type(self).__name__} needs a method `estimate`, or a `forward` of its own.")
