"""How a recording is brought to the model, and its vocals back to the recording.

    recording -> without offset and rumble -> at the level and balance that models are trained on -> model -> back

A recording may be quiet or loud, have its sound on one channel only, or have a DC offset. This is not part of the
music, so it must not change the result: the model gets the recording at a reference level, with both channels filled
and without rumble below the voice, and its vocals are brought back to the recording's level and balance.

Conventions
    Waveforms are `(num_channels, num_samples)` float32 at the model's rate, with one or two channels.
    Levels are mean squares over frames of about half a second, in dB. The frames start with the stream, so results do
    not depend on the blocks in which audio arrives. Gains are linear in dB within a frame.
    What is measured of a frame is averaged over earlier frames and `LOOKAHEAD` later ones, so memory is bounded.
"""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from .windows_majl import Window, WindowCutter, WindowGrid

PASS_HZ, STOP_HZ = 40.0, 20.0  # sung notes start at about 60 Hz; stages and turntables rumble below 30 Hz
RUMBLE_DB = (-18.0, -12.0)  # level of the low band relative to the rest, between which removal sets in
LOW_RATE_HZ = 700.0  # about the rate at which the low band is found
FRAME_S = 0.5
LOOKAHEAD = 4  # frames in which the gain falls before a louder passage
RELEASE_DB = 0.05  # by which the level falls in a frame: pauses are not turned up
FALL_DB, FALL_FRAMES, FAST_RELEASE_DB = 15.0, 24, 2.0  # so much below the level for so long, a recording became quiet
REFERENCE_DB = -17.0  # level of the louder channel's loud frames, as the model gets them
PEAK = 1.0  # pops are clipped to this before the model, which would lose the seconds around them
SILENCE_DB = -120.0  # levels below count as this
VOICE_DB = 3.0  # by which the voice is raised before its pitch is read: pitch estimators are trained on solo voices
BALANCE_DB = (3.0, 5.0)  # a difference of channels up to the first is kept, one above the second is evened out
ONE_SIDED_DB = (20.0, 26.0)  # difference of channels, between which the weaker one is replaced by the other ...
UNLIKE_DB, UNLIKE = (5.0, 8.0), (0.4, 0.2)  # ... from lower differences on if their correlation falls between these
TINY = 1e-30  # power, far below that of silence
SIDE_RATIO = 4.0  # of powers; voices that are doubled and panned wide, which models separate well, have about 1
MEMORY = 0.9  # share that averages over frames keep from one frame to the next
BALANCE_MEMORY = 0.7  # the same for the balance of channels: one that drops out is replaced within seconds
UNRELATED = 0.2  # correlation of two channels below which they are separated each on its own


