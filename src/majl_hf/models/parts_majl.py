"""A model as the streaming engine sees it: its parts as functions of arrays, whatever computes them.

`MajlModel.parts()` gives those of torch; an exported model computes the same without it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Parts:
    """The parts of a model, each a function of float32 arrays or `None` where the model lacks it.

    Args:
        config: The model's `MajlConfig`, or an object with the same attributes.
        separator: Mixture `(batch_size, num_channels, num_samples)` to vocals of the same shape, at the model's rate.
        pitch_estimator: Voice `(batch_size, num_samples)` at the pitch estimator's rate to logits `(batch_size,
            1 + num_samples // hop_length, num_bins)`.
        refiner: Mixture and vocals `(batch_size, num_channels, num_samples)`, with any number of channels, and logits
            `(batch_size, 1 + num_samples // hop_length, num_bins)` of the pitch frames next to the refiner's own (see
            `nearest_pitch_frames`) to refined vocals.
        note_estimator: Voice `(batch_size, num_samples)` and its logits to the four arrays of `NoteEstimatorOutput`,
            each `(batch_size, 1 + num_samples // hop_length)`.
    """

    config: Any
    separator: Callable[[np.ndarray], np.ndarray] | None = None
    pitch_estimator: Callable[[np.ndarray], np.ndarray] | None = None
    refiner: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None
    note_estimator: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, ...]] | None = None


class HasParts(Protocol):
    """A model that the streaming engine can run."""

    def parts(self) -> Parts: ...


def nearest_pitch_frames(config, num_samples: int, offset: int = 0) -> np.ndarray:
    """Numbers of the pitch frames next to the frames in which the refiner sees `num_samples` from sample `offset` on (a
    multiple of its hop), `(1 + num_samples // hop_length,)`."""
    part = config.refiner_config
    first = offset // part.hop_length
    frames = np.arange(first, first + 1 + num_samples // part.hop_length, dtype=float)
    return np.round(frames * (part.hop_length / part.sampling_rate) / config.frame_hop_s).astype(int)
