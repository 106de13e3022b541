"""Steps from two lines of audio to a training segment: composable, and seeded by the generator passed in.

Conventions
    A transform is called with a `Segment` and the item's generator and returns a new segment; it draws from that
    generator only, so an item depends on its seed alone. Both parts of a mixture change alike unless the step is about
    their relation, and the mixture stays their sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..corpora.notes import border_distance_s
from ..corpora.tracks import Track
from .segments import active_rms_dbfs

MAX_BALANCE_DB = 30.0
BORDER_S = 0.02  # standard deviation of what counts as a note's begin or end: annotators and singers are no closer
EQUALIZER_HZ = 80.0 * 2.0 ** np.arange(8)  # 80 Hz to 10.24 kHz; the gain is constant beyond
DOUBLE_OCTAVES, DOUBLE_SHARES = (-1.0, 0.0, 1.0), (0.4, 0.2, 0.4)
ENVELOPE_S = 0.0012  # quefrencies of a spectral envelope: shorter than the period of an f0 of 800 Hz
ENVELOPE_FRAME_S = 0.046
MAX_FORMANT_GAIN_DB = 20.0


@dataclass
class FrameLabels:
    """Labels of an item by frame, each of shape (num_frames,).

    Args:
        f0_hz: pitch of the vocals in Hz, 0 = unvoiced.
        pitch_weight: how far `f0_hz` is trusted, in [0, 1]; 0 where the pitch is unknown.
        octave_reliable: 0 where `f0_hz` may be octaves off.
        by_hand: 0 where `f0_hz` was made by a model or from notes.
        vocals_weight: how far the vocals are trusted, in [0, 1]; 0 where they are unknown and stay in the
            accompaniment.
        note_midi: pitch of the note that the frame is in, as MIDI number; 0 outside of notes.
        note_onset, note_offset: closeness in [0, 1] of a note's begin and end, 1 at the frame.
        note_weight: 0 where notes are unknown, else 1.
    """

    f0_hz: np.ndarray
    pitch_weight: np.ndarray
    octave_reliable: np.ndarray
    by_hand: np.ndarray
    vocals_weight: np.ndarray
    note_midi: np.ndarray
    note_onset: np.ndarray
    note_offset: np.ndarray
    note_weight: np.ndarray

    @classmethod
    def unknown(cls, num_frames: int) -> FrameLabels:
        """Unknown pitch and notes, fully trusted vocals."""
        zero, one = (0.0, 0.0), (1.0, 1.0, 1.0)
        return cls(*(np.full(num_frames, value) for value in (*zero, *one, *zero, *zero)))

    def write(self, inside: np.ndarray | slice, track: Track, times_s: np.ndarray, speed: float = 1.0) -> None:
        """Fill the frames `inside` with the labels of a recording at its seconds `times_s`, played `speed` times as
        fast."""
        self.vocals_weight[inside] = track.vocals_confidence_at(times_s)
        if track.notes is not None:
            self._write_notes(inside, track, times_s, speed)
        label = track.label
        if label is None:
            return
        f0_hz, weight = label.at(times_s)
        self.f0_hz[inside], self.pitch_weight[inside] = f0_hz * speed, weight
        self.octave_reliable[inside] = float(label.octave_reliable)
        self.by_hand[inside] = float(label.by_hand)

    def _write_notes(self, inside: np.ndarray | slice, track: Track, times_s: np.ndarray, speed: float) -> None:
        onsets_s, offsets_s, midi = np.array([(n.onset_s, n.offset_s, n.midi) for n in track.notes]).T
        number = np.searchsorted(onsets_s, times_s, side="right") - 1  # of the last note that has begun
        is_active = (number >= 0) & (times_s < offsets_s[number])
        self.note_midi[inside] = np.where(is_active, midi[number] + 12.0 * math.log2(speed), 0.0)
        self.note_onset[inside] = _closeness(times_s, onsets_s, speed)
        self.note_offset[inside] = _closeness(times_s, offsets_s, speed)
        self.note_weight[inside] = 1.0


def _closeness(times_s: np.ndarray, borders_s: np.ndarray, speed: float) -> np.ndarray:
    """How close each of a recording's times is to a border, in [0, 1], if it is played `speed` times as fast."""
    distance_s = border_distance_s(times_s, borders_s) / speed
    return np.exp(-0.5 * np.square(distance_s / BORDER_S))


