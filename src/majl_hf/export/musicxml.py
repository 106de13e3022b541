"""A transcription as a MusicXML score of one voice. Needs music21 (extra `musicxml`).

Conventions
    Notation has no seconds and no cents: times are rounded to sixteenths of the tempo, and pitches to semitones. The
    first beat of the tempo begins a bar of 4/4; if notes begin earlier, a bar is inserted before it.
    Rests shorter than an eighth are not written. Notes that a sixteenth cannot separate are merged (`note_grid.py`).
    The key is estimated from the sung notes. Syllables are marked as begin, middle or end of a word, and a slur joins
    the notes of one syllable. Rap and speech have crosses as heads.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from math import ceil
from statistics import median
from typing import TYPE_CHECKING

from music21 import clef, duration, instrument, key, metadata, meter, note, pitch, spanner, stream, tempo, tie
from music21.analysis.discrete import DiscreteAnalysisException
from music21.musicxml.m21ToXml import GeneralObjectExporter

from ..errors import MajlError
from .note_grid import GridNote, place_on_grid
from .texts import TOOL, one_line

if TYPE_CHECKING:
    from ..notes.transcription import Transcription

STEPS_PER_QUARTER = 4
STEPS_PER_BAR = 16
METRE = meter.TimeSignature("4/4")
LENGTHS = (16, 12, 8, 6, 4, 3, 2, 1)  # steps of notes without or with one dot
LINE_OF_FIFTHS = "FCGDAEB"


def musicxml(transcription: "Transcription") -> bytes:
    """Content of a MusicXML file; without notes, a score of rests.

    Raises:
        MajlError: a pitch outside the octaves 0 to 9.
    """
    step_s = 60 / transcription.tempo.bpm / STEPS_PER_QUARTER
    origin_s = transcription.tempo.first_beat_s
    first_s = transcription.notes[0].onset_s if transcription.notes else origin_s
    origin_s -= max(ceil((origin_s - first_s) / step_s / STEPS_PER_BAR), 0) * STEPS_PER_BAR * step_s
    notes = place_on_grid(transcription, origin_s, step_s, rest_steps=0)
    for index, (before, after) in enumerate(pairwise(notes)):
        if after.start - before.end == 1:
            notes[index] = replace(before, end=after.start)

    end = notes[-1].end if notes else round((transcription.duration_s - origin_s) / step_s)
    bars = [stream.Measure(number=number) for number in range(1, max(ceil(end / STEPS_PER_BAR), 1) + 1)]
    signature = _key(notes)
    sharps = signature.sharps if signature else 0
    bars[0].append([_clef(notes), *([signature] if signature else []), METRE])
    bars[0].append(tempo.MetronomeMark(number=round(transcription.tempo.bpm, 3)))
    voice = instrument.Vocalist()
    voice.partId, voice.instrumentId = "P1", "I1"
    part = stream.Part([voice, *bars])
    position = 0
    for syllable in _syllables(notes):
        written = []
        for grid_note in syllable:
            _write_rest(bars, position, grid_note.start)
            written += _write_note(bars, grid_note, _pitch(round(grid_note.midi), sharps))
            position = grid_note.end
        if text := syllable[0].text.strip():
            syllabic = _syllabic(syllable[0].begins_word, syllable[-1].ends_word)
            written[0].lyrics.append(note.Lyric(text=text, syllabic=syllabic, applyRaw=True))
        if len(syllable) > 1:
            part.insert(0, spanner.Slur([written[0], written[-1]]))
    _write_rest(bars, position, len(bars) * STEPS_PER_BAR)
    # Bar by bar: what music21 completes by itself takes time quadratic in the number of bars.
    for bar in bars:
        bar.makeAccidentals(useKeySignature=signature or False, inPlace=True)
        elements = list(bar.notesAndRests)
        for element, beams in zip(elements, METRE.getBeams(elements), strict=True):
            if beams is not None:
                element.beams = beams

    score = stream.Score([part])
    score.metadata = metadata.Metadata(title=one_line(transcription.title) or "Untitled")
    if artist := one_line(transcription.artist):
        score.metadata.addContributor(metadata.Contributor(role="performer", name=artist))
    score.metadata.software = [TOOL, *score.metadata.software]
    exporter = GeneralObjectExporter(score)
    exporter.makeNotation = False
    # music21 is the composer of scores without one
    return re.sub(rb" *<creator type=.composer.>Music21</creator>\n", b"", exporter.parse())


def _syllables(notes: list[GridNote]) -> list[list[GridNote]]:
    """The notes of each syllable; without lyrics, each note by itself."""
    has_lyrics = any(grid_note.text for grid_note in notes)
    syllables: list[list[GridNote]] = []
    for grid_note in notes:
        if has_lyrics and syllables and not grid_note.text:
            syllables[-1].append(grid_note)
        else:
            syllables.append([grid_note])
    return syllables


def _syllabic(begins_word: bool, ends_word: bool) -> str:
    return {(True, True): "single", (True, False): "begin", (False, False): "middle", (False, True): "end"}[
        begins_word, ends_word
    ]


def _write_note(bars: list, grid_note: GridNote, of_pitch: pitch.Pitch) -> list:
    """Append a note as one or several tied ones."""
    written = []
    for start, length in _pieces(grid_note.start, grid_note.end):
        piece = note.Note(of_pitch)
        piece.duration = duration.Duration(length / STEPS_PER_QUARTER)
        if grid_note.kind != "sung":
            piece.notehead = "x"
        bars[start // STEPS_PER_BAR].append(piece)
        written.append(piece)
    if len(written) > 1:
        for index, piece in enumerate(written):
            piece.tie = tie.Tie("start" if index == 0 else "stop" if index == len(written) - 1 else "continue")
    return written


def _write_rest(bars: list, start: int, end: int) -> None:
    for position, length in _pieces(start, end):
        rest = note.Rest(quarterLength=length / STEPS_PER_QUARTER)
        rest.fullMeasure = length == STEPS_PER_BAR
        bars[position // STEPS_PER_BAR].append(rest)


def _pieces(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Start and length of the written values between two steps: none crosses a bar, and those that begin between two
    quarters end at the next one."""
    while start < end:
        to_boundary = STEPS_PER_BAR - start % STEPS_PER_BAR
        if start % STEPS_PER_QUARTER:
            to_boundary = STEPS_PER_QUARTER - start % STEPS_PER_QUARTER
        length = next(length for length in LENGTHS if length <= min(to_boundary, end - start))
        yield start, length
        start += length


