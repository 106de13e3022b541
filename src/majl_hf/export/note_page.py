"""The notes as a page to zoom into: one HTML file that needs nothing else, no network and no package to read it.

The piano roll is drawn by `roll.js`, some 200 lines, instead of by a library of megabytes; the web demo shows the same
one. The page contains the spectrogram as a JPEG, the pitch curve and the notes, also as a table. If the transcription
names the audio file beside it, the page plays it and shows where it is.
"""

import base64
import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from ..models.pitch_majl import hz_to_midi, note_and_cents
from .note_plot import curve_midi, heading, midi_in_view, syllable
from .spectrogram import HIGHEST_HZ, LOWEST_HZ, as_mono, spectrogram_jpeg
from .texts import notes_with_texts, one_line

if TYPE_CHECKING:
    from ..notes.transcription import Transcription

MAX_POINTS = 100_000  # of the curve: 16 minutes of 10 ms frames; in longer songs only every second one, and so on
_HERE = Path(__file__).parent


def html(transcription: "Transcription", vocals=None, sampling_rate: int | None = None) -> bytes:
    """Content of an HTML file.

    Args:
        vocals: `(num_channels, num_samples)` or `(num_samples,)` float samples; `DRAWING_RATE` is enough. None draws
            no spectrogram.
        sampling_rate: Theirs, in Hz.

    Raises:
        MajlError: vocals without samples or rate.
    """
    image = ""
    if vocals is not None:
        picture = spectrogram_jpeg(as_mono(vocals, sampling_rate), sampling_rate)
        image = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
    title = escape(heading(transcription) or "Sung notes")
    player = ""
    if transcription.audio:
        player = f'<audio class="majl-player" controls src="{quote(transcription.audio, errors="replace")}"></audio>'
    page = f"""<!DOCTYPE html>
<html lang="{escape(transcription.language or "en")}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{page_style()}</style>
</head>
<body class="majl-page">
<main>
<h1>{title}</h1>
{roll_html(transcription, image)}
{player}
<h2>Notes</h2>
{table_html(transcription)}
</main>
<script>{roll_script()}</script>
</body>
</html>
"""
    return page.encode()


def roll_html(transcription: "Transcription", image: str, song: str = "", threshold: float | None = None) -> str:
    """The piano roll as an element that `roll.js` fills.

    Args:
        image: Address of the picture of `spectrogram_jpeg`; empty for none.
        song: A name; rolls of the same one keep what is in view.
        threshold: Drawn as a line across the voicing.
    """
    frames = transcription.frames
    step = max(1, -(-len(frames) // MAX_POINTS))
    cents = 100 * curve_midi(transcription)[::step]
    low, high = midi_in_view(transcription)
    data = {
        "song": song,
        "duration": round(transcription.duration_s, 3),
        "image": image,
        "imageMidi": [round(float(midi), 3) for midi in hz_to_midi([LOWEST_HZ, HIGHEST_HZ])],
        "view": [round(low, 2), round(high, 2)],
        "hop": float(frames.times_s[step] - frames.times_s[0]) if len(frames) > step else 0.01,
        "cents": [None if np.isnan(value) else round(float(value)) for value in cents],
        "voicing": [round(100 * float(value)) for value in _highest(np.asarray(frames.voicing), step)],
        "threshold": threshold,
        "notes": [
            {
                "onset": round(note.onset_s, 4), "offset": round(note.offset_s, 4), "midi": round(note.midi, 2),
                "confidence": round(note.confidence, 2), "kind": note.kind,
                "vibrato": [round(note.vibrato_hz, 1), round(note.vibrato_cents)],
                "text": "" if text is None else syllable(text),
            }
            for note, text in notes_with_texts(transcription)
        ],
    }  # fmt: skip
    content = escape(json.dumps(data, separators=(",", ":"), ensure_ascii=False), quote=False)
    return f"<majl-roll><pre hidden>{content}</pre></majl-roll>"


def table_html(transcription: "Transcription") -> str:
    """The notes as a table that scrolls in itself."""
    with_text = transcription.texts is not None
    head = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("Onset", "Length", "Note", "Velocity", "Confidence", "Vibrato", *(("Text",) if with_text else ()))
    )
    rows = []
    for note, text in notes_with_texts(transcription):
        vibrato = f"{note.vibrato_hz:.1f} Hz, ±{note.vibrato_cents:.0f} ct" if note.vibrato_hz else ""
        pitch = note_and_cents(note.midi) + ("" if note.kind == "sung" else f" ({note.kind})")
        cells = [f"{note.onset_s:.2f} s", f"{note.duration_s:.2f} s", pitch, note.velocity, f"{note.confidence:.0%}"]
        cells += [vibrato, *((one_line(text.text),) if with_text else ())]
        rows.append("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>")
    return (
        '<div class="majl-table" role="region" aria-label="Table of notes" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def roll_script() -> str:
    return (_HERE / "roll.js").read_text(encoding="utf-8")


def page_style() -> str:
    return (_HERE / "note_page.css").read_text(encoding="utf-8")


def _highest(values: np.ndarray, step: int) -> np.ndarray:
    """The highest value of each `step` frames."""
    return (
        np.pad(values, (0, -len(values) % step), mode="edge").reshape(-1, step).max(axis=1) if len(values) else values
    )