class LowBand:
    """The band below the voice, found with symmetric FIR filters, which do not shift time: decimated, filtered, and
    interpolated where it is needed.

    Args:
        sampling_rate: In Hz.
        num_samples: Least length of the frames to work on.

    Attributes:
        frame_length (int): That length, rounded up to a whole number of samples at the low rate.
        margin (int): Samples that `find` needs on both sides of a frame.
    """

    def __init__(self, sampling_rate: int, num_samples: int):
        self.step = max(1, round(sampling_rate / LOW_RATE_HZ))
        low_rate = sampling_rate / self.step
        self.frame_length = self.step * -(-num_samples // self.step)
        kernel = _low_pass(sampling_rate, PASS_HZ, low_rate - PASS_HZ)
        reach = -(-(len(kernel) // 2) // self.step)  # samples at the low rate on both sides
        padding = self.step * reach - len(kernel) // 2
        phases = np.pad(kernel, (padding, padding + self.step - 1)).reshape(-1, self.step)
        phases = phases / phases.sum(axis=0)  # so that a constant is interpolated as one
        self.decimation, self.interpolation, self.reach = phases.T / self.step, phases[::-1], reach
        self.filter = _low_pass(low_rate, STOP_HZ, PASS_HZ)
        self.margin = self.step * (2 * reach + len(self.filter) // 2)

    def find(self, samples: np.ndarray) -> np.ndarray:
        """A frame with its margins to its low band at the low rate, `(num_channels, any)`."""
        folded = samples.reshape(len(samples), -1, self.step) @ self.decimation
        num_low = folded.shape[1] - 2 * self.reach
        low = sum(folded[:, row : row + num_low, row] for row in range(folded.shape[2]))
        return _stretches(low, len(self.filter)) @ self.filter

    def interpolated(self, low: np.ndarray) -> np.ndarray:
        """The low band that `find` returned at the full rate, without margins."""
        full = _stretches(low, len(self.interpolation)) @ self.interpolation
        return full.reshape(len(low), -1)[:, : self.frame_length]


def _stretches(samples: np.ndarray, length: int) -> np.ndarray:
    """All stretches of that length as rows; a copy, because BLAS does not multiply overlapping rows."""
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(samples, length, axis=1))


def _low_pass(rate: float, pass_hz: float, stop_hz: float) -> np.ndarray:
    """A Blackman-windowed low-pass filter of odd length and gain 1."""
    half = math.ceil(2.75 * rate / (stop_hz - pass_hz))
    times = np.arange(-half, half + 1)
    kernel = np.sinc((pass_hz + stop_hz) / rate * times) * np.blackman(2 * half + 1)
    return (kernel / kernel.sum()).astype(np.float32)


class Levels:
    """The level of a recording in dB, as it changes from frame to frame.

    It is that of the loudest frames up to `LOOKAHEAD` frames ahead; afterwards it falls slowly, or fast where the
    recording stays much quieter. A single frame, such as a click, raises nothing.
    """

    def __init__(self):
        self.powers: deque[float] = deque(maxlen=3)  # of frames, in dB
        self.recent: deque[float] = deque(maxlen=FALL_FRAMES)
        self.level = -math.inf
        self.coming: deque[float] = deque()
        self.ahead: deque[float] = deque(maxlen=LOOKAHEAD + 1)
        self.starts: deque[float] = deque()  # levels at the starts of frames

    def push(self, power: float) -> None:
        """The mean square of the next frame."""
        self.powers.append(10 * math.log10(max(power, 10 ** (SILENCE_DB / 10))))
        if len(self.powers) > 1:
            self._follow(list(self.powers))
            if len(self.coming) > LOOKAHEAD:
                self._start_frame()

    def finish(self) -> None:
        """There are no more frames."""
        if self.powers:
            self._follow(list(self.powers)[-2:])
            while self.coming:
                self._start_frame()
            self.starts.append(self.starts[-1])  # where the last frame ends

    def is_known(self) -> bool:
        """Whether the levels at both ends of the next frame are known."""
        return len(self.starts) > 1

    def pop(self) -> tuple[float, float]:
        """The levels at both ends of the next frame."""
        return self.starts.popleft(), self.starts[0]

    def _follow(self, neighbours: list[float]) -> None:
        median = sorted(neighbours)[(len(neighbours) - 1) // 2]
        self.recent.append(median)
        has_fallen = len(self.recent) == FALL_FRAMES and max(self.recent) < self.level - FALL_DB
        self.level = max(median, self.level - (FAST_RELEASE_DB if has_fallen else RELEASE_DB))
        self.coming.append(self.level)

    def _start_frame(self) -> None:
        self.ahead.append(max(self.coming))
        self.coming.popleft()
        self.starts.append(sum(self.ahead) / len(self.ahead))


class _Averages:
    """Measurements of frames, averaged with a memory of some seconds and looked at `LOOKAHEAD` frames later."""

    def __init__(self, memory: float):
        self.memory = memory
        self.total: list[float] | None = None
        self.waiting: deque[list[float]] = deque()

    def push(self, values: list[float]) -> None:
        total = self.total or [0.0] * len(values)
        self.total = [self.memory * old + new for old, new in zip(total, values, strict=True)]
        self.waiting.append(self.total)

    def pop(self) -> tuple[list[float], list[float]]:
        """The averages at both ends of the next frame."""
        last = len(self.waiting) - 1
        ends = self.waiting[min(LOOKAHEAD, last)], self.waiting[min(LOOKAHEAD + 1, last)]
        self.waiting.popleft()
        return ends


@dataclass
class _Balance:
    """What is done to the channels of a frame, each `(num_channels, 2)` for its start and its end.

    Args:
        gains_db: Of the channels.
        fill: How much of a channel is replaced by the other one; None for nothing.
        shares: What a channel has in common with the other one, as a factor of the other one.
    """

    gains_db: np.ndarray
    fill: np.ndarray | None
    shares: np.ndarray

    @classmethod
    def of(cls, levels: tuple[float, float], products: tuple[list[float], list[float]]) -> "_Balance":
        """From the level and the products left * left, right * right, left * right at both ends of a frame."""
        products = np.array(products).T
        powers_db = 10 * np.log10(products[:-1] + TINY)
        weaker = np.minimum(powers_db.max(axis=0) - powers_db, ONE_SIDED_DB[1]).astype(np.float32)
        left_db = BALANCE_DB[0] / (BALANCE_DB[1] - BALANCE_DB[0]) * np.maximum(BALANCE_DB[1] - weaker, 0)
        gains_db = REFERENCE_DB - np.array(levels, dtype=np.float32) + np.maximum(weaker - left_db, 0)
        correlation = np.abs(products[-1]) / (np.sqrt(products[:-1].prod(axis=0)) + TINY)
        unlike = _rise(correlation, *UNLIKE).astype(np.float32) * _rise(weaker, *UNLIKE_DB)
        fill = np.maximum(_rise(weaker, *ONE_SIDED_DB), unlike)
        shares = (products[-1] / (products[-2::-1] + TINY)).astype(np.float32)
        return cls(gains_db, fill if fill.any() else None, shares)


class Conditioner:
    """Brings a stream to the model's conditions, and the vocals that the model finds in it back to the stream's.

    Args:
        sampling_rate: The model's rate in Hz.
        num_channels: 1 or 2.
    """

    def __init__(self, sampling_rate: int, num_channels: int):
        self.num_channels = num_channels
        self.low_band = LowBand(sampling_rate, round(FRAME_S * sampling_rate))
        self.frame_length = self.low_band.frame_length
        self.ramp = np.arange(self.frame_length, dtype=np.float32) / np.float32(self.frame_length)
        self.cutter = WindowCutter(WindowGrid(self.frame_length, self.low_band.margin))
        self.found: deque[tuple[np.ndarray, np.ndarray]] = deque()  # frames and their low band
        self.clean: deque[np.ndarray] = deque()  # frames without rumble
        self.bands, self.products, self.levels = _Averages(MEMORY), _Averages(BALANCE_MEMORY), Levels()
        self.balances: deque[_Balance] = deque()  # of frames that are not restored yet
        self.num_restored = 0  # samples of the first of them

    def push(self, block: np.ndarray, last: bool) -> np.ndarray:
        """What of the stream is ready for the model; with `last`, all of it."""
        for window in self.cutter.push(block, last):
            self._find_low_band(window)
        while len(self.found) > LOOKAHEAD + 1 or (last and self.found):
            self._remove_rumble()
        if last:
            self.levels.finish()
        parts = [block[:, :0]]
        while self.clean and self.levels.is_known():
            balance = _Balance.of(self.levels.pop(), self.products.pop())
            self.balances.append(balance)
            frame = self.clean.popleft()
            gained = np.clip(frame * self._gains(balance.gains_db, 0, frame.shape[1]), -PEAK, PEAK)
            if balance.fill is not None:
                gained = _between(gained, gained[::-1], self._line(balance.fill, 0, frame.shape[1]))
            parts.append(gained)
        return np.concatenate(parts, axis=1)

    def restore(self, vocals: np.ndarray) -> np.ndarray:
        """The next vocals of the model, at the level and balance of the stream."""
        parts, position = [vocals[:, :0]], 0
        while position < vocals.shape[1]:
            balance, start = self.balances[0], self.num_restored
            stop = min(self.frame_length, start + vocals.shape[1] - position)
            part = vocals[:, position : position + stop - start] * self._gains(-balance.gains_db, start, stop)
            if balance.fill is not None:
                shares = self._line(balance.shares, start, stop)
                part = _between(part, shares * part[::-1], self._line(balance.fill, start, stop))
            parts.append(part)
            position += stop - start
            self.num_restored = stop % self.frame_length
            if not self.num_restored:
                self.balances.popleft()
        return np.concatenate(parts, axis=1)

    def _find_low_band(self, window: Window) -> None:
        samples, margin = window.samples, self.low_band.margin
        before, length = margin - window.start, samples.shape[1]
        after = window.start + self.frame_length + margin - length
        if before or after:  # mirrored at the ends of the stream, so that an offset does not start or stop there
            places = np.arange(-before, length + after) % (2 * length)
            samples = samples[:, np.minimum(places, 2 * length - 1 - places)]
        low = self.low_band.find(samples)
        frame = window.samples[:, window.start : window.stop]
        reach, num_low = self.low_band.reach, -(-frame.shape[1] // self.low_band.step)
        power = _mean_square(low[:, reach : reach + num_low])
        self.bands.push([max(_mean_square(frame) - power, 0.0), power])
        self.found.append((frame, low))

    def _remove_rumble(self) -> None:
        frame, low = self.found.popleft()
        shares = []
        for rest, rumble in self.bands.pop():
            ratio_db = 10 * math.log10((rumble + TINY) / (rest + TINY))
            shares.append(float(_rise(ratio_db, *RUMBLE_DB)))
        if any(shares):
            line = self._line(np.array([shares], dtype=np.float32), 0, frame.shape[1])
            frame = frame - line * self.low_band.interpolated(low)[:, : frame.shape[1]]
        products = _products(frame)
        self.products.push(products)
        self.levels.push(max(products[:-1]) / frame.shape[1])
        self.clean.append(frame)

    def _gains(self, ends_db: np.ndarray, start: int, stop: int) -> np.ndarray:
        if len(ends_db) == 2 and np.array_equal(ends_db[0], ends_db[1]):
            ends_db = ends_db[:1]
        return np.exp(self._line(ends_db * (math.log(10) / 20), start, stop))

    def _line(self, ends: np.ndarray, start: int, stop: int) -> np.ndarray:
        """The samples `[start, stop)` of lines over a frame between `ends`, `(num_channels, 2)`."""
        return _between(ends[:, :1], ends[:, 1:], self.ramp[start:stop])


def _between(start: np.ndarray, end: np.ndarray, share: np.ndarray) -> np.ndarray:
    """`start` where `share` is 0, `end` where it is 1, a line between them."""
    return start + share * (end - start)


def _rise(values, zero: float, one: float):
    """0 up to `zero`, 1 from `one` on, a line between them."""
    return np.clip((values - zero) / (one - zero), 0, 1)


def _mean_square(frame: np.ndarray) -> float:
    return float(np.square(frame, dtype=np.float64).mean()) if frame.size else 0.0


def _products(frame: np.ndarray) -> list[float]:
    """The sums of left * left, right * right and left * right over a frame, in double precision; of one channel, twice
    its square."""
    rows = frame.astype(np.float64)
    products = (rows @ rows.T).tolist()
    return [products[0][0], products[-1][-1], products[0][1]] if len(frame) == 2 else [products[0][0]] * 2


def are_unlike(mixture: np.ndarray, vocals: np.ndarray) -> bool:
    """Whether two channels have to be separated each on its own, because models are trained on voices that are alike in
    both: what was found there cancels in their mean, as a voice of opposite polarity does, or the mixture's channels
    are unrelated, as a voice on one channel and its accompaniment on the other are."""
    left, right, both = _products(mixture)
    return cancels(vocals) or abs(both) < UNRELATED * math.sqrt(left * right)


def cancels(vocals: np.ndarray) -> bool:
    """Whether nearly all of a voice on two channels is in their difference instead of their mean."""
    mean_power, side_power = _mean_and_side(vocals)
    return side_power > SIDE_RATIO * mean_power


def _mean_and_side(stereo: np.ndarray) -> tuple[float, float]:
    """The energies of the channels' sum and difference."""
    left, right, both = _products(stereo)
    return max(left + right + 2 * both, 0.0), max(left + right - 2 * both, 0.0)


class VoiceMix:
    """One channel to read the pitch from, `VOICE_DB` louder: the mean of the vocals' channels, or half their difference
    while most of the voice cancels in the mean, as one of opposite polarity on both sides does."""

    def __init__(self, sampling_rate: int):
        self.cutter = WindowCutter(WindowGrid(round(FRAME_S * sampling_rate), 0))
        self.mean_power = self.side_power = 0.0
        self.is_side: bool | None = None

    def push(self, vocals: np.ndarray, last: bool) -> np.ndarray:
        """`(num_channels, num_samples)` to `(num_samples,)`, delayed by up to a frame."""
        vocals = float(10 ** (VOICE_DB / 20)) * vocals
        if vocals.shape[0] == 1:
            return vocals[0]
        parts = [vocals[0, :0]]
        for frame in (window.samples for window in self.cutter.push(vocals, last)):
            mean_power, side_power = _mean_and_side(frame)
            self.mean_power = MEMORY * self.mean_power + mean_power
            self.side_power = MEMORY * self.side_power + side_power
            is_side = self.side_power > self.mean_power
            was_side = is_side if self.is_side is None else self.is_side
            mix = frame.mean(axis=0)
            if is_side or was_side:
                share = np.linspace(was_side, is_side, len(mix), dtype=np.float32)
                mix = _between(mix, (frame[0] - frame[1]) / 2, share)
            self.is_side = is_side
            parts.append(mix)
        return np.concatenate(parts)