def _key(notes: list[GridNote]) -> key.Key | None:
    """The key that fits the sung notes and their lengths best; None where that cannot be estimated."""
    melody = stream.Stream()
    for grid_note in notes:
        if grid_note.kind == "sung":
            melody.append(
                note.Note(round(grid_note.midi), quarterLength=(grid_note.end - grid_note.start) / STEPS_PER_QUARTER)
            )
    try:
        return melody.analyze("key") if len(melody) else None
    except DiscreteAnalysisException:
        return None


def _clef(notes: list[GridNote]) -> clef.Clef:
    middle = median([grid_note.midi for grid_note in notes] or [60])
    return clef.TrebleClef() if middle >= 60 else clef.Treble8vbClef() if middle >= 50 else clef.BassClef()


def _pitch(number: int, sharps: int) -> pitch.Pitch:
    """A MIDI number as it is spelled in a key of so many sharps (negative: flats): near the key on the line of fifths.

    Raises:
        MajlError: it is outside the octaves 0 to 9.
    """
    lowest = sharps - 3
    fifths = (number * 7 - lowest) % 12 + lowest + 1  # from F
    accidental = fifths // 7
    octave = (number - accidental) // 12 - 1
    if not 0 <= octave <= 9:
        raise MajlError(f"A note has MIDI number {number}; MusicXML has the octaves 0 to 9, numbers 12 to 131.")
    return pitch.Pitch(step=LINE_OF_FIFTHS[fifths % 7], accidental=accidental, octave=octave)
