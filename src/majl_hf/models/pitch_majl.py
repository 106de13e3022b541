"""Arithmetic of pitch: frequencies, bins, cents and note names.

Conventions
    f0 is in Hz, 0 where a frame is unvoiced. Notes are MIDI numbers with fractions: 69 is A4 at 440 Hz.
    A grid is a `PitchEstimatorConfig`, or any object with its `first_bin_hz`, `bin_cents` and `num_bins`.
"""

import numpy as np

TOLERANCE_CENTS = 50.0  # two pitches this close count as the same, as in mir_eval's raw pitch accuracy
OCTAVE_CENTS = 1200.0
MEAN_CENTS = 60.0  # to each side of the highest bin, over which f0 is the mean
NOTE_NAMES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")


def hz_to_midi(f0_hz):
    """Note numbers of frequencies in Hz (> 0, any shape)."""
    return 69.0 + 12.0 * np.log2(np.asarray(f0_hz, dtype=float) / 440.0)


def midi_to_hz(midi):
    """Frequencies in Hz of note numbers (any shape); 0 means unvoiced and stays 0."""
    midi = np.asarray(midi, dtype=float)
    return np.where(midi > 0, 440.0 * 2.0 ** ((midi - 69.0) / 12.0), 0.0)


def note_name(midi: float) -> str:
    """Name of the nearest note, such as `C♯4`; the middle C is C4."""
    nearest = round(midi)
    return f"{NOTE_NAMES[nearest % 12]}{nearest // 12 - 1}"


def note_and_cents(midi: float) -> str:
    """Nearest note and the deviation from it, such as `A4 −12 ct`."""
    cents = round(100 * (midi - round(midi)))
    return f"{note_name(midi)} {'+' if cents >= 0 else '−'}{abs(cents)} ct"


def bins_to_hz(bins, grid):
    """Fractional bin numbers (tensor, array or float) as frequencies in Hz."""
    return grid.first_bin_hz * 2.0 ** (bins * (grid.bin_cents / OCTAVE_CENTS))


def cents_between(first_hz: np.ndarray, second_hz: np.ndarray, fold_octaves: bool = False) -> np.ndarray:
    """Distance in cents of frequencies in Hz (any shape), infinite where either is 0.

    Args:
        fold_octaves: take the nearest octave.
    """
    both = (first_hz > 0) & (second_hz > 0)
    cents = OCTAVE_CENTS * np.log2(np.where(both, first_hz, 1.0) / np.where(both, second_hz, 1.0))
    if fold_octaves:
        cents = np.mod(cents + OCTAVE_CENTS / 2, OCTAVE_CENTS) - OCTAVE_CENTS / 2
    return np.where(both, np.abs(cents), np.inf)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """`1 / (1 + exp(-x))` of any shape, in x's type and without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def local_mean(posteriors: np.ndarray, bins: np.ndarray, grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The posterior-weighted means of the bins within 60 cents of `bins`.

    Args:
        posteriors (`np.ndarray` of shape `(..., num_bins)`): in [0, 1], on `grid`.
        bins (`np.ndarray` of shape `(...)`, int).

    Returns:
        Fractional bin numbers `(...)`; the averaged bins `(..., num_near)`, clipped at the ends of the grid; and their
        posteriors.
    """
    reach = round(MEAN_CENTS / grid.bin_cents)
    near = np.clip(bins[..., None] + np.arange(-reach, reach + 1), 0, grid.num_bins - 1)
    near_posteriors = np.take_along_axis(posteriors, near, axis=-1)
    weights = near_posteriors + 1e-12
    return (near * weights).sum(axis=-1) / weights.sum(axis=-1), near, near_posteriors
