"""A transcription as a Standard MIDI File. Needs mido (extra `notes`).

Conventions
    Two tracks: a constant tempo; and the voice, all on one channel. Tick 0 is the start of the recording and the file
    is as long as the recording. A tick lasts 1 ms at most, so times are right to 0.5 ms at any tempo.
    A note has the nearest MIDI number, and the rest of its pitch is a pitch bend, which is 0 again after each note. The
    range of the bends is sent first (RPN 0): 2 semitones, which is also the default of instruments that ignore it, or
    12 if a glide goes further.
    Syllables are lyric events in UTF-8; a blank ends a word and a carriage return a line (RP-017). A syllable that
    continues over several notes has one event. Rap and speech have a text event `rap` or `speech` at each note.
"""

import io
from typing import TYPE_CHECKING

import mido
import numpy as np

from ..errors import MajlError
from ..models.pitch_majl import hz_to_midi
from .texts import TOOL, notes_with_texts, one_line

if TYPE_CHECKING:
    from ..notes.transcription import NoteText, Transcription

BENDS = ("contour", "constant", "none")
BEND_RANGES = (2, 12)  # semitones to each side
NUM_STEPS = 8192  # of a bend in each direction; upwards the last one is missing
LEAST_CHANGE = 0.005  # semitones between two bends of a contour
MAX_TICK_S = 0.001
CHANNEL = 0
PROGRAM = 52  # Choir Aahs
MAX_TEMPO_US = 2**24 - 1


def midi(transcription: "Transcription", bend: str = "contour") -> bytes:
    """Content of a MIDI file, also without notes.

    Args:
        bend: What the bends follow: "contour", the pitch curve in the note with its glides and vibrato (frames that are
            unvoiced or an octave off are left out); "constant", the pitch of the note; "none", no bends and semitones
            only.

    Raises:
        MajlError: a tempo or a pitch that MIDI cannot express.
    """
    if bend not in BENDS:
        raise MajlError(f"bend is {bend!r}; choose from {', '.join(BENDS)}.")
    quarter_us = round(60e6 / transcription.tempo.bpm)
    if not 1 <= quarter_us <= MAX_TEMPO_US:
        raise MajlError(f"The tempo is {transcription.tempo.bpm} BPM; MIDI needs 3.6 to 60,000,000.")
    ticks_per_beat = 480
    while quarter_us > ticks_per_beat * MAX_TICK_S * 1e6:
        ticks_per_beat *= 2
    ticks_per_s = ticks_per_beat * 1e6 / quarter_us

    numbers = [min(max(round(note.midi), 0), 127) for note in transcription.notes]
    bends = _bends(transcription, numbers, bend)
    furthest = max((abs(semitones) for of_note in bends for _, semitones in of_note), default=0.0)
    bend_range = next((semitones for semitones in BEND_RANGES if furthest <= _reach(semitones)), None)
    if bend_range is None:
        raise MajlError("A note is more than an octave beyond the pitches of MIDI, 0 to 127; correct the notes.")

    voice = _Track(transcription.title or "Vocals", ticks_per_s)
    voice.meta(0, "text", text=TOOL)
    for control, value in ((101, 0), (100, 0), (6, bend_range), (38, 0), (101, 127), (100, 127)):
        voice.message(0, "control_change", control=control, value=value)
    voice.message(0, "program_change", program=PROGRAM)
    end = 0
    for (note, text), number, of_note in zip(notes_with_texts(transcription), numbers, bends, strict=True):
        start = max(voice.tick(note.onset_s), end)
        end = max(voice.tick(note.offset_s), start + 1)
        if note.kind != "sung":
            voice.meta(start, "text", text=note.kind)
        if text is not None and (syllable := _lyric(text)):
            voice.meta(start, "lyrics", text=syllable)
        steps = [round(semitones / bend_range * NUM_STEPS) for _, semitones in of_note]
        if steps:
            voice.message(start, "pitchwheel", pitch=steps[0])
        voice.message(start, "note_on", note=number, velocity=note.velocity)
        for (time_s, _), pitch in zip(of_note[1:], steps[1:], strict=True):
            voice.message(min(max(voice.tick(time_s), start), end), "pitchwheel", pitch=pitch)
        voice.message(end, "note_off", note=number)
        if steps:
            voice.message(end, "pitchwheel", pitch=0)

    tempo = _Track(transcription.title or TOOL, ticks_per_s)
    tempo.meta(0, "set_tempo", tempo=quarter_us)
    last = max(end, voice.tick(transcription.duration_s))
    file = mido.MidiFile(type=1, ticks_per_beat=ticks_per_beat, tracks=[tempo.ended(last), voice.ended(last)])
    content = io.BytesIO()
    file.save(file=content)
    return content.getvalue()


class _Track:
    """Messages at ticks in ascending order."""

    def __init__(self, name: str, ticks_per_s: float):
        self.ticks_per_s = ticks_per_s
        self.messages: list = []
        self.last = 0
        self.meta(0, "track_name", name=one_line(name))

    def tick(self, time_s: float) -> int:
        return round(time_s * self.ticks_per_s)

    def meta(self, tick: int, type: str, **values) -> None:
        # mido writes text as Latin-1 unless a global variable says otherwise, which threads would share.
        as_latin1 = {
            key: value.encode().decode("latin-1") if isinstance(value, str) else value for key, value in values.items()
        }
        self._append(tick, mido.MetaMessage(type, time=tick - self.last, **as_latin1))

    def message(self, tick: int, type: str, **values) -> None:
        self._append(tick, mido.Message(type, channel=CHANNEL, time=tick - self.last, **values))

    def ended(self, tick: int) -> "mido.MidiTrack":
        self.meta(tick, "end_of_track")
        return mido.MidiTrack(self.messages)

    def _append(self, tick: int, message) -> None:
        self.messages.append(message)
        self.last = tick


def _bends(transcription: "Transcription", numbers: list[int], bend: str) -> list[list[tuple[float, float]]]:
    """For each note, times in seconds and semitones from its number; the first at its onset."""
    if bend == "none":
        return [[] for _ in numbers]
    constant = [[(note.onset_s, note.midi - number)] for note, number in zip(transcription.notes, numbers, strict=True)]
    if bend == "constant":
        return constant
    frames = transcription.frames
    times_s, f0_hz = (np.asarray(values)[np.asarray(frames.voiced)] for values in (frames.times_s, frames.f0_hz))
    frame_midi = hz_to_midi(f0_hz)
    bends = []
    for note, number, otherwise in zip(transcription.notes, numbers, constant, strict=True):
        inside = slice(*np.searchsorted(times_s, (note.onset_s, note.offset_s)))
        contour: list[tuple[float, float]] = []
        for time_s, semitones in zip(times_s[inside].tolist(), (frame_midi[inside] - number).tolist(), strict=True):
            if abs(semitones) <= _reach(BEND_RANGES[-1]) and (
                not contour or abs(semitones - contour[-1][1]) >= LEAST_CHANGE
            ):
                contour.append((time_s if contour else note.onset_s, semitones))
        bends.append(contour or otherwise)
    return bends


def _reach(bend_range: int) -> float:
    """The furthest that both directions of a bend can express, in semitones."""
    return bend_range * (NUM_STEPS - 1) / NUM_STEPS


def _lyric(text: "NoteText") -> str:
    """The text of a note's lyric event; empty if there is nothing to say."""
    syllable = one_line(text.text)
    if not syllable:
        return "\r" * text.ends_line
    return syllable + " " * text.ends_word + "\r" * text.ends_line
