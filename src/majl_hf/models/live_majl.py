"""Sound while it arrives: the pitch of a solo voice, and the vocals of a song a moment later.

    solo voice -> the last moments -> pitch estimator -> decoder -> frames, once `lookahead_s` of sound follow them
    song -> the last seconds -> separator -> what lies before the last `lookahead_s` -> vocals

Recordings are processed by `streaming_majl`, whose windows also see what follows.
"""

import math
from dataclasses import dataclass

import numpy as np

from .conditioning_majl import REFERENCE_DB, VOICE_DB, Levels
from .decoding_majl import PitchDecoder, PitchFrames
from .parts_majl import HasParts
from .resampling_majl import ResampleStream

MAX_GAIN_DB = 40.0  # a quiet room stays quiet
LEVEL_FRAME_S = 0.1
PITCH_WINDOW_S = 0.32  # what the pitch estimator sees
PITCH_STEP_S = 0.02  # least new sound between two of its runs
MAX_PIECE_S = 0.1  # most new sound in one run
MAX_LOOKAHEAD_S = 0.15
CONTEXT_S = 0.03  # before the first frame that is taken from a window
FADE_S = 0.01  # from what one run found to what the next one found


class RunningLevel:
    """The level of the loud moments so far, falling slowly, as a gain to the level that a part is trained on.

    Args:
        sampling_rate: In Hz.
        num_channels: Of the sound; the louder one counts.
        target_db: Mean square in dB after the gain.
    """

    def __init__(self, sampling_rate: int, num_channels: int, target_db: float):
        self.frame_length, self.target_db = round(LEVEL_FRAME_S * sampling_rate), target_db
        self.levels = Levels()
        self.pending = np.zeros((num_channels, 0), dtype=np.float32)

    def push(self, block: np.ndarray) -> None:
        """`(num_channels, num_samples)`."""
        self.pending = np.concatenate([self.pending, block], axis=1)
        while self.pending.shape[1] >= self.frame_length:
            frame, self.pending = np.split(self.pending, [self.frame_length], axis=1)
            self.levels.push(float(np.square(frame, dtype=np.float64).mean(axis=1).max()))
        self.levels.starts.clear()  # made for who can wait

    def gain(self) -> float:
        """As a factor; 1 while nothing was heard."""
        if not math.isfinite(self.levels.level):
            return 1.0
        return 10 ** (min(self.target_db - self.levels.level, MAX_GAIN_DB) / 20)


