"""From evidence by frame to sung notes, for a whole file at once, as a stream.

A melody is a sequence of notes and rests. The decoder finds the one with the greatest sum of log odds: of a note's
beginning and end where it begins and ends, and of being sung in each of its frames, minus the spread of the pitch
within notes (a hidden semi-Markov model without a prior on durations, decoded exactly). Notes begin and end at peaks of
the evidence, so the search takes time proportional to their number and not to that of frames.

The evidence is that of a note estimator, or else read from pitch and loudness alone (`evidence_of_pitch`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from .notes_majl import SungNote
from .pitch_majl import sigmoid

EVIDENCE_FRAMES = 32  # that `evidence_of_pitch` looks to each side, at least
PEAK_S = 0.03  # to each side, over which a peak of the evidence is the highest
MIN_PEAK = 0.02  # probability below which no note begins or ends
MAX_NOTE_S = 15.0
REST_S = 0.35  # so long without a voice, and what comes before is final
REST = 0.2  # probability of being sung below which there is no voice
REST_COST = 1.0  # of a frame without a voice within a note, so that a note does not last through a rest
MAX_PENDING_S = 60.0  # after which notes are final anyway: a bound on memory
CERTAIN = 6.0  # log odds beyond which evidence counts the same
FULL_VELOCITY_DB = -12.0  # level of a voice with velocity 127, at the level to which recordings are brought
SPREAD_SEMITONES = 1.0  # deviations from a note's pitch beyond this count the same
LEVEL_STEP_DB, PITCH_STEP = 5.0, 0.65  # of loudness and in semitones, that begin a note as likely as not
DOUBT = 1.5  # by which these log odds are lowered: few, long notes
VIBRATO_HZ = (3.5, 9.0)
MIN_VIBRATO_S, MIN_VIBRATO_CENTS, MIN_VIBRATO_SHARE = 0.3, 12.0, 0.4
# Semitones per second by which f0 moves within notes: in the median of so many of them, more than the first is rap if
# they are that short, and more than the second is speech.
RAP_SLOPE, SPEECH_SLOPE, KIND_NOTES, RAP_NOTE_S = 11.0, 25.0, 17, 0.13


@dataclass
class NoteEvidence:
    """What is known of consecutive frames, all arrays of shape `(num_frames,)`.

    Args:
        onset, offset: Probability that a note begins or ends in the frame.
        active: Probability that the frame is part of a note.
        midi: Pitch that a note in this frame has, as fractional MIDI number.
        f0_midi: Pitch of the frame itself, likewise.
        weight: Confidence of the pitch in [0, 1].
        level_db: Level of the voice.
    """

    onset: np.ndarray
    offset: np.ndarray
    active: np.ndarray
    midi: np.ndarray
    f0_midi: np.ndarray
    weight: np.ndarray
    level_db: np.ndarray

    def __len__(self) -> int:
        return len(self.onset)

    def __getitem__(self, frames: slice) -> "NoteEvidence":
        return NoteEvidence(*(getattr(self, field.name)[frames] for field in fields(self)))

    @classmethod
    def concatenate(cls, parts: list["NoteEvidence"]) -> "NoteEvidence":
        """All parts in order; an empty list gives no frames."""
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([np.zeros(0), *(getattr(part, name) for part in parts)]) for name in names))


def evidence_of_network(
    output: Sequence[np.ndarray], f0_midi: np.ndarray, voicing: np.ndarray, level_db: np.ndarray
) -> NoteEvidence:
    """Evidence of a note estimator for one recording.

    Args:
        output: Onset, offset, active and deviation_cents, see `NoteEstimatorOutput`, each `(num_frames,)`.
        f0_midi, voicing, level_db: The decoded pitch as MIDI numbers, its voicing and the voice's level,
            `(num_frames,)`.
    """
    onset, offset, active, deviation = (np.asarray(values, dtype=float) for values in output)
    midi = f0_midi + deviation / 100
    return NoteEvidence(sigmoid(onset), sigmoid(offset), sigmoid(active), midi, f0_midi, voicing, level_db)


def evidence_of_pitch(
    f0_midi: np.ndarray, voicing: np.ndarray, level_db: np.ndarray, frame_hop_s: float
) -> NoteEvidence:
    """Evidence from pitch and loudness alone: a note begins where the voice sets in, its pitch moves to another one and
    stays there, or its loudness rises; it ends where the voice does."""
    reach = min(max(1, round(0.05 / frame_hop_s)), EVIDENCE_FRAMES // 2)
    pitch_step = np.abs(_change(f0_midi, reach, np.median))
    level_step = _change(level_db, reach, np.mean)
    sets_in = _change(voicing, reach, np.mean)
    score = np.maximum.reduce([
        6.0 * (pitch_step / PITCH_STEP - 1.0), 3.0 * (level_step / LEVEL_STEP_DB - 1.0), 12.0 * (sets_in - 0.5)
    ]) - DOUBT  # fmt: skip
    sung = np.minimum(1.0, 2.0 * _ahead(voicing, reach, np.mean))
    return NoteEvidence(
        sigmoid(score) * sung, sigmoid(12.0 * (-sets_in - 0.4)), voicing, f0_midi, f0_midi, voicing, level_db
    )


def _change(values: np.ndarray, reach: int, average) -> np.ndarray:
    """Each frame's average over itself and the `reach - 1` frames after it, minus that over itself and those before."""
    return _ahead(values, reach, average) - _ahead(values[::-1], reach, average)[::-1]


