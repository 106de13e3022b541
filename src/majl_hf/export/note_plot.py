"""The notes as a picture: a piano roll over the spectrogram of the vocals, with the pitch curve. Needs matplotlib
(extra `plot`).

A song is drawn in lines, as a score is, so that its notes stay wide enough to be read. A note is a bar at its pitch,
from onset to offset and more opaque the more certain it is; glides and vibrato are where the curve leaves its bar.
Notes of rap and speech are outlines. With lyrics, each syllable is below its note.
"""

import io
import warnings
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from ..models.pitch_majl import hz_to_midi, note_name
from .spectrogram import DYNAMIC_RANGE_DB, HIGHEST_HZ, LOWEST_HZ, as_mono, log_spectrogram_db, palette
from .texts import notes_with_texts, one_line, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..notes.transcription import NoteText, Transcription

LINE_S = 20.0  # of a line; more if there would be more than `MAX_LINES`
MAX_LINES = 40
LINE_COLUMNS = 1000  # of the spectrogram in a line
MARGIN_SEMITONES = 3
MIN_SEMITONES = 18  # in view
MAX_GLIDE_SEMITONES = 2.5  # between frames; the curve is broken at larger leaps
WIDTH_IN, LEAST_HEIGHT_IN, SEMITONE_IN = 15.0, 2.0, 0.1  # of a line
LEFT_IN, RIGHT_IN, TITLE_IN, GAP_IN, DPI = 0.45, 0.15, 0.35, 0.35, 110  # around lines; below each one for its times
TICKS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
BAR_SEMITONES = 0.8
LETTER_IN, TEXT_HEIGHT_IN = 0.07, 0.15  # of the words
MAX_TEXT_ROWS = 4  # below each other, where words are close
EAST_ASIAN_FONTS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "Microsoft YaHei", "Malgun Gothic", "Arial Unicode MS")
BACKGROUND, INK = "#0b0714", "#f2eefb"
NOTE, CURVE = "#ff9d3c", "#35e0ff"


def png(transcription: "Transcription", vocals=None, sampling_rate: int | None = None) -> bytes:
    """Content of a PNG file.

    Args:
        vocals: `(num_channels, num_samples)` or `(num_samples,)` float samples; `DRAWING_RATE` is enough. None draws
            no spectrogram.
        sampling_rate: Theirs, in Hz.

    Raises:
        MajlError: vocals without samples or rate.
    """
    return _drawn(transcription, vocals, sampling_rate, "png")


def svg(transcription: "Transcription", vocals=None, sampling_rate: int | None = None) -> bytes:
    """Content of an SVG file; arguments and errors as for `png`."""
    return _drawn(transcription, vocals, sampling_rate, "svg")


def midi_in_view(transcription: "Transcription") -> tuple[float, float]:
    """Lowest and highest pitch to show: those of the notes, else of the sung frames, with room around them."""
    frames = transcription.frames
    midi = [note.midi for note in transcription.notes] or hz_to_midi(frames.f0_hz[frames.voiced])
    bottom, top = float(hz_to_midi(LOWEST_HZ)), float(hz_to_midi(HIGHEST_HZ))
    if not len(midi):
        return bottom, top
    low, high = max(bottom, min(midi) - MARGIN_SEMITONES), min(top, max(midi) + MARGIN_SEMITONES)
    missing = max(0.0, MIN_SEMITONES - (high - low)) / 2
    return max(bottom, low - missing), min(top, high + missing)


def curve_midi(transcription: "Transcription") -> np.ndarray:
    """Pitch to draw `(num_frames,)` as MIDI numbers: NaN in unvoiced frames and where the pitch leaps."""
    frames = transcription.frames
    midi = hz_to_midi(frames.f0_hz)
    leaps = np.abs(np.diff(midi, prepend=midi[:1])) > MAX_GLIDE_SEMITONES
    return np.where(np.asarray(frames.voiced, dtype=bool) & ~leaps, midi, np.nan)


