"""How a recording is brought to the model, and its vocals back to the recording.

    recording -> without offset and rumble -> at the level and balance that models are trained on -> model -> back

A recording may be quiet or loud, have its sound on one channel or lie on an offset. None of this is the song, so none
of it may change the result: the model gets the recording at a reference level, with both channels filled and without
what rumbles below the voice, and its vocals get the recording's level and balance again.

Conventions
    Waveforms are `(num_channels, num_samples)` float32 at the model's rate, with one or two channels.
    Levels are mean squares over frames of half a second, in dB. The frames start with the stream, so results do not
    depend on the blocks in which audio arrives. Gains are linear in dB within a frame.
"""

import math

import torch
from torch import nn

from .windows_majl import WindowCutter, WindowGrid

PASS_HZ, STOP_HZ = 50.0, 25.0  # sung notes start at about 60 Hz; stages and turntables rumble below 30 Hz
RUMBLE_DB = (-18.0, -12.0)  # level of the low band, compared with the rest, from which it is more and more removed
LOW_RATE_HZ = 700.0  # about the rate at which the low band is found
WINDOW_S = 1.0
FRAME_S = 0.5
LOOKAHEAD = 4  # frames in which the gain falls before a louder passage
RELEASE_DB = 0.25  # by which the level falls in a frame: pauses are not turned up
REFERENCE_DB = -18.0  # level of the louder channel's loud frames, as the model gets them
SILENCE_DB = -120.0  # levels below count as this
VOICE_DB = 5.0  # by which the voice is raised before its pitch is read: pitch estimators know it without music
BALANCE_DB = 6.0  # up to which channels may differ; the weaker one is brought this near to the other
ONE_SIDED_DB = (20.0, 26.0)  # a channel this much weaker is more and more replaced by the other one
TINY = 1e-30  # power beside which silence is nothing
MEMORY = 0.9  # share that averages over frames keep from one frame to the next
SIDE_RATIO = 4.0  # of powers, above which the voice is read from the channels' difference


