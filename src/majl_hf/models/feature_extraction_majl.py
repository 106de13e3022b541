"""From audio arrays to the model's input: channel layout, rate check, padding of a batch."""

import numpy as np
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.feature_extraction_utils import BatchFeature

from .configuration_majl import SHIPPED_CHECKPOINTS, MajlConfig
from .samples_majl import check_sampling_rate, float_samples


class MajlFeatureExtractor(SequenceFeatureExtractor):
    """Turns one or several waveforms into a padded batch `mixture`, `(batch_size, feature_size, num_samples)`.

    Args:
        feature_size (`int`): Number of channels that the model takes.
        sampling_rate (`int`): Rate in Hz at which the model works.
        padding_value (`float`): Value of padded samples.
    """

    model_input_names = ["mixture"]

    def __init__(self, feature_size=2, sampling_rate=44_100, padding_value=0.0, **kwargs):
        kwargs.setdefault("return_attention_mask", False)
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        name = SHIPPED_CHECKPOINTS.get(str(pretrained_model_name_or_path), pretrained_model_name_or_path)
        return super().from_pretrained(name, **kwargs)

    @classmethod
    def from_config(cls, config: MajlConfig) -> "MajlFeatureExtractor":
        """The extractor that fits a model."""
        return cls(feature_size=config.num_channels, sampling_rate=config.sampling_rate)

    def __call__(self, raw_audio, sampling_rate: int | None = None, return_tensors: str | None = None) -> BatchFeature:
        """Prepare audio for `MajlModel`.

        Args:
            raw_audio: An array or tensor of shape `(num_samples,)` or `(num_channels, num_samples)` with one channel or
                `feature_size`, float with full scale at 1 or integer (see `float_samples`); or a list of these. One
                channel is repeated where the model takes more; shorter items are padded at the end.
            sampling_rate: Rate in Hz of the audio; must be the extractor's.
            return_tensors: `"pt"` or `"np"`.

        Raises:
            ValueError: another or no sampling rate, or another layout.
        """
        if sampling_rate is None or check_sampling_rate(sampling_rate) != self.sampling_rate:
            raise ValueError(
                f"The audio's sampling rate is {sampling_rate}; this extractor needs audio at {self.sampling_rate} Hz. "
                "Resample it first, or use pipeline('majl-separation-pitch'), which does."
            )
        # Arrays in a list are items; a list of numbers is one item.
        is_batch = isinstance(raw_audio, (list, tuple)) and len(raw_audio) > 0 and np.ndim(raw_audio[0]) > 0
        items = [self._channels_first(item) for item in (raw_audio if is_batch else [raw_audio])]
        longest = max(item.shape[1] for item in items)
        padded = [
            np.pad(item, ((0, 0), (0, longest - item.shape[1])), constant_values=self.padding_value) for item in items
        ]
        return BatchFeature({"mixture": np.stack(padded)}, tensor_type=return_tensors)

    def _channels_first(self, item) -> np.ndarray:
        audio = np.atleast_2d(float_samples(item))
        if audio.ndim != 2 or audio.shape[0] not in (1, self.feature_size) or audio.shape[1] == 0:
            raise ValueError(
                f"Audio of shape {np.shape(item)} was given; (num_samples,) or (num_channels, num_samples) with 1 or "
                f"{self.feature_size} channels and at least one sample is needed."
            )
        return np.broadcast_to(audio, (self.feature_size, audio.shape[1]))