@dataclass
class Segment:
    """An item before it becomes tensors; `mixture` is the float32 sum of its parts, `vocals` and `accompaniment`
    (num_channels, num_samples) float32."""

    id: str
    vocals: np.ndarray
    accompaniment: np.ndarray
    frames: FrameLabels

    @property
    def mixture(self) -> np.ndarray:
        return self.vocals + self.accompaniment


def _at_level_of(audio: np.ndarray, filtered: np.ndarray) -> np.ndarray:
    """`filtered` at the RMS level of `audio`."""
    return filtered * np.sqrt(np.mean(np.square(audio)) / np.mean(np.square(filtered)))


@dataclass(frozen=True)
class RandomRatio:
    """Set the accompaniment's level for a vocals-to-accompaniment ratio, normal around 0 dB and clipped.

    If the vocals are below `silence_dbfs` or the accompaniment is silent, nothing changes.
    """

    std_db: float
    limit_db: float
    silence_dbfs: float
    sampling_rate: int

    def __call__(self, segment: Segment, rng: np.random.Generator) -> Segment:
        ratio_db = float(np.clip(rng.normal(0.0, self.std_db), -self.limit_db, self.limit_db))
        vocals_db = active_rms_dbfs(segment.vocals, self.sampling_rate)
        accompaniment_db = active_rms_dbfs(segment.accompaniment, self.sampling_rate)
        if vocals_db <= self.silence_dbfs or not math.isfinite(accompaniment_db):
            return segment
        gain_db = min(max(vocals_db - ratio_db - accompaniment_db, -MAX_BALANCE_DB), MAX_BALANCE_DB)
        return replace(segment, accompaniment=segment.accompaniment * 10.0 ** (gain_db / 20.0))


@dataclass(frozen=True)
class DoubleMelody:
    """Let an instrument in the accompaniment double the melody, as karaoke tracks and bands do.

    It plays the label's pitch, rounded to semitones in the voice's own tuning, an octave below, at or an octave above
    the voice, with a random number and decay of harmonics. Its level relative to the vocals is uniform from `min_db`
    to `max_db`. Segments without a label are returned unchanged. A probability of 0 draws nothing.
    """

    probability: float
    min_db: float
    max_db: float
    hop_s: float
    sampling_rate: int

    def __call__(self, segment: Segment, rng: np.random.Generator) -> Segment:
        if self.probability == 0 or rng.random() >= self.probability:
            return segment
        octave = rng.choice(DOUBLE_OCTAVES, p=DOUBLE_SHARES)
        amplitudes = rng.uniform(0.4, 0.95) ** np.arange(rng.integers(3, 16)) * rng.uniform(0.3, 1.0)
        amplitudes[0] = 1.0
        decay_s = rng.uniform(0.2, 2.0)
        level_db = rng.uniform(self.min_db, self.max_db)
        frames = segment.frames
        sung = (frames.f0_hz > 0) & (frames.pitch_weight > 0)
        power = float(np.mean(np.square(segment.vocals)))
        if not sung.any() or power == 0:
            return segment
        tone = self._play(np.where(sung, frames.f0_hz * 2.0**octave, 0.0), amplitudes, decay_s, segment.vocals.shape[1])
        tone *= math.sqrt(power / float(np.mean(np.square(tone)))) * 10.0 ** (level_db / 20.0)
        return replace(segment, accompaniment=segment.accompaniment + tone.astype(np.float32))

    def _play(self, f0_hz: np.ndarray, amplitudes: np.ndarray, decay_s: float, num_samples: int) -> np.ndarray:
        """`(num_samples,)`: notes with these amplitudes of their harmonics, which decay from each note's onset."""
        semitones = 12.0 * np.log2(np.maximum(f0_hz, 1.0))
        tuning = np.angle(np.exp(2j * np.pi * semitones[f0_hz > 0]).mean()) / (2.0 * np.pi)
        notes = np.round(semitones - tuning)
        changes = np.concatenate([[True], notes[1:] != notes[:-1]])
        begins = np.maximum.accumulate(np.where(changes, np.arange(len(notes)), 0))
        age_s = (np.arange(len(notes)) - begins) * self.hop_s
        loudness = np.where(f0_hz > 0, np.exp(-age_s / decay_s), 0.0)
        position = np.arange(num_samples) / (self.hop_s * self.sampling_rate)
        frame = np.minimum(np.round(position).astype(int), len(notes) - 1)
        hz = np.where(f0_hz > 0, 2.0 ** ((notes + tuning) / 12.0), 0.0)[frame]
        phase = 2.0 * np.pi * np.cumsum(hz) / self.sampling_rate
        tone = np.zeros(num_samples)
        for number, amplitude in enumerate(amplitudes, start=1):
            tone += np.where(number * hz < self.sampling_rate / 2, amplitude, 0.0) * np.sin(number * phase)
        return tone * np.interp(position, np.arange(len(notes)), loudness)


