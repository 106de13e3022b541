"""Arithmetic of pitch: frequencies, bins, cents and note names, and how well posteriors agree with a label.

Conventions
    f0 is in Hz, 0 where a frame is unvoiced. Notes are MIDI numbers with fractions: 69 is A4 at 440 Hz.
    A grid is a `PitchEstimatorConfig`, or any object with its `first_bin_hz`, `bin_cents` and `num_bins`.
"""

import numpy as np
import torch

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


def hz_to_bins(f0_hz: torch.Tensor, grid) -> torch.Tensor:
    """Frequencies in Hz (> 0) as fractional bin numbers on `grid`, of the same shape."""
    return OCTAVE_CENTS * torch.log2(f0_hz / grid.first_bin_hz) / grid.bin_cents


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


def local_mean(posteriors: torch.Tensor, bins: torch.Tensor, grid) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The posterior-weighted means of the bins within 60 cents of `bins`.

    Args:
        posteriors (`torch.Tensor` of shape `(..., num_bins)`): in [0, 1], on `grid`.
        bins (`torch.Tensor` of shape `(...)`, int64).

    Returns:
        Fractional bin numbers `(...)`; the averaged bins `(..., num_near)`, clipped at the ends of the grid; and their
        posteriors.
    """
    reach = round(MEAN_CENTS / grid.bin_cents)
    near = bins[..., None] + torch.arange(-reach, reach + 1, device=bins.device)
    near = near.clamp(0, grid.num_bins - 1)
    near_posteriors = posteriors.gather(-1, near)
    weights = near_posteriors + 1e-12
    return (near * weights).sum(dim=-1) / weights.sum(dim=-1), near, near_posteriors


def likeliest_pitch(logits: torch.Tensor, grid) -> tuple[torch.Tensor, torch.Tensor]:
    """Each frame's f0 in Hz, the posterior-weighted mean of the bins near the highest one, and the highest posterior.

    Args:
        logits (`torch.Tensor` of shape `(batch_size, num_frames, num_bins)`).

    Returns:
        Two tensors of shape `(batch_size, num_frames)`: f0 in Hz, positive; posterior in [0, 1].
    """
    highest = logits.max(dim=2)
    bins, _, _ = local_mean(torch.sigmoid(logits.float()), highest.indices, grid)
    return bins_to_hz(bins, grid), torch.sigmoid(highest.values.float())


def agreement(posteriors: torch.Tensor, f0_hz: torch.Tensor, octave_reliable: torch.Tensor, grid) -> torch.Tensor:
    """How well each frame's posterior agrees with its label.

    Args:
        posteriors (`torch.Tensor` of shape `(batch_size, num_frames, num_bins)`): in [0, 1], on `grid`.
        f0_hz (`torch.Tensor` of shape `(batch_size, num_frames)`): label in Hz, 0 where unvoiced.
        octave_reliable (`torch.Tensor` of shape `(batch_size, num_frames)`, bool): whether the label's octave is right;
            where not, any octave of the label counts.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_frames)`, in [0, 1].
    """
    near = _near_label(posteriors, f0_hz, octave_reliable, grid).amax(dim=-1)
    return torch.where(f0_hz > 0, near, 1.0 - posteriors.amax(dim=-1))


def likeliest_octave(
    posteriors: torch.Tensor, f0_hz: torch.Tensor, octave_reliable: torch.Tensor, grid
) -> torch.Tensor:
    """Targets where a label gives the note but not the octave: the likeliest bin within 50 cents of the label in any
    octave. Arguments as for `agreement`; unvoiced labels and those whose octave is reliable are returned unchanged.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_frames)`, Hz, 0 where unvoiced.
    """
    bins = _near_label(posteriors, f0_hz, octave_reliable, grid).argmax(dim=-1)
    return torch.where((f0_hz > 0) & ~octave_reliable, bins_to_hz(bins.to(f0_hz.dtype), grid), f0_hz)


def _near_label(posteriors, f0_hz, octave_reliable, grid) -> torch.Tensor:
    """The posteriors within 50 cents of the label, 0 in the other bins."""
    bins_hz = bins_to_hz(torch.arange(grid.num_bins, device=f0_hz.device, dtype=f0_hz.dtype), grid)
    cents = OCTAVE_CENTS * torch.log2(bins_hz / torch.where(f0_hz > 0, f0_hz, bins_hz[0])[..., None])
    folded = torch.remainder(cents + OCTAVE_CENTS / 2, OCTAVE_CENTS) - OCTAVE_CENTS / 2
    cents = torch.where(octave_reliable[..., None], cents, folded)
    return posteriors * (cents.abs() <= TOLERANCE_CENTS)


def moving_average(values: torch.Tensor, num_frames: int) -> torch.Tensor:
    """Moving average of `(batch_size, num_frames)` over an odd number of frames; at the ends, over those that exist."""
    reach = num_frames // 2
    return torch.nn.functional.avg_pool1d(values, 2 * reach + 1, 1, reach, count_include_pad=False)
