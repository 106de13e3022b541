"""Notes on a grid of equal steps, for formats that count in beats.

Onsets and offsets go to the nearest step, each by itself, so errors do not add up. Where the grid is too coarse a note
is at most one step late, or it is merged with the note before: no text is lost, and the pitch is that of the longest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .texts import notes_with_texts, one_line

if TYPE_CHECKING:
    from ..notes.transcription import Transcription

MAX_DELAY_STEPS = 1


@dataclass(frozen=True)
class GridNote:
    """A note of whole steps, or several that the grid cannot separate.

    Args:
        start, end: Steps from the origin; the end is exclusive and later than the start.
        midi, kind: Of the longest of its notes.
        longest_s: How long that one is in seconds.
        text: Of all its notes, with a blank between words. Empty where the syllable before continues, and without
            lyrics.
        begins_word, ends_word, ends_line: As in `NoteText`.
        num_notes: How many notes it consists of.
    """

    start: int
    end: int
    midi: float
    kind: str
    longest_s: float
    text: str = ""
    begins_word: bool = True
    ends_word: bool = True
    ends_line: bool = False
    num_notes: int = 1

    def merged_with(self, later: GridNote) -> GridNote:
        """This note until the end of `later`, with both texts."""
        longest = max(self, later, key=lambda note: note.longest_s)
        return replace(
            self,
            end=max(self.end, later.end),
            midi=longest.midi,
            kind=longest.kind,
            longest_s=longest.longest_s,
            text=self.text + " " * (self.ends_word and bool(later.text)) + later.text,
            ends_word=later.ends_word,
            ends_line=self.ends_line or later.ends_line,
            num_notes=self.num_notes + later.num_notes,
        )


def place_on_grid(transcription: Transcription, origin_s: float, step_s: float, rest_steps: int) -> list[GridNote]:
    """The notes in whole steps.

    Args:
        origin_s: Time in seconds of step 0; notes before it begin there.
        step_s: Length of a step in seconds.
        rest_steps: Least rest between two notes, in steps.

    Returns:
        Notes of at least one step, in order, with at least `rest_steps` between them.
    """
    placed: list[GridNote] = []
    for note, text in notes_with_texts(transcription):
        wanted = round((note.onset_s - origin_s) / step_s)
        earliest = placed[-1].start + 1 + rest_steps if placed else 0
        start = max(wanted, earliest)
        end = max(round((note.offset_s - origin_s) / step_s), start + 1)
        new = GridNote(start, end, note.midi, note.kind, note.duration_s)
        if text is not None:
            words = {name: getattr(text, name) for name in ("begins_word", "ends_word", "ends_line")}
            new = replace(new, text=one_line(text.text), **words)
        if placed and start - wanted > MAX_DELAY_STEPS:
            placed[-1] = placed[-1].merged_with(new)
            continue
        if placed:
            placed[-1] = replace(placed[-1], end=min(placed[-1].end, start - rest_steps))
        placed.append(new)
    return placed
