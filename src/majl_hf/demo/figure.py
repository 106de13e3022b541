"""The interactive plot: f0 over the spectrogram of the vocals, and the voicing below.

The pitch axis is in semitones (MIDI notes), so equal intervals have equal heights and the ticks are notes. The
spectrogram is a picture that the page loads once; changing the threshold only sends the curve.
"""

import json
from pathlib import Path

import numpy as np

from ..export.plot import DYNAMIC_RANGE_DB, HIGHEST_HZ, LOWEST_HZ, log_spectrogram_db
from ..models.pitch_majl import hz_to_midi, note_name
from .separation import SeparatedSong
from .voicing import note_and_cents

MAX_PITCH_POINTS = 30_000  # 5 minutes of 10 ms frames; in longer songs only every second frame is drawn, and so on
MAX_VOICING_POINTS = 4_000  # more than a screen has columns
MARGIN_SEMITONES = 5
MAX_GLIDE_SEMITONES = 2.5  # from point to point; the line is broken at larger leaps
_NAMED_NOTES = ((13, range(12)), (23, (0, 2, 4, 5, 7, 9, 11)), (1000, (0, 4, 7)))
BACKGROUND, INK, GRID = "#0b0714", "#f2eefb", "rgba(255,255,255,0.16)"
CURVE, CURVE_OUTLINE, THRESHOLD = "#35e0ff", "rgba(0,0,0,0.75)", "#ffb454"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def write_spectrogram(path: Path, song: SeparatedSong) -> Path:
    """Draw the spectrogram of the vocals as PNG: one pixel per value of `log_spectrogram_db`, high notes on top."""
    from matplotlib import colormaps
    from PIL import Image

    levels_db = log_spectrogram_db(*song.drawing_vocals)
    shade = np.clip(255 * (1 + levels_db[::-1] / DYNAMIC_RANGE_DB), 0, 255).astype(np.uint8)
    picture = Image.fromarray(shade, mode=None)
    picture.putpalette((colormaps["magma"](np.arange(256))[:, :3] * 255).astype(np.uint8).tobytes())
    picture.save(path, format="PNG", optimize=False)
    return path


