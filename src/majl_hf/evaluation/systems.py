"""Systems under test: anything that takes a mixture and returns vocals, pitch, or both.

A system has a `name` and is called with a mixture of shape (num_channels, num_samples) float32 and its rate. A system
with `needs_vocals = True` also gets the true vocals as keyword `vocals`: an upper bound, not a competitor. A system may
have `provenance`, a dict that goes into the results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from ..errors import EvaluationError
from ..models.decoding_majl import PitchFrames


@dataclass(frozen=True, eq=False)
class PitchTrack:
    """A pitch curve: `times_s`, `f0_hz` (above 0 in every frame) and `voiced` (bool), each of shape (num_frames,).

    `certainty`, if a tracker reports it: how sure it is, in [0, 1], that the frame is sung with this pitch.
    """

    times_s: np.ndarray
    f0_hz: np.ndarray
    voiced: np.ndarray
    certainty: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class SystemOutput:
    """Output of a system for one mixture; what it does not estimate is None.

    Args:
        vocals: (num_channels, num_samples) float32, the mixture's shape and rate.
        pitch: a curve with `times_s`, `f0_hz` and `voiced`.
    """

    vocals: np.ndarray | None = None
    pitch: PitchTrack | PitchFrames | None = None


@runtime_checkable
class System(Protocol):
    """See this module's docstring."""

    name: str

    def __call__(self, mixture: np.ndarray, sampling_rate: int) -> SystemOutput: ...


Separator = Callable[[np.ndarray, int], np.ndarray]
PitchTracker = Callable[[np.ndarray, int], PitchTrack]


class MajlSystem:
    """A MAJL model, run through the streaming engine that the pipeline and the command line use.

    Args:
        model: a `MajlModel` in evaluation mode.
        name: its name in the results.
        policy, threshold: voicing policy and threshold; None for the model's own.
    """

    kind = "model"

    def __init__(self, model, name: str = "majl", policy: str | None = None, threshold: float | None = None):
        self.model, self.name = model, name
        self.policy, self.threshold = policy, threshold
        self.provenance: dict = {"model": name, "voicing_policy": policy, "voicing_threshold": threshold}

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        policy: str | None = None,
        threshold: float | None = None,
        name: str | None = None,
        threads: int | None = None,
    ) -> MajlSystem:
        """Load a shipped name, a folder, exported or not, or a Hub id, the last part of which is the default of `name`;
        errors as of `load_model`."""
        from ..checkpoints import find_checkpoint
        from ..checkpoints.loading import checkpoint_sha256, is_exported, load_model

        model = load_model(name_or_path, "cpu", threads, policy, threshold)
        name = name or Path(name_or_path).name
        system = cls(model, name, policy, threshold)
        system.provenance |= {
            "num_parameters": None if is_exported(model) else sum(p.numel() for p in model.parameters()),
            "revision": getattr(model.config, "_commit_hash", None),
            "checkpoint_sha256": checkpoint_sha256(find_checkpoint(name_or_path)),
        }
        return system

    def __call__(self, mixture: np.ndarray, sampling_rate: int) -> SystemOutput:
        from ..audio import StreamResampler
        from ..models.streaming_majl import separate_array

        chunk = separate_array(
            self.model,
            mixture,
            sampling_rate,
            make_resampler=StreamResampler,
            policy=self.policy,
            threshold=self.threshold,
        )
        return SystemOutput(chunk.vocals, chunk.frames)


class MajlVocals:
    """The vocals of a `MajlSystem`, as the separator of a `CascadeSystem`."""

    def __init__(self, system: MajlSystem):
        self.system, self.provenance = system, system.provenance

    def __call__(self, mixture: np.ndarray, sampling_rate: int) -> np.ndarray:
        return self.system(mixture, sampling_rate).vocals


class MixtureSystem:
    """The mixture as estimate of the vocals: the score of doing nothing."""

    name = "mixture"
    kind = "bound"

    def __call__(self, mixture: np.ndarray, sampling_rate: int) -> SystemOutput:
        return SystemOutput(vocals=mixture)


class OracleMaskSystem:
    """Ideal ratio mask `|V|^p / (|V|^p + |A|^p)` on the mixture's STFT, from the true vocals V and accompaniment A.

    Approximately the upper bound of separators that only mask magnitudes; channels are masked independently.

    Args:
        exponent: p; 2 shares the energy, 1 the magnitude.
        window_s: length of the Hann window, rounded to a power of two in samples; the hop is a quarter of it.
    """

    kind = "bound"
    needs_vocals = True

    def __init__(self, exponent: float = 2.0, window_s: float = 0.093):
        self.exponent, self.window_s = exponent, window_s
        self.name = "oracle-mask"
        self.provenance = {"mask": "ideal ratio", "exponent": exponent, "window_s": window_s}

    def __call__(self, mixture: np.ndarray, sampling_rate: int, *, vocals: np.ndarray) -> SystemOutput:
        n_fft = 2 ** round(np.log2(self.window_s * sampling_rate))
        window = torch.hann_window(n_fft)
        settings = {"n_fft": n_fft, "hop_length": n_fft // 4, "window": window}
        num_samples = mixture.shape[1]
        # Padded, since reflection at the border needs more samples than half a window.
        padded = torch.zeros(2, mixture.shape[0], num_samples + n_fft)
        padded[0, :, :num_samples] = torch.from_numpy(np.ascontiguousarray(mixture))
        padded[1, :, :num_samples] = torch.from_numpy(np.ascontiguousarray(vocals))
        mixture_stft, vocals_stft = (torch.stft(signal, return_complex=True, **settings) for signal in padded)
        vocals_power = vocals_stft.abs() ** self.exponent
        other_power = (mixture_stft - vocals_stft).abs() ** self.exponent
        mask = vocals_power / (vocals_power + other_power).clamp(min=torch.finfo(torch.float32).tiny)
        estimate = torch.istft(mixture_stft * mask, length=num_samples + n_fft, **settings)
        return SystemOutput(vocals=estimate[:, :num_samples].numpy())


@dataclass
class CascadeSystem:
    """A separator and a pitch tracker on its vocals, or either alone (a tracker alone gets the mixture).

    Args:
        separator: `(mixture (num_channels, num_samples), sampling_rate) -> vocals` of the same shape.
        tracker: `(mono (num_samples,), sampling_rate) -> PitchTrack`, called with the mean of the channels.
    """

    name: str
    separator: Separator | None = None
    tracker: PitchTracker | None = None
    kind = "rival"

    def __post_init__(self) -> None:
        if self.separator is None and self.tracker is None:
            raise EvaluationError(f"System {self.name!r} has neither separator nor tracker; give it one.")
        self.provenance = getattr(self.separator, "provenance", {}) | getattr(self.tracker, "provenance", {})

    def __call__(self, mixture: np.ndarray, sampling_rate: int) -> SystemOutput:
        vocals = None if self.separator is None else self.separator(mixture, sampling_rate)
        heard = mixture if vocals is None else vocals
        pitch = None if self.tracker is None else self.tracker(heard.mean(axis=0), sampling_rate)
        return SystemOutput(vocals, pitch)


class TrueVocalsSystem:
    """A pitch tracker on the true vocals, as after a perfect separator."""

    kind = "bound"
    needs_vocals = True

    def __init__(self, name: str, tracker: PitchTracker):
        self.name, self.tracker, self.provenance = name, tracker, getattr(tracker, "provenance", {})

    def __call__(self, mixture: np.ndarray, sampling_rate: int, *, vocals: np.ndarray) -> SystemOutput:
        return SystemOutput(pitch=self.tracker(vocals.mean(axis=0), sampling_rate))
