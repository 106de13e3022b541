"""Signal steps of mixing: reading at another rate and speed, channel layout, levels. Pure functions, numpy only.

Arrays are (num_channels, num_samples) float32.
"""

from __future__ import annotations

import math

import numpy as np
import soxr

from ..corpora.tracks import AudioPart

MARGIN_S = 0.02  # read on either side and cut off after resampling: longer than the resampler's filter
FADE_S = 0.005


def read_segment(
    part: AudioPart,
    start_s: float,
    num_samples: int,
    sampling_rate: int,
    speed: float = 1.0,
    band_rate: int | None = None,
) -> tuple[np.ndarray, float]:
    """Read a segment at another rate and speed with one resampling.

    Args:
        start_s: where in the recording; rounded to a sample.
        num_samples: length of the result at `sampling_rate`.
        speed: above 1 plays faster and higher; `num_samples * speed / sampling_rate` seconds of recording are used.
        band_rate: if lower than the file's rate, the segment first passes through this rate and keeps its band.

    Returns:
        The segment, and the exact second of the recording at its sample 0; sample n is `n * speed / sampling_rate`
        seconds later.
    """
    rate = part.sampling_rate
    limited = band_rate is not None and band_rate < rate
    if rate == sampling_rate and speed == 1.0 and not limited:
        first = round(start_s * rate)
        return part.read(first, num_samples), first / rate
    margin = math.ceil(MARGIN_S * rate)
    first = round(start_s * rate) - margin
    block = part.read(first, math.ceil(num_samples * speed * rate / sampling_rate) + 2 * margin)
    origin_s, margin_s = first / rate, margin / rate
    if limited:
        block, rate = _resample(block, rate, band_rate), band_rate
    block = _resample(block, rate * speed, sampling_rate)
    step_s = speed / sampling_rate  # of the recording, from one sample of the result to the next
    skip = round(margin_s / step_s)
    return block[:, skip : skip + num_samples], origin_s + skip * step_s


def _resample(audio: np.ndarray, orig_rate: float, target_rate: float) -> np.ndarray:
    return soxr.resample(np.ascontiguousarray(audio.T), orig_rate, target_rate, quality="HQ").T


def to_channels(audio: np.ndarray, num_channels: int, pan_db: float = 0.0) -> np.ndarray:
    """Lay out as 1 or 2 channels.

    Mono becomes two channels whose levels differ by `pan_db` (positive: left louder) around the mono level; more than
    two channels are averaged to mono; two channels are kept, or averaged into one.
    """
    if audio.shape[0] > 2 or (num_channels == 1 and audio.shape[0] > 1):
        audio = audio.mean(axis=0, keepdims=True)
    if num_channels == 1 or audio.shape[0] == 2:
        return audio
    gains = np.array([[pan_db / 2], [-pan_db / 2]], dtype=np.float32)
    return audio * 10 ** (gains / 20)


def fade_edges(audio: np.ndarray, sampling_rate: int, start: bool, end: bool) -> np.ndarray:
    """Fade over 5 ms at the start, the end or both, so that joined pieces do not click."""
    length = min(round(FADE_S * sampling_rate), audio.shape[1] // 2)
    if length == 0 or not (start or end):
        return audio
    audio, ramp = audio.copy(), np.linspace(0.0, 1.0, length, dtype=np.float32)
    if start:
        audio[:, :length] *= ramp
    if end:
        audio[:, -length:] *= ramp[::-1]
    return audio


def rms_dbfs(audio: np.ndarray) -> float:
    """Level over all samples and channels in dB, -inf for silence."""
    power = float(np.mean(np.square(audio, dtype=np.float32)))
    return 10.0 * math.log10(power) if power > 0 else -math.inf


def active_rms_dbfs(audio: np.ndarray, sampling_rate: int, range_db: float = 40.0) -> float:
    """Level of the active part: all 0.1 s blocks within `range_db` of the loudest one; -inf for silence."""
    frame = max(1, min(sampling_rate // 10, audio.shape[1]))
    count = audio.shape[1] // frame
    blocks = audio[:, : count * frame].reshape(audio.shape[0], count, frame)
    power = np.einsum("cnf,cnf->n", blocks, blocks) / (audio.shape[0] * frame)
    if power.max() <= 0:
        return -math.inf
    return 10.0 * math.log10(float(power[power >= power.max() * 10 ** (-range_db / 10)].mean()))
