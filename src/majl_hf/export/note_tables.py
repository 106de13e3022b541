"""Notes as tables: CSV, Audacity labels, Sonic Visualiser's notes, NumPy arrays.

Conventions
    Times are in seconds from the start of the recording, with six decimals; pitches are MIDI numbers with fractions, 69
    is 440 Hz, with four decimals (0.01 cents). Text is UTF-8. A transcription without notes gives a table without rows.

    csv: a header and one row per note with all fields of `SungNote`; with lyrics, also those of `NoteText`.
    labels: onset, offset and label, separated by tabs. The label is the note's name with cents (`A4-13`: 13 cents
        below A4), as librosa reads it, and with lyrics a blank and the syllable, `~` where the one before continues.
    sv-csv: time, pitch, duration, level in (0, 1], label, without a header, as Sonic Visualiser exports a note layer.
    npz: `note_*`, one value per note; with lyrics `text`, `begins_word`, `ends_word`, `ends_line`; the fields of
        `PitchFrames`, one value per frame; single values for the rest. Nothing is pickled.
"""

import csv
import io
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from ..models.notes_majl import SungNote
from ..models.pitch_majl import note_name
from .texts import TOOL, notes_with_texts, one_line

if TYPE_CHECKING:
    from ..notes.transcription import NoteText, Transcription

DECIMALS = {
    "onset_s": 6,
    "offset_s": 6,
    "midi": 4,
    "confidence": 4,
    "vibrato_hz": 3,
    "vibrato_cents": 2,
    "glide_in_cents": 2,
    "glide_out_cents": 2,
}
NOTE_FIELDS = tuple(field.name for field in fields(SungNote))
TEXT_FIELDS = ("text", "begins_word", "ends_word", "ends_line")
FRAME_FIELDS = ("times_s", "f0_hz", "voicing", "confidence", "voiced")
CONTINUES = "~"


def csv_table(transcription: "Transcription") -> bytes:
    """One row per note."""
    rows = [[*NOTE_FIELDS, *(() if transcription.texts is None else TEXT_FIELDS)]]
    for note, text in notes_with_texts(transcription):
        row = [_value(name, getattr(note, name)) for name in NOTE_FIELDS]
        if text is not None:
            row += [one_line(text.text), int(text.begins_word), int(text.ends_word), int(text.ends_line)]
        rows.append(row)
    return _csv(rows)


def audacity_labels(transcription: "Transcription") -> bytes:
    """One label per note."""
    return "".join(
        f"{note.onset_s:.6f}\t{note.offset_s:.6f}\t{_label(note, text)}\n"
        for note, text in notes_with_texts(transcription)
    ).encode()


def sonic_visualiser_csv(transcription: "Transcription") -> bytes:
    """One row per note."""
    return _csv(
        [f"{note.onset_s:.6f}", f"{note.midi:.4f}", f"{note.duration_s:.6f}", f"{note.velocity / 127:.4f}",
         _label(note, None) if text is None else _syllable(text)]
        for note, text in notes_with_texts(transcription)
    )  # fmt: skip


def npz_arrays(transcription: "Transcription") -> bytes:
    """Arrays by name, for `np.load`."""
    arrays = {f"note_{name}": np.array([getattr(note, name) for note in transcription.notes]) for name in NOTE_FIELDS}
    if not transcription.notes:
        arrays["note_kind"] = np.zeros(0, dtype="<U6")
    if transcription.texts is not None:
        arrays["text"] = np.array([one_line(text.text) for text in transcription.texts], dtype=np.str_)
        for name in TEXT_FIELDS[1:]:
            arrays[name] = np.array([getattr(text, name) for text in transcription.texts], dtype=bool)
    for name in FRAME_FIELDS:
        arrays[name] = np.asarray(getattr(transcription.frames, name))
    single = {
        "duration_s": transcription.duration_s,
        "tempo_bpm": transcription.tempo.bpm,
        "first_beat_s": transcription.tempo.first_beat_s,
        "tempo_is_estimated": transcription.tempo.is_estimated,
        "tool": TOOL,
        **{name: one_line(getattr(transcription, name)) for name in ("title", "artist", "language", "model")},
    }
    file = io.BytesIO()
    np.savez_compressed(file, **arrays, **{name: np.array(value) for name, value in single.items()})
    return file.getvalue()


def cents_name(midi: float) -> str:
    """The nearest note's name and the distance in whole cents: `A4-13`."""
    cents = round(100 * (midi - round(midi)))
    return note_name(midi) + (f"{cents:+d}" if cents else "")


def _label(note: SungNote, text: "NoteText | None") -> str:
    return cents_name(note.midi) + ("" if text is None else f" {_syllable(text)}")


def _syllable(text: "NoteText") -> str:
    return one_line(text.text) or CONTINUES


def _value(name: str, value) -> str:
    return f"{value:.{DECIMALS[name]}f}" if name in DECIMALS else str(value)


def _csv(rows) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue().encode()
