"""Decoded frames laid out on the clock of their container.

A container gives every frame a time stamp. Between two frames there is a gap where an encoder sent nothing because it
was quiet (Opus DTX), where packets were lost, or where an edit list says so; there is an overlap where packets were
sent twice. Laid out, sample n is at n / sampling_rate seconds after the file's start, whatever was missing before it.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_CLOCK_S = 0.001  # the coarsest clock, of webm, mkv and flv
# Differences up to this are jitter. The clock rounds by up to 1 ms, and the priming of Opus, which some containers do
# not state, is 6.5 ms. A lost packet of Opus leaves 20 ms, one of AAC 21 ms.
_TOLERANCE_S = 0.010
# A larger difference counts if all frames of this much time agree on it. Vorbis frames at a change of the window are
# stamped 10 ms or more late, and one wrong stamp of MPEG-TS is that of several frames.
_AGREEMENT_S = 1.0
# Beyond these, time stamps are taken as wrong, or as those of another recording that was appended.
_LONGEST_GAP_S = 3600.0
_LONGEST_OVERLAP_S = 10.0
_LONGEST_LAST_GAP_S = 10.0  # before the last frame, whose time stamp no other one confirms
_SILENCE_BLOCK = 4096  # samples


class Frame(NamedTuple):
    """Decoded `samples` `(num_channels, num_samples)`, and the time of the first one on the container's clock.

    `start` counts samples and is None without a time stamp.
    """

    samples: np.ndarray
    start: int | None


@dataclass
class _Places:
    """How many places of the file were changed, by how many samples in total, and the first of them."""

    count: int = 0
    length: int = 0
    first: int = 0
    first_length: int = 0

    def add(self, position: int, length: int) -> None:
        if not self.count:
            self.first, self.first_length = position, length
        self.count += 1
        self.length += length


class Timeline:
    """Fills gaps between frames with silence and leaves out overlaps; memory is that of one second.

    Time stamps that jump by more than an hour, back by more than ten seconds, or back to where they began (two
    recordings in one file) are not followed: what comes after them is joined to what came before.

    Args:
        start: Of the file on the container's clock, in samples.
        sampling_rate: Hz.

    Attributes:
        num_samples: Length of what was laid out so far.
    """

    def __init__(self, start: int, sampling_rate: int):
        self.num_samples = 0
        self._origin = start  # of sample 0 on the container's clock
        self._part_start = 0  # where time stamps last jumped
        self._rate = sampling_rate
        self._tolerance, self._clock = int(_TOLERANCE_S * sampling_rate), int(_CLOCK_S * sampling_rate)
        self._waiting: deque[Frame] = deque()
        self._lead = 0
        self._gaps, self._overlaps, self._jumps = _Places(), _Places(), _Places()

    def lay_out(self, frames: Iterator[Frame]) -> Iterator[np.ndarray]:
        """Yield arrays `(num_channels, any)`: the frames, and the silence between them."""
        surplus = 0  # samples of an overlap that are still to be left out
        while True:
            frame = self._waiting.popleft() if self._waiting else next(frames, None)
            if frame is None:
                return
            samples, start = frame
            if start is not None and not surplus and abs(start - self._origin - self.num_samples) > self._tolerance:
                difference = self._difference(frame, frames)
                if difference > 0:
                    yield from self._silence(samples.shape[0], difference)
                elif difference < 0:
                    self._overlaps.add(self.num_samples, -difference)
                    surplus = -difference
            elif start is not None and not self.num_samples:
                self._origin = start
            if surplus:
                samples = samples[:, surplus:]
                surplus -= frame.samples.shape[1] - samples.shape[1]
            if samples.shape[1]:
                self.num_samples += samples.shape[1]
                yield samples

    def notes(self) -> list[str]:
        """What was changed, in words."""
        notes = []
        if self._lead:
            notes.append(f"the sound starts {self._time(self._lead)} after the file does: silence was put in front")
        if self._gaps.count:
            notes.append(f"{self._in_words(self._gaps, 'gap')} filled with silence")
        if self._overlaps.count:
            notes.append(f"{self._in_words(self._overlaps, 'overlap')} left out")
        if self._jumps.count:
            often = "once," if self._jumps.count == 1 else f"{self._jumps.count} times, first"
            back = "back " * (self._jumps.first_length < 0)
            notes.append(
                f"the time stamps jump {often} {back}by {self._time(abs(self._jumps.first_length))} at "
                f"{self._time(self._jumps.first)} (wrong ones, or several recordings in one file): what comes before "
                "and after was joined"
            )
        return notes

    @property
    def is_plausible(self) -> bool:
        """Whether all time stamps so far were followed."""
        return not self._jumps.count

    def _difference(self, frame: Frame, frames: Iterator[Frame]) -> int:
        """By how many samples the sound from this frame on is late (above 0) or early, so that it has to be moved."""
        differences, span = self._differences(frame, frames)
        if not differences:
            return 0
        least = min(differences, key=abs)  # later frames may come after further gaps
        alike = [difference for difference in differences if abs(difference - least) <= self._clock]
        difference = round(sum(alike) / len(alike))
        if not self._is_wrong(difference, differences, span):
            return difference
        self._jumps.add(self.num_samples, differences[0])
        self._origin += differences[0]
        self._part_start = self.num_samples
        return 0

    def _differences(self, frame: Frame, frames: Iterator[Frame]) -> tuple[list[int], int]:
        """By how many samples this frame and those of the next second are late (above 0) or early.

        The second value is the distance between the starts of the first and of the last one. Empty if they
        are not all late or all early; reads ahead only until this is known.
        """
        differences, span = [frame.start - self._origin - self.num_samples], 0
        position, index = self.num_samples + frame.samples.shape[1], 0
        while not index or position < self.num_samples + _AGREEMENT_S * self._rate:
            if index == len(self._waiting):
                later = next(frames, None)
                if later is None:
                    break
                self._waiting.append(later)
            later = self._waiting[index]
            if later.start is not None:
                difference = later.start - self._origin - position
                if abs(difference) <= self._tolerance or (difference > 0) != (differences[0] > 0):
                    return [], 0
                differences.append(difference)
                span = position - self.num_samples
            position, index = position + later.samples.shape[1], index + 1
        return differences, span

    def _is_wrong(self, difference: int, differences: list[int], span: int) -> bool:
        if len(differences) == 1:
            return abs(difference) > _LONGEST_LAST_GAP_S * self._rate
        if difference > 0:
            return difference > _LONGEST_GAP_S * self._rate
        is_slow = span + differences[-1] - differences[0] < 0.75 * span  # wrong durations, not sound that comes twice
        back_to_the_start = self.num_samples + difference <= self._part_start + _AGREEMENT_S * self._rate
        longest_s = _AGREEMENT_S if back_to_the_start else _LONGEST_OVERLAP_S
        return is_slow or -difference > longest_s * self._rate

    def _silence(self, num_channels: int, length: int) -> Iterator[np.ndarray]:
        if self.num_samples:
            self._gaps.add(self.num_samples, length)
        else:
            self._lead = length
        silence = np.zeros((num_channels, min(length, _SILENCE_BLOCK)), dtype=np.float32)
        while length:
            block = silence[:, :length]
            length -= block.shape[1]
            self.num_samples += block.shape[1]
            yield block

    def _in_words(self, places: _Places, name: str) -> str:
        length, first = self._time(places.length), self._time(places.first)
        if places.count == 1:
            return f"1 {name} of {length}, at {first}, was"
        return f"{places.count} {name}s, {length} together, the first at {first}, were"

    def _time(self, num_samples: int) -> str:
        seconds = num_samples / self._rate
        if seconds >= 3600:
            return f"{seconds / 3600:.1f} h"
        return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"