@dataclass(frozen=True)
class MoveFormants:
    """Imitate another singer: scale the vocals' formants by a random factor, keeping pitch and timing.

    In each STFT frame the spectral envelope (the cepstrum up to `ENVELOPE_S`) is stretched along frequency and the
    spectrum filtered from the old envelope to the new one, by at most `MAX_FORMANT_GAIN_DB`; phase and RMS level stay.
    The factor is uniform in semitones, up to `limit_semitones` either way. A probability of 0 draws nothing.
    """

    probability: float
    limit_semitones: float
    sampling_rate: int

    def __call__(self, segment: Segment, rng: np.random.Generator) -> Segment:
        if self.probability == 0 or rng.random() >= self.probability:
            return segment
        factor = 2.0 ** (rng.uniform(-self.limit_semitones, self.limit_semitones) / 12.0)
        vocals = segment.vocals
        if not vocals.any():
            return segment
        return replace(segment, vocals=_at_level_of(vocals, self._moved(vocals, factor)))

    def _moved(self, audio: np.ndarray, factor: float) -> np.ndarray:
        """`(num_channels, num_samples)` float32 with its envelope at frequency f taken from f / `factor`."""
        num_samples = audio.shape[1]
        n_fft = 2 ** round(math.log2(ENVELOPE_FRAME_S * self.sampling_rate))
        hop_length = n_fft // 2
        settings = {"n_fft": n_fft, "hop_length": hop_length, "window": torch.hann_window(n_fft).sqrt()}
        padded = torch.from_numpy(np.pad(audio, ((0, 0), (0, -num_samples % hop_length))))
        spectra = torch.stft(padded, **settings, pad_mode="constant", return_complex=True)
        gains = self._gains(spectra.abs().mean(dim=0).T.numpy(), n_fft, factor)
        return torch.istft(spectra * torch.from_numpy(gains.T), **settings, length=num_samples).numpy()

    def _gains(self, magnitudes: np.ndarray, n_fft: int, factor: float) -> np.ndarray:
        """Factors for spectra of shape `(num_frames, num_bins)`."""
        floor = 1e-4 * magnitudes.max()  # bins 80 dB below the loudest have no envelope
        cepstrum = np.fft.irfft(np.log(magnitudes + floor), n=n_fft)
        quefrency_s = np.minimum(np.arange(n_fft), n_fft - np.arange(n_fft)) / self.sampling_rate
        lifter = np.cos(0.5 * np.pi * np.minimum(quefrency_s / ENVELOPE_S, 1.0)) ** 2
        envelope = np.fft.rfft(cepstrum * lifter.astype(cepstrum.dtype)).real
        source = np.minimum(np.arange(envelope.shape[1]) / factor, envelope.shape[1] - 1)
        below = np.minimum(source.astype(int), envelope.shape[1] - 2)
        share = (source - below).astype(envelope.dtype)
        stretched = envelope[:, below] * (1 - share) + envelope[:, below + 1] * share
        limit = MAX_FORMANT_GAIN_DB * math.log(10.0) / 20.0
        return np.exp(np.clip(stretched - envelope, -limit, limit))


