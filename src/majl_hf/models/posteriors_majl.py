"""What tensors of logits and posteriors say of the pitch: the likeliest one, and how well they agree with a label.

Conventions are those of `pitch_majl.py`.
"""

import torch

from .pitch_majl import MEAN_CENTS, OCTAVE_CENTS, TOLERANCE_CENTS, bins_to_hz


def hz_to_bins(f0_hz: torch.Tensor, grid) -> torch.Tensor:
    """Frequencies in Hz (> 0) as fractional bin numbers on `grid`, of the same shape."""
    return OCTAVE_CENTS * torch.log2(f0_hz / grid.first_bin_hz) / grid.bin_cents


def likeliest_pitch(logits: torch.Tensor, grid) -> tuple[torch.Tensor, torch.Tensor]:
    """Each frame's f0 in Hz, the posterior-weighted mean of the bins near the highest one, and the highest posterior.

    Args:
        logits (`torch.Tensor` of shape `(batch_size, num_frames, num_bins)`).

    Returns:
        Two tensors of shape `(batch_size, num_frames)`: f0 in Hz, positive; posterior in [0, 1].
    """
    highest = logits.max(dim=2)
    reach = round(MEAN_CENTS / grid.bin_cents)  # as in `pitch_majl.local_mean`
    near = highest.indices[..., None] + torch.arange(-reach, reach + 1, device=logits.device)
    near = near.clamp(0, grid.num_bins - 1)
    weights = torch.sigmoid(logits.float()).gather(-1, near) + 1e-12
    bins = (near * weights).sum(dim=-1) / weights.sum(dim=-1)
    return bins_to_hz(bins, grid), torch.sigmoid(highest.values.float())


def agreement(
    posteriors: torch.Tensor,
    f0_hz: torch.Tensor,
    octave_reliable: torch.Tensor,
    grid,
    voicing: torch.Tensor | None = None,
) -> torch.Tensor:
    """How well each frame's posterior agrees with its label.

    Args:
        posteriors (`torch.Tensor` of shape `(batch_size, num_frames, num_bins)`): in [0, 1], on `grid`.
        f0_hz (`torch.Tensor` of shape `(batch_size, num_frames)`): label in Hz, 0 where unvoiced.
        octave_reliable (`torch.Tensor` of shape `(batch_size, num_frames)`, bool): whether the label's octave is right;
            where not, any octave of the label counts.
        voicing (`torch.Tensor` of shape `(batch_size, num_frames)`, *optional*): Probability that the frame is voiced;
            by default the highest posterior.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_frames)`, in [0, 1]. Voiced label: the largest posterior within 50
        cents of it, times what `voicing` is to the highest posterior. Unvoiced label: `1 - voicing`.
    """
    highest = posteriors.amax(dim=-1)
    voicing = highest if voicing is None else voicing
    near = _near_label(posteriors, f0_hz, octave_reliable, grid).amax(dim=-1)
    return torch.where(f0_hz > 0, voicing * (near / highest.clamp(min=1e-12)), 1.0 - voicing)


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