class LivePitch:
    """The pitch of a solo voice while it is sung.

    Every few frames the pitch estimator sees the last `PITCH_WINDOW_S`, and the decoder the frames of this window. Each
    frame is returned once, when `lookahead_s` of sound behind it have arrived.

    Args:
        model: A `MajlModel` or an exported one.
        sampling_rate: Of the sound, in Hz.
        lookahead_s: How long a frame waits, up to `MAX_LOOKAHEAD_S`.
        policy, threshold: Of the voicing, see `PitchDecoder`; `"hysteresis"` would have to wait for the end of a note.

    Raises:
        ValueError: the model has no pitch estimator, a policy that waits, or a look-ahead that is out of range.
    """

    def __init__(
        self,
        model: HasParts,
        sampling_rate: int,
        lookahead_s: float = 0.04,
        policy: str | None = None,
        threshold: float | None = None,
    ):
        self.parts = model.parts()
        self.config = self.parts.config
        if self.parts.pitch_estimator is None:
            raise ValueError("The model has no pitch estimator; give it one.")
        if policy == "hysteresis":
            raise ValueError("The voicing policy 'hysteresis' decides when a note has ended; use 'threshold'.")
        if not 0 <= lookahead_s <= MAX_LOOKAHEAD_S:
            raise ValueError(f"lookahead_s is {lookahead_s}; 0 to {MAX_LOOKAHEAD_S} is needed.")
        default = "threshold" if self.config.voicing_policy == "hysteresis" else self.config.voicing_policy
        self.decoding = {"policy": policy or default, "threshold": threshold}
        self._decoder()  # checks them
        grid = self.config.pitch_estimator_config
        self.rate, self.hop_length = grid.sampling_rate, grid.hop_length
        self.lookahead = round(lookahead_s * self.rate / self.hop_length)  # frames
        self.window = round(PITCH_WINDOW_S * self.rate / self.hop_length)  # frames
        self.resampler = ResampleStream(sampling_rate, self.rate)
        self.context = round(CONTEXT_S * self.rate / self.hop_length)
        self.level = RunningLevel(self.rate, 1, REFERENCE_DB + VOICE_DB)
        self.sound = np.zeros(self.window * self.hop_length, dtype=np.float32)  # the newest
        self.num_heard = self.num_read = 0  # samples and frames

    def warm_up(self) -> None:
        """Run the pitch estimator on silence: its first run takes longer than the others."""
        self.parts.pitch_estimator(np.zeros((1, self.window * self.hop_length), dtype=np.float32))

    def push(self, block: np.ndarray, last: bool = False, newest_only: bool = False) -> PitchFrames:
        """Take `(num_samples,)`, return the frames that are known now; with `last`, all that are left.

        Times count from the first sample. Short blocks give frames soon, long ones cost less. A block longer than
        `MAX_PIECE_S` takes several runs; with `newest_only`, one run, and earlier frames are left out, so that a slow
        machine keeps up.
        """
        heard = self.resampler.push(np.asarray(block, dtype=np.float32), last)
        num_heard = self.num_heard + len(heard)
        if last:  # silence behind the end
            heard = np.concatenate([heard, np.zeros(self.lookahead * self.hop_length, dtype=np.float32)])
        length = len(heard) if newest_only else round(MAX_PIECE_S * self.rate)
        pieces = [heard[start : start + length] for start in range(0, len(heard), max(1, length))]
        return PitchFrames.concatenate([self._push(piece, num_heard if last else None) for piece in pieces])

    def _push(self, heard: np.ndarray, total: int | None) -> PitchFrames:
        """New sound at the pitch estimator's rate; at the end, `total` is the number of samples without silence."""
        self.level.push(heard[None])
        self.num_heard += len(heard)
        self.sound = np.concatenate([self.sound, heard])[-(self.window + 1) * self.hop_length :]
        # The window ends on the centre of a frame, so that its frames are those of the stream.
        end = self.num_heard // self.hop_length
        stop = end - self.lookahead + 1
        if total is not None:
            stop = min(stop, total // self.hop_length + 1)
        new_s = (stop - self.num_read) * self.hop_length / self.rate
        if new_s <= 0 or (new_s < PITCH_STEP_S and total is None):
            return PitchFrames.concatenate([])
        behind = self.num_heard - end * self.hop_length
        window = self.sound[len(self.sound) - behind - self.window * self.hop_length : len(self.sound) - behind]
        logits = self.parts.pitch_estimator(np.clip(window * self.level.gain(), -1, 1)[None].astype(np.float32))[0]
        decoder, start = self._decoder(), end - self.window
        decoder.num_frames = start
        # Too little is known of the window's first frames.
        first, self.num_read = max(self.num_read, start + self.context), stop
        return decoder.push(logits, last=True)[first - start : stop - start]

    def _decoder(self) -> PitchDecoder:
        return PitchDecoder(self.config, **self.decoding)


@dataclass(frozen=True)
class LiveSetting:
    """How a song is separated while it arrives, all in seconds.

    Args:
        window_s: What the separator sees.
        lookahead_s: What follows the part of the window that is used.
        hop_s: Length of this part, and time between two runs of the separator, which must be shorter.
    """

    window_s: float
    lookahead_s: float
    hop_s: float

    @property
    def delay_s(self) -> float:
        """Between a sample and its result at most, without computing."""
        return self.lookahead_s + self.hop_s + FADE_S


class LiveSeparator:
    """The vocals of a song while it plays: without the refiner, which needs to know the pitch of what follows.

    Args:
        model: A `MajlModel` or an exported one.
        num_channels: Of the song, 1 or 2.
        setting: What the separator sees.

    Raises:
        ValueError: the model has no separator, or a window that is too short for the rest of the setting.
    """

    def __init__(self, model: HasParts, num_channels: int, setting: LiveSetting):
        self.parts = model.parts()
        if self.parts.separator is None:
            raise ValueError("The model has no separator; give it one.")
        if setting.delay_s > setting.window_s:
            raise ValueError(f"A window of {setting.window_s} s is too short for {setting}.")
        config = self.parts.config
        rate, self.model_channels = config.sampling_rate, config.num_channels
        self.window, self.hop, self.fade, self.lookahead = (
            round(seconds * rate) for seconds in (setting.window_s, setting.hop_s, FADE_S, setting.lookahead_s)
        )
        self.level = RunningLevel(rate, num_channels, REFERENCE_DB)
        self.sound = np.zeros((num_channels, self.window), dtype=np.float32)  # the newest
        self.num_waiting = 0  # of its samples are not separated
        self.num_heard = self.num_given = 0
        self.ramp = (np.arange(self.fade, dtype=np.float32) + 0.5) / max(1, self.fade)
        self.tail: np.ndarray | None = None  # what the run before found at the next one's start

    def warm_up(self) -> None:
        """Run the separator on silence: its first run takes longer than the others."""
        self.parts.separator(np.zeros((1, self.model_channels, self.window), dtype=np.float32))

    def push(self, block: np.ndarray, last: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Take `(num_channels, num_samples)` at the model's rate, return the mixture and the vocals that are ready,
        both `(num_channels, num_ready)`; with `last`, all that are left."""
        self.level.push(block)
        self.num_heard += block.shape[1]
        needed = self.hop + self.fade + self.lookahead
        if last:  # silence behind the end
            block = np.pad(block, ((0, 0), (0, needed)))
        self.sound = np.concatenate([self.sound, block], axis=1)
        self.num_waiting += block.shape[1]
        mixtures, vocals = [block[:, :0]], [block[:, :0]]
        while self.num_waiting >= needed:
            stop = self.sound.shape[1] - self.num_waiting + needed
            mixtures.append(self.sound[:, stop - needed : stop - needed + self.hop])
            vocals.append(self._separated(self.sound[:, stop - self.window : stop]))
            self.num_waiting -= self.hop
        self.sound = self.sound[:, -(self.window + self.num_waiting) :]
        mixture, sung = np.concatenate(mixtures, axis=1), np.concatenate(vocals, axis=1)
        ready = min(mixture.shape[1], self.num_heard - self.num_given)
        self.num_given += ready
        return mixture[:, :ready], sung[:, :ready]

    def _separated(self, window: np.ndarray) -> np.ndarray:
        gain = np.float32(self.level.gain())
        mixture = np.clip(window * gain, -1, 1)
        if len(window) == self.model_channels:
            sung = self.parts.separator(mixture[None])[0]
        else:  # each channel on its own
            repeated = np.repeat(mixture[:, None], self.model_channels, axis=1)
            sung = self.parts.separator(repeated).mean(axis=1)
        start = self.window - self.lookahead - self.fade - self.hop
        sung = sung[:, start : self.window - self.lookahead] / gain
        if self.tail is not None:
            sung[:, : self.fade] = self.tail + self.ramp * (sung[:, : self.fade] - self.tail)
        self.tail = sung[:, self.hop :]
        return sung[:, : self.hop]


# Windows of 59, 123 and 251 frames of Spleeter: with the second pass of its mask, they fill its blocks of 64.
LIVE_SETTINGS = {
    "short": LiveSetting(window_s=1.37, lookahead_s=0.1, hop_s=0.15),
    "medium": LiveSetting(window_s=2.856, lookahead_s=0.3, hop_s=0.3),
    "long": LiveSetting(window_s=5.828, lookahead_s=1.0, hop_s=0.5),
}
