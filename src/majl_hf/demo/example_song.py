"""A short synthetic song for trying the demo: free of copyright, and the same on every machine.

The voice is a sum of harmonics shaped by the formants of vowels, with vibrato, glides between notes and pauses between
phrases, accompanied by bass, plucked chords and drums.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..audio import AudioWriter

RATE = 44_100  # Hz
BEAT_S = 0.5
NAME = "Example song.flac"
NUM_HARMONICS = 40
HOP = 128  # samples between frames of slowly changing values

# Centres in Hz and levels of the first four resonances of a singer's vowels.
_VOWELS = {
    "a": ((800, 1.0), (1150, 0.55), (2900, 0.3), (3900, 0.08)),
    "o": ((450, 1.0), (800, 0.4), (2830, 0.12), (3800, 0.05)),
    "e": ((440, 1.0), (2000, 0.35), (2700, 0.3), (3600, 0.1)),
    "i": ((330, 1.0), (2250, 0.3), (2950, 0.25), (3700, 0.1)),
}
_FORMANT_WIDTH_HZ = 110.0
# Start in beats, length in beats, MIDI note, vowel. Two phrases, with a rest before and between.
_MELODY = (
    (4, 1, 69, "a"), (5, 1, 72, "o"), (6, 1.5, 76, "a"), (7.5, 0.5, 74, "e"), (8, 2, 72, "i"), (10, 1, 69, "o"),
    (11, 3, 71, "a"),
    (16, 1, 72, "e"), (17, 1, 74, "a"), (18, 2, 76, "o"), (20, 1, 79, "i"), (21, 1, 76, "e"), (22, 1, 74, "a"),
    (23, 1, 71, "o"), (24, 4, 69, "a"),
)  # fmt: skip
_CHORDS = ((57, 60, 64), (53, 57, 60), (60, 64, 67), (55, 59, 62))  # A minor, F, C, G: a bar each
NUM_BARS = 7


@dataclass(frozen=True)
class ExampleSong:
    """Stems `(2, num_samples)` float32 at `RATE`, and the true `f0_hz` of every sample, 0 where unvoiced."""

    vocals: np.ndarray
    accompaniment: np.ndarray
    f0_hz: np.ndarray

    @property
    def mixture(self) -> np.ndarray:
        return self.vocals + self.accompaniment


def make_example_song() -> ExampleSong:
    """The 14-second song; its peak is below full scale."""
    num_samples = round(NUM_BARS * 4 * BEAT_S * RATE)
    voice, f0_hz = _sing(num_samples)
    vocals = np.stack([voice, voice])
    accompaniment = _play(num_samples)
    scale = 0.8 / max(np.abs(vocals + accompaniment).max(), 1e-9)
    return ExampleSong((scale * vocals).astype(np.float32), (scale * accompaniment).astype(np.float32), f0_hz)


def write_example_song(folder: Path) -> Path:
    """Write the mixture as flac into `folder` and return its path."""
    path = Path(folder) / NAME
    with AudioWriter(path, RATE, 2, "flac", overwrite=True) as writer:
        writer.write(make_example_song().mixture)
    return path


def _sing(num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Voice `(num_samples,)` and its pitch in Hz, 0 between the phrases."""
    num_frames = num_samples // HOP + 1
    times_s = np.arange(num_frames) * HOP / RATE
    note, level = np.full(num_frames, np.nan), np.zeros(num_frames)
    spectrum = np.zeros((4, 2, num_frames))  # of the vowel: centres and levels of its resonances
    vibrato = np.zeros(num_frames)
    for start, length, midi, vowel in _MELODY:
        since_s = times_s - start * BEAT_S
        left_s = length * BEAT_S - since_s
        span = (since_s >= 0) & (left_s > 0)
        note[span] = midi
        level[span] = (np.clip(since_s / 0.05, 0.25, 1) * np.clip(left_s / 0.08, 0.15, 1))[span]
        vibrato[span] = (0.35 * np.clip((since_s - 0.2) / 0.3, 0, 1) * np.sin(2 * np.pi * 5.6 * since_s))[span]
        spectrum[:, :, span] = np.array(_VOWELS[vowel])[:, :, None]
    sung = ~np.isnan(note)
    note[~sung] = 69.0
    f0_hz = 440.0 * 2 ** ((_smooth(note, 0.06) + vibrato - 69) / 12)
    centres_hz, gains = np.moveaxis(_smooth(spectrum, 0.05), 1, 0)

    position = np.arange(num_samples) / HOP
    frames = np.arange(num_frames)
    f0_hz_of_samples = np.interp(position, frames, f0_hz)
    turn = np.exp(2j * np.pi * np.cumsum(f0_hz_of_samples) / RATE).astype(np.complex64)
    harmonic_turn, voice = np.ones_like(turn), np.zeros(num_samples)
    for harmonic in range(1, NUM_HARMONICS + 1):
        harmonic_turn *= turn
        hz = harmonic * f0_hz
        resonance = (gains / (1 + ((hz - centres_hz) / _FORMANT_WIDTH_HZ) ** 2)).sum(axis=0) + 0.02
        amplitude = np.where(hz < 0.45 * RATE, resonance / harmonic**0.7, 0.0)
        voice += np.interp(position, frames, amplitude) * harmonic_turn.imag
    breath = 0.02 * _noise(1, num_samples)
    level_of_samples = np.interp(position, frames, _smooth(level, 0.02))
    is_sung = sung[np.minimum(position.astype(int), num_frames - 1)]
    return 0.55 * level_of_samples * (voice + breath), np.where(is_sung, f0_hz_of_samples, 0.0)


