"""The spectrogram behind the pictures: levels of the vocals with a logarithmic frequency axis, and its colours."""

import io
import math

import numpy as np

from ..audio import StreamResampler
from ..errors import MajlError

LOWEST_HZ, HIGHEST_HZ = 60.0, 2000.0
DRAWING_RATE = 8_000  # Hz; of a copy of the vocals that is sufficient for drawing
ROWS_PER_OCTAVE = 72
WINDOW_S = 0.08  # long enough to resolve the harmonics of a low voice, short enough to follow a glide
COLUMN_S = 0.01  # between two columns, at least
MAX_COLUMNS = 2400  # more than a picture has pixels
DYNAMIC_RANGE_DB = 65.0
MAX_ZOOM_COLUMNS = 8000  # of a picture to zoom into; browsers draw pictures of up to 8192 pixels everywhere
_QUALITY = 70  # of its JPEG
# From silent to loud: dark and without a hue of the curve's or the notes', which are drawn over it.
PALETTE = ((11, 7, 20), (22, 15, 40), (42, 29, 72), (76, 55, 116), (118, 92, 160), (168, 144, 200))


def log_spectrogram_db(mono: np.ndarray, sampling_rate: int, max_columns: int = MAX_COLUMNS) -> np.ndarray:
    """Levels `(num_rows, num_columns)` in dB below the loudest, from `LOWEST_HZ` up in equal steps of pitch.

    Columns are centred on parts of the file of equal length; rows above half the sampling rate are silent.
    """
    window_length = max(16, round(WINDOW_S * sampling_rate))
    fft_length = 4 * 2 ** int(
        np.ceil(np.log2(window_length))
    )  # finely spaced bins, so that rows need no more than a line
    num_columns = int(np.clip(mono.size / (COLUMN_S * sampling_rate), 1, max_columns))
    centres = ((np.arange(num_columns) + 0.5) * mono.size / num_columns).astype(int)
    padded = np.pad(mono, window_length)
    num_rows = round(ROWS_PER_OCTAVE * np.log2(HIGHEST_HZ / LOWEST_HZ))
    rows_hz = LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ) ** ((np.arange(num_rows) + 0.5) / num_rows)
    position = rows_hz * fft_length / sampling_rate
    lower = np.minimum(position.astype(int), fft_length // 2 - 1)
    share = np.clip(position - lower, 0.0, 1.0)[:, None]
    window = np.hanning(window_length).astype(np.float32)
    starts = centres + window_length - window_length // 2
    levels = np.empty((num_rows, num_columns), dtype=np.float32)
    for first in range(0, num_columns, 256):  # in groups, to keep a long song out of memory
        group = starts[first : first + 256]
        spectrum = np.abs(np.fft.rfft(padded[group[:, None] + np.arange(window_length)] * window, fft_length)).T
        levels[:, first : first + len(group)] = spectrum[lower] * (1 - share) + spectrum[lower + 1] * share
    levels[rows_hz >= sampling_rate / 2] = 0.0
    return 20 * np.log10(np.maximum(levels, 1e-9) / max(float(levels.max()), 1e-9))


class DrawingCopy:
    """A mono copy of vocals that arrive in blocks, at a rate that is sufficient for drawing: a minute needs 2 MB.

    Args:
        sampling_rate: Of the blocks, in Hz.
        max_s: Of longer vocals there is no copy.

    Attributes:
        sampling_rate (int): Of the copy, in Hz; at most `DRAWING_RATE`.
        is_too_long (bool): Whether there is no copy.
    """

    def __init__(self, sampling_rate: int, max_s: float = math.inf):
        self.sampling_rate = min(sampling_rate, DRAWING_RATE)
        self.is_too_long = False
        self._max_samples = max_s * self.sampling_rate
        self._num_samples = 0
        self._blocks: list[np.ndarray] = []
        self._resampler = StreamResampler(sampling_rate, self.sampling_rate, 1)

    def push(self, block: np.ndarray, last: bool = False) -> None:
        """Take a block `(num_channels, any)` of float samples."""
        if self.is_too_long:
            return
        mono = self._resampler.push(block.mean(axis=0, keepdims=True), last)[0]
        self._num_samples += len(mono)
        self._blocks.append(mono)
        if self._num_samples > self._max_samples:
            self.is_too_long = True
            self._blocks.clear()

    def finish(self) -> np.ndarray | None:
        """The copy `(num_samples,)`, float32; None if the vocals are too long."""
        self.push(np.zeros((1, 0), dtype=np.float32), last=True)
        return None if self.is_too_long else np.concatenate(self._blocks)


def as_mono(vocals, sampling_rate: int | None) -> np.ndarray:
    """Float32 `(num_samples,)` of `(num_channels, num_samples)` or `(num_samples,)`, to be drawn.

    Raises:
        MajlError: there are no samples, or no rate.
    """
    if not sampling_rate:
        raise MajlError(f"Vocals were given with the sampling rate {sampling_rate}; their rate in Hz is needed.")
    mono = np.atleast_2d(np.asarray(vocals, dtype=np.float32)).mean(axis=0)
    if not mono.size:
        raise MajlError("The vocals have no samples; at least one is needed to draw.")
    return mono


def palette() -> np.ndarray:
    """256 colours `(256, 3)`, uint8, from silent to loud."""
    places = np.linspace(0, 255, len(PALETTE))
    return np.stack([np.interp(np.arange(256), places, channel) for channel in np.transpose(PALETTE)], axis=1).astype(
        np.uint8
    )


def spectrogram_jpeg(mono: np.ndarray, sampling_rate: int) -> bytes:
    """A picture to zoom into: one pixel per value of `log_spectrogram_db`, high notes on top."""
    from PIL import Image

    levels_db = log_spectrogram_db(mono, sampling_rate, MAX_ZOOM_COLUMNS)
    shade = np.clip(255 * (1 + levels_db[::-1] / DYNAMIC_RANGE_DB), 0, 255).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(palette()[shade]).save(content, format="JPEG", quality=_QUALITY)
    return content.getvalue()
