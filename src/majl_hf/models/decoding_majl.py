"""From pitch logits to f0, voicing and confidence, for a whole file at once, as a stream.

Every frame gets a pitch, sung or not. Voicing is separate: it says how likely the frame is sung, and a policy turns
that into a decision.

- `viterbi`: the path through the bins with the greatest sum of log posteriors minus transition costs. The cost of a
  step is proportional to its size, up to a maximum, so that an octave error of a few frames never pays. The path is
  exact, yet emitted as a stream: what all surviving paths agree on is final.
- `local_mean`: each frame's highest bin.

Both refine the bin by the posterior-weighted mean of the bins within 60 cents. `confidence` is the share of the
frame's posterior mass within 50 cents of the decoded pitch.
"""

from dataclasses import dataclass

import numpy as np

from .pitch_majl import TOLERANCE_CENTS, bins_to_hz, local_mean, sigmoid
from .viterbi_majl import MAX_PENDING, Viterbi

DECODERS = ("viterbi", "local_mean")
VOICING_POLICIES = ("threshold", "hysteresis", "always")
HYSTERESIS = 0.2  # a sung stretch reaches threshold + this somewhere, and lasts while voicing is above threshold - this
PIECE = 1024  # frames that are decoded together, which keeps them in the processor's cache


@dataclass
class PitchFrames:
    """Consecutive pitch frames, all arrays of shape `(num_frames,)`.

    Args:
        times_s: Centres of the frames in seconds.
        f0_hz: Pitch in Hz, positive in every frame.
        voicing: Probability in [0, 1] that the frame is sung.
        confidence: Share in [0, 1] of the posterior within 50 cents of `f0_hz`.
        voiced: Decision of the voicing policy.
    """

    times_s: np.ndarray
    f0_hz: np.ndarray
    voicing: np.ndarray
    confidence: np.ndarray
    voiced: np.ndarray

    def __len__(self) -> int:
        return len(self.f0_hz)

    def __getitem__(self, frames: slice) -> "PitchFrames":
        return PitchFrames(*(getattr(self, name)[frames] for name in self.__dataclass_fields__))

    @classmethod
    def concatenate(cls, parts: list["PitchFrames"]) -> "PitchFrames":
        """All parts in order; an empty list gives no frames."""
        if not parts:
            return cls(*(np.zeros(0),) * 4, np.zeros(0, dtype=bool))
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))


class _LocalMaximum:
    """Each frame's highest bin; final at once."""

    def push(self, posteriors: np.ndarray, last: bool) -> np.ndarray:
        return posteriors.argmax(axis=1)


class _BestPath:
    """The path of the least cost, see `viterbi_majl`."""

    def __init__(self, config):
        grid = config.pitch_estimator_config
        self.floor = config.viterbi_floor
        step_cost = config.viterbi_step_cost * grid.bin_cents / 100.0
        self.viterbi = Viterbi(grid.num_bins, step_cost, config.viterbi_jump_cost)

    def push(self, posteriors: np.ndarray, last: bool) -> np.ndarray:
        return self.viterbi.push(np.log(posteriors + self.floor), last)


def hysteresis_runs(voicing: np.ndarray, threshold: float) -> np.ndarray:
    """Stretches above `threshold - HYSTERESIS` that reach `threshold + HYSTERESIS` somewhere."""
    high = min(threshold + HYSTERESIS, 0.5 * (1 + threshold))
    low = max(threshold - HYSTERESIS, 0.5 * threshold)
    above = voicing >= low
    starts = np.flatnonzero(above & ~np.concatenate([[False], above[:-1]]))
    ends = np.flatnonzero(above & ~np.concatenate([above[1:], [False]])) + 1
    voiced = np.zeros(len(voicing), dtype=bool)
    for start, end in zip(starts, ends, strict=True):
        voiced[start:end] = voicing[start:end].max() >= high
    return voiced


