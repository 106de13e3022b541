"""Lay lyrics on notes.

Syllables are laid on notes in order, in the cheapest of all ways (dynamic programming over notes and syllables, as in
Sakoe and Chiba, "Dynamic programming algorithm optimization for spoken word recognition", 1978). A note gets the next
syllable, or several where notes are missing, or continues the syllable before it, or stays without words. What costs:

- a syllable that is not at its time, where the lyrics have times of words or lines; a constant delay between the words
  and the notes is found first, and costs nothing;
- a rest within a line, and more so within a word; the end of a line without a rest;
- several syllables on one note, the more the shorter they are;
- a note that continues a syllable, the more the longer the rest before it; a note without words.

Only a band around the expected course is searched, so that memory and time grow with the length of the song alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np

from ..models.notes_majl import SungNote
from .lyrics import Lyrics, Word
from .syllables import guess_language, syllabify
from .transcription import NoteText

MIN_SYLLABLE_S = 0.06
MAX_SYLLABLES = 12  # on one note
MAX_CONTINUED_GAP_S = 0.2  # a syllable does not continue after a longer rest
MAX_DELAY_S = 1.0  # between words and notes
MIN_TIMED_WORDS = 8  # for finding the delay
ALONE_S = 0.5  # words with times that are further from all notes are left out
BAND = 600  # syllables on either side of the expected course, at first

# Costs.
CONTINUE, CONTINUE_PER_S, CONTINUE_SAME_PITCH = 0.25, 2.0, 0.45
WORDLESS, WORDLESS_AGAIN = 3.5, 0.6
SPLIT, SPLIT_PER_OCTAVE = 1.0, 0.15  # for each syllable, per halving of the usual length of a note
REST_S = 0.9  # the length of a full rest
REST_IN_LINE, REST_IN_WORD, NO_REST, NO_REST_AFTER_VERSE = 1.6, 1.9, 1.8, 2.7
LATE_S = 0.3  # after its word's end a syllable continues at no cost for this long, then at one for each such time
# Per second away from its time.
WORD_TIME, SYLLABLE_TIME, LINE_TIME = 4.0, 2.0, 2.8

_HYPHENS = "-‐‑–—"


class LaidLyrics(NamedTuple):
    """Notes with their texts, and the words that found no note.

    Args:
        notes: In order of onset; a note with several syllables is divided.
        texts: One for each note. A note without words has an empty text that begins a word; a note that continues a
            syllable has an empty text that does not.
        left_out: Words with times where no note is, and words that are too many for the notes.
    """

    notes: tuple[SungNote, ...]
    texts: tuple[NoteText, ...]
    left_out: tuple[Word, ...]


@dataclass
class _Syllable:
    text: str
    word: Word
    begins_word: bool
    ends_word: bool = False
    ends_line: bool = False
    ends_verse: bool = False
    time_s: float = np.nan  # when it begins, if known
    cost_per_s: float = 0.0  # away from that time


def lay_lyrics(notes: Sequence[SungNote], lyrics: Lyrics, language: str | None = None) -> LaidLyrics:
    """Lay the lyrics of a song on its notes.

    Notes of rap and speech get words too.

    Args:
        notes: In order of onset; no two overlap.
        lyrics: With or without times.
        language: ISO 639-1 code, for dividing words into syllables. Default: that of the lyrics, or else that of their
            most common words.
    """
    if language is None:
        language = lyrics.language or guess_language(word.text for line in lyrics.lines for word in line.words)
    notes = tuple(notes)
    syllables = _syllables(lyrics, language)
    delay_s = _delay_s(notes, syllables)
    near, far = _near_notes(notes, syllables, delay_s)
    counts = _Laying(notes, near, delay_s).counts()
    num_laid = int(np.maximum(counts, 0).sum())
    left_out = _words(far) + _words(near[num_laid:])
    return LaidLyrics(*_written(notes, counts, near, delay_s), left_out)


# Syllables


def _syllables(lyrics: Lyrics, language: str) -> list[_Syllable]:
    syllables: list[_Syllable] = []
    for line in lyrics.lines:
        of_line: list[_Syllable] = []
        for word in line.words:
            of_word = _of_word(word, syllabify(word.text, language))
            if word.joins and of_line and of_word:
                of_line[-1].ends_word = of_word[0].begins_word = False
            of_line += of_word
        if not of_line:
            continue
        if line.start_s is not None and np.isnan(of_line[0].time_s):
            of_line[0].time_s, of_line[0].cost_per_s = line.start_s, LINE_TIME
        of_line[-1].ends_line, of_line[-1].ends_verse = True, line.ends_verse
        syllables += of_line
    return syllables


def _of_word(word: Word, parts: Sequence[str]) -> list[_Syllable]:
    """The syllables of a word. A hyphen within it ends a word: the text of a note has no hyphens around it."""
    syllables: list[_Syllable] = []
    begins = True
    for part in parts:
        if text := part.strip(_HYPHENS):
            begins |= part[0] in _HYPHENS
            syllables.append(_Syllable(text, word, begins))
        begins = part[-1] in _HYPHENS
    for syllable, following in zip(syllables, [*syllables[1:], None], strict=True):
        syllable.ends_word = following is None or following.begins_word
    if word.start_s is not None:
        end_s = word.start_s if word.end_s is None else word.end_s
        for i, syllable in enumerate(syllables):
            syllable.time_s = word.start_s + (end_s - word.start_s) * i / len(syllables)
            syllable.cost_per_s = WORD_TIME if i == 0 else SYLLABLE_TIME
    return syllables


def _words(syllables: Sequence[_Syllable]) -> tuple[Word, ...]:
    return tuple(next(group).word for _, group in groupby(syllables, key=lambda syllable: id(syllable.word)))


def _delay_s(notes: Sequence[SungNote], syllables: Sequence[_Syllable]) -> float:
    """By how much the notes are later than the times of the words: the delay at which most of them have an onset."""
    times_s = np.array([syllable.time_s for syllable in syllables if syllable.cost_per_s == WORD_TIME])
    if len(times_s) < MIN_TIMED_WORDS or not notes:
        return 0.0
    onsets_s = np.array([-np.inf, *(note.onset_s for note in notes), np.inf])

    def score(delay_s: float) -> float:
        after = np.searchsorted(onsets_s, times_s + delay_s)
        distances_s = np.minimum(onsets_s[after] - times_s - delay_s, times_s + delay_s - onsets_s[after - 1])
        return float(np.exp(-distances_s / 0.06).mean() * np.exp(-abs(delay_s) / 2))  # a small delay is likelier

    return float(max(np.arange(-MAX_DELAY_S, MAX_DELAY_S + 0.01, 0.02), key=score))


def _near_notes(
    notes: Sequence[SungNote], syllables: Sequence[_Syllable], delay_s: float
) -> tuple[list[_Syllable], list[_Syllable]]:
    """Syllables that may be laid on notes, and those of words with times that are far from all notes."""
    onsets_s = np.array([*(note.onset_s for note in notes), np.inf])
    offsets_s = np.array([note.offset_s for note in notes])
    near: list[_Syllable] = []
    far: list[_Syllable] = []
    for syllable in syllables:
        word = syllable.word
        is_far = False
        if word.start_s is not None:
            begin_s = word.start_s + delay_s
            end_s = begin_s if word.end_s is None else word.end_s + delay_s
            is_far = onsets_s[np.searchsorted(offsets_s, begin_s - ALONE_S)] > end_s + ALONE_S
        (far if is_far or not notes else near).append(syllable)
        if is_far and near:  # the line ends with the word before
            near[-1].ends_line |= syllable.ends_line
            near[-1].ends_verse |= syllable.ends_verse
    return near, far


# Laying


class _Laying:
    """The search for the cheapest way.

    A state is the number of syllables that have begun. After each note there are two costs for each state: of the best
    way on which the note has words, a begun or a continued syllable, and of the best on which it has none.
    """

    def __init__(self, notes: Sequence[SungNote], syllables: Sequence[_Syllable], delay_s: float):
        self.num_notes, self.num_syllables = len(notes), len(syllables)
        self.onsets_s = np.array([note.onset_s for note in notes])
        self.offsets_s = np.array([note.offset_s for note in notes])
        self.midi = np.array([note.midi for note in notes])
        self.capacities = np.clip(
            ((self.offsets_s - self.onsets_s) / MIN_SYLLABLE_S + 1e-6).astype(int), 1, MAX_SYLLABLES
        )
        self.usual_s = float(np.median(self.offsets_s - self.onsets_s)) if notes else 0.0
        # By state; a state that is the number of all syllables has no syllable to come.
        self.times_s = np.array([*(syllable.time_s for syllable in syllables), np.nan]) + delay_s
        self.times_cost = np.array([*(syllable.cost_per_s for syllable in syllables), 0.0])
        ends_s = (syllable.word.end_s for syllable in syllables)
        self.ends_s = np.array([np.inf, *(np.inf if end_s is None else end_s for end_s in ends_s)]) + delay_s
        # A boundary between syllables costs `without_rest` and `with_rest` more, in proportion to the rest.
        boundaries = np.array([(0.0, 0.0), *map(_boundary_cost, syllables)])
        boundaries[-1] = 0.0
        self.without_rest, self.with_rest = boundaries.T

    def counts(self) -> np.ndarray:
        """How many syllables begin on each note: 0 where one continues, -1 where it has no words."""
        if not self.num_notes or not self.num_syllables:
            return np.full(self.num_notes, -1)
        goal = min(self.num_syllables, int(self.capacities.sum()))
        band = BAND
        while True:
            counts = self._search(band, goal)
            if counts is not None:
                return counts
            band *= 2  # the course leaves the band

    def _search(self, band: int, goal: int) -> np.ndarray | None:
        width = min(2 * band, self.num_syllables) + 1
        firsts = np.clip(self._expected_course() - band, 0, self.num_syllables + 1 - width)
        firsts = np.concatenate([[0], np.maximum.accumulate(firsts)])
        worded, wordless = np.full(width, np.inf), np.full(width, np.inf)
        worded[0] = 0.0  # before the first note
        # Syllables that begin on the note, negative if the note before it had no words.
        begun = np.zeros((self.num_notes, width), dtype=np.int8)
        was_worded = np.zeros((self.num_notes, width), dtype=bool)  # the note before a note without words
        for i in range(self.num_notes):
            shift = firsts[i + 1] - firsts[i]
            worded, wordless = (_shifted(costs, shift) for costs in (worded, wordless))
            states = slice(firsts[i + 1], firsts[i + 1] + width)
            opened, extended = worded + WORDLESS, wordless + WORDLESS_AGAIN
            was_worded[i] = opened <= extended
            best, begun[i] = self._with_words(i, worded, wordless, states)
            worded, wordless = best, np.minimum(opened, extended)
        return self._traced(firsts, begun, was_worded, worded, wordless, goal)

    def _with_words(self, i: int, worded: np.ndarray, wordless: np.ndarray, states: slice):
        """Costs of the best ways on which note i has words, and how many syllables begin on it."""
        width = len(worded)
        gap_s = max(self.onsets_s[i] - self.offsets_s[i - 1], 0.0) if i else np.inf
        best, begun = np.full(width, np.inf), np.zeros(width, dtype=np.int8)
        if gap_s <= MAX_CONTINUED_GAP_S:
            is_repeated = abs(self.midi[i] - self.midi[i - 1]) < 0.5
            late = np.maximum(self.onsets_s[i] - self.ends_s[states] - LATE_S, 0) / LATE_S
            best = worded + CONTINUE + CONTINUE_PER_S * gap_s + CONTINUE_SAME_PITCH * is_repeated + late
        without_rest, with_rest = self.without_rest[states], self.with_rest[states]
        after_words = worded + without_rest + min(gap_s / REST_S, 1.0) * with_rest
        after_none = wordless + without_rest + with_rest  # notes without words are a rest
        sign = np.where(after_words <= after_none, 1, -1).astype(np.int8)
        # The first syllable begins with the note, further ones anywhere in it.
        times_s, times_cost = self.times_s[states], self.times_cost[states]
        costs = np.minimum(after_words, after_none) + _known(times_cost * np.abs(times_s - self.onsets_s[i]))
        outside_s = np.maximum(self.onsets_s[i] - times_s, times_s - self.offsets_s[i])
        further = _known(times_cost * np.maximum(outside_s, 0)) + without_rest
        for count in range(1, min(self.capacities[i], width - 1) + 1):
            if count > 1:
                costs = costs[:-1] + further[count - 1 :]
            candidates = costs[: width - count] + self._split_cost(i, count)
            is_better = candidates < best[count:]
            best[count:][is_better] = candidates[is_better]
            begun[count:][is_better] = count * sign[: width - count][is_better]
        return best, begun

    def _split_cost(self, i: int, count: int) -> float:
        if count == 1:
            return 0.0
        part_s = (self.offsets_s[i] - self.onsets_s[i]) / count
        return SPLIT * (count - 1) + SPLIT_PER_OCTAVE * count * max(np.log2(self.usual_s / part_s), 0.0)

    def _expected_course(self) -> np.ndarray:
        """About how many syllables have begun after each note: by their times, and in between by the time sung."""
        sung_s = np.concatenate([[0.0], np.cumsum(self.offsets_s - self.onsets_s)])
        known = np.flatnonzero(np.isfinite(self.times_s))
        times_s = np.maximum.accumulate(self.times_s[known])
        at = np.interp(times_s, [*self.onsets_s, self.offsets_s[-1]], sung_s)
        begun = np.concatenate([[0], known, [self.num_syllables]])
        return np.interp(sung_s[1:], np.concatenate([[0.0], at, sung_s[-1:]]), begun).astype(int)

    def _traced(self, firsts, begun, was_worded, worded, wordless, goal: int) -> np.ndarray | None:
        """The counts of the cheapest way to the state `goal`, or None if no way leads there."""
        state = goal
        last = state - firsts[-1]
        if last < 0 or not min(worded[last], wordless[last]) < np.inf:
            return None
        has_words = bool(worded[last] <= wordless[last])
        counts = np.full(self.num_notes, -1)
        for i in reversed(range(self.num_notes)):
            at = state - firsts[i + 1]
            if has_words:
                counts[i] = abs(int(begun[i, at]))
                has_words = begun[i, at] >= 0
                state -= counts[i]
            else:
                has_words = bool(was_worded[i, at])
        return counts


def _boundary_cost(syllable: _Syllable) -> tuple[float, float]:
    """What the boundary after a syllable costs without a rest, and what a full rest adds."""
    if syllable.ends_line:
        cost = NO_REST_AFTER_VERSE if syllable.ends_verse else NO_REST
        return cost, -cost
    return 0.0, REST_IN_LINE if syllable.ends_word else REST_IN_WORD


def _shifted(costs: np.ndarray, shift: int) -> np.ndarray:
    return np.concatenate([costs[shift:], np.full(min(shift, len(costs)), np.inf)])


def _known(costs: np.ndarray) -> np.ndarray:
    """0 where the time is not known."""
    return np.nan_to_num(costs, nan=0.0)


# Notes and texts


def _written(
    notes: Sequence[SungNote], counts: np.ndarray, syllables: Sequence[_Syllable], delay_s: float
) -> tuple[tuple[SungNote, ...], tuple[NoteText, ...]]:
    written: list[SungNote] = []
    texts: list[NoteText] = []
    coming = iter(syllables)
    for note, count in zip(notes, counts, strict=True):
        if count < 0:
            written.append(note)
            texts.append(NoteText(""))
        elif count == 0:  # the word and the line end with this note instead
            last = texts[-1]
            texts[-1] = replace(last, ends_word=False, ends_line=False)
            written.append(note)
            texts.append(NoteText("", False, last.ends_word, last.ends_line))
        else:
            on_note = [next(coming) for _ in range(count)]
            written += _divided(note, on_note, delay_s)
            texts += [NoteText(s.text, s.begins_word, s.ends_word, s.ends_line) for s in on_note]
    return tuple(written), tuple(texts)


def _divided(note: SungNote, syllables: Sequence[_Syllable], delay_s: float) -> Iterator[SungNote]:
    """The parts of a note on which several syllables are sung: at their times, or else of equal length."""
    count = len(syllables)
    times_s = np.array([note.onset_s, *(s.time_s + delay_s for s in syllables[1:]), note.offset_s])
    is_known = (times_s >= note.onset_s) & (times_s <= note.offset_s)
    times_s = np.interp(np.arange(count + 1), np.flatnonzero(is_known), times_s[is_known])
    # Each part is long enough to be heard.
    ramp = min(MIN_SYLLABLE_S, note.duration_s / count) * np.arange(count + 1)
    times_s = np.maximum.accumulate(times_s - ramp)
    times_s = np.minimum(times_s, note.offset_s - ramp[-1]) + ramp
    times_s[-1] = note.offset_s
    for i, (onset_s, offset_s) in enumerate(pairwise(times_s)):
        has_vibrato = (offset_s - onset_s) * note.vibrato_hz >= 2  # two cycles
        yield replace(
            note,
            onset_s=float(onset_s),
            offset_s=float(offset_s),
            vibrato_hz=note.vibrato_hz if has_vibrato or count == 1 else 0.0,
            vibrato_cents=note.vibrato_cents if has_vibrato or count == 1 else 0.0,
            glide_in_cents=note.glide_in_cents if i == 0 else 0.0,
            glide_out_cents=note.glide_out_cents if i == count - 1 else 0.0,
        )
