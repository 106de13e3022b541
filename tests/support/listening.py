"""A model that hears pure tones, made by hand, and melodies for it."""

import numpy as np
import torch

from majl_hf import MajlModel
from majl_hf.models.tiny_pitch_estimator_majl import HARMONICS, TinyPitchEstimator, TinyPitchEstimatorConfig
from majl_hf.models.tiny_separator_majl import TinySeparator, TinySeparatorConfig

RATE = 16_000


def listening_model(**config) -> MajlModel:
    """A model of the tiny parts whose vocals are half of the mixture, and whose pitch logits are the logarithm of the
    spectrum, so that pure tones are notes."""
    separator, pitch_estimator = TinySeparator(TinySeparatorConfig()), TinyPitchEstimator(TinyPitchEstimatorConfig())
    with torch.no_grad():
        for parameter in [*separator.parameters(), *pitch_estimator.parameters()]:
            parameter.zero_()
        first, second = pitch_estimator.layers
        first.weight[0, HARMONICS.index(1.0), 1, 2] = second.weight[0, 0, 1, 2] = 1.0
        pitch_estimator.head.weight[0, 0, 1, 2] = 4.0
        pitch_estimator.head.bias[:] = -20.0
    return MajlModel.from_parts(separator, pitch_estimator, **config).eval()


def melody(pitches, note_s: float = 0.4, rest_s: float = 0.2, sampling_rate: int = RATE) -> np.ndarray:
    """Pure tones `(1, num_samples)` of these MIDI numbers, each followed by a rest, after one second of silence."""
    times_s = np.arange(round(note_s * sampling_rate)) / sampling_rate
    fade = np.minimum(1.0, np.minimum(times_s, times_s[::-1]) / 0.01)
    rest = np.zeros(round(rest_s * sampling_rate))
    parts = [np.zeros(sampling_rate)]
    for midi in pitches:
        hz = 440 * 2 ** ((midi - 69) / 12)
        parts += [0.3 * fade * np.sin(2 * np.pi * hz * times_s), rest]
    return np.concatenate(parts).astype(np.float32)[None]