@dataclass(frozen=True)
class RandomEqualizer:
    """Change each part's timbre, so that no voice or instrument is recognised by its timbre alone.

    Each part is filtered with this probability. The gain in dB is linear in log frequency between octaves, whose gains
    are uniform up to `limit_db` either way; phase and RMS level stay. A probability of 0 draws nothing.
    """

    probability: float
    limit_db: float
    sampling_rate: int

    def __call__(self, segment: Segment, rng: np.random.Generator) -> Segment:
        if self.probability == 0:
            return segment
        vocals, accompaniment = (self._equalized(part, rng) for part in (segment.vocals, segment.accompaniment))
        return replace(segment, vocals=vocals, accompaniment=accompaniment)

    def _equalized(self, audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        gains_db = rng.uniform(-self.limit_db, self.limit_db, len(EQUALIZER_HZ))
        if rng.random() >= self.probability or not audio.any():
            return audio
        hz = np.fft.rfftfreq(audio.shape[-1], 1.0 / self.sampling_rate)
        gain = 10.0 ** (np.interp(np.log2(np.maximum(hz, 1.0)), np.log2(EQUALIZER_HZ), gains_db) / 20.0)
        return _at_level_of(audio, np.fft.irfft(gain * np.fft.rfft(audio), n=audio.shape[-1])).astype(np.float32)


@dataclass(frozen=True)
class RandomGain:
    """Change the mixture's level by up to `gain_db` either way, and lower it further where its peak would exceed 1."""

    gain_db: float

    def __call__(self, segment: Segment, rng: np.random.Generator) -> Segment:
        gain = 10.0 ** (rng.uniform(-self.gain_db, self.gain_db) / 20.0)
        peak = gain * float(np.abs(segment.mixture).max())
        if peak > 1.0:
            gain *= (1.0 - 1e-6) / peak  # the small term keeps rounding from crossing 1 again
        vocals, accompaniment = (
            (audio * gain).astype(np.float32, copy=False) for audio in (segment.vocals, segment.accompaniment)
        )
        return replace(segment, vocals=vocals, accompaniment=accompaniment)


@dataclass(frozen=True)
class SwapChannels:
    """Swap left and right; mono stays unchanged and draws nothing."""

    probability: float

    def __call__(self, segment: Segment, rng: np.random.Generator) -> Segment:
        if segment.vocals.shape[0] != 2 or rng.random() >= self.probability:
            return segment
        vocals, accompaniment = (np.ascontiguousarray(part[::-1]) for part in (segment.vocals, segment.accompaniment))
        return replace(segment, vocals=vocals, accompaniment=accompaniment)


@dataclass(frozen=True)
class KeepLabel:
    """Keep the labels of pitch and notes with this probability; otherwise they are unknown."""

    probability: float

    def __call__(self, segment: Segment, rng: np.random.Generator) -> Segment:
        if rng.random() < self.probability:
            return segment
        unknown = np.zeros_like(segment.frames.pitch_weight)
        frames = replace(segment.frames, pitch_weight=unknown, note_weight=unknown)
        return replace(segment, frames=frames)
