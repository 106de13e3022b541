"""Frame-wise pitch labels, each with its own time axis.

Conventions: a label is a curve of f0 in Hz with 0 in unvoiced frames; frame k is centred at
`offset_s + k * hop_s`. Corpora differ in hop and offset, so do not index a label by frame: call `at` with the
times you need.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import CorpusError, MajlError


@dataclass(frozen=True)
class Note:
    """A sung note: seconds from the start of the recording, and MIDI semitones (69 = 440 Hz, may be fractional)."""

    onset_s: float
    offset_s: float
    midi: float


@dataclass(frozen=True, eq=False)
class PitchLabel:
    """A labelled f0 curve.

    Args:
        f0_hz: array of shape (num_frames,), Hz, 0 = unvoiced.
        hop_s: seconds from one frame centre to the next, above 0.
        offset_s: centre of frame 0 in seconds from the start of the recording.
        confidence: array of shape (num_frames,) in [0, 1], how far each frame is trusted; None for 1 everywhere.
        octave_reliable: False where a frame's pitch may be octaves off.

    Raises:
        MajlError: not one-dimensional, empty, NaN or infinite, a negative frequency, a hop that is not positive, or
            confidences of another shape or range.
    """

    f0_hz: np.ndarray
    hop_s: float
    offset_s: float = 0.0
    confidence: np.ndarray | None = None
    octave_reliable: bool = True

    def __post_init__(self) -> None:
        f0_hz = np.asarray(self.f0_hz, dtype=np.float64)
        if f0_hz.ndim != 1:
            raise MajlError(f"A pitch label of shape {f0_hz.shape} was given; it needs shape (num_frames,).")
        if f0_hz.size == 0:
            raise MajlError("The pitch label has no frames; it needs at least 1.")
        if not np.isfinite(f0_hz).all() or (f0_hz < 0).any():
            frame = int(np.flatnonzero(~np.isfinite(f0_hz) | (f0_hz < 0))[0])
            raise MajlError(
                f"The pitch label's frame {frame} is {f0_hz[frame]} Hz; it needs a finite value, 0 for unvoiced."
            )
        if not self.hop_s > 0:
            raise MajlError(f"The pitch label's hop is {self.hop_s} s; it needs to be above 0.")
        object.__setattr__(self, "f0_hz", f0_hz)
        if self.confidence is not None:
            confidence = np.asarray(self.confidence, dtype=np.float64)
            if confidence.shape != f0_hz.shape:
                raise MajlError(f"The pitch label has {f0_hz.size} frames but {confidence.size} confidences.")
            if not ((confidence >= 0) & (confidence <= 1)).all():
                frame = int(np.flatnonzero(~((confidence >= 0) & (confidence <= 1)))[0])
                raise MajlError(f"The confidence of frame {frame} is {confidence[frame]}; it needs to be from 0 to 1.")
            object.__setattr__(self, "confidence", confidence)

    @classmethod
    def of_file(cls, path: Path, *arguments) -> PitchLabel:
        """The label that was read from `path`, with these arguments.

        Raises:
            CorpusError: for the same reasons as the class; the message names the file.
        """
        try:
            return cls(*arguments)
        except MajlError as error:
            raise CorpusError(f"{path}: {error}") from error

    def __len__(self) -> int:
        return len(self.f0_hz)

    @property
    def by_hand(self) -> bool:
        """Whether the frames were labelled manually: without confidences, and with reliable octaves. Labels made by a
        model or from notes have confidences."""
        return self.confidence is None and self.octave_reliable

    @property
    def times_s(self) -> np.ndarray:
        """Frame centres in seconds, shape (num_frames,)."""
        return self.offset_s + np.arange(len(self.f0_hz)) * self.hop_s

    def between(self, start_s: float, end_s: float) -> PitchLabel:
        """The frames centred from `start_s` to `end_s` seconds; times are then counted from `start_s`."""
        first, last = np.searchsorted(self.times_s, start_s), np.searchsorted(self.times_s, end_s, side="right")
        return replace(
            self,
            f0_hz=self.f0_hz[first:last],
            confidence=None if self.confidence is None else self.confidence[first:last],
            offset_s=self.offset_s + first * self.hop_s - start_s,
        )

    def at(self, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read the curve at any times.

        Between two voiced frames f0 is interpolated linearly in cents; elsewhere it is that of the nearest frame, so
        nothing is interpolated across the border of a note.

        Args:
            times_s: seconds, shape (n,).

        Returns:
            `(f0_hz, weight)`, each of shape (n,): weight is the nearest frame's confidence inside the labelled span
            (half a hop beyond the first and the last centre) and 0 outside, where f0_hz is 0 and means "unknown".
        """
        last = len(self.f0_hz) - 1
        position = (np.asarray(times_s, dtype=np.float64) - self.offset_s) / self.hop_s
        inside = (position >= -0.5) & (position <= last + 0.5)
        below = np.clip(np.floor(position), 0, last).astype(np.int64)
        above = np.minimum(below + 1, last)
        nearest = np.clip(np.floor(position + 0.5), 0, last).astype(np.int64)
        fraction = np.clip(position - below, 0.0, 1.0)

        left_hz, right_hz = self.f0_hz[below], self.f0_hz[above]
        both = (left_hz > 0) & (right_hz > 0)
        left, right = np.log2(np.where(both, left_hz, 1.0)), np.log2(np.where(both, right_hz, 1.0))
        f0_hz = np.where(both, 2.0 ** (left + fraction * (right - left)), self.f0_hz[nearest])
        weight = (
            inside.astype(np.float64) if self.confidence is None else np.where(inside, self.confidence[nearest], 0.0)
        )
        return np.where(inside, f0_hz, 0.0), weight
