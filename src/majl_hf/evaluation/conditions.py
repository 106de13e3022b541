"""How recordings are made and what they go through: clips as they would sound then.

What is linear (level, balance, polarity, reverberation, the band of a telephone) changes the true vocals, too, and the
result is compared with these. What a codec, a tape or a defect adds belongs to the accompaniment.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.signal

from ..audio import AudioWriter, read_audio, resample
from ..errors import EvaluationError
from ..mixing.clips import ValidationClip

MP3_KBIT_S = 64
REVERBERATION_S, WET_DB = 0.8, -6.0  # until it is 60 dB lower; its energy beside that of the dry sound
HISS_DB = -30.0  # beside the mixture
OFFSET, RUMBLE_HZ = 0.1, 8.0  # of full scale; also the rumble's amplitude
TELEPHONE_HZ = (300.0, 3400.0)


Condition = Callable[[ValidationClip], ValidationClip]


def _mp3(clip: ValidationClip) -> ValidationClip:
    """64 kbit/s; a rate that mp3 does not have is resampled on the way."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "coded.mp3")
        with AudioWriter(path, clip.sampling_rate, len(clip.mixture), "mp3", bit_rate=MP3_KBIT_S) as writer:
            writer.write(np.clip(clip.mixture, -1, 1))
        coded, rate = read_audio(path)
    coded = resample(coded, rate, clip.sampling_rate)
    missing = max(0, clip.mixture.shape[1] - coded.shape[1])
    return replace(clip, mixture=np.pad(coded, ((0, 0), (0, missing)))[:, : clip.mixture.shape[1]])


def _reverb(clip: ValidationClip) -> ValidationClip:
    """Noise that decays exponentially, the same for all clips, another for each channel."""
    length = round(REVERBERATION_S * clip.sampling_rate)
    decay = 10 ** (-3 * np.arange(length) / length)
    tails = np.random.default_rng(0).standard_normal((len(clip.mixture), length)) * decay
    tails *= 10 ** (WET_DB / 20) / np.linalg.norm(tails, axis=1, keepdims=True)
    tails[:, 0] += 1.0

    def through(sound: np.ndarray) -> np.ndarray:
        return scipy.signal.fftconvolve(sound, tails, axes=1)[:, : sound.shape[1]]

    return _both(clip, through)


def _hiss(clip: ValidationClip) -> ValidationClip:
    level = np.sqrt(np.square(clip.mixture, dtype=np.float64).mean()) * 10 ** (HISS_DB / 20)
    return _added(clip, level * np.random.default_rng(0).standard_normal(clip.mixture.shape))


def _rumble(clip: ValidationClip) -> ValidationClip:
    times_s = np.arange(clip.mixture.shape[1]) / clip.sampling_rate
    return _added(clip, OFFSET * np.cos(2 * np.pi * RUMBLE_HZ * times_s))


def _telephone(clip: ValidationClip) -> ValidationClip:
    band = scipy.signal.butter(4, TELEPHONE_HZ, "bandpass", fs=clip.sampling_rate, output="sos")
    return _both(clip, lambda sound: scipy.signal.sosfilt(band, sound, axis=1))


def _gain(db: float) -> Condition:
    return lambda clip: _both(clip, lambda sound: sound * 10 ** (db / 20))


def _panned(db: float) -> Condition:
    """The sum of the channels, on the right `db` below the left; -inf for silence."""
    factors = np.array([[1.0], [10 ** (db / 20)]])
    return lambda clip: _both(clip, lambda sound: sound.mean(axis=0) * factors)


def _inverted(clip: ValidationClip) -> ValidationClip:
    return _both(clip, lambda sound: sound.mean(axis=0) * np.array([[1.0], [-1.0]]))


def _voice_inverted(clip: ValidationClip) -> ValidationClip:
    """The voice has opposite polarity on the two sides, and the accompaniment the same."""
    vocals, accompaniment = _mono_parts(clip)
    vocals = np.stack([vocals, -vocals])
    return replace(clip, mixture=vocals + accompaniment, vocals=vocals)


def _voice_left(clip: ValidationClip) -> ValidationClip:
    """The voice on the left, the accompaniment on the right."""
    vocals, accompaniment = _mono_parts(clip)
    silence = np.zeros_like(vocals)
    return replace(clip, mixture=np.stack([vocals, accompaniment]), vocals=np.stack([vocals, silence]))


CONDITIONS: dict[str, Condition] = {
    **{f"level{db:+d}": _gain(db) for db in (-80, -60, -40, -20, 20, 40, 90)},
    "left": _panned(-np.inf),
    **{f"right{db:+d}": _panned(db) for db in (-30, -20, -10, 10, 30)},
    "inverted": _inverted,
    "voice-inverted": _voice_inverted,
    "voice-left": _voice_left,
    "dc": lambda clip: _added(clip, np.full(clip.mixture.shape[1], OFFSET)),
    "rumble": _rumble,
    "hiss": _hiss,
    "mp3": _mp3,
    "telephone": _telephone,
    "reverb": _reverb,
}
"""By their names for `evaluate`; numbers are dB."""


def _mono_parts(clip: ValidationClip) -> tuple[np.ndarray, np.ndarray]:
    """Vocals and accompaniment, `(num_samples,)`."""
    if clip.vocals is None:
        raise EvaluationError(f"{clip.id} has no vocals of its own, which this condition needs.")
    return clip.vocals.mean(axis=0), (clip.mixture - clip.vocals).mean(axis=0)


def _added(clip: ValidationClip, sound: np.ndarray) -> ValidationClip:
    """The mixture with more accompaniment."""
    return replace(clip, mixture=(clip.mixture + sound).astype(np.float32))


def _both(clip: ValidationClip, through: Callable[[np.ndarray], np.ndarray]) -> ValidationClip:
    """Mixture and vocals through the same; it is linear, so that what remains is the accompaniment's."""
    sounds = [None if sound is None else through(sound).astype(np.float32) for sound in (clip.mixture, clip.vocals)]
    return replace(clip, mixture=sounds[0], vocals=sounds[1])
