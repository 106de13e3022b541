"""A transcription as JAMS, the annotation format of music information retrieval. Needs jams (extra `jams`).

Conventions
    `note_midi`: the notes, with the confidence of each, as MIDI numbers with fractions; this is the unit of `SungNote`,
    and jams converts it to `note_hz` itself. `kind` and `velocity` of each note are in the annotation's sandbox.
    `pitch_contour`: all frames as one contour (index 0); the frequency is positive in every frame, voiced or not, and
    the confidence is that of the pitch.
    `lyrics`, if there are any: the syllables, each from the onset of its first note to the offset of its last;
    `begins_word`, `ends_word` and `ends_line` of each are in the sandbox.
    Times are rounded to microseconds, pitches to 0.01 cents. The metadata names tool, version and model.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import jams
import numpy as np

from ..system.provenance import __version__
from .texts import TOOL, notes_with_texts, one_line

if TYPE_CHECKING:
    from ..notes.transcription import NoteText, Transcription


def jams_annotation(transcription: "Transcription") -> bytes:
    """Content of a JAMS file, also without notes."""
    notes, frames = transcription.notes, transcription.frames
    song = jams.JAMS(
        file_metadata=jams.FileMetadata(
            title=one_line(transcription.title),
            artist=one_line(transcription.artist),
            duration=round(float(transcription.duration_s), 6),
        )
    )
    _append(
        song,
        "note_midi",
        [(note.onset_s, note.offset_s) for note in notes],
        [round(float(note.midi), 4) for note in notes],
        [round(float(note.confidence), 4) for note in notes],
        {"kind": [note.kind for note in notes], "velocity": [int(note.velocity) for note in notes]},
        transcription,
    )
    columns = (frames.f0_hz, frames.voiced, frames.confidence)
    f0_hz, voiced, confidence = (np.asarray(column).tolist() for column in columns)
    _append(
        song,
        "pitch_contour",
        [(time_s, time_s) for time_s in np.asarray(frames.times_s).tolist()],
        [{"index": 0, "frequency": round(f, 3), "voiced": bool(v)} for f, v in zip(f0_hz, voiced, strict=True)],
        [round(c, 4) for c in confidence],
        {},
        transcription,
    )
    if transcription.texts is not None:
        times_s, texts = _syllables(transcription)
        flags = ("begins_word", "ends_word", "ends_line")
        _append(
            song,
            "lyrics",
            times_s,
            [one_line(text.text) for text in texts],
            [None] * len(texts),
            {name: [getattr(text, name) for text in texts] for name in flags},
            transcription,
        )
    return (song.dumps(ensure_ascii=False, allow_nan=False) + "\n").encode()


def _append(song, namespace: str, times_s, values: list, confidences: list, sandbox: dict, transcription) -> None:
    """Append an annotation with one observation for each (onset, offset) in `times_s`."""
    onsets_s, offsets_s = np.round(np.reshape(np.asarray(times_s, dtype=float), (-1, 2)), 6).T
    annotation = jams.Annotation(
        namespace,
        data={
            "time": onsets_s.tolist(),
            "duration": np.round(offsets_s - onsets_s, 6).tolist(),
            "value": values,
            "confidence": confidences,
        },
        annotation_metadata=jams.AnnotationMetadata(
            version=__version__,
            annotation_tools=TOOL,
            annotator={"model": one_line(transcription.model)},
            data_source="program",
        ),
        sandbox=sandbox,
        time=0.0,
        duration=round(float(transcription.duration_s), 6),
    )
    song.annotations.append(annotation)


def _syllables(transcription: "Transcription") -> "tuple[list[tuple[float, float]], list[NoteText]]":
    """Onset and offset, and text, of each syllable, over all its notes."""
    times_s: list[tuple[float, float]] = []
    texts: list[NoteText] = []
    for note, text in notes_with_texts(transcription):
        if text.continues and texts:
            times_s[-1] = (times_s[-1][0], note.offset_s)
            texts[-1] = replace(texts[-1], ends_word=text.ends_word, ends_line=text.ends_line)
        else:
            times_s.append((note.onset_s, note.offset_s))
            texts.append(text)
    return times_s, texts