class PitchDecoder:
    """Decoder of one file: takes logits as they come, returns the frames that are final.

    Args:
        config: Model config: grid, decoder, calibration and default policy.
        policy: One of `VOICING_POLICIES` instead of the config's: `"threshold"`, `"hysteresis"` (whole stretches,
            decided when they end) or `"always"`.
        threshold: Probability in (0, 1), instead of the config's.

    Raises:
        ValueError: unknown decoder or policy, or a threshold outside (0, 1).
    """

    def __init__(self, config, policy: str | None = None, threshold: float | None = None):
        self.config = config
        self.grid = config.pitch_estimator_config
        self.policy = config.voicing_policy if policy is None else policy
        self.threshold = config.voicing_threshold if threshold is None else threshold
        if config.pitch_decoder not in DECODERS:
            raise ValueError(
                f"config.pitch_decoder is {config.pitch_decoder!r}; it must be one of {', '.join(DECODERS)}."
            )
        if self.policy not in VOICING_POLICIES:
            raise ValueError(f"The voicing policy is {self.policy!r}; it must be one of {', '.join(VOICING_POLICIES)}.")
        if not 0.0 < self.threshold < 1.0:
            raise ValueError(f"The voicing threshold is {self.threshold}; it must lie between 0 and 1.")
        self.path = _BestPath(config) if config.pitch_decoder == "viterbi" else _LocalMaximum()
        self.posteriors = np.zeros((0, self.grid.num_bins), dtype=np.float32)
        self.held: PitchFrames | None = None  # frames of a stretch that hysteresis has not decided yet
        self.num_frames = 0

    def push(self, logits: np.ndarray, last: bool = False) -> PitchFrames:
        """Take logits of shape `(num_frames, num_bins)`, return the frames that are final; with `last`, all."""
        logits = np.asarray(logits)
        starts = range(0, max(1, len(logits)), PIECE)
        pieces = [self._push(logits[i : i + PIECE], last and i == starts[-1]) for i in starts]
        return PitchFrames.concatenate(pieces)

    def _push(self, logits: np.ndarray, last: bool) -> PitchFrames:
        self.posteriors = np.concatenate([self.posteriors, sigmoid(logits.astype(np.float64))])
        bins = self.path.push(self.posteriors[len(self.posteriors) - len(logits) :], last)
        frames = self._frames(self.posteriors[: len(bins)], bins)
        self.posteriors = self.posteriors[len(bins) :]
        return self._decide(frames, last)

    def _frames(self, posteriors: np.ndarray, bins: np.ndarray) -> PitchFrames:
        """Refine the decoded bins and compute voicing and confidence."""
        position, near, near_posteriors = local_mean(posteriors, bins, self.grid)
        total = posteriors.sum(axis=1) + 1e-12
        within = np.abs(near - position[:, None]) * self.grid.bin_cents <= TOLERANCE_CENTS
        # Clipping at the ends of the grid repeats a bin; count it once.
        within &= np.concatenate([np.ones((len(bins), 1), dtype=bool), np.diff(near, axis=1) > 0], axis=1)
        confidence = (near_posteriors * within).sum(axis=1) / total

        peak = np.clip(posteriors.max(axis=1, initial=0.0), 1e-7, 1 - 1e-7)
        voicing = sigmoid(self.config.voicing_scale * np.log(peak / (1 - peak)) + self.config.voicing_bias)
        index = self.num_frames + np.arange(len(bins))
        self.num_frames += len(bins)
        return PitchFrames(
            times_s=index * self.grid.hop_length / self.grid.sampling_rate,
            f0_hz=bins_to_hz(position, self.grid),
            voicing=voicing,
            confidence=confidence,
            voiced=voicing >= self.threshold,
        )

    def _decide(self, frames: PitchFrames, last: bool) -> PitchFrames:
        """Apply the policy; hysteresis delays a stretch until it ends."""
        if self.policy == "always":
            frames.voiced = np.ones(len(frames), dtype=bool)
        elif self.policy == "hysteresis":
            if self.held is not None:
                frames = PitchFrames.concatenate([self.held, frames])
            num_final = len(frames)
            if not last:
                quiet = np.flatnonzero(frames.voicing < max(self.threshold - HYSTERESIS, 0.5 * self.threshold))
                num_final = int(quiet[-1]) + 1 if len(quiet) else 0
                if len(frames) - num_final >= MAX_PENDING:
                    num_final = len(frames)
            self.held, frames = frames[num_final:], frames[:num_final]
            frames.voiced = hysteresis_runs(frames.voicing, self.threshold)
        return frames


def decode(logits: np.ndarray, config, **decoder_arguments) -> PitchFrames:
    """Frames of a whole file from its logits `(num_frames, num_bins)`; arguments as of `PitchDecoder`."""
    return PitchDecoder(config, **decoder_arguments).push(logits, last=True)