def _drawn(transcription: "Transcription", vocals, sampling_rate: int | None, file_format: str) -> bytes:
    # The figure classes alone: no window system, no global state.
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import get_font_names

    duration_s = max(transcription.duration_s, 0.01)
    line_s = duration_s if duration_s <= LINE_S else max(LINE_S, duration_s / MAX_LINES)
    num_lines = max(1, int(np.ceil(duration_s / line_s - 1e-9)))
    low, high = midi_in_view(transcription)
    levels_db = None
    if vocals is not None:
        mono = as_mono(vocals, sampling_rate)
        levels_db = log_spectrogram_db(mono, sampling_rate, round(LINE_COLUMNS * duration_s / line_s))
    height_in = max(LEAST_HEIGHT_IN, SEMITONE_IN * (high - low))
    total_in = np.array([LEFT_IN + WIDTH_IN + RIGHT_IN, TITLE_IN + num_lines * (height_in + GAP_IN)])
    # Text stays text in SVG, and the same picture has the same content.
    fonts = ["DejaVu Sans", *(font for font in EAST_ASIAN_FONTS if font in get_font_names())]
    settings = {"svg.fonttype": "none", "svg.hashsalt": "majl", "font.size": 8, "font.family": fonts}
    with rc_context(settings), warnings.catch_warnings():
        # It is drawn as a box; in SVG the viewer has fonts of its own.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure = Figure(total_in, DPI, facecolor=BACKGROUND)
        FigureCanvasAgg(figure)
        for number in range(num_lines):
            corner_in = np.array([LEFT_IN, (num_lines - number - 1) * (height_in + GAP_IN) + GAP_IN])
            axes = figure.add_axes((*(corner_in / total_in), *((WIDTH_IN, height_in) / total_in)))
            axes.set(xlim=(number * line_s, (number + 1) * line_s), ylim=(low, high))
            if levels_db is not None:
                # In SVG the viewer interpolates.
                smoothing = "none" if file_format == "svg" else "bilinear"
                _draw_spectrogram(axes, levels_db, duration_s, smoothing)
            _draw_axes(axes)
            _draw_notes(axes, transcription, height_in)
            _draw_curve(axes, transcription)
        title_at = (LEFT_IN, total_in[1] - 0.07) / total_in
        figure.text(*title_at, heading(transcription), color=INK, fontsize=12, va="top", parse_math=False)
        content = io.BytesIO()
        figure.savefig(content, format=file_format, metadata={"Date": None} if file_format == "svg" else {})
    return content.getvalue()


def heading(transcription: "Transcription") -> str:
    """Artist and title, as far as they are known."""
    return " – ".join(filter(None, map(one_line, (transcription.artist, transcription.title))))


def syllable(text: "NoteText") -> str:
    """With a hyphen if the word goes on; empty where the syllable before continues."""
    return one_line(text.text) + ("" if text.ends_word or text.continues else "-")


def minutes_and_seconds(time_s: float) -> str:
    """Such as `3:07`."""
    minutes, seconds = divmod(round(time_s), 60)
    return f"{minutes}:{seconds:02d}"


def _draw_spectrogram(axes: "Axes", levels_db: np.ndarray, duration_s: float, smoothing: str) -> None:
    """The part of the spectrogram that the axes show."""
    limits = (*axes.get_xlim(), *axes.get_ylim())
    columns, edges_s = _cut(levels_db.shape[1], 0.0, duration_s, *limits[:2])
    rows, edges_midi = _cut(levels_db.shape[0], *hz_to_midi([LOWEST_HZ, HIGHEST_HZ]), *limits[2:])
    shade = np.clip(255 * (1 + levels_db[rows, columns] / DYNAMIC_RANGE_DB), 0, 255).astype(np.uint8)
    extent = (*edges_s, *edges_midi)
    axes.imshow(palette()[shade], origin="lower", aspect="auto", interpolation=smoothing, extent=extent)
    axes.axis(limits)  # imshow changes them