class LowBand:
    """Finds what lies below the voice in a stream with a symmetric FIR filter, which moves nothing in time.

    The stream is decimated, filtered and interpolated. At both ends it is continued by its mirror image, so that an
    offset does not start or stop there.
    """

    def __init__(self, sampling_rate: int):
        self.step = max(1, round(sampling_rate / LOW_RATE_HZ))
        low_rate = sampling_rate / self.step
        kernel = _low_pass(sampling_rate, PASS_HZ, low_rate - PASS_HZ)
        phases = nn.functional.pad(kernel, (0, -len(kernel) % self.step)).view(-1, self.step)
        phases = phases / (self.step * phases.sum(dim=0))  # so that a constant is interpolated as one
        self.resampling = phases.flatten()[: len(kernel)]
        self.filter = _low_pass(low_rate, STOP_HZ, PASS_HZ)
        self.reach = self.step * (len(self.filter) // 2)
        self.margin = -(-(len(kernel) - 1 + self.reach) // self.step) * self.step
        self.cutter = WindowCutter(WindowGrid(self.step * round(WINDOW_S * low_rate), self.margin))

    def push(self, block: torch.Tensor, last: bool) -> torch.Tensor:
        """The stream, delayed, and below it its low band: `(2 * num_channels, num_samples)`."""
        parts = [block[:, :0].repeat(2, 1)]
        for window in self.cutter.push(block, last):
            samples, length = window.samples, window.samples.shape[1]
            before, after = self.margin - window.start, window.stop + self.margin + self.step - length
            if before or after > 0:
                places = torch.arange(-before, length + after) % (2 * length)
                samples = samples[:, torch.minimum(places, 2 * length - 1 - places)]
            low = self._filtered(samples)[:, : window.stop - window.start]
            parts.append(torch.cat([window.samples[:, window.start : window.stop], low]))
        return torch.cat(parts, dim=1)

    def _filtered(self, samples: torch.Tensor) -> torch.Tensor:
        """The low band of the samples from `margin` on."""
        kernel = self.resampling[None, None]
        low = nn.functional.conv1d(samples[:, None], kernel, stride=self.step)
        low = nn.functional.conv1d(low, self.filter[None, None])
        low = nn.functional.conv_transpose1d(low, self.step * kernel, stride=self.step)[:, 0]
        return low[:, self.margin - self.reach :]


def _low_pass(rate: float, pass_hz: float, stop_hz: float) -> torch.Tensor:
    """A Blackman-windowed low-pass filter of odd length and gain 1."""
    half = math.ceil(2.75 * rate / (stop_hz - pass_hz))
    times = torch.arange(-half, half + 1, dtype=torch.float64)
    kernel = torch.sinc((pass_hz + stop_hz) / rate * times)
    kernel *= torch.blackman_window(2 * half + 1, periodic=False, dtype=torch.float64)
    return (kernel / kernel.sum()).float()


class _Frames:
    """Cuts a stream into frames of half a second."""

    def __init__(self, sampling_rate: int):
        self.length = round(FRAME_S * sampling_rate)
        self.cutter = WindowCutter(WindowGrid(self.length, 0))

    def push(self, block: torch.Tensor, last: bool) -> list[torch.Tensor]:
        return [window.samples for window in self.cutter.push(block, last)]


class Levels:
    """Levels of a recording's channels as they run, frame by frame.

    The level of a channel is that of its loudest frames up to `LOOKAHEAD` frames ahead; afterwards it falls slowly. A
    single frame, such as a click, raises nothing. `values[k]`, of shape `(num_channels,)` in dB, is the level at the
    start of frame k.
    """

    def __init__(self, num_channels: int):
        self.powers: list[torch.Tensor] = []  # of the frames, in dB
        self.held: list[torch.Tensor] = []
        self.ahead: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []

    def push(self, frame: torch.Tensor) -> None:
        power = frame.double().square().mean(dim=1)
        self.powers.append(10 * torch.log10(power.clamp(min=10 ** (SILENCE_DB / 10))))
        self._follow(delay=1)

    def finish(self) -> None:
        """There are no more frames."""
        self._follow(delay=0)
        if self.values:
            self.values.append(self.values[-1])  # where the last frame ends

    def _follow(self, delay: int) -> None:
        while len(self.held) < len(self.powers) - delay:
            k = len(self.held)
            level = torch.stack(self.powers[max(k - 1, 0) : k + 2]).median(dim=0).values
            self.held.append(level if k == 0 else torch.maximum(level, self.held[-1] - RELEASE_DB))
        while len(self.ahead) < len(self.held) - LOOKAHEAD * delay:
            k = len(self.ahead)
            self.ahead.append(torch.stack(self.held[k : k + LOOKAHEAD + 1]).amax(dim=0))
            self.values.append(torch.stack(self.ahead[max(k - LOOKAHEAD, 0) :]).mean(dim=0))


class _Averages:
    """Products of a stream's rows, averaged over its frames with a memory of some seconds."""

    def __init__(self):
        self.products: list[torch.Tensor] = []

    def push(self, rows: torch.Tensor) -> None:
        rows = rows.double()
        product = rows @ rows.T
        self.products.append(MEMORY * self.products[-1] + product if self.products else product)

    def at(self, number: int) -> torch.Tensor:
        """The products as they are known at the start of frame `number`."""
        return self.products[min(number + LOOKAHEAD, len(self.products) - 1)]


class Conditioner:
    """Brings a stream to the model's conditions, and the vocals that the model finds in it back to the stream's.

    Args:
        sampling_rate: The model's rate in Hz.
        num_channels: 1 or 2.
    """

    def __init__(self, sampling_rate: int, num_channels: int):
        self.num_channels = num_channels
        self.low_band = LowBand(sampling_rate)
        self.frames = _Frames(sampling_rate)
        self.bands, self.channels = _Averages(), _Averages()
        self.levels = Levels(num_channels)
        self.raw: list[torch.Tensor] = []  # frames with their low band, of which it is not known yet how much is rumble
        self.clean: list[torch.Tensor] = []  # frames whose levels are not known yet
        self.num_clean = self.num_conditioned = self.num_restored = 0  # frames, frames, samples

    def push(self, block: torch.Tensor, last: bool) -> torch.Tensor:
        """What of the stream is ready for the model; with `last`, all of it."""
        for frame in self.frames.push(self.low_band.push(block, last), last):
            self.raw.append(frame)
            high, low = frame[: self.num_channels] - frame[self.num_channels :], frame[self.num_channels :]
            self.bands.push(torch.stack([high.flatten(), low.flatten()]))
        while len(self.raw) > LOOKAHEAD + 1 or (last and self.raw):
            frame = self._without_rumble(self.raw.pop(0))
            self.channels.push(frame)
            self.levels.push(frame)
            self.clean.append(frame)
            self.num_clean += 1
        if last:
            self.levels.finish()
        parts = [block[:, :0]]
        while self.clean and len(self.levels.values) > self.num_conditioned + 1:
            frame = self.clean.pop(0)
            gains, fill, _ = self._balance(self.num_conditioned, frame.shape[1])
            own = frame * gains
            parts.append(own if fill is None else torch.lerp(own, own.flip(0), fill))
            self.num_conditioned += 1
        return torch.cat(parts, dim=1)

    def restore(self, vocals: torch.Tensor) -> torch.Tensor:
        """The next vocals of the model, at the level and balance of the stream."""
        parts = [vocals[:, :0]]
        while vocals.shape[1]:
            number, start = divmod(self.num_restored, self.frames.length)
            part = vocals[:, : self.frames.length - start]
            gains, fill, share = self._balance(number, start + part.shape[1])
            own = part / gains[:, start:]
            if fill is not None:
                own = torch.lerp(own, share[:, start:] * own.flip(0), fill[:, start:])
            parts.append(own)
            self.num_restored += part.shape[1]
            vocals = vocals[:, part.shape[1] :]
        return torch.cat(parts, dim=1)

    def _without_rumble(self, frame: torch.Tensor) -> torch.Tensor:
        shares = []
        for node in (self.num_clean, self.num_clean + 1):
            high, low = self.bands.at(node).diagonal()
            ratio_db = 10 * torch.log10((low + TINY) / (high + TINY))
            shares.append(((ratio_db - RUMBLE_DB[0]) / (RUMBLE_DB[1] - RUMBLE_DB[0])).clamp(0, 1))
        frame, low = frame.chunk(2)
        return frame - self._line(torch.stack(shares)[None], frame.shape[1]) * low if max(shares) > 0 else frame

    def _balance(self, number: int, num_samples: int) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """For samples of a frame, each `(num_channels, num_samples)`: the gain; how much of the channel is replaced by
        the other one, None for nothing; and its share of what both have, as a factor of the other one."""
        levels = torch.stack(self.levels.values[number : number + 2], dim=1)
        top = levels.amax(dim=0)
        weaker = (top - levels).clamp(max=ONE_SIDED_DB[1])
        gains_db = REFERENCE_DB - top + (weaker - BALANCE_DB).clamp(min=0)
        gains = torch.exp(self._line(gains_db * (math.log(10) / 20), num_samples))
        fill = ((weaker - ONE_SIDED_DB[0]) / (ONE_SIDED_DB[1] - ONE_SIDED_DB[0])).clamp(min=0)
        if not fill.any():
            return gains, None, None
        products = [self.channels.at(node) for node in (number, number + 1)]
        shares = torch.stack([product[0, 1] / (product.diagonal().flip(0) + TINY) for product in products], dim=1)
        return gains, self._line(fill, num_samples), self._line(shares, num_samples)

    def _line(self, ends: torch.Tensor, num_samples: int) -> torch.Tensor:
        """Lines over a frame between `ends`, `(num_channels, 2)`, as float32; its first samples."""
        if torch.equal(ends[:, 0], ends[:, 1]):
            return ends[:, :1].float().expand(-1, num_samples)
        times = torch.arange(num_samples, dtype=torch.float32) / self.frames.length
        return torch.lerp(ends[:, :1].float(), ends[:, 1:].float(), times)


def cancels(mean_power: torch.Tensor, side_power: torch.Tensor) -> bool:
    """Whether most of a voice is in the channels' difference instead of their mean, as one of opposite polarity is."""
    return bool(side_power > SIDE_RATIO * mean_power)


def polarity(vocals: torch.Tensor) -> torch.Tensor:
    """`(num_channels, 1)` signs with which the channels of vocals have to be taken so that the voice does not cancel in
    their mean."""
    signs = torch.ones(vocals.shape[0], 1)
    if len(vocals) == 2 and cancels(vocals.sum(dim=0).square().sum(), (vocals[0] - vocals[1]).square().sum()):
        signs[1] = -1.0
    return signs


class VoiceMix:
    """One channel to read the pitch from, `VOICE_DB` louder: the mean of the vocals' channels, or half their difference
    while most of the voice cancels in the mean, as one of opposite polarity on both sides does."""

    def __init__(self, sampling_rate: int):
        self.frames = _Frames(sampling_rate)
        self.powers = torch.zeros(2, dtype=torch.float64)  # of mean and difference
        self.is_side: bool | None = None

    def push(self, vocals: torch.Tensor, last: bool) -> torch.Tensor:
        """`(num_channels, num_samples)` to `(num_samples,)`, delayed by up to a frame."""
        vocals = 10 ** (VOICE_DB / 20) * vocals
        if vocals.shape[0] == 1:
            return vocals[0]
        parts = [vocals[0, :0]]
        for frame in self.frames.push(vocals, last):
            mean, side = frame.mean(dim=0), (frame[0] - frame[1]) / 2
            power = torch.stack([mean.double().square().sum(), side.double().square().sum()])
            self.powers = MEMORY * self.powers + power
            is_side = cancels(*self.powers)
            was_side = is_side if self.is_side is None else self.is_side
            if is_side or was_side:
                share = torch.linspace(float(was_side), float(is_side), len(mean))
                mean = torch.lerp(mean, side, share)
            self.is_side = is_side
            parts.append(mean)
        return torch.cat(parts)
