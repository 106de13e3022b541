"""The notes as sound: a soft tone that follows the sung pitch, to listen to beside the song.

Conventions
    Each note sounds on its own, with its phase counted from its onset, so any part of the song can be rendered alone
    and the same samples come out. It fades in from its onset on and fades out after its offset, but not beyond the
    next note's; so at most two notes sound together, and the peak stays below 2 * `LEVEL`.
    Inside a note the tone follows the voiced frames near the note's pitch, with glides and vibrato; elsewhere it keeps
    the last of these, or the note's pitch if there is none. Rap and speech are left out.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..models.decoding_majl import PitchFrames
from ..models.notes_majl import SungNote
from ..models.pitch_majl import hz_to_midi, midi_to_hz

LEVEL = 0.4  # peak of the loudest note; full scale is 1
QUIETEST = 0.3  # level of a note with velocity 0, relative to the loudest
ATTACK_S, RELEASE_S = 0.025, 0.08
CUT_S = 0.01  # of a release that the end of the recording shortens
HARMONICS = (1.0, 0.4, 0.2, 0.1, 0.05)  # relative to the fundamental
MAX_DEVIATION = 3.0  # semitones from the note's pitch; frames further away are octave errors and consonants
BLOCK_S = 1.0


@dataclass(frozen=True)
class _Tone:
    """A note as it sounds: its fade-out is from `fade_s` to `end_s`."""

    note: SungNote
    fade_s: float
    end_s: float


class Melody:
    """The sound of a melody of which any part can be rendered.

    Args:
        notes: In order of onset, without overlap.
        frames: Pitch that the tone follows; None for constant pitches.
        sampling_rate: Hz.
        num_samples: Length of the recording.
    """

    def __init__(self, notes: Sequence[SungNote], frames: PitchFrames | None, sampling_rate: int, num_samples: int):
        self.sampling_rate, self.num_samples = sampling_rate, num_samples
        length_s = num_samples / sampling_rate
        sung = [note for note in notes if note.kind == "sung" and note.onset_s < length_s]
        self.tones = []
        for note, following in itertools.zip_longest(sung, sung[1:]):
            end_s = min(note.offset_s + RELEASE_S, length_s if following is None else following.offset_s, length_s)
            self.tones.append(_Tone(note, min(note.offset_s, end_s - CUT_S), end_s))
        bounds_s = np.array([(tone.note.onset_s, tone.end_s) for tone in self.tones]).reshape(-1, 2)
        self.begins, self.ends = np.ceil(bounds_s * sampling_rate).astype(int).T
        self.times_s, self.midi = np.zeros(0), np.zeros(0)  # of voiced frames
        if frames is not None:
            voiced = np.asarray(frames.voiced, dtype=bool)
            self.times_s, self.midi = np.asarray(frames.times_s)[voiced], hz_to_midi(np.asarray(frames.f0_hz)[voiced])

    def samples(self, first: int, stop: int) -> np.ndarray:
        """Samples `[first, stop)` of the recording, float32 of shape `(stop - first,)`."""
        total = np.zeros(stop - first)
        for number in np.flatnonzero((self.begins < stop) & (self.ends > first)):
            begin, end = max(first, self.begins[number]), min(stop, self.ends[number])
            times_s = np.arange(begin, end) / self.sampling_rate
            total[begin - first : end - first] += self._sound(self.tones[number], times_s)
        return total.astype(np.float32)

    def blocks(self) -> Iterator[np.ndarray]:
        """The whole recording in blocks of about `BLOCK_S`."""
        length = max(1, round(BLOCK_S * self.sampling_rate))
        for first in range(0, self.num_samples, length):
            yield self.samples(first, min(first + length, self.num_samples))

    def _sound(self, tone: _Tone, times_s: np.ndarray) -> np.ndarray:
        """A tone at times between its beginning and end."""
        note = tone.note
        cycles, f0_hz = self._phase(tone, times_s)
        sound = np.zeros(len(times_s))
        for number, weight in enumerate(HARMONICS, start=1):
            headroom = (0.48 - number * f0_hz / self.sampling_rate) / 0.05  # none at half the sampling rate
            sound += weight * np.clip(headroom, 0.0, 1.0) * np.sin(2 * np.pi * number * cycles)
        level = LEVEL / sum(HARMONICS) * (QUIETEST + (1 - QUIETEST) * note.velocity / 127)
        fade_in = _rise((times_s - note.onset_s) / ATTACK_S)
        fade_out = _rise((tone.end_s - times_s) / (tone.end_s - tone.fade_s))
        return level * fade_in * fade_out * sound

    def _phase(self, tone: _Tone, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cycles since the note's onset, and the frequency in Hz, at each time. The frequency is linear between frames,
        so its integral is exact."""
        note = tone.note
        inside = slice(*np.searchsorted(self.times_s, [note.onset_s + 1e-6, note.offset_s - 1e-6]))
        near = np.abs(self.midi[inside] - note.midi) <= MAX_DEVIATION
        midi = self.midi[inside][near] if near.any() else np.full(2, note.midi)
        knots_s = self.times_s[inside][near] if near.any() else np.linspace(note.onset_s, tone.end_s, 4)[1:3]
        knots_s = np.concatenate([[note.onset_s], knots_s, [max(tone.end_s, knots_s[-1] + 1e-6)]])
        hz = midi_to_hz(np.pad(midi, 1, mode="edge"))
        cycles = np.concatenate([[0.0], np.cumsum(np.diff(knots_s) * (hz[1:] + hz[:-1]) / 2)])
        before = np.clip(np.searchsorted(knots_s, times_s, side="right") - 1, 0, len(knots_s) - 2)
        since_s = times_s - knots_s[before]
        slope = (np.diff(hz) / np.diff(knots_s))[before]
        return cycles[before] + since_s * (hz[before] + slope * since_s / 2), hz[before] + slope * since_s


def render_melody(
    notes: Sequence[SungNote], frames: PitchFrames | None, sampling_rate: int, num_samples: int
) -> Iterator[np.ndarray]:
    """The melody of a recording in blocks `(num_block_samples,)`, float32; arguments as of `Melody`."""
    return Melody(notes, frames, sampling_rate, num_samples).blocks()


def _rise(share: np.ndarray) -> np.ndarray:
    """From 0 to 1 over the shares 0 to 1, smooth at both ends."""
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(share, 0.0, 1.0))