def _play(num_samples: int) -> np.ndarray:
    """Bass, chords and drums `(2, num_samples)`."""
    music = np.zeros((2, num_samples))

    def add(start_beats: float, sound: np.ndarray, left: float, right: float) -> None:
        start = round(start_beats * BEAT_S * RATE)
        sound = sound[: max(0, num_samples - start)]
        music[:, start : start + len(sound)] += np.outer((left, right), sound)

    noise = _noise(2, RATE)
    for bar in range(NUM_BARS):
        chord = _CHORDS[bar % len(_CHORDS)]
        for beat in range(4):
            now = 4 * bar + beat
            add(now, _string(chord[0] - 24, 0.45, 5), 0.30, 0.30)
            for step, midi in enumerate((*chord, chord[1])):
                add(now + step / 4, _string(midi, 0.8, 9), 0.10 + 0.03 * step, 0.19 - 0.03 * step)
            add(now, noise[:1500] * np.exp(-np.arange(1500) / 300), 0.05, 0.06)
            add(now + 0.5, noise[:1500] * np.exp(-np.arange(1500) / 250), 0.06, 0.05)
            add(now, _drum(noise, kick=beat % 2 == 0), 0.4, 0.4)
    return music


@functools.cache
def _string(midi: int, length_s: float, num_harmonics: int) -> np.ndarray:
    """A plucked note, whose higher harmonics decay faster."""
    times_s = np.arange(round(length_s * RATE)) / RATE
    hz = 440.0 * 2 ** ((midi - 69) / 12)
    sound = sum(
        np.sin(2 * np.pi * k * hz * times_s) * np.exp(-times_s * (3 + 2 * k)) / k for k in range(1, num_harmonics + 1)
    )
    return sound * np.clip(times_s / 0.004, 0, 1) * np.clip((length_s - times_s) / 0.02, 0, 1)


def _drum(noise: np.ndarray, kick: bool) -> np.ndarray:
    times_s = np.arange(round(0.25 * RATE)) / RATE
    if kick:
        return np.sin(2 * np.pi * (45 * times_s - 3.5 * np.exp(-times_s / 0.03))) * np.exp(-times_s / 0.09)
    return 0.5 * noise[: len(times_s)] * np.exp(-times_s / 0.06) + 0.3 * np.sin(2 * np.pi * 190 * times_s) * np.exp(
        -times_s / 0.05
    )


def _smooth(values: np.ndarray, seconds: float) -> np.ndarray:
    """Running mean over the frames in the last axis, which turns steps into glides."""
    length = max(1, round(seconds * RATE / HOP))
    padded = np.concatenate(
        [np.repeat(values[..., :1], length, -1), values, np.repeat(values[..., -1:], length, -1)], axis=-1
    )
    sums = np.cumsum(padded, axis=-1)
    first = length - length // 2
    return (sums[..., first + length :] - sums[..., first:-length])[..., : values.shape[-1]] / length


def _noise(seed: int, num_samples: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, num_samples)