def _cut(count: int, low: float, high: float, begin: float, end: float) -> tuple[slice, tuple[float, float]]:
    """Which of `count` equal steps from `low` to `high` cover `[begin, end]`, and the edges of these."""
    step = (high - low) / count
    first = min(max(0, int((begin - low) / step)), count - 1)
    stop = min(count, int(np.ceil((end - low) / step)))
    return slice(first, stop), (low + first * step, low + stop * step)


def _draw_axes(axes: "Axes") -> None:
    """Ticks at notes by name and at times, lines at the notes."""
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    begin_s, end_s = axes.get_xlim()
    low, high = axes.get_ylim()
    kinds = (0, 2, 4, 5, 7, 9, 11) if high - low < 20 else (0, 4, 7)
    named = [note for note in range(int(np.ceil(low)), int(high) + 1) if note % 12 in kinds]
    axes.set_facecolor(BACKGROUND)
    axes.set_yticks(named, [note_name(note) for note in named], fontsize=7)
    axes.xaxis.set_major_locator(MultipleLocator(next((s for s in TICKS_S if 12 * s >= end_s - begin_s), TICKS_S[-1])))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda time_s, _: minutes_and_seconds(time_s)))
    axes.tick_params(colors=INK, length=2)
    for spine in axes.spines.values():
        spine.set_color("#ffffff30")
    for note in named:
        axes.axhline(note, color="white", linewidth=0.5, alpha=0.3 if note % 12 == 0 else 0.1)


def _draw_curve(axes: "Axes", transcription: "Transcription") -> None:
    frames = transcription.frames
    inside = slice(*np.searchsorted(frames.times_s, axes.get_xlim()))
    rounded = {"solid_capstyle": "round", "solid_joinstyle": "round"}
    midi = curve_midi(transcription)[inside]
    axes.plot(frames.times_s[inside], midi, color=BACKGROUND, linewidth=2.6, alpha=0.7, **rounded)
    axes.plot(frames.times_s[inside], midi, color=CURVE, linewidth=1.2, **rounded)


def _draw_notes(axes: "Axes", transcription: "Transcription", height_in: float) -> None:
    from matplotlib.colors import to_rgba
    from matplotlib.patches import FancyBboxPatch

    (begin_s, end_s), (low, high) = axes.get_xlim(), axes.get_ylim()
    # How much higher than wide a unit of the data is, so that corners are round on paper.
    aspect = (high - low) / height_in / ((end_s - begin_s) / WIDTH_IN)
    text_height = TEXT_HEIGHT_IN * (high - low) / height_in
    letter_s = LETTER_IN * (end_s - begin_s) / WIDTH_IN
    latest: deque[tuple[float, float]] = deque(maxlen=MAX_TEXT_ROWS - 1)  # ends and tops of the words before
    for note, text in notes_with_texts(transcription):
        if note.offset_s <= begin_s or note.onset_s >= end_s:
            continue
        is_sung = note.kind == "sung"
        radius_s = min(0.4 * BAR_SEMITONES / aspect, note.duration_s / 2)
        opacity = 0.25 + 0.6 * note.confidence
        axes.add_artist(  # add_patch would also measure it, for limits that are set already
            FancyBboxPatch(
                (note.onset_s, note.midi - BAR_SEMITONES / 2), note.duration_s, BAR_SEMITONES,
                boxstyle=f"round,pad=0,rounding_size={radius_s:.4f}", mutation_aspect=aspect, linewidth=0.8,
                facecolor=to_rgba(NOTE, opacity if is_sung else 0.0), edgecolor=to_rgba(NOTE, 0.9),
                linestyle="-" if is_sung else ":",
            )
        )  # fmt: skip
        if text is not None and text.text and note.onset_s >= begin_s:
            top = note.midi - 0.7
            while any(note.onset_s < until_s and abs(top - other) < 0.99 * text_height for until_s, other in latest):
                top -= text_height
            latest.append((note.onset_s + letter_s * text_width(syllable(text)), top))
            axes.text(
                note.onset_s, top, syllable(text), color=INK, fontsize=8, va="top",
                clip_on=True, parse_math=False,
                bbox={"facecolor": BACKGROUND, "edgecolor": "none", "alpha": 0.5, "pad": 0.5},
            )  # fmt: skip
