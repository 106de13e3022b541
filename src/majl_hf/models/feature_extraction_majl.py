"""From audio arrays to the model's input: channel layout, rate check, padding of a batch."""

import numpy as np
from transformers import AutoFeatureExtractor
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.feature_extraction_utils import BatchFeature

from .configuration_majl import MajlConfig


class MajlFeatureExtractor(SequenceFeatureExtractor):
    """Turns one or several waveforms into a padded batch.

    Args:
        feature_size (`int`): Number of channels that the model takes.
        sampling_rate (`int`): Rate in Hz at which the model works.
        padding_value (`float`): Value of padded samples.
    """

    model_input_names = ["mixture"]

    def __init__(self, feature_size=2, sampling_rate=44_100, padding_value=0.0, **kwargs):
        kwargs.setdefault("return_attention_mask", False)
        super().__init__(
            feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs
        )

    @classmethod
    def from_config(cls, config: MajlConfig) -> "MajlFeatureExtractor":
        """The extractor that fits a model."""
        return cls(feature_size=config.num_channels, sampling_rate=config.sampling_rate)
