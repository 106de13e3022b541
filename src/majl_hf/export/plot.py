"""Plot of the pitch: f0 over the log-frequency spectrogram of the vocals. Needs matplotlib (extra `plot`)."""

from pathlib import Path

import numpy as np

from ..errors import MajlError
from ..models.pitch_majl import midi_to_hz, note_name
from .spectrogram import DYNAMIC_RANGE_DB, HIGHEST_HZ, LOWEST_HZ, as_mono, log_spectrogram_db

MAX_GAP_S = 0.05  # the line is broken where voiced frames are further apart


def plot_pitch(path_png, vocals, sampling_rate: int, times_s, f0_hz, voiced, title: str = "") -> Path:
    """Draw the pitch curve over the spectrogram of the vocals and save it as PNG.

    Args:
        path_png: Target; an existing file is replaced.
        vocals: `(num_channels, num_samples)` or `(num_samples,)` float samples.
        sampling_rate: Hz.
        times_s, f0_hz, voiced: arrays of shape `(num_frames,)`: centres in seconds, pitch in Hz, and whether to
            draw it.
        title: Line above the plot.

    Returns:
        `Path` of the picture.

    Raises:
        MajlError: matplotlib is missing, there are no samples, or the pitch arrays differ in length.
    """
    try:  # the figure classes alone: no window system, no global state
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MajlError("Drawing needs matplotlib, which is not installed; run: pip install 'majl_hf[plot]'") from error

    mono = as_mono(vocals, sampling_rate)
    times_s, f0_hz = np.asarray(times_s, dtype=float), np.asarray(f0_hz, dtype=float)
    voiced = np.asarray(voiced, dtype=bool)
    if not times_s.shape == f0_hz.shape == voiced.shape:
        raise MajlError(
            f"times_s, f0_hz and voiced have the shapes {times_s.shape}, {f0_hz.shape} and {voiced.shape}; "
            "one value per frame is needed in each."
        )
    duration_s = mono.size / sampling_rate
    figure = Figure(figsize=(float(np.clip(6 + duration_s / 4, 9, 20)), 5.4), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.imshow(
        log_spectrogram_db(mono, sampling_rate),
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
        cmap="magma",
        vmin=-DYNAMIC_RANGE_DB,
        vmax=0.0,
        extent=(0.0, duration_s, np.log2(LOWEST_HZ), np.log2(HIGHEST_HZ)),
    )
    line_times_s, line_hz = _with_gaps(times_s[voiced], f0_hz[voiced])
    outline = {"solid_capstyle": "round", "solid_joinstyle": "round"}
    axes.plot(line_times_s, np.log2(line_hz), color="black", linewidth=3.6, alpha=0.75, **outline)
    axes.plot(line_times_s, np.log2(line_hz), color="#35e0ff", linewidth=1.7, label="f0 of the voice", **outline)
    _name_notes(axes)
    axes.set(xlim=(0.0, duration_s), ylim=(np.log2(LOWEST_HZ), np.log2(HIGHEST_HZ)), xlabel="time in s", ylabel="pitch")
    axes.set_title(title, loc="left", fontsize=12, parse_math=False)  # a song may be called "Cash $$"
    legend = axes.legend(loc="upper right", framealpha=0.75, facecolor="#1b1030", edgecolor="none", labelcolor="white")
    legend.set_zorder(5)
    figure.colorbar(image, ax=axes, pad=0.01, fraction=0.04, label="level in dB (loudest: 0)")
    figure.savefig(path_png, format="png")
    return Path(path_png)


def _with_gaps(times_s: np.ndarray, f0_hz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The curve with a NaN wherever the next frame is more than `MAX_GAP_S` away, which breaks the line."""
    breaks = np.flatnonzero(np.diff(times_s) > MAX_GAP_S) + 1
    return np.insert(times_s, breaks, np.nan), np.insert(f0_hz, breaks, np.nan)


def _name_notes(axes) -> None:
    """Ticks at the Cs, Es and Gs by name, fine lines at the Cs."""
    midi = [note for note in range(36, 97) if note % 12 in (0, 4, 7)]
    hz = {note: midi_to_hz(note) for note in midi}
    shown = [note for note in midi if LOWEST_HZ <= hz[note] <= HIGHEST_HZ]
    axes.set_yticks(
        [np.log2(hz[note]) for note in shown],
        [note_name(note) for note in shown],
        fontsize=9,
    )
    for note in shown:
        if note % 12 == 0:
            axes.axhline(np.log2(hz[note]), color="white", linewidth=0.6, alpha=0.25)