def pitch_figure(song: SeparatedSong, voiced: np.ndarray, threshold: float, spectrogram_url: str) -> str:
    """The plot as JSON with `data`, `layout` and `config`, as plotly.js takes it.

    Args:
        song: The result.
        voiced: Decision `(num_frames,)`; the curve is drawn in voiced frames.
        threshold: Drawn as a line across the voicing.
        spectrogram_url: URL of the picture of `write_spectrogram`.
    """
    from plotly.graph_objects import Figure, Scatter

    frames = song.frames
    step = -(-len(frames) // MAX_PITCH_POINTS)
    hop_s = float(frames.times_s[1] - frames.times_s[0]) if len(frames) > 1 else 0.01
    midi = np.round(hz_to_midi(frames.f0_hz[::step]), 2)
    is_sung = voiced[::step]
    leaps = np.abs(np.diff(midi, prepend=midi[:1])) > MAX_GLIDE_SEMITONES
    pitch = [float(m) if v and not leap else None for m, v, leap in zip(midi, is_sung, leaps, strict=True)]
    hover = [
        f"{note_and_cents(m)}<br>{f:.1f} Hz<br>voicing {p:.0%}" if v else ""
        for m, f, p, v in zip(midi, frames.f0_hz[::step], frames.voicing[::step], is_sung, strict=True)
    ]
    curve = {"x0": 0.0, "dx": round(step * hop_s, 6), "y": pitch, "mode": "lines", "connectgaps": False}
    voicing, voicing_hop_s = _peaks(frames.voicing, hop_s)

    figure = Figure()
    figure.add_trace(Scatter(**curve, line={"color": CURVE_OUTLINE, "width": 5}, hoverinfo="skip", showlegend=False))
    figure.add_trace(
        Scatter(
            **curve, line={"color": CURVE, "width": 2.5}, text=hover, hovertemplate="%{text}<extra></extra>", name="f0"
        )
    )
    figure.add_trace(
        Scatter(
            x0=0.0, dx=voicing_hop_s, y=voicing, yaxis="y2", mode="lines", line={"color": "#c8b6ff", "width": 1},
            fill="tozeroy", fillcolor="rgba(200,182,255,0.25)", hoverinfo="skip", name="voicing",
        )
    )  # fmt: skip
    figure.update_layout(_layout(song, midi[is_sung], threshold, spectrogram_url))
    drawn = json.loads(figure.to_json())
    drawn["config"] = {
        "displaylogo": False,
        "scrollZoom": False,
        "doubleClickDelay": 600,
        "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "toImage"],
    }
    return json.dumps(drawn, separators=(",", ":"), ensure_ascii=False)


def _layout(song: SeparatedSong, sung_midi: np.ndarray, threshold: float, spectrogram_url: str) -> dict:
    bottom, top = hz_to_midi(LOWEST_HZ), hz_to_midi(HIGHEST_HZ)
    low, high = bottom, top
    if len(sung_midi):
        low = max(bottom, sung_midi.min() - MARGIN_SEMITONES)
        high = min(top, sung_midi.max() + MARGIN_SEMITONES)
    notes = range(int(np.ceil(bottom)), int(top) + 1)
    # Notes with ticks at the pitch axis, by the largest number of semitones in view; `page.js` changes them on zooming.
    named = [{"semitones": most, "notes": [n for n in notes if n % 12 in kinds]} for most, kinds in _NAMED_NOTES]
    ticks = next(level["notes"] for level in named if high - low <= level["semitones"])
    axis = {"showgrid": True, "gridcolor": GRID, "zeroline": False, "linecolor": GRID, "automargin": True}
    return {
        "template": "none",
        "height": 460,
        "margin": {"l": 44, "r": 12, "t": 12, "b": 40},
        "paper_bgcolor": BACKGROUND,
        "plot_bgcolor": BACKGROUND,
        "font": {"family": FONT, "size": 13, "color": INK},
        "showlegend": False,
        "hovermode": "x",
        "hoverlabel": {"bgcolor": "#fff", "bordercolor": CURVE, "font": {"color": "#10081f", "size": 13}},
        "dragmode": "zoom",
        "meta": {
            "named": [level | {"names": [note_name(note) for note in level["notes"]]} for level in named],
        },
        "uirevision": str(song.folder.name),  # changing the threshold keeps the zoom
        "images": [
            {
                "source": spectrogram_url, "xref": "x", "yref": "y", "x": 0.0, "y": top, "sizex": song.duration_s,
                "sizey": top - bottom, "sizing": "stretch", "layer": "below", "xanchor": "left", "yanchor": "top",
            }
        ],
        "xaxis": axis
        | {
            "title": {"text": "time in s", "standoff": 6}, "range": [0.0, song.duration_s], "anchor": "y2",
            "minallowed": 0.0, "maxallowed": song.duration_s, "showgrid": False, "hoverformat": ".2f",
            "ticksuffix": "", "unifiedhovertitle": {"text": "%{x:.2f} s"},
        },
        "yaxis": axis
        | {
            "domain": [0.24, 1.0], "range": [low, high], "minallowed": bottom, "maxallowed": top,
            "tickvals": ticks, "ticktext": [note_name(note) for note in ticks],
        },
        "yaxis2": axis
        | {
            "domain": [0.0, 0.17], "range": [0.0, 1.02], "fixedrange": True, "tickvals": [0, 0.5, 1],
            "ticktext": ["0 %", "50 %", "100 %"], "showgrid": False,
        },
        "annotations": [
            {
                "text": "probability of singing", "xref": "paper", "yref": "paper", "x": 0.0,
                "y": 0.175, "xanchor": "left", "yanchor": "bottom", "showarrow": False, "font": {"size": 12},
            }
        ],
        "shapes": [
            {
                "type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": "y2", "y0": threshold, "y1": threshold,
                "line": {"color": THRESHOLD, "width": 1.5, "dash": "dash"},
            }
        ],
    }  # fmt: skip


def _peaks(voicing: np.ndarray, hop_s: float) -> tuple[list[float], float]:
    """Largest value of each of at most `MAX_VOICING_POINTS` groups of frames, and the time between groups."""
    size = -(-len(voicing) // MAX_VOICING_POINTS)
    padded = np.pad(voicing, (0, -len(voicing) % size), mode="edge")
    return [round(float(v), 3) for v in padded.reshape(-1, size).max(axis=1)], round(size * hop_s, 6)
