"""Transcriptions to export, ordinary and awkward ones."""

from dataclasses import replace

import numpy as np

from majl_hf.models.decoding_majl import PitchFrames
from majl_hf.models.notes_majl import SungNote
from majl_hf.models.pitch_majl import midi_to_hz
from majl_hf.notes.transcription import NoteText, Tempo, Transcription


def frames_of(notes, duration_s: float, hop_s: float = 0.01) -> PitchFrames:
    """A flat f0 in every note, unvoiced between them."""
    times_s = np.arange(int(duration_s / hop_s) + 1) * hop_s
    f0_hz, voiced = np.full(len(times_s), 100.0), np.zeros(len(times_s), dtype=bool)
    for note in notes:
        inside = slice(*np.searchsorted(times_s, (note.onset_s, note.offset_s)))
        f0_hz[inside], voiced[inside] = midi_to_hz(note.midi), True
    return PitchFrames(times_s, f0_hz, np.where(voiced, 0.9, 0.1), np.full(len(times_s), 0.8), voiced)


def transcription_of(notes, texts=None, hop_s: float = 0.01, **values) -> Transcription:
    """Of notes, or of (onset_s, offset_s, midi); texts may be strings."""
    notes = tuple(note if isinstance(note, SungNote) else SungNote(*note) for note in notes)
    if texts is not None:
        texts = tuple(NoteText(text) if isinstance(text, str) else text for text in texts)
    duration_s = (notes[-1].offset_s if notes else 2.0) + 1.0
    values = {"title": "Lied", "artist": "Ädele", "audio": "Lied.mp3", "model": "majl-base@main", **values}
    return Transcription(notes, frames_of(notes, duration_s, hop_s), duration_s, texts, **values)


def scale(count: int, step_s: float = 0.5, length_s: float = 0.4, start_s: float = 1.0) -> list[SungNote]:
    """Notes around A3, each tuned differently."""
    return [
        SungNote(start_s + i * step_s, start_s + i * step_s + length_s, 57 + i * 7 % 19 + (i % 9 - 4) / 10.3)
        for i in range(count)
    ]


SYLLABLES = [
    NoteText("Hel", ends_word=False),
    NoteText("lo", begins_word=False, ends_word=False),
    NoteText("", begins_word=False),
    NoteText("world", ends_line=True),
    NoteText("你"),
    NoteText("été"),
]
STRANGE = "a\"b'c\\d\ne\r\tf\u2028g😀中文é\x00<&>%\ud800\uffff#:~"

AWKWARD = {
    "no notes": transcription_of([]),
    "no notes and lyrics": transcription_of([], []),
    "one note": transcription_of([(0.5, 1.5, 60.25)], ["one"]),
    "from 0 s on": transcription_of([(0.0, 0.5, 60.0), (0.5, 1.0, 62.4)], tempo=Tempo(120, 0.3)),
    "four hours": transcription_of(scale(3000, 4.8, 1.3), hop_s=5.0, tempo=Tempo(133.7, 0.1)),
    "20 bpm": transcription_of(scale(6), SYLLABLES, tempo=Tempo(20.0, 1.7)),
    "999 bpm": transcription_of(scale(6), SYLLABLES, tempo=Tempo(999.0, 0.01)),
    "strange names": transcription_of(
        scale(6), SYLLABLES, title=STRANGE, artist=STRANGE, model=STRANGE, audio='a "b" # : ~ 😀中\\é.mp3'
    ),
    "short notes": transcription_of(scale(40, 0.012, 0.005), ["x", "y", "z", ""] * 10),
    "low and high": transcription_of([(0, 1, 12.3), (1, 2, 127.45), (2, 3, 131.0)], ["low", "high", "higher"]),
    "strange texts": transcription_of(scale(6), [STRANGE, "<b>&amp;", "e\u0301\u0323", '"', " ", "E"]),
    "rap and speech": transcription_of(
        [replace(note, kind=kind) for note, kind in zip(scale(6), ["sung", "rap", "speech"] * 2, strict=True)]
    ),
}