def _ahead(values: np.ndarray, reach: int, average) -> np.ndarray:
    """Each frame's average over itself and the `reach - 1` frames after it."""
    padded = np.concatenate([values, np.repeat(values[-1:], reach - 1)])
    return average(np.lib.stride_tricks.sliding_window_view(padded, reach), axis=1) if len(values) else values


def voice_level_db(voice: np.ndarray, num_frames: int, hop_length: int) -> np.ndarray:
    """Level of the voice `(num_samples,)` around each of `num_frames` frames, over three hops, in dB of full scale."""
    padded = np.pad(voice, (hop_length, (num_frames + 2) * hop_length - len(voice)))
    power = np.square(padded).reshape(-1, hop_length).mean(axis=1)[: num_frames + 2]
    around = np.lib.stride_tricks.sliding_window_view(power, 3)
    return 10 * np.log10(around.mean(axis=1).astype(float) + 1e-12)


class NoteDecoder:
    """Turns evidence into notes; a stream of any block sizes gives the same notes.

    Args:
        config: Of the model, with the weights of the evidence.
        threshold: Probability from which a note begins where nothing else speaks for or against it: higher gives fewer
            notes. Default: `config.note_threshold`.
        min_note_s: Shortest note in seconds; default: `config.min_note_s`.

    Raises:
        ValueError: a threshold outside (0, 1), or a negative length.
    """

    def __init__(self, config, threshold: float | None = None, min_note_s: float | None = None):
        self.config = config
        self.threshold = config.note_threshold if threshold is None else threshold
        self.min_note_s = config.min_note_s if min_note_s is None else min_note_s
        if not 0.0 < self.threshold < 1.0:
            raise ValueError(f"note_threshold is {self.threshold}; a probability between 0 and 1 is needed.")
        if not 0.0 <= self.min_note_s <= MAX_NOTE_S:
            raise ValueError(f"min_note_s is {self.min_note_s}; 0 to {MAX_NOTE_S:.0f} seconds are needed.")
        self.hop_s = config.frame_hop_s
        self.pending: list[NoteEvidence] = []
        self.num_pending = self.num_quiet = 0  # frames; the last ones without a voice
        self.first_frame = 0  # number of the first pending frame
        self.kinds = _Kinds()

    def push(self, evidence: NoteEvidence, last: bool = False) -> list[SungNote]:
        """The notes that are final; with `last`, all."""
        notes, begin = [], 0
        rest, most = round(REST_S / self.hop_s), round(MAX_PENDING_S / self.hop_s)
        is_quiet = np.maximum(evidence.active, evidence.onset) < REST
        for number, quiet in enumerate(is_quiet, start=1):
            self.num_quiet = self.num_quiet + 1 if quiet else 0
            self.num_pending += 1
            if (self.num_quiet >= rest and self.num_pending > self.num_quiet) or self.num_pending >= most:
                self.pending.append(evidence[begin:number])
                begin = number
                notes += self._decode()
            elif self.num_quiet >= rest:  # nothing but silence
                self._drop()
                begin = number
        self.pending.append(evidence[begin:])
        if last:
            end_s = (self.first_frame + self.num_pending - 1) * self.hop_s  # the last frame is centred on the end
            notes += [(replace(note, offset_s=min(note.offset_s, end_s)), slope) for note, slope in self._decode()]
        return self.kinds.push(notes, last)

    def _drop(self) -> None:
        """Forget the pending frames."""
        self.first_frame += self.num_pending
        self.pending, self.num_pending = [], 0

    def _decode(self) -> list[SungNote]:
        """The notes of all pending frames, which are then forgotten."""
        evidence = NoteEvidence.concatenate(self.pending)
        notes = [self._note(evidence, *segment) for segment in self._segments(evidence)]
        self._drop()
        return notes

    def _segments(self, evidence: NoteEvidence) -> list[tuple[int, int]]:
        """The frames `[begin, end)` of the best sequence of notes."""
        config, num_frames = self.config, len(evidence)
        onset, offset = (
            np.where(_are_peaks(values, round(PEAK_S / self.hop_s)), _log_odds(values), -np.inf)
            for values in (evidence.onset, evidence.offset)
        )
        places = np.unique(np.append(np.flatnonzero(np.isfinite(onset) | np.isfinite(offset)), num_frames))
        begins = np.append(onset, -np.inf)[places] - _log_odds(self.threshold)
        ends = config.note_offset_weight * np.append(offset, 0.0)[places]
        sums = _RunningSums(evidence, config)
        least = max(1, round(self.min_note_s / self.hop_s))
        # Best scores of all that ends at a place: with a rest behind it, or with the next note right behind.
        rest, joined = np.full(len(places), -np.inf), np.full(len(places), -np.inf)
        rest_from, joined_from = np.full(len(places), -1), np.full(len(places), -1)
        rest[0] = 0.0
        for number, place in enumerate(places):
            if number and rest[number - 1] >= rest[number]:
                rest[number], rest_from[number] = rest[number - 1], -1
            best = max(rest[number], joined[number])
            if not np.isfinite(begins[number]) or not np.isfinite(best):
                continue
            stop = np.searchsorted(places, place + MAX_NOTE_S / self.hop_s, side="right")
            first = np.searchsorted(places, place + least)
            later = np.arange(first, stop)
            score = best + begins[number] + sums.of_notes(place, places[later])
            joined_now = np.isfinite(begins[later]) & (score > joined[later])
            joined[later[joined_now]], joined_from[later[joined_now]] = score[joined_now], number
            score = score + ends[later]
            rested = np.isfinite(score) & (score > rest[later])
            rest[later[rested]], rest_from[later[rested]] = score[rested], number
        return list(_trace(places, rest, joined, rest_from, joined_from))[::-1]

    def _note(self, evidence: NoteEvidence, begin: int, end: int) -> tuple[SungNote, float]:
        """The note of frames `[begin, end)`, and the semitones by which f0 moves within it in a second."""
        part = evidence[begin:end]
        weight = part.weight * part.active + 1e-6
        midi = _weighted_median(part.midi, weight)
        near = np.abs(part.f0_midi - midi) < 6.0  # others are octave errors and consonants
        f0_cents = np.where(near, 100 * (part.f0_midi - midi), 0.0)
        vibrato_hz, vibrato_cents = _vibrato(f0_cents, self.hop_s)
        edge = max(1, min(round(0.02 / self.hop_s), len(part) // 4))
        loud_db = float(np.quantile(part.level_db, 0.8))
        steps = np.minimum(np.abs(np.diff(part.f0_midi)), 1.0)  # octave errors count little
        slope = float(steps.mean() / self.hop_s) if len(steps) else 0.0
        note = SungNote(
            onset_s=(self.first_frame + begin) * self.hop_s,
            offset_s=(self.first_frame + end) * self.hop_s,
            midi=float(midi),
            velocity=int(np.clip(round(127 * 10 ** ((loud_db - FULL_VELOCITY_DB) / 40)), 1, 127)),
            confidence=float(np.sqrt(evidence.onset[begin] * np.average(part.active, weights=weight))),
            vibrato_hz=vibrato_hz,
            vibrato_cents=vibrato_cents,
            glide_in_cents=float(np.median(f0_cents[:edge])),
            glide_out_cents=float(np.median(f0_cents[-edge:])),
        )
        return note, slope


class _RunningSums:
    """Scores of notes from running sums over frames, so that each takes the same time however long it is."""

    def __init__(self, evidence: NoteEvidence, config):
        self.spread_weight = config.note_spread_weight
        weight = evidence.weight * evidence.active + 1e-6
        base = float(np.median(evidence.midi)) if len(evidence) else 0.0  # keeps the squares small
        midi = evidence.midi - base
        active = config.note_active_weight * _log_odds(evidence.active) - REST_COST * (evidence.active < REST)
        rows = (active, weight, weight * midi, weight * midi**2)
        self.sums = np.pad(np.cumsum(rows, axis=1), ((0, 0), (1, 0)))

    def of_notes(self, begin: int, ends: np.ndarray) -> np.ndarray:
        active, weight, first, second = self.sums[:, ends] - self.sums[:, begin, None]
        variance = np.clip(second / np.maximum(weight, 1e-6) - (first / np.maximum(weight, 1e-6)) ** 2, 0.0, None)
        return active - self.spread_weight * weight * np.minimum(variance, SPREAD_SEMITONES**2)


def _are_peaks(probability: np.ndarray, reach: int) -> np.ndarray:
    """Whether each frame's probability is the highest within `reach` frames."""
    if not len(probability):
        return np.zeros(0, dtype=bool)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(probability, reach), 2 * reach + 1)
    return (windows.argmax(axis=1) == reach) & (probability >= MIN_PEAK)


def _log_odds(probability):
    limit = 1.0 / (1.0 + np.exp(CERTAIN))
    clipped = np.clip(probability, limit, 1.0 - limit)
    return np.log(clipped / (1.0 - clipped))


def _trace(places, rest, joined, rest_from, joined_from) -> Iterator[tuple[int, int]]:
    """The notes of the best path, the last one first."""
    number, is_joined = len(places) - 1, False
    while True:
        begin = (joined_from if is_joined else rest_from)[number]
        if begin >= 0:
            yield int(places[begin]), int(places[number])
            number, is_joined = begin, bool(joined[begin] > rest[begin])
        elif number == 0:
            return
        else:
            number -= 1


def _weighted_median(values: np.ndarray, weight: np.ndarray) -> float:
    order = np.argsort(values)
    sums = np.cumsum(weight[order])
    return float(values[order[np.searchsorted(sums, sums[-1] / 2)]])


def _vibrato(cents: np.ndarray, hop_s: float) -> tuple[float, float]:
    """Rate in Hz and extent in cents of the vibrato in a note's middle; zeros without one."""
    middle = cents[len(cents) // 6 : len(cents) - len(cents) // 6]
    if len(middle) * hop_s < MIN_VIBRATO_S:
        return 0.0, 0.0
    times = np.arange(len(middle))
    middle = middle - np.polyval(np.polyfit(times, middle, 2), times)
    size = 8 * len(middle)
    window = np.hanning(len(middle))
    spectrum = np.abs(np.fft.rfft(middle * window, size)) * 2 / window.sum()
    rates_hz = np.arange(len(spectrum)) / (size * hop_s)
    inside = (rates_hz >= VIBRATO_HZ[0]) & (rates_hz <= VIBRATO_HZ[1])
    place = int(np.argmax(np.where(inside, spectrum, 0.0)))
    extent = float(spectrum[place])
    share = extent**2 / 2 / max(float(np.mean(middle**2)), 1e-9)
    if extent < MIN_VIBRATO_CENTS or share < MIN_VIBRATO_SHARE:
        return 0.0, 0.0
    return float(rates_hz[place]), extent


class _Kinds:
    """Tells singing from rap and speech: there, pitch keeps moving, over several notes in a row.

    The limits separate three of the validation excerpts, hip-hop with 12 to 25 semitones per second in notes of 0.12 s,
    from the others, with up to 17 in notes of 0.14 s and longer.
    """

    def __init__(self):
        self.notes: list[tuple[SungNote, float]] = []
        self.num_done = 0  # of those that are kept

    def push(self, notes: list[tuple[SungNote, float]], last: bool) -> list[SungNote]:
        self.notes += notes
        reach, done = KIND_NOTES // 2, []
        while self.num_done < len(self.notes) - (0 if last else reach):
            near = self.notes[max(0, self.num_done - reach) : self.num_done + reach + 1]
            note = self.notes[self.num_done][0]
            slope = np.median([slope for _, slope in near])
            is_short = np.median([other.duration_s for other, _ in near]) <= RAP_NOTE_S
            kind = "rap" if slope > RAP_SLOPE and is_short else "speech" if slope > SPEECH_SLOPE else "sung"
            done.append(replace(note, kind=kind))
            self.num_done += 1
        passed = max(0, self.num_done - reach)
        self.notes, self.num_done = self.notes[passed:], self.num_done - passed
        return done
